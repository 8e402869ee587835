//! Protocols: what a model may learn from, what it is chosen by, and what it is asked about.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Which interactions are for training, which for validation, and which for the test. [`Split`](crate::Split) does
/// what is said here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Two cuts in time, at 80 % and at 90 % of the events. Histories roll forward, the model stays as it is. Every
    /// event after a cut asks a case; events of one shopper at one instant are no history for each other.
    #[default]
    GlobalTime,
    /// Each shopper's last interaction is the test and the last but one validation; everything before is training.
    /// History and seen items of the test are all but the last. For comparison with papers that do so: the model
    /// meets other shoppers' later interactions.
    LeaveOneOut,
    /// The publisher's test sessions are new; each interaction but the first of a session is asked for, given those
    /// before it. Validation holds out the newest training sessions.
    NextItem,
    /// The publisher's train and test sets of each shopper, in no order: a shopper's test items are one set of
    /// targets. Validation holds out a drawn part of each shopper's training items.
    FixedSplit,
}

/// Which part of the data is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldOut {
    /// What choices are made by: epochs, sizes, weights.
    Validation,
    /// What is looked at once, when everything is chosen.
    #[default]
    Test,
}

/// What to do with items that the shopper touched before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeenItems {
    /// They compete like any other.
    Allow,
    /// They are left out of every ranking, and no case asks for one.
    Mask,
}

/// How a data set is split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitConfig {
    /// By which rule.
    pub protocol: Protocol,
    /// `global-time`: share of the events, the newest, that is the test. 0 holds none out.
    pub test: f64,
    /// Share that validation holds out: of the events before the test (`global-time`, as a share of all events), of
    /// the training sessions (`next-item`), of each shopper's training items (`fixed-split`).
    pub validation: f64,
    /// Share of the items that are hidden from training altogether: what is asked of them says what a model does with
    /// products that nobody has met yet. Which ones is a function of their ids and of `seed`.
    pub hidden_items: f64,
    /// Seed of the draw of hidden items.
    pub seed: u64,
}

/// A text that names no protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol {0:?}: global-time, leave-one-out, next-item and fixed-split are known")]
pub struct UnknownProtocol(String);

// === impl Protocol ===

impl Protocol {
    /// All of them.
    pub const ALL: &[Self] = &[Self::GlobalTime, Self::LeaveOneOut, Self::NextItem, Self::FixedSplit];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GlobalTime => "global-time",
            Self::LeaveOneOut => "leave-one-out",
            Self::NextItem => "next-item",
            Self::FixedSplit => "fixed-split",
        }
    }

    /// What is done with seen items where nothing else is said: what published tables of this protocol do.
    pub fn seen_items(self) -> SeenItems {
        match self {
            Self::GlobalTime | Self::NextItem => SeenItems::Allow,
            Self::LeaveOneOut | Self::FixedSplit => SeenItems::Mask,
        }
    }

    /// Whether the targets of a question are one case, a set of relevant items; else each of them is a case.
    pub fn targets_are_a_set(self) -> bool {
        self == Self::FixedSplit
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        let known = Self::ALL.iter().find(|protocol| protocol.as_str() == text);
        known.copied().ok_or_else(|| UnknownProtocol(text.to_owned()))
    }
}

// === impl HeldOut ===

impl HeldOut {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for HeldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

// === impl SplitConfig ===

impl Default for SplitConfig {
    fn default() -> Self {
        Self { protocol: Protocol::default(), test: 0.1, validation: 0.1, hidden_items: 0.0, seed: 1 }
    }
}

impl SplitConfig {
    /// The shares of `protocol` that published tables use: a tenth each.
    pub fn of(protocol: Protocol) -> Self {
        Self { protocol, ..Self::default() }
    }
}
