//! The ranker's inputs: one row of numbers per candidate, from one function for both sides.
//!
//! Every number is finite, within ±[`LIMIT`] and mostly within 0 to 1, so that the ranker's own
//! standardising has little to do. What is unknown is 0.

use crate::{
    CounterFeatures, GAP_BUCKETS, HISTORY_MAX, ItemAttributes, Liking, SeenItem, Taste, UserFeatures,
    gap_bucket,
};

/// No feature is larger, in either direction.
const LIMIT: f32 = 10.0;

/// What the sources of a funnel say about a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CandidateSignals {
    /// The towers: cosine of user and item vector, −1 to 1.
    pub towers: SourceSignal,
    /// Next-item rules: their score, 0 and above.
    pub rules: SourceSignal,
    /// Item neighbours: their score, 0 and above.
    pub neighbours: SourceSignal,
    /// Share of all interactions that were with this item, 0 to 1.
    pub popularity: f32,
    /// The same, with recent interactions counting more.
    pub recent_popularity: f32,
}

/// What one source says about a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SourceSignal {
    /// Its score; 0 where it has none.
    pub score: f32,
    /// The candidate's place in its list, from 0; `None` where it is not in the list.
    pub rank: Option<u32>,
}

macro_rules! rank_features {
    ($($(#[doc = $doc:literal])* $name:ident = $value:expr;)*) => {
        /// Names of the ranker's inputs, in their order:
        ///
        $(#[doc = concat!("- `", stringify!($name), "`:", $($doc),*)])*
        pub const RANK_FEATURES: &[&str] = &[$(stringify!($name)),*];

        /// How many inputs the ranker has.
        pub const RANK_FEATURES_LEN: usize = RANK_FEATURES.len();

        /// Writes the ranker's inputs for one candidate to `out`, in the order of
        /// [`RANK_FEATURES`].
        ///
        /// `user` and `taste` (of `user`) are made once a request; `item` are the candidate's
        /// attributes, `counters` its counts as of `user.as_of`. Allocates nothing.
        ///
        /// # Panics
        /// When `out` is not [`RANK_FEATURES_LEN`] long.
        pub fn rank_features(
            user: &UserFeatures,
            taste: &Taste,
            candidate: &CandidateSignals,
            item: &ItemAttributes,
            counters: &CounterFeatures,
            out: &mut [f32],
        ) {
            assert_eq!(out.len(), RANK_FEATURES_LEN, "one place for each of RANK_FEATURES");
            let inputs = Inputs::new(user, taste, candidate, item, counters);
            let features = [$({ let value: fn(&Inputs<'_>) -> f32 = $value; value(&inputs) }),*];
            for (out, feature) in out.iter_mut().zip(features) {
                *out = if feature.is_nan() { 0.0 } else { feature.clamp(-LIMIT, LIMIT) };
            }
        }
    };
}

rank_features! {
    /// cosine of user and item vector.
    towers_score = |i| i.candidate.towers.score;
    /// place in the towers' list, 1 / (1 + log2(1 + place)); 0 where it is not in it.
    towers_place = |i| place(i.candidate.towers.rank);
    /// ln(1 + score) of the next-item rules.
    rules_score = |i| i.candidate.rules.score.max(0.0).ln_1p();
    /// place in the rules' list.
    rules_place = |i| place(i.candidate.rules.rank);
    /// ln(1 + score) of the item neighbours.
    neighbours_score = |i| i.candidate.neighbours.score.max(0.0).ln_1p();
    /// place in the neighbours' list.
    neighbours_place = |i| place(i.candidate.neighbours.rank);
    /// how many of the three name it, in thirds.
    sources = |i| i.sources();
    /// popularity: ln of its share, from 0 (1 in 10⁹ or less) to 1 (all).
    popularity = |i| log_share(i.candidate.popularity);
    /// recent popularity, in the same way.
    recent_popularity = |i| log_share(i.candidate.recent_popularity);
    /// how much more popular it is lately: the difference of the two.
    popularity_rise = |i| log_share(i.candidate.recent_popularity) - log_share(i.candidate.popularity);
    /// ln(1 + times) that the user's history holds it.
    seen_count = |i| i.seen.map_or(0.0, |seen| (seen.count as f32).ln_1p());
    /// 1 / (1 + entries since the user last met it); 0 where never.
    seen_steps = |i| i.seen.map_or(0.0, |seen| nearness(seen.steps_back));
    /// freshness of the last meeting: 1 just now, 0 after years or never.
    seen_recency = |i| i.seen.map_or(0.0, |seen| recency(i.user.as_of.millis_since(seen.time)));
    /// 1 where the history has it in a cart or on the wishlist.
    seen_kept = |i| f32::from(u8::from(i.seen.is_some_and(|seen| seen.kept)));
    /// 1 where the history has it bought.
    seen_bought = |i| f32::from(u8::from(i.seen.is_some_and(|seen| seen.bought)));
    /// share of its category in the history.
    category_share = |i| i.category.share;
    /// share of its category in the session going on.
    category_session_share = |i| i.category.session_share;
    /// 1 / (1 + entries since the user last met its category); 0 where never.
    category_steps = |i| i.category_nearness;
    /// share of the first segment of its category path in the history.
    root_share = |i| i.taste.root(i.item).unwrap_or_default().share;
    /// share of its brand in the history.
    brand_share = |i| i.brand.share;
    /// share of its brand in the session going on.
    brand_session_share = |i| i.brand.session_share;
    /// log price above the mean of the history, in deviations (of at least 0.25), −3 to 3.
    price_above_taste = |i| i.price_above_taste();
    /// distance of its log price from that mean, 0 to 3.
    price_off_taste = |i| i.price_above_taste().abs();
    /// ln(1 + price) / 10.
    price = |i| i.item.log_price.unwrap_or(0.0) / 10.0;
    /// share of the original price taken off.
    discount = |i| i.item.discount;
    /// freshness of its publication: 1 today, 0 after years or unknown.
    novelty = |i| i.item.publish_time.map_or(0.0, |time| recency(i.user.as_of.millis_since(time)));
    /// ln(1 + entries) of the history, from 0 to 1 (full).
    history_length = |i| (i.user.entries as f32).ln_1p() / (HISTORY_MAX as f32).ln_1p();
    /// ln(1 + entries) of the session going on, from 0 to 1.
    session_length = |i| (i.session_length() as f32).ln_1p() / (HISTORY_MAX as f32).ln_1p();
    /// freshness of the user's last entry.
    user_recency = |i| i.user.history.last().map_or(0.0, |e| recency(i.user.as_of.millis_since(e.time)));
    /// ln(1 + clicks and views), half-life of an hour, / 10.
    views_hour = |i| (i.counters.clicks.hour + i.counters.views.hour).ln_1p() / 10.0;
    /// … of a day.
    views_day = |i| (i.counters.clicks.day + i.counters.views.day).ln_1p() / 10.0;
    /// … of a week.
    views_week = |i| (i.counters.clicks.week + i.counters.views.week).ln_1p() / 10.0;
    /// ln(1 + carts), half-life of a week, / 10.
    carts_week = |i| i.counters.carts.week.ln_1p() / 10.0;
    /// ln(1 + purchases), half-life of a week, / 10.
    purchases_week = |i| i.counters.purchases.week.ln_1p() / 10.0;
    /// clicks per impression over a week, with 20 impressions and one click added.
    click_rate = |i| rate(i.counters.clicks.week, i.counters.impressions.week);
    /// purchases per click and view over a week, with 20 and one added.
    purchase_rate = |i| rate(i.counters.purchases.week, i.counters.clicks.week + i.counters.views.week);
    /// the counters' own: ln of the day's rate over the week's.
    trending = |i| i.counters.trending;
}

/// What the features above read, looked up once.
struct Inputs<'a> {
    user: &'a UserFeatures,
    taste: &'a Taste,
    candidate: &'a CandidateSignals,
    item: &'a ItemAttributes,
    counters: &'a CounterFeatures,
    seen: Option<SeenItem>,
    category: Liking,
    category_nearness: f32,
    brand: Liking,
}

impl<'a> Inputs<'a> {
    fn new(
        user: &'a UserFeatures,
        taste: &'a Taste,
        candidate: &'a CandidateSignals,
        item: &'a ItemAttributes,
        counters: &'a CounterFeatures,
    ) -> Self {
        let category = taste.category(item);
        Self {
            user,
            taste,
            candidate,
            item,
            counters,
            seen: taste.item(item.key),
            category: category.unwrap_or_default(),
            category_nearness: category.map_or(0.0, |liking| nearness(liking.steps_back)),
            brand: taste.brand(item).unwrap_or_default(),
        }
    }

    fn sources(&self) -> f32 {
        let CandidateSignals { towers, rules, neighbours, .. } = self.candidate;
        [towers, rules, neighbours].iter().filter(|signal| signal.rank.is_some()).count() as f32 / 3.0
    }

    fn session_length(&self) -> usize {
        self.user.history.len().saturating_sub(self.user.session_start)
    }

    fn price_above_taste(&self) -> f32 {
        match (self.item.log_price, self.taste.log_price()) {
            (Some(price), Some(taste)) => ((price - taste.mean) / taste.deviation.max(0.25)).clamp(-3.0, 3.0),
            _ => 0.0,
        }
    }
}

fn place(rank: Option<u32>) -> f32 {
    rank.map_or(0.0, |rank| 1.0 / (1.0 + (1.0 + rank as f32).log2()))
}

fn log_share(share: f32) -> f32 {
    1.0 + share.clamp(1e-9, 1.0).log10() / 9.0
}

fn nearness(steps_back: u32) -> f32 {
    1.0 / (1.0 + steps_back as f32)
}

fn recency(age_ms: i64) -> f32 {
    1.0 - f32::from(gap_bucket(age_ms)) / (GAP_BUCKETS - 1) as f32
}

fn rate(successes: f32, trials: f32) -> f32 {
    (successes + 1.0) / (trials + 20.0)
}
