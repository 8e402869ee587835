//! The seam to the topic `impressions`: each slate as it was served.

use endcap_proto::v1;

/// Takes impressions. `endcap-live` produces them to Kafka from a bounded queue.
pub trait ImpressionSink: Send + Sync {
    /// Hands over one impression. Never blocks and never waits.
    ///
    /// # Errors
    /// [`SinkFull`] when there is no room; the impression is then lost, and counted.
    fn offer(&self, impression: v1::Impression) -> Result<(), SinkFull>;
}

/// The sink has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue of impressions is full")]
pub struct SinkFull;
