//! The open-loop load generator: requests leave when they are due, whether or not earlier ones have come back.
//!
//! A closed loop slows down with the service it measures and so hides its worst moments. Here a request's latency is
//! counted from the instant at which it *should* have been sent: if the service, the network or this generator falls
//! behind, the wait is in the figures (the "coordinated omission" of Tene).

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// When requests are due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Requests a second.
    pub rate: f64,
    /// For how long.
    pub duration: Duration,
    /// How they are spread.
    pub arrivals: Arrivals,
    /// Of the gaps between them.
    pub seed: u64,
}

/// How requests are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// As those of many people who know nothing of each other: exponential gaps.
    Poisson,
    /// Equal gaps.
    Even,
}

/// Requests that may be on their way at once; one more is not sent and counts as an error.
pub const MAX_IN_FLIGHT: usize = 20_000;

/// What became of the requests of one load.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Requests a second that were due.
    pub offered: f64,
    /// Requests that were answered well.
    pub succeeded: u64,
    /// Those that were not, by reason.
    pub errors: BTreeMap<String, u64>,
    /// From the first due to the last answered, in seconds.
    pub seconds: f64,
    /// Latencies of the answered, in microseconds.
    latency: Histogram<u64>,
}

/// An [`Outcome`] in numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Requests a second that were due.
    pub offered: f64,
    /// Requests a second that were answered well.
    pub achieved: f64,
    /// Requests that were answered well.
    pub succeeded: u64,
    /// Those that were not, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Milliseconds from when a request was due to its answer.
    pub p50_ms: f64,
    /// As `p50_ms`.
    pub p90_ms: f64,
    /// As `p50_ms`.
    pub p99_ms: f64,
    /// As `p50_ms`.
    pub p999_ms: f64,
    /// As `p50_ms`.
    pub max_ms: f64,
}

/// What counts as keeping up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Share of the offered requests that must be answered well.
    pub goodput: f64,
    /// Most milliseconds that one request in a hundred may take longer than.
    pub p99_ms: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { goodput: 0.98, p99_ms: 100.0 }
    }
}

struct Record {
    latency: Histogram<u64>,
    errors: BTreeMap<String, u64>,
    last: Instant,
}

/// Sends the `i`-th request, i = 0, 1, …, when it is due, and waits for all answers. An answer is well or names its
/// error.
pub async fn drive<F, Answer>(load: Load, send: F) -> Outcome
where
    F: Fn(u64) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<(), String>> + Send + 'static,
{
    let start = Instant::now();
    let record = Arc::new(Mutex::new(Record { latency: empty(), errors: BTreeMap::new(), last: start }));
    let in_flight = Arc::new(AtomicUsize::new(0));
    let idle = Arc::new(Notify::new());
    let dispatch = {
        let (record, in_flight, idle) = (Arc::clone(&record), Arc::clone(&in_flight), Arc::clone(&idle));
        let runtime = Handle::current();
        // A thread of its own: the system's clock wakes it within some 50 µs, a runtime's within a millisecond.
        move || {
            let gaps = Gaps { load, rng: StdRng::seed_from_u64(load.seed), at: Duration::ZERO };
            for (i, at) in (0u64..).zip(gaps) {
                let due = start + at;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if in_flight.fetch_add(1, Ordering::Relaxed) >= MAX_IN_FLIGHT {
                    in_flight.fetch_sub(1, Ordering::Relaxed);
                    note(&record, due, Err("not sent: too many on their way".into()));
                    continue;
                }
                let answer = send(i);
                let (record, in_flight, idle) =
                    (Arc::clone(&record), Arc::clone(&in_flight), Arc::clone(&idle));
                runtime.spawn(async move {
                    note(&record, due, answer.await);
                    if in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
                        idle.notify_one();
                    }
                });
            }
        }
    };
    if tokio::task::spawn_blocking(dispatch).await.is_err() {
        note(&record, start, Err("the generator stopped".into()));
    }
    while in_flight.load(Ordering::Acquire) > 0 {
        idle.notified().await;
    }
    let record = record.lock().unwrap_or_else(PoisonError::into_inner);
    Outcome {
        offered: load.rate,
        succeeded: record.latency.len(),
        errors: record.errors.clone(),
        seconds: (record.last - start).max(load.duration).as_secs_f64(),
        latency: record.latency.clone(),
    }
}

/// Keeps `callers` requests on their way at once, for `time`: how many a second come back. Says how much a service can
/// do at all, and nothing of latency.
pub async fn closed_loop<F, Answer>(callers: usize, time: Duration, send: F) -> f64
where
    F: Fn(u64) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<(), String>> + Send + 'static,
{
    let (send, start) = (Arc::new(send), Instant::now());
    let callers: Vec<_> = (0..callers as u64)
        .map(|caller| {
            let send = Arc::clone(&send);
            tokio::spawn(async move {
                let mut answered = 0u64;
                while start.elapsed() < time {
                    answered += u64::from(send(caller << 32 | answered).await.is_ok());
                }
                answered
            })
        })
        .collect();
    let mut answered = 0;
    for caller in callers {
        answered += caller.await.unwrap_or(0);
    }
    answered as f64 / start.elapsed().as_secs_f64()
}

/// The largest rate that the service keeps up with, within one part in thirty: a closed loop tells about how much it
/// can do, then the interval is halved by loads of `time` each. Returns that load's outcome; none where not even a
/// tenth is kept up with.
pub async fn saturation<F, Answer>(limits: Limits, time: Duration, seed: u64, send: F) -> Option<Outcome>
where
    F: Fn(u64) -> Answer + Send + Sync + Clone + 'static,
    Answer: Future<Output = Result<(), String>> + Send + 'static,
{
    let capacity = closed_loop(64, time, send.clone()).await;
    let (mut low, mut high, mut best) = (0.1 * capacity, 1.15 * capacity, None);
    while high - low > capacity / 30.0 {
        // Most services keep up with most of what a closed loop got out of them.
        let rate = if best.is_none() && high > capacity { 0.75 * capacity } else { (low + high) / 2.0 };
        let load = Load { rate, duration: time, arrivals: Arrivals::Poisson, seed };
        let outcome = drive(load, send.clone()).await;
        if outcome.keeps_up(limits) {
            (low, best) = (rate, Some(outcome));
        } else {
            high = rate;
        }
    }
    best
}

fn note(record: &Mutex<Record>, due: Instant, answer: Result<(), String>) {
    let now = Instant::now();
    let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
    record.last = record.last.max(now);
    match answer {
        Ok(()) => record.latency.saturating_record((now - due).as_micros() as u64),
        Err(reason) => *record.errors.entry(reason).or_default() += 1,
    }
}

/// One microsecond to two minutes, three digits.
fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 120_000_000, 3).expect("these bounds are valid")
}

/// The instants at which requests are due, from the start.
struct Gaps {
    load: Load,
    rng: StdRng,
    at: Duration,
}

impl Iterator for Gaps {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let gap = match self.load.arrivals {
            Arrivals::Even => 1.0,
            Arrivals::Poisson => -(1.0 - self.rng.random::<f64>()).ln(),
        };
        self.at += Duration::from_secs_f64(gap / self.load.rate.max(1e-3));
        (self.at < self.load.duration).then_some(self.at)
    }
}

// === impl Outcome ===

impl Outcome {
    /// Requests a second that were answered well.
    pub fn achieved(&self) -> f64 {
        self.succeeded as f64 / self.seconds
    }

    /// Milliseconds within which a share of the answers came.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        self.latency.value_at_quantile(share) as f64 / 1e3
    }

    /// Whether the service kept up.
    pub fn keeps_up(&self, limits: Limits) -> bool {
        self.achieved() >= limits.goodput * self.offered && self.quantile_ms(0.99) <= limits.p99_ms
    }

    /// In numbers.
    pub fn summary(&self) -> Summary {
        Summary {
            offered: self.offered,
            achieved: self.achieved(),
            succeeded: self.succeeded,
            errors: self.errors.clone(),
            p50_ms: self.quantile_ms(0.5),
            p90_ms: self.quantile_ms(0.9),
            p99_ms: self.quantile_ms(0.99),
            p999_ms: self.quantile_ms(0.999),
            max_ms: self.latency.max() as f64 / 1e3,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { offered, achieved, succeeded, errors, p50_ms, p90_ms, p99_ms, p999_ms, max_ms } = self;
        writeln!(f, "offered   {offered:.0} requests/s")?;
        writeln!(f, "achieved  {achieved:.0} requests/s ({succeeded} answered)")?;
        writeln!(
            f,
            "latency   p50 {p50_ms:.2}  p90 {p90_ms:.2}  p99 {p99_ms:.2}  p99.9 {p999_ms:.2}  max {max_ms:.2} ms"
        )?;
        write!(f, "errors    {}", errors.values().sum::<u64>())?;
        errors.iter().try_for_each(|(reason, count)| write!(f, "\n          {count} × {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(rate: f64, arrivals: Arrivals) -> Load {
        Load { rate, duration: Duration::from_millis(500), arrivals, seed: 1 }
    }

    #[test]
    fn requests_are_due_at_the_rate_and_the_same_for_a_seed() {
        let due = |arrivals| {
            let load = Load { duration: Duration::from_secs(100), ..load(200.0, arrivals) };
            Gaps { load, rng: StdRng::seed_from_u64(load.seed), at: Duration::ZERO }.collect::<Vec<_>>()
        };
        assert_eq!(due(Arrivals::Even).len(), 19_999);
        let poisson = due(Arrivals::Poisson);
        // Mean 20,000, standard deviation 141.
        assert!((19_400..20_600).contains(&poisson.len()), "{}", poisson.len());
        assert_eq!(poisson, due(Arrivals::Poisson));
        // A third of exponential gaps is longer than the mean one.
        let long = poisson.windows(2).filter(|pair| pair[1] - pair[0] > Duration::from_millis(5)).count();
        assert!((0.33..0.41).contains(&(long as f64 / poisson.len() as f64)), "{long}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stall_is_in_the_latency_of_everything_that_was_due_meanwhile() {
        // One caller at a time, and the first takes 200 ms: a closed loop would see one slow request of 100.
        let gate = Arc::new(tokio::sync::Mutex::new(()));
        let outcome = drive(load(200.0, Arrivals::Even), move |i| {
            let gate = Arc::clone(&gate);
            async move {
                let _held = gate.lock().await;
                if i == 0 {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Ok(())
            }
        })
        .await;
        assert_eq!((outcome.succeeded, outcome.errors.len()), (99, 0));
        // 40 of 99 were due during the stall.
        assert!(outcome.quantile_ms(0.8) > 50.0, "{}", outcome.summary());
        assert!(outcome.quantile_ms(1.0) >= 199.0, "{}", outcome.summary());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn errors_are_counted_by_reason_and_are_no_answers() {
        let outcome = drive(load(100.0, Arrivals::Even), |i| async move {
            if i % 10 == 0 { Err(format!("code {}", i % 20)) } else { Ok(()) }
        })
        .await;
        assert_eq!(outcome.succeeded, 44);
        assert_eq!(outcome.errors, BTreeMap::from([("code 0".into(), 3), ("code 10".into(), 2)]));
        assert!(!outcome.keeps_up(Limits::default()));
    }
}
