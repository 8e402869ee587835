//! What time it is, so that a test or a replay can hold it.

use std::time::{SystemTime, UNIX_EPOCH};

use endcap_proto::EventTime;

/// Tells the time. A service runs on [`SystemClock`]; a replay is driven by event time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> EventTime;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// A clock that a test or a replay sets by hand.
#[derive(Debug, Default)]
pub struct ManualClock(std::sync::atomic::AtomicI64);

// === impl SystemClock ===

impl Clock for SystemClock {
    fn now(&self) -> EventTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        EventTime::clamped(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

// === impl ManualClock ===

impl ManualClock {
    /// A clock that stands at `time`.
    pub fn new(time: EventTime) -> Self {
        Self(time.as_millis().into())
    }

    /// Moves the hands.
    pub fn set(&self, time: EventTime) {
        self.0.store(time.as_millis(), std::sync::atomic::Ordering::Release);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> EventTime {
        EventTime::clamped(self.0.load(std::sync::atomic::Ordering::Acquire))
    }
}
