//! Why a fit failed, and what to change.

use endcap_clickstream::ClickstreamError;
use endcap_features::VocabularyError;
use endcap_towers::TowersError;

/// Why there are no weights.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting breaks its rule.
    #[error("{field} {rule}")]
    Config {
        /// Which setting.
        field: &'static str,
        /// What it must be, and what it is.
        rule: String,
    },
    /// The data cannot be read.
    #[error(transparent)]
    Clickstream(#[from] ClickstreamError),
    /// Its items have no vocabulary.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    /// The data is not enough to learn from.
    #[error("{0}")]
    TooLittle(String),
    /// The loss is not a number, or grew instead of falling.
    #[error(
        "training diverged in epoch {epoch}, step {step}: the loss is {loss:.3}, it had been down to {best:.3}; \
         halve learning_rate and table_learning_rate, or raise temperature"
    )]
    Diverged {
        /// Epoch, from 1.
        epoch: usize,
        /// Step within it, from 1.
        step: usize,
        /// The loss, in nats.
        loss: f64,
        /// The best loss before.
        best: f64,
    },
    /// Weights to begin with do not fit the fit.
    #[error(
        "the weights to begin with are of another shape: {want} wanted, {are} there; train without them, or with their shape"
    )]
    OtherShape {
        /// What the fit needs.
        want: String,
        /// What there is.
        are: String,
    },
    /// A checkpoint cannot be read or written, or is of another fit.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// The file.
        path: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// The towers refuse their input.
    #[error(transparent)]
    Towers(#[from] TowersError),
    /// Threads cannot be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// Why not.
        reason: String,
    },
    /// Rows for the ranker do not fit each other.
    #[error("ranker rows: {0}")]
    RankerRows(String),
}
