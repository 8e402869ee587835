//! The service behind the edges: one query in, one slate out; bundles swapped and items changed while it runs.
//!
//! A request takes the model's pointer once, so it sees one bundle from start to end. Changes of the catalogue are
//! kept beside the model: a swap lets those that the new bundle does not know act on it before the pointer moves.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use endcap_features::{KeyMap, KeySet, RANK_FEATURES_LEN};
use endcap_index::{Compaction, IndexError};
use endcap_proto::{FieldError, Item, ItemId, ItemKey};
use uuid::Uuid;

use crate::{
    Attribution, AttributionKey, ChangeError, Clock, ExploreConfig, FilterExpression, ImpressionSink,
    ItemChange, Model, ModelError, Parts, PlacedItem, PlacementConfig, Query, RecallReport, RecommendConfig,
    RecommendError, Slate, StageError, StateReader, Trace, View,
    draws::Draws,
    filters::Asked,
    funnel::Funnel,
    hydrators::{PageContext, RecentEvents, Shopper, StoredState},
    impression::LogImpression,
    probe::RecallProbe,
    selector,
    stage::{Candidate, Candidates, QueryHydrator, Reason, Removed, SideEffect},
};

/// Changes that pass through the item tower at once when a bundle is swapped in.
const REPLAY: usize = 1_024;

/// How long a swap waits for the requests that are in flight on the old bundle.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes slates. Share it in an [`Arc`].
pub struct Recommender {
    model: ArcSwap<Model>,
    /// Every change of the catalogue since the start, the newest of each item. Held by the writer of the moment.
    changes: Mutex<KeyMap<ItemKey, ItemChange>>,
    state: Arc<dyn StateReader>,
    clock: Arc<dyn Clock>,
    key: AttributionKey,
    seed: u64,
    slates: AtomicU64,
    config: RecommendConfig,
    hydrators: Vec<Box<dyn QueryHydrator>>,
    funnel: Funnel,
    probe: RecallProbe,
    side_effects: Vec<Box<dyn SideEffect>>,
}

/// How the recommender stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecommenderStatus {
    /// Name of the bundle that serves.
    pub bundle_version: String,
    /// Items that can be retrieved.
    pub items: usize,
    /// Items that were added, changed or deleted since the bundle was made.
    pub live_items: usize,
}

// === impl Recommender ===

impl Recommender {
    /// Serves `bundle` from now on.
    ///
    /// # Errors
    /// When the bundle's parts do not fit each other, or the configuration breaks a rule.
    pub fn new(
        bundle: impl Into<Parts>,
        state: Arc<dyn StateReader>,
        sink: Arc<dyn ImpressionSink>,
        clock: Arc<dyn Clock>,
        config: RecommendConfig,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        let key = match &config.attribution_key_file {
            Some(path) => AttributionKey::read(path)?,
            None => AttributionKey::new(random_bytes()),
        };
        let seed = config
            .seed
            .unwrap_or_else(|| u64::from_le_bytes(*random_bytes().first_chunk().unwrap_or(&[0; 8])));
        Ok(Self {
            model: ArcSwap::from_pointee(Model::new(bundle)?),
            changes: Mutex::default(),
            hydrators: vec![
                Box::new(StoredState {
                    reader: Arc::clone(&state),
                    timeout: Duration::from_millis(config.state_timeout_ms),
                }),
                Box::new(RecentEvents),
                Box::new(PageContext),
            ],
            funnel: Funnel::new(&config),
            probe: RecallProbe::new(config.recall_probe),
            side_effects: vec![Box::new(LogImpression(sink))],
            state,
            clock,
            key,
            seed,
            slates: AtomicU64::new(0),
            config,
        })
    }

    /// Makes the slate that `query` asks for.
    ///
    /// # Errors
    /// When the placement is not known, or the query's deadline passes first. A failing stage is no error: the slate
    /// names it.
    pub async fn recommend(&self, query: &Query) -> Result<Slate, RecommendError> {
        let placement = self.config.placement(&query.placement).ok_or_else(|| {
            let known: Vec<_> = self.config.placements.keys().map(String::as_str).collect();
            FieldError::new(
                "placement",
                format!("must be one of {}, is {:?}", known.join(", "), query.placement),
            )
        })?;
        let mut slate = self.begin(query);
        if query.validate_only {
            return Ok(slate);
        }
        let begun = Instant::now();
        let mut shopper = Shopper::unknown(slate.served);
        for hydrator in &self.hydrators {
            within_deadline(query, "hydration")?;
            if let Err(error) = hydrator.hydrate(query, &mut shopper).await {
                slate.degraded.push(error);
            }
        }
        slate.trace.hydration = begun.elapsed();
        self.fill(query, &placement, &shopper, &mut slate)?;
        for effect in &self.side_effects {
            if let Err(error) = effect.run(query, &shopper, &slate) {
                tracing::debug!(%error, "side effect");
                slate.trace.impression_lost = true;
            }
        }
        Ok(slate)
    }

    /// Everything between the shopper's state and the side effects: no waiting, one model.
    fn fill(
        &self,
        query: &Query,
        placement: &PlacementConfig,
        shopper: &Shopper,
        slate: &mut Slate,
    ) -> Result<(), RecommendError> {
        within_deadline(query, "user vector")?;
        let begun = Instant::now();
        let model = self.model.load_full();
        let view = model.view(&shopper.state, shopper.as_of);
        slate.trace.user_vector = begun.elapsed();
        within_deadline(query, "filter")?;
        let begun = Instant::now();
        let filter = query.filter.as_ref().map(|expression| model.filter(view.index(), expression));
        slate.trace.filter = begun.elapsed();
        within_deadline(query, "sources")?;
        let unfiltered = Asked::of(query, placement.value);
        let asked = unfiltered.clone().with_filter(filter);
        let counters = |item| self.state.counters(item, shopper.as_of);
        let (mut ranking, mut times) = self.funnel.rank_timed(&view, &asked, &counters);
        self.probe.offer(slate.seed, &view, &asked, self.config.sources.towers);
        within_deadline(query, "places")?;
        let begun = Instant::now();
        let mut draws = Draws::new(slate.seed);
        slate.places = places(&ranking, query, query.page_size, &placement.explore, &mut draws);
        if slate.places.len() < query.page_size && query.filter.is_some() && !query.strict_filtering {
            let (mut rest, more) = self.funnel.rank_timed(&view, &unfiltered, &counters);
            times += more;
            let shown: KeySet<ItemKey> = slate.places.iter().map(|place| place.id.key()).collect();
            let matching = slate.places.len();
            self.leave_out(&shown, &view, &mut rest.rows);
            let room = query.page_size - matching;
            let certain = ExploreConfig { slots: 0, ..placement.explore };
            slate.places.extend(places(&rest, query, room, &certain, &mut draws));
            let reason = format!("{matching} of {} places match it: the rest do not", slate.places.len());
            slate.degraded.push(StageError { stage: "filter", reason });
            rest.degraded.retain(|error| !ranking.degraded.contains(error));
            ranking.degraded.extend(rest.degraded);
            ranking.removed.retain(|removed| removed.reason == Reason::Filtered);
            ranking.removed.extend(rest.removed);
        }
        let context = &query.context;
        let named = [&query.candidates, &context.items, &context.cart, &query.exclude].into_iter().flatten();
        slate.missing = named.filter(|id| view.entry(id.key()).is_none()).cloned().collect();
        slate.missing.dedup();
        slate.degraded.extend(ranking.degraded);
        slate.bundle_version = model.version().to_owned();
        slate.index_version = model.index_version();
        slate.attribution_token = self.key.sign(&Attribution {
            slate: slate.id,
            placement: query.placement.clone(),
            bundle: slate.bundle_version.clone(),
            arms: Default::default(),
            time: slate.served,
        });
        slate.trace.as_of = shopper.as_of;
        slate.trace.removed = counts(&ranking.removed);
        slate.trace.funnel = times;
        slate.trace.finish = begun.elapsed();
        Ok(())
    }

    /// Takes out of `rows` what is shown already, and the other variants of those products.
    fn leave_out(&self, shown: &KeySet<ItemKey>, view: &View<'_>, rows: &mut Vec<Candidate<'_>>) {
        let group = |key: &ItemKey| view.entry(*key).and_then(|entry| entry.item.group_id.as_deref());
        let groups: HashSet<&str> = match self.config.rules.one_per_group {
            true => shown.iter().filter_map(group).collect(),
            false => HashSet::new(),
        };
        rows.retain(|candidate| {
            let variant =
                candidate.entry.item.group_id.as_deref().is_some_and(|group| groups.contains(group));
            !variant && !shown.contains(&candidate.key)
        });
    }

    /// An empty slate with an id and a seed of its own.
    fn begin(&self, query: &Query) -> Slate {
        let number = self.slates.fetch_add(1, Ordering::Relaxed);
        let mut draws = Draws::new(self.seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        let (seed, high, low) = (draws.bits(), draws.bits(), draws.bits());
        let served = self.clock.now();
        let mut random = [0; 10];
        random[..8].copy_from_slice(&high.to_le_bytes());
        random[8..].copy_from_slice(&low.to_le_bytes()[..2]);
        let id =
            uuid::Builder::from_unix_timestamp_millis(served.as_millis().unsigned_abs(), &random).into_uuid();
        Slate {
            id,
            seed,
            served,
            places: Vec::new(),
            attribution_token: String::new(),
            missing: Vec::new(),
            bundle_version: String::new(),
            index_version: String::new(),
            degraded: Vec::new(),
            request_id: query.request_id.clone().unwrap_or_else(|| id.to_string()),
            explain: query.explain,
            trace: Trace::default(),
        }
    }

    /// The model that serves now.
    pub fn model(&self) -> Arc<Model> {
        self.model.load_full()
    }

    /// The configuration.
    pub fn config(&self) -> &RecommendConfig {
        &self.config
    }

    /// What a token of this service says.
    ///
    /// # Errors
    /// When it is not of this service.
    pub fn attribution(&self, token: &str) -> Result<Attribution, crate::InvalidToken> {
        self.key.verify(token)
    }

    /// Lets another bundle serve. Blocks the calling thread, not requests. `replay` are changes of the catalogue that this recommender has not been told and
    /// the bundle may not know (records of the topic `items` from the bundle's offsets on). They, and those it has been told,
    /// act before the first request sees the bundle; requests in flight end on the old one.
    ///
    /// # Errors
    /// When the bundle's parts do not fit each other; the old one goes on serving.
    pub fn swap(&self, bundle: impl Into<Parts>, replay: Vec<ItemChange>) -> Result<(), ModelError> {
        let model = Model::new(bundle)?;
        model.warm(&self.model.load().filters());
        let mut changes = self.lock();
        for change in replay {
            if !changes.get(&change.key).is_some_and(|known| change.is_stale_beside(known)) {
                changes.insert(change.key, change);
            }
        }
        let unknown: Vec<_> = changes.values().filter(|change| !model.knows(change)).cloned().collect();
        for changes in unknown.chunks(REPLAY) {
            model.apply(changes)?;
        }
        let old = self.model.swap(Arc::new(model));
        drop(changes);
        // Requests in flight end on the old bundle. It is taken apart here rather than by the last of them.
        let patience = Instant::now() + PATIENCE;
        while Arc::strong_count(&old) > 1 && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets changes of the catalogue act: the next request sees them. Those that a later record has overtaken do
    /// nothing. Returns how many acted.
    ///
    /// # Errors
    /// When an item breaks a rule of the bundle (the field is named from `items[i]` on); then none of them acts.
    pub fn apply(&self, changes: Vec<ItemChange>) -> Result<usize, ChangeError> {
        let mut known = self.lock();
        let model = self.model.load_full();
        let mut fresh = KeyMap::<ItemKey, ItemChange>::default();
        for (i, change) in changes.into_iter().enumerate() {
            if let Some(item) = &change.item {
                model.check(item).map_err(|error| error.within(format_args!("items[{i}]")))?;
            }
            let before = fresh.get(&change.key).or_else(|| known.get(&change.key));
            if !before.is_some_and(|before| change.is_stale_beside(before)) {
                fresh.insert(change.key, change);
            }
        }
        let acting: Vec<_> = fresh.values().filter(|change| !model.knows(change)).cloned().collect();
        model.apply(&acting)?;
        known.extend(fresh);
        Ok(acting.len())
    }

    /// Adds an item, or replaces it: the next request sees it.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn upsert(&self, item: Item) -> Result<(), ChangeError> {
        self.apply(vec![ItemChange::upsert(item, None)]).map(drop)
    }

    /// Removes an item: no later request sees it. Whether it was there.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn delete(&self, id: &ItemId) -> Result<bool, ChangeError> {
        let was_there = self.item(id).is_some();
        self.apply(vec![ItemChange::delete(id, None)]).map(|_| was_there)
    }

    /// The item of that id.
    pub fn item(&self, id: &ItemId) -> Option<Item> {
        self.model.load().item(id.key())
    }

    /// Checks that an item fits the bundle.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self, item: &Item) -> Result<(), FieldError> {
        self.model.load().check(item)
    }

    /// Items in the order of their keys, from the first after `after`, at most `limit`; those that a filter selects, where
    /// there is one. A filter that was not asked for lately is compiled first, which takes milliseconds in a large catalogue.
    pub fn list(&self, filter: Option<&FilterExpression>, after: Option<ItemKey>, limit: usize) -> Vec<Item> {
        self.model.load().list(filter, after, limit)
    }

    /// The recall of the queries that were probed.
    pub fn recall(&self) -> RecallReport {
        self.probe.report()
    }

    /// How it stands.
    pub fn status(&self) -> RecommenderStatus {
        let model = self.model.load();
        RecommenderStatus {
            bundle_version: model.version().to_owned(),
            items: model.index().len(),
            live_items: model.changed_items(),
        }
    }

    /// Rebuilds the index where enough has changed. Blocks the calling thread, not requests: call it now and then
    /// from a thread that may be blocked.
    ///
    /// # Errors
    /// When it cannot be rebuilt; the index stays as it is.
    pub fn compact_if_due(&self) -> Result<Option<Compaction>, IndexError> {
        let model = self.model.load_full();
        let done = model.index().compaction_due().then(|| model.index().compact()).transpose()?;
        if matches!(done, Some(Compaction::Done { .. })) {
            model.warm(&model.filters());
        }
        Ok(done)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, KeyMap<ItemKey, ItemChange>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The best of a ranking in their places, with what is logged of each.
fn places(
    ranking: &Candidates<'_>,
    query: &Query,
    room: usize,
    explore: &ExploreConfig,
    draws: &mut Draws,
) -> Vec<PlacedItem> {
    let scores: Vec<f64> = ranking.rows.iter().map(|candidate| candidate.score).collect();
    let features =
        |row: usize| ranking.features[row * RANK_FEATURES_LEN..(row + 1) * RANK_FEATURES_LEN].to_vec();
    let placed = |place: selector::Place| {
        let Candidate { entry, sources, score, probabilities, row, .. } = &ranking.rows[place.rank];
        PlacedItem {
            id: entry.item.id.clone(),
            score: *score,
            probabilities: *probabilities,
            sources: *sources,
            propensity: place.propensity,
            explored: place.explored,
            features: features(*row),
            item: query.return_item.then(|| entry.item.clone()),
        }
    };
    selector::select(&scores, room, explore, draws).into_iter().map(placed).collect()
}

fn within_deadline(query: &Query, stage: &'static str) -> Result<(), RecommendError> {
    match query.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        true => Err(RecommendError::DeadlineExceeded { stage }),
        false => Ok(()),
    }
}

fn counts(removed: &[Removed]) -> Vec<(Reason, u32)> {
    let mut counts = std::collections::BTreeMap::new();
    for removed in removed {
        *counts.entry(removed.reason).or_default() += 1;
    }
    counts.into_iter().collect()
}

/// Bytes from the system's generator: each UUIDv7 holds 74 random bits.
fn random_bytes() -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for _ in 0..8 {
        hasher.update(Uuid::now_v7().as_bytes());
    }
    *hasher.finalize().as_bytes()
}
