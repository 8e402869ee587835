//! Reading the topic `erasures`: to its end, then on.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{ErasureKey, Erasures, Error};
use crate::{
    EventSink, EventSource, PartitionBounds, PartitionOffset, Place, Record, SourceError,
    source::{Progress, reach},
};

/// What reading erasures needs.
pub struct Options {
    /// The topic `erasures`.
    pub source: Box<dyn EventSource>,
    /// Takes new ones.
    pub sink: Arc<dyn EventSink>,
    /// The key under which they are sealed; without one there must be none.
    pub key: Option<ErasureKey>,
}

/// Follows the topic.
pub struct Service {
    source: Box<dyn EventSource>,
    erasures: Erasures,
    progress: Progress,
}

/// Records taken at a time.
const BATCH: usize = 1024;
/// The longest wait for one.
const WAIT: Duration = Duration::from_millis(100);

// === impl Service ===

impl Service {
    /// The service, and the erasures that it will know.
    pub fn new(options: Options) -> (Self, Erasures) {
        let Options { source, sink, key } = options;
        let erasures = Erasures::unfollowed(source.topic(), key, sink);
        (Self { source, erasures: erasures.clone(), progress: Progress::default() }, erasures)
    }

    /// Reads the topic to the end that it has now. Blocks; belongs on a thread of its own.
    ///
    /// # Errors
    /// When it cannot be read, and when a record of it cannot be opened.
    pub fn load(mut self) -> Result<Erasures, Error> {
        let bounds = self.source.bounds()?;
        self.begin(&bounds)?;
        while !self.progress.caught_up() {
            self.step(Duration::from_millis(20))?;
        }
        Ok(self.erasures)
    }

    /// Follows the topic until `drain`. Waits for a broker that is away.
    ///
    /// # Errors
    /// When the topic cannot be read, and when a record that was there at the start cannot be opened: it may be of
    /// a shopper who would be read again. One that comes later and cannot be opened is [`Erasures::trouble`].
    pub async fn run(self, drain: CancellationToken) -> Result<(), Error> {
        // A future that is dropped ends its thread, too.
        let drain = drain.child_token();
        let _ends = drain.clone().drop_guard();
        let erasures = self.erasures.clone();
        let reading = tokio::task::spawn_blocking(move || self.follow(&drain));
        let done = reading.await.unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string())));
        erasures.0.tick.send_modify(|tick| tick.over = true);
        done
    }

    fn follow(mut self, drain: &CancellationToken) -> Result<(), Error> {
        let shared = self.erasures.0.clone();
        let mut waiting = |error: &SourceError| {
            tracing::warn!("erasures wait: {error}");
            *shared.trouble() = Some(error.to_string());
        };
        let Some(bounds) = reach(&mut *self.source, drain, &mut waiting)? else { return Ok(()) };
        *shared.trouble() = None;
        self.begin(&bounds)?;
        while !drain.is_cancelled() {
            self.step(WAIT)?;
            if self.erasures.unreadable() == 0 {
                *shared.trouble() = self.source.trouble();
            }
        }
        Ok(())
    }

    fn begin(&mut self, bounds: &[PartitionBounds]) -> Result<(), SourceError> {
        let from: Vec<_> =
            bounds.iter().map(|at| PartitionOffset { partition: at.partition, offset: at.first }).collect();
        self.progress = Progress::begin(&from, bounds);
        self.source.assign(&from)?;
        self.tell();
        Ok(())
    }

    fn step(&mut self, wait: Duration) -> Result<(), Error> {
        let Self { source, erasures, progress, .. } = self;
        let topic = source.topic().clone();
        let (mut heard, mut unreadable) = (Vec::new(), None);
        let taken = source.poll(BATCH, wait, &mut |record| {
            let Record { partition, offset, .. } = record;
            progress.passed(partition, offset);
            // What was taken back by a record without a value was never said.
            if record.value.is_none_or(<[u8]>::is_empty) {
                return;
            }
            match &erasures.0.key {
                Some(key) => match key.open(&record) {
                    Ok(erasure) => heard.push(erasure),
                    Err(reason) => {
                        let place = Place { topic: topic.clone(), partition, offset };
                        unreadable = Some(Error::Unreadable { place, reason });
                    }
                },
                None => unreadable = Some(Error::NoKey { what: format!("the topic {topic} holds erasures") }),
            }
        })?;
        erasures.hear(heard);
        if let Some(error) = unreadable {
            if !progress.caught_up() {
                return Err(error);
            }
            tracing::error!("an erasure is not carried out: {error}");
            erasures.0.unreadable.fetch_add(1, Relaxed);
            *erasures.0.trouble() = Some(error.to_string());
        }
        if taken > 0 || !progress.caught_up() {
            self.tell();
        }
        Ok(())
    }

    fn tell(&mut self) {
        self.progress.look(&*self.source);
        let (offsets, loaded) = (self.progress.offsets(), self.progress.caught_up());
        self.erasures.0.tick.send_modify(|tick| (tick.offsets, tick.loaded) = (offsets, loaded));
    }
}

#[cfg(test)]
mod tests {
    use endcap_clickstream::Shopper;
    use endcap_proto::{EventTime, UserKey, VisitorKey};
    use futures::FutureExt as _;

    use super::*;
    use crate::{MemoryLog, Message, erasures::Erasure};

    fn key(digit: char) -> Option<ErasureKey> {
        Some(ErasureKey::parse(&digit.to_string().repeat(64)).unwrap())
    }

    fn service(log: &MemoryLog, key: Option<ErasureKey>) -> (Service, Erasures) {
        Service::new(Options { source: Box::new(log.source("erasures")), sink: Arc::new(log.clone()), key })
    }

    fn erasure(user: u64, before: i64) -> Erasure {
        Erasure { shopper: Shopper::User(UserKey(user)), before: EventTime::clamped(before) }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_written_is_known_at_once_where_it_is_followed_and_later_where_it_is_read() {
        let log = MemoryLog::new(&[("erasures", 3)]);
        let (following, followed) = service(&log, key('a'));
        let drain = CancellationToken::new();
        let running = tokio::spawn(following.run(drain.clone()));
        assert!(followed.loaded().await);
        let places = followed.erase(&[erasure(1, 50), erasure(2, 60)]).await.unwrap();
        assert!(followed.reached(&places).await);
        assert_eq!(followed.erased().before(Shopper::User(UserKey(1))), Some(EventTime::clamped(50)));
        assert_eq!((followed.count(), followed.since(1).len(), followed.since(9).len()), (2, 1, 0));
        // An earlier instant takes nothing back.
        let places = followed.erase(&[erasure(1, 10)]).await.unwrap();
        assert!(followed.reached(&places).await);
        assert_eq!(followed.count(), 2);
        // A visitor of an erased account is known here at once, and to everybody from the topic; told once.
        followed.announce([(VisitorKey(7), EventTime::clamped(50)); 2]);
        assert_eq!(followed.count(), 3);
        let (reading, _) = service(&log, key('a'));
        let read = tokio::task::spawn_blocking(|| reading.load().unwrap()).await.unwrap();
        assert_eq!(*read.erased(), *followed.erased());
        assert_eq!(log.messages("erasures").len(), 4);
        drain.cancel();
        running.await.unwrap().unwrap();
    }

    #[test]
    fn nothing_is_read_past_an_erasure_that_cannot_be_opened() {
        let log = MemoryLog::new(&[("erasures", 1)]);
        assert_eq!(service(&log, None).0.load().unwrap().count(), 0, "none are there");
        log.append(Message::tombstone("erasures", "x")).unwrap();
        assert_eq!(service(&log, None).0.load().unwrap().count(), 0);
        let (_, erasures) = service(&log, key('a'));
        erasures.erase(&[erasure(1, 50)]).now_or_never().unwrap().unwrap();
        let error = service(&log, None).0.load().unwrap_err().to_string();
        assert!(error.contains("erasures.key is not set"), "{error}");
        let error = service(&log, key('b')).0.load().unwrap_err().to_string();
        assert!(error.contains("partition 0, offset 1") && error.contains("another key"), "{error}");
        let (_, keyless) = service(&log, None);
        let error = keyless.erase(&[erasure(1, 50)]).now_or_never().unwrap().unwrap_err().to_string();
        assert!(error.contains("erasures.key"), "{error}");
    }
}
