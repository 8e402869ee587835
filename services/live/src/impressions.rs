//! Impressions out: each slate as it was served, from a bounded queue to the topic `impressions`.
//!
//! ```text
//! request ──offer──► queue ──► Service ──► EventSink ──► broker
//!            └ full:             │  ▲           └ no answer: again, oldest first
//!              dropped           ▼  │ when the broker is back
//!                               spill (disk)
//! ```
//!
//! A request never waits for Kafka. At most `queue` impressions wait to be sent and as many are on their way, so
//! memory is bounded whatever the broker does; what comes while the broker does not answer goes to disk, and from
//! there to the broker in its order when it is back, also after a restart. So an impression is lost only when
//! `spill_bytes` are full, the disk fails, or the broker finds it too large; each loss is counted by its
//! reason. One may be sent twice around a crash or a stop: its `slate_id` tells.

mod send;
mod spill;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use endcap_proto::v1;
use endcap_recommend::{ImpressionSink, SinkFull};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{EventSink, SendFault, trace};

/// Limits of the impressions' way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImpressionConfig {
    /// How many impressions may wait, and how many may be on their way.
    pub queue: usize,
    /// How long a shutdown waits for those on their way, in milliseconds.
    pub drain_timeout_ms: u64,
    /// Where they are kept while the broker is away; made when it is needed.
    pub spill_path: PathBuf,
    /// How much may be kept there, in bytes; 0 keeps nothing.
    pub spill_bytes: u64,
}

/// What the service needs.
pub struct Options {
    /// Where impressions go.
    pub sink: Arc<dyn EventSink>,
    /// Which topic.
    pub topic: Arc<str>,
    /// Limits.
    pub config: ImpressionConfig,
}

/// Sends what [`ImpressionProducer`]s offer.
pub struct Service {
    options: Options,
    offered: mpsc::Receiver<Offered>,
    counts: Arc<Counts>,
}

/// Takes impressions without ever blocking; clones share the queue.
#[derive(Clone)]
pub struct ImpressionProducer {
    queue: mpsc::Sender<Offered>,
    counts: Arc<Counts>,
}

/// An impression, and the trace that its request belongs to.
struct Offered {
    impression: v1::Impression,
    traceparent: Option<String>,
}

/// What became of the impressions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImpressionStatus {
    /// The broker has them.
    pub delivered: u64,
    /// They are lost, by reason: `queue_full`, `spill_full`, `spill_failed` (the disk), `spill_damaged`, a
    /// [`SendFault`], or `abandoned` at shutdown.
    pub dropped: BTreeMap<&'static str, u64>,
    /// They were put on disk.
    pub spilled: u64,
    /// Bytes on disk now.
    pub spill_bytes: u64,
    /// Why they do not get through, while they do not.
    pub trouble: Option<String>,
}

/// The service ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Some impressions were still on their way when the time for draining was over.
    #[error("topic {topic}: {abandoned} impressions were still on their way after {waited:?} of draining")]
    Abandoned {
        /// Which topic.
        topic: Arc<str>,
        /// How many.
        abandoned: u64,
        /// How long they were waited for.
        waited: Duration,
    },
    /// The service's thread panicked: a bug.
    #[error("sending impressions panicked: {0}")]
    Panicked(String),
}

#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    queue_full: AtomicU64,
    spill_full: AtomicU64,
    spill_failed: AtomicU64,
    spill_damaged: AtomicU64,
    abandoned: AtomicU64,
    faults: [AtomicU64; SendFault::ALL.len()],
    spilled: AtomicU64,
    spill_bytes: AtomicU64,
    trouble: Mutex<Option<String>>,
}

// === impl Service ===

impl Service {
    /// The service, and the producer that feeds it.
    pub fn new(options: Options) -> (Self, ImpressionProducer) {
        let counts = Arc::new(Counts::default());
        let (queue, offered) = mpsc::channel(options.config.queue.max(1));
        let producer = ImpressionProducer { queue, counts: counts.clone() };
        (Self { options, offered, counts }, producer)
    }

    /// Sends until `drain`, then what is left, and waits for it; what the broker does not have by then is put on disk.
    ///
    /// # Errors
    /// When some were still on their way when the time for draining was over, and could not be put on disk.
    pub async fn run(self, drain: CancellationToken) -> Result<(), Error> {
        // A future that is dropped ends its thread, too.
        let drain = drain.child_token();
        let _ends = drain.clone().drop_guard();
        let runtime = tokio::runtime::Handle::current();
        let sending = tokio::task::spawn_blocking(move || send::Sending::new(self, runtime).until(&drain));
        sending.await.unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string())))
    }
}

// === impl ImpressionProducer ===

impl ImpressionSink for ImpressionProducer {
    fn offer(&self, impression: v1::Impression, traceparent: Option<&str>) -> Result<(), SinkFull> {
        let traceparent = trace::sound(traceparent).map(str::to_owned);
        self.queue.try_send(Offered { impression, traceparent }).map_err(|_| {
            self.counts.queue_full.fetch_add(1, Relaxed);
            SinkFull
        })
    }
}

impl ImpressionProducer {
    /// What became of the impressions so far.
    pub fn status(&self) -> ImpressionStatus {
        let counts = &*self.counts;
        let mut dropped: BTreeMap<_, _> = SendFault::ALL
            .iter()
            .zip(&counts.faults)
            .map(|(fault, count)| (fault.as_str(), count.load(Relaxed)))
            .collect();
        for (reason, count) in [
            ("queue_full", &counts.queue_full),
            ("spill_full", &counts.spill_full),
            ("spill_failed", &counts.spill_failed),
            ("spill_damaged", &counts.spill_damaged),
            ("abandoned", &counts.abandoned),
        ] {
            *dropped.entry(reason).or_default() += count.load(Relaxed);
        }
        ImpressionStatus {
            delivered: counts.delivered.load(Relaxed),
            dropped,
            spilled: counts.spilled.load(Relaxed),
            spill_bytes: counts.spill_bytes.load(Relaxed),
            trouble: counts.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Default for ImpressionConfig {
    fn default() -> Self {
        Self { queue: 10_000, drain_timeout_ms: 5_000, spill_path: "spill".into(), spill_bytes: 256 << 20 }
    }
}

impl std::fmt::Debug for ImpressionProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ImpressionProducer").field(&self.status()).finish()
    }
}
