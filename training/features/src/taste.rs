//! A user's taste for categories, brands and prices, computed from the history when it is read.
//!
//! Nothing of this is stored: a product that changes its category or price changes the taste of
//! everyone who looked at it, and a new catalogue orphans nobody.

use endcap_proto::{EventTime, EventType, Item, ItemKey};
use twox_hash::XxHash3_64;

use crate::{UserFeatures, words::path_segments};

/// Weight of an entry against the one after it: taste moves on with every step.
const STEP_DECAY: f32 = 0.95;

/// What [`Taste`] and [`crate::rank_features`] read of a product: its attributes as hashes and logs.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemAttributes {
    /// Which product.
    pub key: ItemKey,
    /// Hashes of its category paths.
    pub categories: Box<[u64]>,
    /// Hashes of the first segments of its category paths.
    pub roots: Box<[u64]>,
    /// Hash of its brand.
    pub brand: Option<u64>,
    /// `ln(1 + price)`.
    pub log_price: Option<f32>,
    /// Share of the original price that is taken off, 0 to 1.
    pub discount: f32,
    /// When it was, or will be, published.
    pub publish_time: Option<EventTime>,
}

/// What a user's history says about categories, brands, prices and single products.
///
/// Shares are weighted by event type (a purchase weighs four views) and by recency (0.95 a step).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Taste {
    items: Vec<(ItemKey, SeenItem)>,
    categories: Likings,
    roots: Likings,
    brands: Likings,
    log_price: Option<LogPrice>,
}

/// Likings by hash, sorted: histories are short, and a sorted list is faster than a map.
#[derive(Debug, Clone, Default, PartialEq)]
struct Likings(Vec<(u64, Liking)>);

/// What happened between a user and one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenItem {
    /// How often it stands in the history.
    pub count: u32,
    /// How many entries came after the newest of them.
    pub steps_back: u32,
    /// When the newest of them was.
    pub time: EventTime,
    /// Whether it was put into the cart or onto the wishlist.
    pub kept: bool,
    /// Whether it was bought.
    pub bought: bool,
}

/// How much a user likes one category or brand.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Liking {
    /// Its share of the history, 0 to 1.
    pub share: f32,
    /// Its share of the session that is going on, 0 to 1.
    pub session_share: f32,
    /// How many entries came after its newest.
    pub steps_back: u32,
}

/// Mean and standard deviation of the log prices in a history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LogPrice {
    pub(crate) mean: f32,
    pub(crate) deviation: f32,
}

// === impl ItemAttributes ===

impl ItemAttributes {
    /// The attributes of a product.
    pub fn of(item: &Item) -> Self {
        let distinct = |mut hashes: Vec<u64>| {
            hashes.sort_unstable();
            hashes.dedup();
            hashes.into_boxed_slice()
        };
        let path = |path: &String| {
            path_segments(path).map(hash).reduce(|path, segment| path.rotate_left(1) ^ segment)
        };
        let root = |path: &String| path_segments(path).next().map(hash);
        let price = item.price.filter(|price| *price >= 0.0);
        let discount = match (price, item.original_price) {
            (Some(price), Some(original)) if original > price => (1.0 - price / original) as f32,
            _ => 0.0,
        };
        Self {
            key: item.id.key(),
            categories: distinct(item.categories.iter().filter_map(path).collect()),
            roots: distinct(item.categories.iter().filter_map(root).collect()),
            brand: item.brand.as_deref().map(hash),
            log_price: price.map(|price| price.ln_1p() as f32),
            discount,
            publish_time: item.publish_time,
        }
    }

    /// The attributes of a product of which only the key is known.
    pub fn bare(key: ItemKey) -> Self {
        Self {
            key,
            categories: Box::default(),
            roots: Box::default(),
            brand: None,
            log_price: None,
            discount: 0.0,
            publish_time: None,
        }
    }
}

/// Case and outer white space tell no brands or categories apart.
fn hash(text: &str) -> u64 {
    XxHash3_64::oneshot(text.trim().to_lowercase().as_bytes())
}

// === impl Taste ===

impl Taste {
    /// The taste that a history shows; `attributes` looks products up in the catalogue.
    pub fn of<'a>(user: &UserFeatures, attributes: impl Fn(ItemKey) -> Option<&'a ItemAttributes>) -> Self {
        let mut taste = Self::default();
        taste.items.reserve_exact(user.history.len());
        let mut likings = [(); 3].map(|()| Likings(Vec::with_capacity(2 * user.history.len())));
        let [categories, roots, brands] = &mut likings;
        let (mut all, mut session) = (0.0, 0.0);
        let mut recency = 1.0;
        let (mut price_weight, mut price_sum, mut price_squares) = (0.0, 0.0, 0.0);
        for (steps_back, (i, entry)) in (0..).zip(user.history.iter().enumerate().rev()) {
            let share = recency * event_weight(entry.event_type);
            let session_share = if i >= user.session_start { share } else { 0.0 };
            recency *= STEP_DECAY;
            all += share;
            session += session_share;
            let seen = SeenItem {
                count: 1,
                steps_back,
                time: entry.time,
                kept: matches!(entry.event_type, EventType::AddToCart | EventType::AddToWishlist),
                bought: entry.event_type == EventType::Purchase,
            };
            taste.items.push((entry.item, seen));
            let Some(item) = attributes(entry.item) else { continue };
            let liking = Liking { share, session_share, steps_back };
            categories.0.extend(item.categories.iter().map(|&hash| (hash, liking)));
            roots.0.extend(item.roots.iter().map(|&hash| (hash, liking)));
            brands.0.extend(item.brand.map(|hash| (hash, liking)));
            if let Some(log_price) = item.log_price {
                price_weight += share;
                price_sum += share * log_price;
                price_squares += share * log_price * log_price;
            }
        }
        merge_equal(&mut taste.items, |newest, older| {
            newest.count += older.count;
            newest.kept |= older.kept;
            newest.bought |= older.bought;
        });
        [taste.categories, taste.roots, taste.brands] =
            likings.map(|likings| likings.normalised(all, session));
        taste.log_price = (price_weight > 0.0).then(|| {
            let mean = price_sum / price_weight;
            LogPrice { mean, deviation: (price_squares / price_weight - mean * mean).max(0.0).sqrt() }
        });
        taste
    }

    /// What happened between the user and a product; `None` when it is not in the history.
    pub fn item(&self, item: ItemKey) -> Option<SeenItem> {
        find(&self.items, item)
    }

    /// The liking for a product's brand.
    pub fn brand(&self, item: &ItemAttributes) -> Option<Liking> {
        item.brand.and_then(|brand| find(&self.brands.0, brand))
    }

    /// The largest liking for any of a product's categories.
    pub fn category(&self, item: &ItemAttributes) -> Option<Liking> {
        self.categories.largest(&item.categories)
    }

    /// The largest liking for the first segment of any of a product's category paths.
    pub fn root(&self, item: &ItemAttributes) -> Option<Liking> {
        self.roots.largest(&item.roots)
    }

    pub(crate) fn log_price(&self) -> Option<LogPrice> {
        self.log_price
    }
}

impl Likings {
    /// Sums per hash, as shares of all the weights there are.
    fn normalised(mut self, all: f32, session: f32) -> Self {
        merge_equal(&mut self.0, |newest, older| {
            newest.share += older.share;
            newest.session_share += older.session_share;
        });
        for (_, liking) in &mut self.0 {
            liking.share /= all;
            liking.session_share = if session > 0.0 { liking.session_share / session } else { 0.0 };
        }
        self
    }

    fn largest(&self, hashes: &[u64]) -> Option<Liking> {
        let found = hashes.iter().filter_map(|&hash| find(&self.0, hash));
        found.reduce(|a, b| Liking {
            share: a.share.max(b.share),
            session_share: a.session_share.max(b.session_share),
            steps_back: a.steps_back.min(b.steps_back),
        })
    }
}

/// Sorts by key and merges what has the same, each into the first that was given.
fn merge_equal<K: Ord, V>(entries: &mut Vec<(K, V)>, merge: impl Fn(&mut V, &V)) {
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            merge(&mut kept.1, &next.1);
        }
        same
    });
}

fn find<K: Ord, V: Copy>(entries: &[(K, V)], key: K) -> Option<V> {
    entries.binary_search_by(|(other, _)| other.cmp(&key)).ok().map(|i| entries[i].1)
}

/// How much an event says about taste, in views.
fn event_weight(event_type: EventType) -> f32 {
    match event_type {
        EventType::Purchase => 4.0,
        EventType::AddToCart | EventType::AddToWishlist => 2.0,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use endcap_proto::ItemId;

    use super::*;
    use crate::HistoryInput;

    fn item(id: &str, categories: &[&str], brand: &str, price: f64) -> ItemAttributes {
        let mut item = Item::bare(ItemId::new(id).unwrap());
        item.categories = categories.iter().map(|&path| path.to_owned()).collect();
        item.brand = Some(brand.to_owned());
        item.price = Some(price);
        ItemAttributes::of(&item)
    }

    #[test]
    fn shares_are_weighted_by_recency_and_event_type() {
        let boot = item("boot", &["Shoes > Boots"], "Alp", std::f64::consts::E - 1.0);
        let sandal = item("sandal", &["Shoes > Sandals"], "Sea", std::f64::consts::E.powi(3) - 1.0);
        let entry = |item: &ItemAttributes, event_type| HistoryInput {
            item: item.key,
            event_type,
            gap_bucket: 0,
            time: EventTime::clamped(5),
        };
        let user = UserFeatures {
            history: vec![entry(&boot, EventType::Purchase), entry(&sandal, EventType::View)],
            session_start: 1,
            entries: 2,
            ..UserFeatures::default()
        };
        let taste = Taste::of(&user, |key| [&boot, &sandal].into_iter().find(|item| item.key == key));

        // Newest first: the view weighs 1, the purchase 4 · 0.95 = 3.8, together 4.8.
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} is not {b}");
        let boots = taste.category(&boot).unwrap();
        close(boots.share, 3.8 / 4.8);
        close(boots.session_share, 0.0);
        assert_eq!(boots.steps_back, 1);
        let shoes = taste.root(&sandal).unwrap();
        close(shoes.share, 1.0);
        close(shoes.session_share, 1.0);
        assert_eq!(shoes.steps_back, 0);
        close(taste.brand(&sandal).unwrap().share, 1.0 / 4.8);
        // Log prices are 1 (weight 3.8) and 3 (weight 1).
        let price = taste.log_price().unwrap();
        close(price.mean, (3.8 + 3.0) / 4.8);
        close(price.deviation, ((3.8 + 9.0) / 4.8 - price.mean * price.mean).sqrt());
        assert!(taste.item(boot.key).unwrap().bought);
        assert_eq!(taste.item(ItemKey(0)), None);
        assert_eq!(taste.category(&item("hat", &["Hats"], "Alp", 1.0)), None);
    }

    #[test]
    fn products_without_catalogue_entry_count_as_seen_alone() {
        let user = UserFeatures {
            history: vec![HistoryInput {
                item: ItemKey(7),
                event_type: EventType::View,
                gap_bucket: 0,
                time: EventTime::clamped(5),
            }],
            ..UserFeatures::default()
        };
        let taste = Taste::of(&user, |_| None);
        assert_eq!(taste.item(ItemKey(7)).unwrap().count, 1);
        assert!(taste.categories.0.is_empty() && taste.log_price().is_none());
    }
}
