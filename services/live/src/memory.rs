//! A log in memory: the same contract as Kafka, for simulators, tests and replays.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use twox_hash::XxHash3_64;

use crate::{
    Delivered, EventSink, EventSource, Message, PartitionBounds, PartitionOffset, Place, Record, SendError,
    SendFault, SourceError,
};

/// Topics in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    topics: Mutex<BTreeMap<Arc<str>, Vec<Vec<Message>>>>,
    grew: Condvar,
}

/// Reads one topic of a [`MemoryLog`].
#[derive(Debug)]
pub struct MemorySource {
    log: MemoryLog,
    topic: Arc<str>,
    assigned: Vec<PartitionOffset>,
    paused: bool,
    /// Partitions that the topic had when its bounds were asked for.
    known: usize,
    /// The partition to begin with next, so that none starves.
    turn: usize,
}

// === impl MemoryLog ===

impl MemoryLog {
    /// A log with these topics, by name and number of partitions.
    pub fn new(topics: &[(&str, u16)]) -> Self {
        let topics =
            topics.iter().map(|&(name, partitions)| (name.into(), vec![Vec::new(); partitions.into()]));
        Self(Arc::new(Shared { topics: Mutex::new(topics.collect()), grew: Condvar::new() }))
    }

    /// Reads `topic`.
    pub fn source(&self, topic: &str) -> MemorySource {
        let (log, topic) = (self.clone(), topic.into());
        MemorySource { log, topic, assigned: Vec::new(), paused: false, known: 0, turn: 0 }
    }

    /// Appends to the partition that the key hashes to.
    ///
    /// # Errors
    /// When there is no such topic.
    pub fn append(&self, message: Message) -> Result<Place, SendError> {
        let mut topics = self.topics();
        let Some(partitions) = topics.get_mut(&message.topic).filter(|partitions| !partitions.is_empty())
        else {
            let (fault, reason) = (SendFault::NoTopic, "it was not made".to_owned());
            return Err(SendError { topic: message.topic, brokers: MEMORY.to_owned(), fault, reason });
        };
        let partition = (XxHash3_64::oneshot(&message.key) % partitions.len() as u64) as usize;
        let topic = message.topic.clone();
        let records = &mut partitions[partition];
        records.push(message);
        let offset = records.len() as i64 - 1;
        self.0.grew.notify_all();
        Ok(Place { topic, partition: partition as i32, offset })
    }

    /// Gives a topic so many partitions more. Keys move: what comes later goes by the new number.
    pub fn add_partitions(&self, topic: &str, more: u16) {
        if let Some(partitions) = self.topics().get_mut(topic) {
            partitions.resize(partitions.len() + usize::from(more), Vec::new());
        }
    }

    /// Everything in a topic, partition by partition.
    pub fn messages(&self, topic: &str) -> Vec<Message> {
        self.topics().get(topic).map(|partitions| partitions.concat()).unwrap_or_default()
    }

    fn topics(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Vec<Vec<Message>>>> {
        self.0.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MEMORY: &str = "memory";

impl EventSink for MemoryLog {
    fn send(&self, message: Message, delivered: Delivered) {
        delivered(self.append(message));
    }

    fn flush(&self, _within: Duration) -> Result<(), SendError> {
        Ok(())
    }
}

// === impl MemorySource ===

impl MemorySource {
    /// Takes what is there; hands out at most `limit`.
    fn take(&mut self, limit: usize) -> Vec<(i32, i64, Message)> {
        if self.paused {
            return Vec::new();
        }
        let topics = self.log.topics();
        let Some(partitions) = topics.get(&self.topic) else { return Vec::new() };
        let mut taken = Vec::new();
        for turn in 0..self.assigned.len() {
            let place = (self.turn + turn) % self.assigned.len();
            let PartitionOffset { partition, offset } = &mut self.assigned[place];
            let Some(records) = usize::try_from(*partition).ok().and_then(|p| partitions.get(p)) else {
                continue;
            };
            let from = usize::try_from(*offset).unwrap_or_default().min(records.len());
            for message in records[from..].iter().take(limit - taken.len()) {
                taken.push((*partition, *offset, message.clone()));
                *offset += 1;
            }
        }
        self.turn = self.turn.wrapping_add(1);
        taken
    }
}

impl EventSource for MemorySource {
    fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    fn bounds(&mut self) -> Result<Vec<PartitionBounds>, SourceError> {
        let topics = self.log.topics();
        let partitions = topics
            .get(&self.topic)
            .ok_or_else(|| SourceError::NoTopic { topic: self.topic.clone(), brokers: MEMORY.to_owned() })?;
        let bounds = |(partition, records): (usize, &Vec<Message>)| PartitionBounds {
            partition: partition as i32,
            first: 0,
            end: records.len() as i64,
        };
        let bounds: Vec<_> = partitions.iter().enumerate().map(bounds).collect();
        drop(topics);
        self.known = bounds.len();
        Ok(bounds)
    }

    fn gained(&mut self) -> Result<Vec<PartitionBounds>, SourceError> {
        let known = self.known;
        Ok(self.bounds()?.split_off(known))
    }

    fn assign(&mut self, from: &[PartitionOffset]) -> Result<(), SourceError> {
        self.assigned = from.to_vec();
        Ok(())
    }

    fn poll(
        &mut self,
        limit: usize,
        wait: Duration,
        each: &mut dyn FnMut(Record<'_>),
    ) -> Result<usize, SourceError> {
        let deadline = Instant::now() + wait;
        let mut taken = self.take(limit);
        while taken.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                break;
            };
            let log = self.log.clone();
            if self.at_end() || self.paused {
                // A message that comes between the look and the wait costs at most these milliseconds.
                let (guard, _) = log
                    .0
                    .grew
                    .wait_timeout(log.topics(), left.min(Duration::from_millis(5)))
                    .unwrap_or_else(PoisonError::into_inner);
                drop(guard);
            }
            taken = self.take(limit);
        }
        for (partition, offset, message) in &taken {
            each(Record {
                partition: *partition,
                offset: *offset,
                timestamp: message.timestamp,
                key: Some(&message.key),
                value: message.value.as_deref(),
                headers: message
                    .headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_slice()))
                    .collect(),
            });
        }
        Ok(taken.len())
    }

    fn pause(&mut self, paused: bool) -> Result<(), SourceError> {
        self.paused = paused;
        Ok(())
    }

    fn at_end(&self) -> bool {
        let ends = self.ends();
        self.assigned
            .iter()
            .all(|at| ends.iter().any(|end| end.partition == at.partition && end.offset <= at.offset))
    }

    fn ends(&self) -> Vec<PartitionOffset> {
        let topics = self.log.topics();
        let ends = topics.get(&self.topic).into_iter().flatten().enumerate();
        ends.map(|(partition, records)| PartitionOffset {
            partition: partition as i32,
            offset: records.len() as i64,
        })
        .collect()
    }
}
