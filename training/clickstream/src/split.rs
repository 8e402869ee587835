//! Cuts in time: what a model may learn from, and what it is asked about.

use endcap_proto::EventTime;

use crate::{ClickstreamError, Dataset};

/// For each share the instant before which that share of all events lies. Events of one instant
/// stay together, on the later side, so that slightly fewer than the share may lie before it.
///
/// With `cut = time_cuts(&dataset, &[0.8])?[0]`, train on `time < cut` and test on `time >= cut`.
///
/// # Errors
/// When a share does not lie within 0 and 1, when there is no event, or when a file cannot be read.
pub fn time_cuts(dataset: &Dataset, shares: &[f64]) -> Result<Vec<EventTime>, ClickstreamError> {
    let _ = (dataset, shares);
    todo!()
}
