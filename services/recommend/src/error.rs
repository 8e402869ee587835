//! Why a request is not answered.

use endcap_proto::FieldError;

/// Why a request is not answered. The edges map each variant to one status code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecommendError {
    /// A field breaks a rule.
    #[error(transparent)]
    InvalidArgument(#[from] FieldError),
    /// A field is set that does not act yet.
    #[error("{field} does not act in this version: leave it unset")]
    Unimplemented {
        /// Path of the field.
        field: &'static str,
    },
    /// A list is longer than the service takes.
    #[error("{field} holds {length} entries, the most is {limit}")]
    TooLarge {
        /// Path of the field.
        field: &'static str,
        /// How many entries it has.
        length: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The deadline passed before the slate was whole.
    #[error("the deadline passed before {stage}")]
    DeadlineExceeded {
        /// The stage that was not begun.
        stage: &'static str,
    },
}
