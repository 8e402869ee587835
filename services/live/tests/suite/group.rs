//! Consumers of one group over a state that they share: they come and go under load, and nothing is lost or
//! applied twice.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use endcap_live::{
    AppliedOffsets, Before, DeadLetters, GroupProtocol, KafkaConfig, KafkaSink, KafkaSource, Outcome,
    PartitionOffset, Release, StateBackend, StoreError,
    consumer::{self, ConsumerConfig, Group},
    erasures::{Erasure, Gone},
};
use endcap_proto::EventView;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::send;
use crate::world::{events, message};

/// What a server would hold: how often each event was applied, and the offsets that were flushed. An event at an offset
/// that it has seen changes nothing, as with values that carry their offsets.
#[derive(Default)]
struct Shared {
    applied: HashMap<String, u32>,
    seen: BTreeMap<i32, i64>,
    flushed: BTreeMap<i32, i64>,
    owners: BTreeMap<i32, usize>,
    handed_on: usize,
    read_again: u64,
}

/// One replica's way to it.
struct Replica {
    number: usize,
    shared: Arc<Mutex<Shared>>,
    next: BTreeMap<i32, i64>,
    unflushed: u64,
}

impl StateBackend for Replica {
    fn acquire(&mut self, partitions: &[i32]) -> Result<Vec<PartitionOffset>, StoreError> {
        let mut shared = self.shared.lock().unwrap();
        for &partition in partitions {
            let before = shared.owners.insert(partition, self.number);
            shared.handed_on += usize::from(before.is_some_and(|before| before != self.number));
        }
        let flushed = partitions.iter().filter_map(|partition| {
            shared.flushed.get(partition).map(|&offset| PartitionOffset { partition: *partition, offset })
        });
        Ok(flushed.collect())
    }

    fn release(&mut self, partitions: &[i32], how: Release) -> Result<(), StoreError> {
        for partition in partitions {
            let next = self.next.remove(partition);
            let shared = self.shared.lock().unwrap();
            if how == Release::Revoked && next.is_some() {
                assert_eq!(
                    shared.flushed.get(partition).copied(),
                    next,
                    "all was flushed before it was given up"
                );
            }
        }
        Ok(())
    }

    fn apply(&mut self, partition: i32, offset: i64, event: &EventView<'_>) -> Result<Outcome, StoreError> {
        let mut shared = self.shared.lock().unwrap();
        self.unflushed += 1;
        self.next.insert(partition, offset + 1);
        if shared.seen.get(&partition).is_some_and(|&seen| offset < seen) {
            shared.read_again += 1;
            return Ok(Outcome::Behind);
        }
        shared.seen.insert(partition, offset + 1);
        *shared.applied.entry(event.event_id.to_owned()).or_default() += 1;
        Ok(Outcome::Applied)
    }

    fn skip(&mut self, _: i32, _: i64) {}

    fn publish(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn unflushed(&self) -> u64 {
        self.unflushed
    }

    fn begin_flush(&mut self, before: Before) -> Result<bool, StoreError> {
        if before() {
            self.shared.lock().unwrap().flushed.extend(&self.next);
            self.unflushed = 0;
        }
        Ok(true)
    }

    fn wait_for_flush(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn erase(&mut self, erasures: &[Erasure]) -> Result<Vec<Gone>, StoreError> {
        Ok(vec![Gone::default(); erasures.len()])
    }

    fn progress(&self) -> Arc<dyn AppliedOffsets> {
        Arc::new(Seen(self.shared.clone()))
    }
}

struct Seen(Arc<Mutex<Shared>>);

impl AppliedOffsets for Seen {
    fn applied(&self) -> Vec<PartitionOffset> {
        let shared = self.0.lock().unwrap();
        shared.seen.iter().map(|(&partition, &offset)| PartitionOffset { partition, offset }).collect()
    }
}

struct Member {
    drain: CancellationToken,
    running: JoinHandle<Result<(), consumer::Error>>,
    handle: consumer::Handle,
}

impl Member {
    fn join(config: &KafkaConfig, group: Group, number: usize, shared: &Arc<Mutex<Shared>>) -> Self {
        let instance = (group == Group::Classic).then(|| format!("replica-{number}"));
        let settings = ConsumerConfig {
            group,
            group_id: format!("{}group", config.topics.events),
            group_instance_id: instance,
            flush_interval_ms: 20,
            ..ConsumerConfig::default()
        };
        settings.validate().unwrap();
        let source =
            KafkaSource::member(config, &config.topics.events, settings.membership().as_ref()).unwrap();
        let letters = Arc::new(KafkaSink::patient(config).unwrap());
        let (service, handle) = consumer::Service::new(consumer::Options {
            erasures: None,
            source: Box::new(source),
            writer: Box::new(Replica { number, shared: shared.clone(), next: BTreeMap::new(), unflushed: 0 }),
            dead_letters: DeadLetters::new(letters, config.topics.dead_letters.as_str()),
            config: settings,
        });
        let drain = CancellationToken::new();
        Self { running: tokio::spawn(service.run(drain.clone())), drain, handle }
    }

    async fn leave(self) {
        self.drain.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// Two members, of which the second one leaves and comes back `turns` times while `count` events stream.
pub(crate) async fn members_come_and_go(
    config: &KafkaConfig,
    protocol: GroupProtocol,
    count: usize,
    turns: usize,
) {
    let group = match protocol {
        GroupProtocol::Classic => Group::Classic,
        GroupProtocol::Consumer => Group::Consumer,
    };
    // A static member's partitions wait for it as long as its session lasts.
    let mut config = config.clone();
    if group == Group::Classic {
        config.properties.0.insert("session.timeout.ms".into(), "6000".into());
    }
    let shared = Arc::new(Mutex::new(Shared::default()));
    let events = events(11, count);
    let first = Member::join(&config, group, 0, &shared);
    let sink = KafkaSink::patient(&config).unwrap();
    let mut chunks = events.chunks(count.div_ceil(turns + 1));
    for turn in 0..turns {
        let other = Member::join(&config, group, turn + 1, &shared);
        let chunk = chunks.next().unwrap();
        let rebalances = other.handle.status().rebalances;
        tokio::task::block_in_place(|| send(&sink, chunk.iter().map(|event| now(&config, event))));
        let began = Instant::now();
        while other.handle.status().rebalances == rebalances {
            assert!(began.elapsed() < Duration::from_secs(60), "turn {turn}: no partition was dealt out");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        other.leave().await;
    }
    let rest: Vec<_> = chunks.flatten().collect();
    tokio::task::block_in_place(|| send(&sink, rest.into_iter().map(|event| now(&config, event))));
    let began = Instant::now();
    while shared.lock().unwrap().applied.len() < count {
        let status = first.handle.status();
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{} of {count}; {status:?}",
            shared.lock().unwrap().applied.len()
        );
        assert!(!first.running.is_finished());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rebalances = first.handle.status().rebalances;
    first.leave().await;
    let shared = shared.lock().unwrap();
    let twice = shared.applied.values().filter(|&&times| times != 1).count();
    assert_eq!((shared.applied.len(), twice), (count, 0));
    assert!(shared.handed_on >= turns, "partitions changed hands {} times only", shared.handed_on);
    println!(
        "{protocol:?}: {rebalances} rebalances, {} partitions handed on, {} records read again",
        shared.handed_on, shared.read_again
    );
}

fn now(config: &KafkaConfig, event: &endcap_proto::Event) -> endcap_live::Message {
    endcap_live::Message { timestamp: None, ..message(&config.topics.events, event) }
}
