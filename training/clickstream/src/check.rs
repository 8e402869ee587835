//! Is this clickstream sound, and is it enough to learn from?

use serde::Serialize;

use crate::{ClickstreamError, Dataset};

/// What is judged, and how strictly.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {}

/// The judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Train on it.
    Go,
    /// Do not; the reasons say why.
    NoGo,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// The judgement.
    pub verdict: Verdict,
    /// Why not, or what to mind.
    pub reasons: Vec<String>,
}

impl std::fmt::Display for CheckReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.verdict)
    }
}

/// Reads the whole data set once and judges it.
///
/// # Errors
/// When a file cannot be read; what is merely wrong with its contents is in the report.
pub fn check(dataset: &Dataset, options: &CheckOptions) -> Result<CheckReport, ClickstreamError> {
    let _ = (dataset, options);
    todo!()
}
