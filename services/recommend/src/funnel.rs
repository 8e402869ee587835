//! From a view of a shopper to ranked candidates: sources, filters, scorers. Pure and synchronous; training and
//! evaluation run it as it is.
//!
//! Proposals of all sources are merged (a candidate knows who named it and where), rules take out what must not
//! be shown, [`rank_features`] makes one row per survivor, the first scorer that can scores them, and of each
//! product the best variant stays. Where too few survive, the catalogue is searched from the most popular down, so
//! that a slate is never empty while there is something to show.

use std::{
    collections::{HashSet, hash_map::Entry::Vacant},
    time::{Duration, Instant},
};

use endcap_features::{
    CandidateSignals, CounterFeatures, KeyMap, RANK_FEATURES_LEN, SourceSignal, rank_features,
};
use endcap_proto::{ItemId, ItemKey};

use crate::{
    Entry, RecommendConfig, StageError, View,
    config::RulesConfig,
    filters::{Asked, Matching, OnePerGroup, Past, Sellable, Unwanted},
    scorers::{Fusion, RankerScorer},
    sources,
    stage::{Candidate, Candidates, Filter, Reason, Removed, Scorer, Source, SourceKind, SourceSet},
};

/// What all shoppers did with an item, as of the view's instant.
pub type Counters<'a> = &'a dyn Fn(ItemKey) -> CounterFeatures;

/// Reciprocal rank fusion counts a place p as 1 / (60 + p) (Cormack, Clarke and Büttcher, SIGIR 2009).
const FUSION: f64 = 60.0;
/// Items looked at in one step when the catalogue is searched.
const STEP: usize = 256;

/// The stages between a view and a ranking.
pub struct Funnel {
    sources: Vec<(Box<dyn Source>, usize)>,
    rules: Vec<Box<dyn Filter>>,
    scorers: Vec<Box<dyn Scorer>>,
    after_scoring: Vec<Box<dyn Filter>>,
    one_per_group: bool,
}

/// How long the stages took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FunnelTimes {
    /// Proposing and merging.
    pub sources: Duration,
    /// Rules, before and after scoring.
    pub rules: Duration,
    /// The ranker's inputs.
    pub features: Duration,
    /// Scoring and sorting.
    pub scoring: Duration,
}

// === impl FunnelTimes ===

impl std::ops::AddAssign for FunnelTimes {
    fn add_assign(&mut self, more: Self) {
        self.sources += more.sources;
        self.rules += more.rules;
        self.features += more.features;
        self.scoring += more.scoring;
    }
}

// === impl Funnel ===

impl Funnel {
    /// The stages that `config` names.
    pub fn new(config: &RecommendConfig) -> Self {
        let mut after_scoring: Vec<Box<dyn Filter>> = Vec::new();
        if config.rules.one_per_group {
            after_scoring.push(Box::new(OnePerGroup));
        }
        Self {
            sources: sources::all(&config.sources),
            rules: rules(&config.rules),
            scorers: vec![Box::new(RankerScorer), Box::new(Fusion)],
            after_scoring,
            one_per_group: config.rules.one_per_group,
        }
    }

    /// What the sources propose, and the items of `also`, with the ranker's inputs: the rows that a ranker is trained
    /// on. No rule has acted and nothing is scored.
    pub fn candidates<'v>(
        &self,
        view: &'v View<'_>,
        asked: &Asked<'_>,
        also: &[ItemKey],
        counters: Counters<'_>,
    ) -> Candidates<'v> {
        let mut merged = self.merge(view, asked);
        for &key in also {
            merged.candidate(key, view.entry(key));
        }
        let Merged { rows, unknown, degraded, .. } = merged;
        let mut candidates = Candidates { rows, features: Vec::new(), removed: unknown, degraded };
        write_features(view, counters, &mut candidates);
        candidates
    }

    /// The ranking: what the sources propose, less what the rules take out, the best first.
    pub fn rank<'v>(&self, view: &'v View<'_>, asked: &Asked<'_>, counters: Counters<'_>) -> Candidates<'v> {
        self.rank_timed(view, asked, counters).0
    }

    pub(crate) fn rank_timed<'v>(
        &self,
        view: &'v View<'_>,
        asked: &Asked<'_>,
        counters: Counters<'_>,
    ) -> (Candidates<'v>, FunnelTimes) {
        let mut times = FunnelTimes::default();
        let mut clock = Lap(Instant::now());
        let mut merged = self.merge(view, asked);
        times.sources = clock.lap();
        let mut kept = std::mem::take(&mut merged.rows);
        let mut removed = std::mem::take(&mut merged.unknown);
        self.apply_rules(view, asked, &mut kept, &mut removed);
        if self.places(&kept) < asked.page_size && asked.only.is_empty() {
            self.search_catalogue(view, asked, &mut merged, &mut kept, &mut removed);
        }
        let mut candidates =
            Candidates { rows: kept, removed, degraded: merged.degraded, features: Vec::new() };
        times.rules = clock.lap();
        write_features(view, counters, &mut candidates);
        times.features = clock.lap();
        self.score(view, asked, &mut candidates);
        times.scoring = clock.lap();
        for filter in &self.after_scoring {
            let removed = filter.filter(view, asked, &mut candidates.rows);
            candidates.removed.extend(removed);
        }
        times.rules += clock.lap();
        (candidates, times)
    }

    fn merge<'v>(&self, view: &'v View<'_>, asked: &Asked<'_>) -> Merged<'v> {
        let room: usize = self.sources.iter().map(|(_, limit)| limit).sum();
        let mut merged = Merged::with_capacity(room.min(4_096) + asked.only.len());
        for key in asked.only.iter().map(ItemId::key) {
            if let Some(candidate) = merged.candidate(key, view.entry(key)) {
                candidate.sources = candidate.sources.with(SourceKind::Request);
            }
        }
        for (source, limit) in &self.sources {
            match source.propose(view, asked, *limit) {
                Ok(list) => merged.take(view, source.kind(), &list, !asked.only.is_empty()),
                Err(error) => merged.degraded.push(error),
            }
        }
        merged
    }

    fn apply_rules<'v>(
        &self,
        view: &View<'_>,
        asked: &Asked<'_>,
        candidates: &mut Vec<Candidate<'v>>,
        removed: &mut Vec<Removed>,
    ) {
        for rule in &self.rules {
            removed.extend(rule.filter(view, asked, candidates));
        }
    }

    /// How many places these can fill: variants of one product fill one.
    fn places(&self, candidates: &[Candidate<'_>]) -> usize {
        if !self.one_per_group {
            return candidates.len();
        }
        let groups = candidates.iter().filter_map(|candidate| candidate.entry.item.group_id.as_deref());
        let grouped = groups.clone().count();
        candidates.len() - grouped + groups.collect::<HashSet<_>>().len()
    }

    /// Goes through the whole catalogue, the most popular first, until there are enough. Where nothing at all
    /// can be shown, what was bought may be.
    fn search_catalogue<'v>(
        &self,
        view: &'v View<'_>,
        asked: &Asked<'_>,
        merged: &mut Merged<'v>,
        kept: &mut Vec<Candidate<'v>>,
        removed: &mut Vec<Removed>,
    ) {
        let mut rest = the_rest(view, asked).peekable();
        let source = SourceSet::default().with(SourceKind::Catalogue);
        while self.places(kept) < asked.page_size && rest.peek().is_some() {
            rest.by_ref()
                .filter(|entry| merged.add_new(entry.attributes.key, entry))
                .take(STEP)
                .for_each(drop);
            self.apply_rules(view, asked, &mut merged.rows, removed);
            kept.extend(merged.rows.drain(..).map(|candidate| Candidate { sources: source, ..candidate }));
        }
        if !kept.is_empty() || asked.allow_bought {
            return;
        }
        let (bought, others) = removed.iter().partition(|removed| removed.reason == Reason::Bought);
        *removed = others;
        merged.places.clear();
        let bought: Vec<Removed> = bought;
        for item in &bought {
            merged.candidate(item.item, view.entry(item.item));
        }
        self.apply_rules(view, &asked.allowing_bought(), &mut merged.rows, removed);
        kept.extend(merged.rows.drain(..).map(|candidate| Candidate { sources: source, ..candidate }));
        if !kept.is_empty() {
            let reason = "nothing is left to show but what was bought".to_owned();
            merged.degraded.push(StageError { stage: "rules", reason });
        }
    }

    fn score(&self, view: &View<'_>, asked: &Asked<'_>, candidates: &mut Candidates<'_>) {
        for scorer in &self.scorers {
            match scorer.score(view, asked, candidates) {
                Ok(()) => break,
                Err(error) => candidates.degraded.push(error),
            }
        }
        let Candidates { rows, removed, .. } = candidates;
        rows.retain(|candidate| {
            if !candidate.score.is_finite() {
                removed.push(Removed { item: candidate.key, reason: Reason::NotFinite });
            }
            candidate.score.is_finite()
        });
        // Stable: of equal scores the one that was proposed first stays first.
        rows.sort_by(|a, b| b.score.total_cmp(&a.score));
    }
}

fn rules(config: &RulesConfig) -> Vec<Box<dyn Filter>> {
    vec![Box::new(Sellable), Box::new(Matching), Box::new(Unwanted), Box::new(Past(*config))]
}

/// The catalogue, the most popular first, or what the filter selects of it.
fn the_rest<'a, 'v: 'a>(
    view: &'v View<'_>,
    asked: &'a Asked<'_>,
) -> Box<dyn Iterator<Item = &'v Entry> + 'a> {
    let entry = |key| view.entry(key);
    match &asked.filter {
        None => {
            let popular = view.model().by_popularity().iter().filter_map(move |&key| entry(key));
            Box::new(popular.chain(view.entries()))
        }
        Some(filter) => {
            let keys = filter.popular().iter().copied().chain(filter.keys(view.index()));
            let changed = view.changed_entries().filter(|entry| filter.expression().matches(&entry.item));
            Box::new(keys.filter_map(entry).chain(changed))
        }
    }
}

/// One row of [`RANK_FEATURES_LEN`] for each candidate. What lies scattered in memory is looked up in loops of its
/// own, so that the look-ups of many candidates overlap.
fn write_features(view: &View<'_>, counters: Counters<'_>, candidates: &mut Candidates<'_>) {
    let Candidates { rows, features, .. } = candidates;
    features.clear();
    features.resize(rows.len() * RANK_FEATURES_LEN, 0.0);
    if let Ok(user) = view.vector() {
        let vectors: Vec<_> = rows.iter().map(|candidate| view.index().vector(candidate.key.0)).collect();
        for (candidate, item) in rows.iter_mut().zip(vectors) {
            candidate.signals.towers.score = item.map_or(0.0, |item| dot(user, item));
        }
    }
    for (row, (candidate, out)) in
        rows.iter_mut().zip(features.chunks_exact_mut(RANK_FEATURES_LEN)).enumerate()
    {
        let entry = candidate.entry;
        candidate.signals.popularity = entry.popularity;
        candidate.signals.recent_popularity = entry.recent_popularity;
        candidate.row = row;
        let counters = counters(candidate.key);
        rank_features(view.user(), view.taste(), &candidate.signals, &entry.attributes, &counters, out);
    }
}

/// Inner product in one order of additions, so that it is the same on every machine, whatever the index's kernel.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for i in 0..8 {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// A stopwatch: the time since the last lap.
struct Lap(Instant);

impl Lap {
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.0, now))
    }
}

// === merging ===

/// Candidates in the order in which they were first named, each once.
struct Merged<'v> {
    rows: Vec<Candidate<'v>>,
    /// Where a candidate stands in `rows`, or stood before they were handed on.
    places: KeyMap<ItemKey, usize>,
    unknown: Vec<Removed>,
    degraded: Vec<StageError>,
}

impl<'v> Merged<'v> {
    fn with_capacity(candidates: usize) -> Self {
        Self {
            rows: Vec::with_capacity(candidates),
            places: KeyMap::with_capacity_and_hasher(candidates, Default::default()),
            unknown: Vec::new(),
            degraded: Vec::new(),
        }
    }

    /// The candidate of that item, added if it is not there. An item that the catalogue does not have is noted.
    fn candidate(&mut self, key: ItemKey, entry: Option<&'v Entry>) -> Option<&mut Candidate<'v>> {
        if let Some(&place) = self.places.get(&key) {
            return self.rows.get_mut(place);
        }
        let Some(entry) = entry else {
            self.unknown.push(Removed { item: key, reason: Reason::NotInCatalogue });
            return None;
        };
        self.add_new(key, entry);
        self.rows.last_mut()
    }

    /// Adds an item unless it is or was there; whether it is new.
    fn add_new(&mut self, key: ItemKey, entry: &'v Entry) -> bool {
        let Vacant(place) = self.places.entry(key) else { return false };
        place.insert(self.rows.len());
        self.rows.push(Candidate {
            key,
            entry,
            sources: SourceSet::default(),
            signals: CandidateSignals::default(),
            fusion: 0.0,
            score: f64::NAN,
            probabilities: [f32::NAN; 3],
            row: usize::MAX,
        });
        true
    }

    /// Takes a source's list in, or of it only what is there already.
    fn take(&mut self, view: &'v View<'_>, source: SourceKind, list: &[(ItemKey, f32)], only_known: bool) {
        // Looked up in a loop of its own, so that the look-ups overlap.
        let entries: Vec<_> = list.iter().map(|&(key, _)| view.entry(key)).collect();
        for (place, (&(key, score), entry)) in list.iter().zip(entries).enumerate() {
            if only_known && !self.places.contains_key(&key) {
                continue;
            }
            let Some(candidate) = self.candidate(key, entry) else { continue };
            candidate.sources = candidate.sources.with(source);
            candidate.fusion += 1.0 / (FUSION + 1.0 + place as f64);
            let signal = SourceSignal { score, rank: Some(place as u32) };
            match source {
                SourceKind::Towers => candidate.signals.towers = signal,
                SourceKind::NextItemRules => candidate.signals.rules = signal,
                SourceKind::ItemKnn => candidate.signals.neighbours = signal,
                // What these say is read for every candidate, named or not.
                SourceKind::RecentPopularity | SourceKind::Popularity => {}
                SourceKind::Request | SourceKind::Catalogue => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use endcap_features::UserState;

    use super::*;
    use crate::{
        Model, ValueConfig,
        shop::{item, now, parts},
    };

    /// Scores every second candidate with something that is no number.
    struct Broken;

    impl Scorer for Broken {
        fn score(
            &self,
            _: &View<'_>,
            _: &Asked<'_>,
            candidates: &mut Candidates<'_>,
        ) -> Result<(), StageError> {
            let broken = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
            for (i, candidate) in candidates.rows.iter_mut().enumerate() {
                candidate.score = if i % 2 == 0 { broken[i / 2 % 3] } else { i as f64 };
            }
            Ok(())
        }
    }

    #[test]
    fn a_score_that_is_not_finite_never_takes_a_place() {
        let model = Model::new(parts((0..60).map(item).collect(), "bundle-1", 1)).unwrap();
        let state = UserState::default();
        let view = model.view(&state, now());
        let funnel = Funnel { scorers: vec![Box::new(Broken)], ..Funnel::new(&RecommendConfig::default()) };
        let ranking =
            funnel.rank(&view, &Asked::page(20, ValueConfig::default()), &|_| CounterFeatures::default());
        assert_eq!(ranking.rows.len(), 30);
        assert!(ranking.rows.is_sorted_by(|a, b| a.score > b.score));
        assert!(ranking.rows.iter().all(|candidate| candidate.score.is_finite()));
        let dropped = ranking.removed.iter().filter(|removed| removed.reason == Reason::NotFinite).count();
        assert_eq!(dropped, 30, "and none is lost silently");
    }

    #[test]
    fn dot_is_the_inner_product() {
        let a: Vec<f32> = (1..=11).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), 506.0);
        assert_eq!(dot(&[], &[]), 0.0);
    }
}
