//! Impressions out: each slate as it was served, from a bounded queue to the topic `impressions`.
//!
//! ```text
//! request ──offer──► queue ──► Service: encode ──► EventSink ──► broker
//!            └ full: dropped, counted                 └ given up: dropped, counted by fault
//! ```
//!
//! A request never waits for Kafka. At most `queue` impressions wait to be sent and as many are on
//! their way, so memory is bounded whatever the broker does.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use endcap_proto::v1;
use endcap_recommend::{ImpressionSink, SinkFull};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    EventSink, Message, SendFault,
    decode::{CONTENT_TYPE, PROTOBUF},
};

/// Limits of the impressions' way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImpressionConfig {
    /// How many impressions may wait, and how many may be on their way.
    pub queue: usize,
    /// How long a shutdown waits for those on their way, in milliseconds.
    pub drain_timeout_ms: u64,
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
    offered: mpsc::Receiver<v1::Impression>,
    counts: Arc<Counts>,
}

/// Takes impressions without ever blocking; clones share the queue.
#[derive(Clone)]
pub struct ImpressionProducer {
    queue: mpsc::Sender<v1::Impression>,
    counts: Arc<Counts>,
}

/// What became of the impressions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImpressionStatus {
    /// The broker has them.
    pub delivered: u64,
    /// They are lost, by reason: `queue_full`, a [`SendFault`], or `abandoned` at shutdown.
    pub dropped: BTreeMap<&'static str, u64>,
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
}

#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    queue_full: AtomicU64,
    abandoned: AtomicU64,
    faults: [AtomicU64; SendFault::ALL.len()],
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

    /// Sends until `drain`, then what is left, and waits for it.
    ///
    /// # Errors
    /// When some were still on their way when the time for draining was over.
    pub async fn run(mut self, drain: CancellationToken) -> Result<(), Error> {
        let limit = u32::try_from(self.options.config.queue.max(1)).unwrap_or(u32::MAX >> 3);
        let room = Arc::new(Semaphore::new(limit as usize));
        loop {
            let next = tokio::select! {
                biased;
                () = drain.cancelled(), if !self.offered.is_closed() => {
                    self.offered.close();
                    continue;
                }
                next = self.offered.recv() => next,
            };
            let Some(impression) = next else { break };
            // Only the broker's silence makes this wait; the queue fills meanwhile, and a shutdown ends it.
            let permit = tokio::select! {
                biased;
                permit = room.clone().acquire_owned() => permit.ok(),
                () = drain.cancelled() => None,
            };
            let Some(permit) = permit else {
                self.counts.abandoned.fetch_add(1, Relaxed);
                continue;
            };
            let message = Message::new(
                self.options.topic.clone(),
                impression.visitor_id.as_bytes(),
                impression.encode_to_vec(),
            )
            .header(CONTENT_TYPE, PROTOBUF);
            let counts = self.counts.clone();
            self.options.sink.send(
                message,
                Box::new(move |result| {
                    match result {
                        Ok(_) => counts.delivered.fetch_add(1, Relaxed),
                        Err(error) => {
                            tracing::warn!("an impression is lost: {error}");
                            counts.faults[error.fault as usize].fetch_add(1, Relaxed)
                        }
                    };
                    drop(permit);
                }),
            );
        }
        let waited = Duration::from_millis(self.options.config.drain_timeout_ms);
        let settled = tokio::time::timeout(waited, room.acquire_many(limit)).await.is_ok();
        let left = u64::from(limit) - room.available_permits() as u64;
        if !settled {
            self.counts.abandoned.fetch_add(left, Relaxed);
        }
        match self.counts.abandoned.load(Relaxed) {
            0 => Ok(()),
            abandoned => Err(Error::Abandoned { topic: self.options.topic, abandoned, waited }),
        }
    }
}

// === impl ImpressionProducer ===

impl ImpressionSink for ImpressionProducer {
    fn offer(&self, impression: v1::Impression) -> Result<(), SinkFull> {
        self.queue.try_send(impression).map_err(|_| {
            self.counts.queue_full.fetch_add(1, Relaxed);
            SinkFull
        })
    }
}

impl ImpressionProducer {
    /// What became of the impressions so far.
    pub fn status(&self) -> ImpressionStatus {
        let Counts { delivered, queue_full, abandoned, faults } = &*self.counts;
        let mut dropped: BTreeMap<_, _> = SendFault::ALL
            .iter()
            .zip(faults)
            .map(|(fault, count)| (fault.as_str(), count.load(Relaxed)))
            .collect();
        *dropped.entry("queue_full").or_default() += queue_full.load(Relaxed);
        dropped.insert("abandoned", abandoned.load(Relaxed));
        ImpressionStatus { delivered: delivered.load(Relaxed), dropped }
    }
}

impl Default for ImpressionConfig {
    fn default() -> Self {
        Self { queue: 10_000, drain_timeout_ms: 5_000 }
    }
}

impl std::fmt::Debug for ImpressionProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ImpressionProducer").field(&self.status()).finish()
    }
}
