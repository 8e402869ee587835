//! Erasures: shoppers who are to be forgotten, from the compacted topic `erasures` to everything that
//! remembers.
//!
//! ```text
//! endcap erase, EventService.Purge ──seal──► topic erasures ──open──► Erasures ──► consumer: events passed over, state forgets
//!                                                ▲                        ├──────► archive: rows passed over, files rewritten
//!                  an erased account's visitors ─┘◄───────────────────────┘
//! ```
//!
//! An erasure says: what this shopper did before this instant never happened. It is read before the first event
//! is, and followed from then on, so that neither what comes late nor a log that is read again brings anybody back.
//!
//! **Whose erasure is whose.** An event is passed over where its visitor or its user was erased. A visitor who was
//! seen logged in to an erased account is erased with it, up to the same instant: whoever learns of one, from the
//! state's links or from an event, announces it on the topic ([`Erasures::announce`]).
//!
//! **Names.** The topic names nobody to who has not the key: see [`ErasureKey`].

mod follow;
mod key;
mod receipt;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use endcap_clickstream::{Erased, Shopper};
use endcap_proto::{EventTime, UserKey, VisitorKey};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use follow::{Options, Service};
pub use key::{ErasureConfig, ErasureKey, ErasureKeyError};
pub use receipt::{ArchiveReceipt, NOTES, Receipt, StateReceipt, TopicReceipt};

use crate::{EventSink, PartitionOffset, Place, SendError, SourceError};

/// A shopper is forgotten up to an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    /// Who.
    pub shopper: Shopper,
    /// What they did before this never happened.
    pub before: EventTime,
}

/// What a state held of a shopper who was erased.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gone {
    /// Visitors who were seen logged in to the account, and go with it.
    pub linked: Vec<u64>,
    /// Of how many visitors there was something.
    pub visitors: u64,
    /// What was forgotten of their histories: entries.
    pub entries: u64,
}

/// Erasures as far as they are known. Clones share them.
#[derive(Clone)]
pub struct Erasures(Arc<Shared>);

struct Shared {
    topic: Arc<str>,
    key: Option<ErasureKey>,
    sink: Arc<dyn EventSink>,
    /// All of them, as one join.
    erased: ArcSwap<Erased>,
    /// Each that said something new, in the order in which it was heard.
    heard: Mutex<Vec<Erasure>>,
    /// Records that could not be opened.
    unreadable: AtomicU64,
    tick: watch::Sender<Tick>,
    trouble: Mutex<Option<String>>,
}

/// How far the topic was read.
#[derive(Debug, Clone, Default)]
struct Tick {
    offsets: Vec<PartitionOffset>,
    loaded: bool,
    /// Nobody reads any more.
    over: bool,
}

impl Tick {
    fn has_passed(&self, place: &Place) -> bool {
        self.offsets.iter().any(|at| at.partition == place.partition && at.offset > place.offset)
    }
}

/// Erasures cannot be read, or not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The topic cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The broker does not take one.
    #[error(transparent)]
    Send(#[from] SendError),
    /// There is no key.
    #[error(
        "{what}, and erasures.key is not set: set it to the key of 64 hexadecimal digits that every part of the \
         shop's Endcap shares (openssl rand -hex 32), as {{ file = \"…\" }} or {{ env = \"…\" }}"
    )]
    NoKey {
        /// What wants one.
        what: String,
    },
    /// A record cannot be opened.
    #[error(
        "topic {}, partition {}, offset {}: {reason}; nobody's events are read before every erasure is", place.topic, place.partition, place.offset
    )]
    Unreadable {
        /// Where it is.
        place: Place,
        /// Why, and what to do.
        reason: String,
    },
    /// The thread that follows the topic panicked: a bug.
    #[error("reading erasures panicked: {0}")]
    Panicked(String),
}

// === impl Erasures ===

impl Erasures {
    /// Erasures that are told by [`Self::hear`] alone, for what reads no topic.
    pub fn unfollowed(topic: &str, key: Option<ErasureKey>, sink: Arc<dyn EventSink>) -> Self {
        Self(Arc::new(Shared {
            topic: topic.into(),
            key,
            sink,
            erased: ArcSwap::default(),
            heard: Mutex::default(),
            unreadable: AtomicU64::new(0),
            tick: watch::channel(Tick::default()).0,
            trouble: Mutex::default(),
        }))
    }

    /// All that are known.
    pub fn erased(&self) -> Arc<Erased> {
        self.0.erased.load_full()
    }

    /// How many were heard of that said something new.
    pub fn count(&self) -> usize {
        self.0.heard().len()
    }

    /// Those that were heard after the first `count`.
    pub fn since(&self, count: usize) -> Vec<Erasure> {
        self.0.heard().get(count..).unwrap_or_default().to_vec()
    }

    /// Notes erasures; whether they say anything new.
    pub fn hear(&self, erasures: impl IntoIterator<Item = Erasure>) -> bool {
        let mut heard = self.0.heard();
        let mut erased = self.0.erased.load_full();
        let before = heard.len();
        for erasure in erasures {
            if erased.before(erasure.shopper) < Some(erasure.before) {
                Arc::make_mut(&mut erased).insert(erasure.shopper, erasure.before);
                heard.push(erasure);
            }
        }
        self.0.erased.store(erased);
        heard.len() > before
    }

    /// Records that could not be opened.
    pub fn unreadable(&self) -> u64 {
        self.0.unreadable.load(Relaxed)
    }

    /// Why the topic is not read, or not understood; none when all is well.
    pub fn trouble(&self) -> Option<String> {
        self.0.trouble().clone()
    }

    /// Writes erasures to the topic; answers where they lie once the broker has them. Those that are known up to a
    /// later instant are written with that one.
    ///
    /// # Errors
    /// Without a key, and when the broker does not take one of them.
    pub async fn erase(&self, erasures: &[Erasure]) -> Result<Vec<Place>, Error> {
        let key = self.0.key.as_ref();
        let key = key.ok_or_else(|| Error::NoKey { what: "a shopper is to be erased".to_owned() })?;
        let known = self.erased();
        let messages = erasures.iter().map(|&Erasure { shopper, before }| {
            let before = known.before(shopper).map_or(before, |known| known.max(before));
            self.0.sink.deliver(key.seal(&self.0.topic, Erasure { shopper, before }))
        });
        let answers = futures::future::join_all(messages).await;
        Ok(answers.into_iter().collect::<Result<_, _>>()?)
    }

    /// Whether something that happened at `time` may be an erased shopper's.
    pub fn concern(&self, time: EventTime) -> bool {
        self.0.erased.load().concerns(time)
    }

    /// Whether what a visitor did at `time`, perhaps logged in, is to be forgotten. Where it shows them to be an
    /// erased account's, that is announced.
    pub fn cover(&self, visitor: VisitorKey, user: Option<UserKey>, time: EventTime) -> bool {
        let erased = self.0.erased.load();
        let covered = erased.covers(visitor, user, time);
        if covered && let Some(before) = erased.implies(visitor, user, time) {
            drop(erased);
            self.announce([(visitor, before)]);
        }
        covered
    }

    /// Notes that visitors were found to be an erased account's, and tells the topic, without waiting for it: what
    /// fails to get there is found again by whoever reads the same events.
    pub fn announce(&self, visitors: impl IntoIterator<Item = (VisitorKey, EventTime)>) {
        for (visitor, before) in visitors {
            let erasure = Erasure { shopper: Shopper::Visitor(visitor), before };
            if !self.hear([erasure]) {
                continue;
            }
            if let Some(key) = &self.0.key {
                let topic = self.0.topic.clone();
                let told = move |result: Result<Place, SendError>| {
                    if let Err(error) = result {
                        tracing::warn!("a visitor of an erased account is not announced on {topic}: {error}");
                    }
                };
                self.0.sink.send(key.seal(&self.0.topic, erasure), Box::new(told));
            }
        }
    }

    /// Waits until what was announced is with the broker.
    ///
    /// # Errors
    /// When something is not after `within`.
    pub fn flush(&self, within: Duration) -> Result<(), SendError> {
        self.0.sink.flush(within)
    }

    /// Waits until everything that was in the topic at the start is known; false when reading ended before.
    pub async fn loaded(&self) -> bool {
        let told =
            self.0.tick.subscribe().wait_for(|tick| tick.loaded || tick.over).await.map(|tick| tick.loaded);
        told.unwrap_or(false)
    }

    /// Waits until the records at these places are known; false when reading ended before.
    pub async fn reached(&self, places: &[Place]) -> bool {
        let passed = |tick: &Tick| places.iter().all(|place| tick.has_passed(place));
        let told = self
            .0
            .tick
            .subscribe()
            .wait_for(|tick| passed(tick) || tick.over)
            .await
            .map(|tick| passed(&tick));
        told.unwrap_or(false)
    }

    /// Whether everything that was in the topic at the start is known.
    pub(crate) fn is_loaded(&self) -> bool {
        self.0.tick.borrow().loaded
    }
}

// === impl Shared ===

impl Shared {
    fn heard(&self) -> MutexGuard<'_, Vec<Erasure>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Erasures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Erasures").field("topic", &self.0.topic).field("count", &self.count()).finish()
    }
}
