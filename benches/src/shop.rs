//! A large shop to serve: a catalogue, models of the default shape whose weights are drawn rather than trained, and
//! shoppers with full histories in a state store. What a request costs does not depend on how good the weights are.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use endcap_features::{RANK_FEATURES_LEN, Vocabulary, VocabularyConfig};
use endcap_index::{Index, IndexConfig};
use endcap_live::{StateStore, StoreConfig};
use endcap_neighbours::{CountingConfig, CountingModels, Interaction};
use endcap_proto::{Event, EventId, EventItem, EventTime, EventType, Item, ItemId, VisitorId, v1};
use endcap_recommend::{
    ImpressionSink, Parts, RecommendConfig, Recommender, SinkFull, StateReader, SystemClock,
};
use endcap_towers::{
    Head, Ranker, RankerConfig, RankerNetwork, RankerWeights, Towers, TowersConfig, Weights,
};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal, Zipf};

/// How large a shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Items of the catalogue.
    pub items: usize,
    /// Shoppers with a state.
    pub shoppers: usize,
    /// Events in the history of each.
    pub history: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { items: 100_000, shoppers: 10_000, history: 50 }
    }
}

/// Takes impressions as the way to Kafka does, as far as its bytes; then forgets them.
#[derive(Debug, Default)]
pub struct Encoded {
    /// Bytes so far.
    pub bytes: AtomicU64,
}

impl ImpressionSink for Encoded {
    fn offer(&self, impression: v1::Impression, _: Option<&str>) -> Result<(), SinkFull> {
        self.bytes.fetch_add(impression.encode_to_vec().len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// A recommender over a shop of this size, with its shoppers' states in `dir`.
///
/// # Errors
/// Whatever a part refuses.
pub fn open(seed: u64, size: Size, dir: &Path, config: RecommendConfig) -> anyhow::Result<Recommender> {
    let store: Arc<dyn StateReader> = Arc::new(states(seed, size, dir)?);
    let sink = Arc::new(Encoded::default());
    Ok(Recommender::new(parts(seed, size.items)?, store, sink, Arc::new(SystemClock), config)?)
}

/// The id of a shopper with a state.
pub fn shopper(number: usize) -> String {
    format!("shopper-{number}")
}

fn now() -> EventTime {
    EventTime::clamped(std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64))
}

fn id(number: usize) -> anyhow::Result<ItemId> {
    Ok(ItemId::new(format!("sku-{number:07}"))?)
}

/// A product: of one of 400 shelves, 500 brands and many words.
fn item(rng: &mut StdRng, number: usize) -> anyhow::Result<Item> {
    const WORDS: [&str; 12] = [
        "light", "warm", "steel", "folding", "merino", "compact", "double", "classic", "garden", "travel",
        "kids", "pro",
    ];
    let shelf = number % 400;
    let mut item = Item::bare(id(number)?);
    let mut word = || WORDS[rng.random_range(0..WORDS.len())];
    item.title = Some(format!("{} {} thing {} of shelf {shelf}", word(), word(), number % 9_973));
    item.categories = vec![format!("Floor {} > Aisle {} > Shelf {shelf}", shelf % 5, shelf % 40)];
    item.brand = Some(format!("Brand {}", number * 7919 % 500));
    item.price = Some(f64::from(rng.random_range(300..30_000)) / 100.0);
    Ok(item)
}

/// A visit: items near each other, the popular ones more often.
fn visit(rng: &mut StdRng, popular: &Zipf<f64>, items: usize, length: usize) -> Vec<usize> {
    let mut at = popular.sample(rng) as usize - 1;
    (0..length)
        .map(|_| {
            at = match rng.random_range(0..10) {
                0 => popular.sample(rng) as usize - 1,
                // On the same shelf, not far away.
                _ => (at + 400 * rng.random_range(0..6)) % items,
            };
            at
        })
        .collect()
}

fn popular(items: usize) -> Zipf<f64> {
    Zipf::new(items as f64, 1.0).expect("at least one item")
}

/// The models: what a bundle holds.
///
/// # Errors
/// Whatever a part refuses.
pub fn parts(seed: u64, count: usize) -> anyhow::Result<Parts> {
    let mut rng = StdRng::seed_from_u64(seed);
    let items: Vec<Item> = (0..count).map(|number| item(&mut rng, number)).collect::<Result<_, _>>()?;
    let counts =
        items.iter().enumerate().map(|(place, item)| (item.id.as_str(), (count / (place + 1)) as u64 + 1));
    let vocabulary = Vocabulary::build(&items, counts, &VocabularyConfig::default())?;
    let weights = Weights::new(TowersConfig::default(), vocabulary.items(), vocabulary.words(), seed)?;
    let towers = Towers::new(weights);
    let features: Vec<_> = items.iter().map(|item| vocabulary.item_features(item)).collect();
    let vectors = towers.item_vectors(&features)?;
    let labels: Vec<u64> = items.iter().map(|item| item.id.key().0).collect();
    let index = Index::build(&labels, &vectors, towers.dim(), &IndexConfig::default())?;

    let popular = popular(count);
    let start = now().plus_millis(-30 * 86_400_000);
    let visits = (0..2 * count as i64).map(|number| {
        let items = visit(&mut rng, &popular, count, 6).into_iter().zip(0i64..);
        let interactions = items.map(|(place, step)| Interaction {
            item: features[place].key,
            time: start.plus_millis(number * 10_000 + step * 1_000),
            event_type: EventType::View,
            starts_session: step == 0,
        });
        interactions.collect::<Vec<_>>()
    });
    let counting = CountingModels::fit(visits, now(), &CountingConfig::default())?;
    Ok(Parts {
        version: "20260101T000000Z-00000000".into(),
        vocabulary,
        catalogue: items,
        towers,
        ranker: Some(ranker(seed)?),
        counting,
        index,
        items_offsets: Vec::new(),
    })
}

/// A ranker of the default shape.
fn ranker(seed: u64) -> anyhow::Result<Ranker> {
    let mut rng = StdRng::seed_from_u64(seed ^ 5);
    let config = RankerConfig::default();
    let network = RankerNetwork::new(RANK_FEATURES_LEN, &config.hidden, Head::ALL.len());
    let draws = StandardNormal.sample_iter(&mut rng).take(network.parameters()).map(|draw: f32| 0.1 * draw);
    let weights = RankerWeights {
        means: vec![0.0; RANK_FEATURES_LEN],
        deviations: vec![1.0; RANK_FEATURES_LEN],
        network: draws.collect(),
        calibration: vec![[1.0, 0.0]; Head::ALL.len()],
    };
    Ok(Ranker::new(config, weights)?)
}

/// A store in which every shopper has a history of views, the last some minutes ago.
///
/// # Errors
/// Whatever the store says.
pub fn states(seed: u64, size: Size, dir: &Path) -> anyhow::Result<StateStore> {
    let mut rng = StdRng::seed_from_u64(seed ^ 9);
    let popular = popular(size.items);
    let (store, mut writer) = StateStore::open(dir, "events", &StoreConfig::default())?;
    let histories: Vec<(VisitorId, Vec<usize>)> = (0..size.shoppers)
        .map(|number| {
            Ok((VisitorId::new(shopper(number))?, visit(&mut rng, &popular, size.items, size.history)))
        })
        .collect::<anyhow::Result<_>>()?;
    let (end, mut offset) = (now().plus_millis(-300_000), 0);
    // Step by step, as events come: none is late.
    for step in 0..size.history {
        let time = end.plus_millis(-60_000 * (size.history - step) as i64);
        for (visitor, items) in &histories {
            let event = Event {
                event_id: EventId::new(format!("{}-{step}", visitor.as_str()))?,
                event_type: EventType::View,
                time,
                visitor_id: visitor.clone(),
                user_id: None,
                session_id: None,
                items: vec![EventItem {
                    item_id: id(items[step])?,
                    quantity: 1,
                    unit_price: None,
                    position: None,
                }],
                transaction: None,
                search_query: None,
                page_categories: Vec::new(),
                placement: None,
                attribution_token: None,
                experiment_ids: Vec::new(),
                attributes: Default::default(),
                consent: true,
            };
            writer.apply(0, offset, &event)?;
            offset += 1;
        }
        writer.flush()?;
    }
    Ok(store)
}
