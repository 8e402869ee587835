//! One record of a hundred is poison: the rest is applied, each poisoned one is in the dead letters once with its
//! reason, and what was mended goes through when it is redriven.

use std::{collections::BTreeMap, sync::Arc};

use endcap_live::{
    DeadLetter, DeadLetters, Fate, KafkaConfig, KafkaSink, KafkaSource, Message, RedriveOptions, StateStore,
    StoreConfig, consumer, read_to_end, redrive,
};
use endcap_proto::{EventTime, v1};
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use super::send;
use crate::world::{digest_of, events};

pub(crate) async fn poison_stalls_nothing(config: &KafkaConfig, count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let topic = config.topics.events.as_str();
    let mut events = events(21, count);
    let now = EventTime::clamped(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64,
    );
    let day = 86_400_000;
    for i in (350..count).step_by(400) {
        events[i].time = now.plus_millis(-day);
    }
    let mut poisoned = BTreeMap::new();
    let messages: Vec<_> = events
        .iter()
        .enumerate()
        .map(|(i, event)| {
            let sound = v1::Event::from(event.clone());
            let key = event.visitor_id.as_str();
            if i % 100 != 50 {
                return Message::new(topic, key, sound.encode_to_vec());
            }
            let (message, stage, mended) = match i / 100 % 4 {
                0 => (Message::new(topic, key, [0xff; 9]), "decode", false),
                1 => {
                    let nobody = v1::Event { visitor_id: String::new(), ..sound };
                    (Message::new(topic, key, nobody.encode_to_vec()), "validate", false)
                }
                2 => (
                    Message::new(topic, key, sound.encode_to_vec()).header("content-type", "text/csv"),
                    "content_type",
                    false,
                ),
                // It lies a day ahead of its record's own time; sent again now, it lies behind.
                _ => (
                    Message::new(topic, key, sound.encode_to_vec()).at(now.plus_millis(-2 * day)),
                    "apply",
                    true,
                ),
            };
            poisoned.insert(i, (stage, mended));
            message
        })
        .collect();
    let sink = Arc::new(KafkaSink::patient(config).unwrap());
    let places = tokio::task::block_in_place(|| send(&*sink, messages));
    let running = Running::start(config, dir.path());
    assert!(running.handle.caught_up().await);
    running.wait_for(&places).await;
    let status = running.handle.status();
    assert_eq!(status.rejected.values().sum::<u64>(), poisoned.len() as u64);

    // Exactly those, with reasons, in the topic of dead letters.
    let mut letters = BTreeMap::new();
    let begun = std::time::Instant::now();
    while letters.len() < poisoned.len() {
        assert!(begun.elapsed().as_secs() < 30, "{} of {}", letters.len(), poisoned.len());
        let mut source = KafkaSource::new(config, &config.topics.dead_letters).unwrap();
        let mut seen = 0;
        letters.clear();
        tokio::task::block_in_place(|| {
            read_to_end(&mut source, &mut |record| {
                let letter = DeadLetter::read(record).unwrap();
                letters.insert(letter.place.clone(), letter);
                seen += 1;
            })
        })
        .unwrap();
        assert_eq!(seen, letters.len(), "a letter twice");
    }
    for (i, (stage, _)) in &poisoned {
        let letter = &letters[&places[*i]];
        assert_eq!(letter.stage, *stage, "{letter:?}");
        assert!(!letter.reason.is_empty());
        assert_eq!(letter.key.as_deref(), Some(events[*i].visitor_id.as_str().as_bytes()));
    }

    // Redriven, the mended ones are applied, and the others come back as new letters.
    let again = |options: RedriveOptions| {
        tokio::task::block_in_place(|| {
            let mut source = KafkaSource::new(config, &config.topics.dead_letters).unwrap();
            let mut sent = Vec::new();
            let report = redrive(&mut source, &*sink, &config.topics, &options, &mut |letter, fate| {
                if let Fate::Sent(Some(place)) = fate {
                    sent.push((letter.place.clone(), place.clone()));
                }
            });
            (report.unwrap(), sent)
        })
    };
    let mended: Vec<usize> = poisoned.iter().filter(|(_, (_, mended))| *mended).map(|(&i, _)| i).collect();
    let (report, sent) = again(RedriveOptions { dry_run: true, ..Default::default() });
    assert_eq!(
        (report.sent as usize, report.unsound as usize),
        (poisoned.len(), poisoned.len() - mended.len())
    );
    assert!(sent.is_empty());
    let (report, sent) = again(RedriveOptions { sound_only: true, ..Default::default() });
    assert_eq!((report.sent as usize, report.kept as usize), (mended.len(), poisoned.len() - mended.len()));
    let back: Vec<_> = sent.iter().map(|(_, place)| place.clone()).collect();
    running.wait_for(&back).await;
    let (report, _) = again(RedriveOptions { sound_only: true, ..Default::default() });
    assert_eq!((report.sent, report.before as usize), (0, mended.len()), "each is redriven once");
    running.stop().await;

    // The state is that of the sound events and the mended ones.
    let (store, _writer) = StateStore::open(dir.path(), topic, &StoreConfig::default()).unwrap();
    let first = events.iter().enumerate().filter(|(i, _)| !poisoned.contains_key(i));
    let first = first.map(|(i, event)| (places[i].partition, event));
    let then = mended.iter().map(|&i| (places[i].partition, &events[i]));
    let by_place: Vec<_> = first.chain(then).collect();
    assert_eq!(store.digest().unwrap(), digest_of(by_place));
}

pub(crate) struct Running {
    pub(crate) handle: consumer::Handle,
    drain: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), consumer::Error>>,
}

impl Running {
    pub(crate) fn start(config: &KafkaConfig, dir: &std::path::Path) -> Self {
        let (_, writer) = StateStore::open(dir, &config.topics.events, &StoreConfig::default()).unwrap();
        let letters = Arc::new(KafkaSink::patient(config).unwrap());
        let (service, handle) = consumer::Service::new(consumer::Options {
            erasures: None,
            source: Box::new(KafkaSource::new(config, &config.topics.events).unwrap()),
            writer: Box::new(writer),
            dead_letters: DeadLetters::new(letters, config.topics.dead_letters.as_str()),
            config: consumer::ConsumerConfig::default(),
        });
        let drain = CancellationToken::new();
        let running = tokio::spawn(service.run(drain.clone()));
        Self { handle, drain, running }
    }

    pub(crate) async fn wait_for(&self, places: &[endcap_live::Place]) {
        for place in places {
            assert!(self.handle.reached(place).await, "{:?}", self.handle.status());
        }
    }

    pub(crate) async fn stop(self) {
        self.drain.cancel();
        self.running.await.unwrap().unwrap();
    }
}
