//! Events to state, state to features: pure functions that training and serving share.
//!
//! ```text
//! event ──apply──► UserState ────features_at──► UserFeatures ──┐
//!   │                (bytes: encode, decode, merge)   Taste ───┤
//!   └────apply──► ItemCounters ──read──► CounterFeatures ──────┼──rank_features──► one row of f32
//! item ──────────► Vocabulary::item_features ──► item tower    │
//!   └────────────► ItemAttributes ─────────────────────────────┘
//! ```
//!
//! Nothing here reads a file, a clock or a socket (but for a vocabulary's own file), and nothing
//! depends on the order in which events arrive: state is a join of sets, counters are integers in
//! fixed buckets, and every float is computed when read, in one order of operations. The features a
//! model is trained on and the features it is served with come out of the same functions, so they
//! cannot differ.

#![forbid(unsafe_code)]

mod bytes;
mod counters;
mod encoded;
mod event;
mod history;
mod keys;
mod newest;
mod rank;
mod state;
mod taste;
mod user;
mod vocabulary;
mod words;

pub use bytes::StateError;
pub use counters::{CounterFeatures, CounterKind, Decay, ItemCounters, Windows};
pub use event::EventFacts;
pub use history::{EventTag, HISTORY_MAX, HistoryEntry, SESSION_GAP_MS, SessionTag, starts_session};
pub use keys::{KeyHasher, KeyMap, KeySet};
pub use newest::NewestItem;
pub use rank::{CandidateSignals, RANK_FEATURES, RANK_FEATURES_LEN, SourceSignal, rank_features};
pub use state::{CLOCK_SKEW_MS, LoginLinks, UserState};
pub use taste::{ItemAttributes, Liking, SeenItem, Taste};
pub use user::{GAP_BUCKETS, HistoryInput, UserFeatures, features_at, gap_bucket};
pub use vocabulary::{Extension, ItemFeatures, Vocabulary, VocabularyConfig, VocabularyError};
pub use words::WordKind;
