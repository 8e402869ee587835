//! A small shop for tests: a catalogue, models that were drawn or counted rather than trained, and the seams of the
//! stream over maps in memory. Also used by the tests of `endcap-server`.

#![allow(dead_code, unreachable_pub)]

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use endcap_features::{CounterFeatures, RANK_FEATURES, UserState, Vocabulary, VocabularyConfig};
use endcap_index::{Index, IndexConfig};
use endcap_neighbours::{CountingConfig, CountingModels, Interaction};
use endcap_proto::{
    Event, EventId, EventItem, EventTime, EventType, Item, ItemId, ItemKey, UserKey, VisitorId, VisitorKey,
    v1,
};
use endcap_recommend::{
    AppliedOffset, Clock, ImpressionSink, ManualClock, Parts, RecommendConfig, Recommender, SinkFull,
    StateReadError, StateReader, StateSnapshot,
};
use endcap_towers::{Ranker, RankerConfig, RankerWeights, Towers, TowersConfig, Weights};
use futures::future::{BoxFuture, FutureExt};

/// The instant at which tests ask.
pub fn now() -> EventTime {
    EventTime::clamped(1_800_000_000_000)
}

pub fn id(number: usize) -> ItemId {
    ItemId::new(format!("item-{number}")).unwrap()
}

/// Item `number`: of category `number % 10` and brand `number % 7`.
pub fn item(number: usize) -> Item {
    let mut item = Item::bare(id(number));
    item.title = Some(format!("Thing {number} of kind {}", number % 10));
    item.categories = vec![format!("Things > Kind {}", number % 10)];
    item.brand = Some(format!("Brand {}", number % 7));
    item.price = Some(5.0 + (number % 90) as f64);
    item
}

/// A model of `items` items, drawn and counted from `seed`. Shoppers of the counts walk through items one apart.
pub fn parts(items: Vec<Item>, version: &str, seed: u64) -> Parts {
    let counts: Vec<u64> = (0..items.len()).map(|i| (10_000 / (i + 1)).max(1) as u64).collect();
    let named = items.iter().zip(&counts).map(|(item, &count)| (item.id.as_str(), count));
    let vocabulary = Vocabulary::build(&items, named, &VocabularyConfig::default()).unwrap();
    let config = TowersConfig::default();
    let towers = Towers::new(Weights::new(config, vocabulary.items(), vocabulary.words(), seed).unwrap());
    let features: Vec<_> = items.iter().map(|item| vocabulary.item_features(item)).collect();
    let vectors = towers.item_vectors(&features).unwrap();
    let labels: Vec<u64> = items.iter().map(|item| item.id.key().0).collect();
    let index = Index::build(&labels, &vectors, towers.dim(), &IndexConfig::default()).unwrap();
    let step = |item: &Item, minutes: i64| Interaction {
        item: item.id.key(),
        time: now().plus_millis((minutes - 100_000) * 60_000),
        event_type: EventType::View,
        starts_session: false,
    };
    let walks = (0..items.len()).map(|start| {
        let length = (counts[start] as usize).clamp(3, 12);
        (0..length).map(|i| step(&items[(start + i) % items.len()], i as i64)).collect::<Vec<_>>()
    });
    let counting = CountingModels::fit(walks, now(), &CountingConfig::default()).unwrap();
    Parts {
        version: version.to_owned(),
        vocabulary,
        catalogue: items,
        towers,
        ranker: Some(ranker()),
        counting,
        index,
        items_offsets: Vec::new(),
    }
}

/// A logistic regression that follows the cosine, the rules and the popularity.
pub fn ranker() -> Ranker {
    let features = RANK_FEATURES.len();
    let mut network = vec![0.0; features * 3];
    for (name, weight) in [("towers_score", 3.0), ("rules_score", 0.5), ("popularity", 1.0)] {
        let row = RANK_FEATURES.iter().position(|&feature| feature == name).unwrap();
        network[row * 3..row * 3 + 3].fill(weight);
    }
    network.extend([-2.0, -4.0, -5.0]);
    let weights = RankerWeights {
        means: vec![0.0; features],
        deviations: vec![1.0; features],
        network,
        calibration: vec![[1.0, 0.0]; 3],
    };
    Ranker::new(RankerConfig { hidden: Vec::new() }, weights).unwrap()
}

pub fn event(visitor: &str, event_type: EventType, number: usize, time: EventTime) -> Event {
    Event {
        event_id: EventId::new(format!("{visitor}-{event_type}-{number}-{}", time.as_millis())).unwrap(),
        event_type,
        time,
        visitor_id: VisitorId::new(visitor).unwrap(),
        user_id: None,
        session_id: None,
        items: vec![EventItem { item_id: id(number), quantity: 1, unit_price: None, position: None }],
        transaction: None,
        search_query: None,
        page_categories: Vec::new(),
        placement: None,
        attribution_token: None,
        experiment_ids: Vec::new(),
        attributes: Default::default(),
        consent: true,
    }
}

/// A state store in memory that can be slow or away.
#[derive(Default)]
pub struct States {
    states: Mutex<HashMap<VisitorKey, UserState>>,
    pub away: AtomicBool,
    pub delay_ms: AtomicU64,
    /// Counted when a read ends.
    pub reads: AtomicU64,
}

impl States {
    pub fn apply(&self, event: &Event) {
        self.states.lock().unwrap().entry(event.visitor_id.key()).or_default().apply(event);
    }
}

impl StateReader for States {
    fn read<'a>(
        &'a self,
        visitor: VisitorKey,
        _: Option<UserKey>,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StateSnapshot, StateReadError>> {
        async move {
            let delay = Duration::from_millis(self.delay_ms.load(Ordering::Relaxed));
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            self.reads.fetch_add(1, Ordering::Relaxed);
            if self.away.load(Ordering::Relaxed) {
                return Err(StateReadError::Unavailable { reason: "unplugged".to_owned() });
            }
            let state = self.states.lock().unwrap().get(&visitor).cloned();
            let consent = state.is_some();
            let applied: Arc<[_]> =
                Arc::from([AppliedOffset { topic: "events".into(), partition: 0, offset: 42 }]);
            Ok(StateSnapshot { state: state.unwrap_or_default(), applied, watermark: now(), consent })
        }
        .boxed()
    }

    fn counters(&self, _: ItemKey, _: EventTime) -> CounterFeatures {
        CounterFeatures::default()
    }
}

/// Keeps impressions, as many as there is room for.
pub struct Impressions {
    pub taken: Mutex<Vec<v1::Impression>>,
    pub room: usize,
}

impl Default for Impressions {
    fn default() -> Self {
        Self { taken: Mutex::default(), room: usize::MAX }
    }
}

impl ImpressionSink for Impressions {
    fn offer(&self, impression: v1::Impression, _: Option<&str>) -> Result<(), SinkFull> {
        let mut taken = self.taken.lock().unwrap();
        if taken.len() >= self.room {
            return Err(SinkFull);
        }
        taken.push(impression);
        Ok(())
    }
}

/// A recommender and the seams under it.
pub struct Shop {
    pub recommender: Arc<Recommender>,
    pub states: Arc<States>,
    pub impressions: Arc<Impressions>,
    pub clock: Arc<ManualClock>,
}

impl Shop {
    pub fn new(items: usize) -> Self {
        Self::with((0..items).map(item).collect(), RecommendConfig { seed: Some(7), ..Default::default() })
    }

    pub fn with(items: Vec<Item>, config: RecommendConfig) -> Self {
        Self::of(parts(items, "bundle-1", 1), config)
    }

    pub fn of(parts: Parts, config: RecommendConfig) -> Self {
        let states = Arc::new(States::default());
        let impressions = Arc::new(Impressions::default());
        let clock = Arc::new(ManualClock::new(now()));
        let recommender = Recommender::new(
            parts,
            Arc::clone(&states) as Arc<dyn StateReader>,
            Arc::clone(&impressions) as Arc<dyn ImpressionSink>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            config,
        );
        Self { recommender: Arc::new(recommender.unwrap()), states, impressions, clock }
    }

    /// `visitor` looks at items, one second apart, the last a second ago.
    pub fn views(&self, visitor: &str, items: impl IntoIterator<Item = usize>) {
        let items: Vec<_> = items.into_iter().collect();
        for (i, &number) in items.iter().enumerate() {
            let time = now().plus_millis(-1_000 * (items.len() - i) as i64);
            self.states.apply(&event(visitor, EventType::View, number, time));
        }
    }
}
