//! Why an evaluation ends without a report.

use std::path::PathBuf;

use endcap_clickstream::ClickstreamError;
use endcap_features::VocabularyError;
use endcap_neighbours::NeighboursError;
use endcap_proto::EventTime;

use crate::{HeldOut, Protocol};

/// Why an evaluation ends without a report.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// The data cannot be read.
    #[error(transparent)]
    Clickstream(#[from] ClickstreamError),
    /// A baseline cannot be fitted.
    #[error(transparent)]
    Neighbours(#[from] NeighboursError),
    /// Two products share a key.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    /// The data set cannot be split so.
    #[error("{path}: cannot be split by {protocol}: {reason}")]
    Misfit {
        /// The data set.
        path: PathBuf,
        /// By which protocol.
        protocol: Protocol,
        /// Why not, and what to do.
        reason: String,
    },
    /// The bundle knows the answers, by time.
    #[error(
        "the bundle was trained on events up to {newest}, and the {part} part starts at {cut}: train it with `--holdout` \
         at least as large"
    )]
    SawTheFuture {
        /// The newest event of its training.
        newest: EventTime,
        /// The first instant of what is asked about.
        cut: EventTime,
        /// What is asked about.
        part: HeldOut,
    },
    /// The bundle knows the answers, or may know them.
    #[error(
        "the bundle does not say that this {part} part was held out of its training ({found}): train it on this data with \
         `--protocol {protocol}`"
    )]
    NotHeldOut {
        /// What is asked about.
        part: HeldOut,
        /// By which protocol.
        protocol: Protocol,
        /// What the bundle says.
        found: String,
    },
    /// The bundle knows the items that are to be new.
    #[error(
        "the bundle does not say that these {items} items were hidden from its training: train it on this data with \
         `--protocol {protocol}` and the same `--hide` and `--hide-seed`"
    )]
    NotHidden {
        /// How many are to be new.
        items: usize,
        /// By which protocol.
        protocol: Protocol,
    },
    /// Nothing to ask.
    #[error("{path}: no cases: the {part} part of {protocol} holds none")]
    NoCases {
        /// The data set.
        path: PathBuf,
        /// Which part.
        part: HeldOut,
        /// By which protocol.
        protocol: Protocol,
    },
    /// A stage failed.
    #[error("{system} cannot rank: {reason}")]
    System {
        /// Which system.
        system: String,
        /// Why.
        reason: String,
    },
}
