//! `endcap replay`: the clickstream again, in time order, through the serving path.
//!
//! Each event of interest after the warm-up is preceded by a `Recommend` for its shopper, asked of the same
//! `Recommender` that serves, on a clock that event time drives; then the event is applied to a state of its own.
//! It writes to no topic and to no store.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use anyhow::Context;
use endcap_clickstream::{Dataset, EventBatch, split::time_cuts};
use endcap_evaluation::{Bootstrap, Estimate, Metric};
use endcap_features::{CounterFeatures, ItemCounters, KeyMap, UserState};
use endcap_proto::{Event, EventTime, ItemId, ItemKey, UserKey, VisitorKey, v1};
use endcap_recommend::{
    Clock, ExploreConfig, ImpressionSink, ManualClock, Query, RecommendConfig, Recommender, SinkFull,
    StateReadError, StateReader, StateSnapshot,
};
use futures::future::{BoxFuture, FutureExt};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::{load_bundle, print};
use crate::{
    cli::{Output, ReplayArgs, SeenPolicy},
    exit::Failure,
};

/// What each `Recommend` asks for.
const PAGE_SIZE: usize = 20;

pub fn run(args: ReplayArgs, output: Output) -> Result<(), Failure> {
    let bundle = load_bundle(&args.bundle)?;
    let dataset = Dataset::open(&args.data)?;
    let cut = time_cuts(&dataset, &[args.warm_up])?.first().copied().context("the data set is empty")?;
    if let Some(newest) = bundle.manifest.origin.newest_event.filter(|&newest| newest >= cut) {
        eprintln!(
            "note: the bundle was trained on events up to {newest}, past the end of the warm-up at {cut}: it has seen what it is asked about"
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(replay(bundle, &dataset, cut, &args))?;
    print(&report, output)?;
    Ok(())
}

async fn replay(
    bundle: endcap_bundle::Bundle,
    dataset: &Dataset,
    cut: EventTime,
    args: &ReplayArgs,
) -> anyhow::Result<Replayed> {
    let version = bundle.manifest.version.to_string();
    let state = Arc::new(States::default());
    let clock = Arc::new(ManualClock::new(EventTime::MIN));
    let recommender = Recommender::new(
        bundle,
        Arc::clone(&state) as Arc<dyn StateReader>,
        Arc::new(Nowhere),
        Arc::clone(&clock) as Arc<dyn Clock>,
        without_exploration(),
    )?;
    let timeline = Timeline::read(dataset)?;
    let mut seen: HashMap<VisitorKey, Vec<ItemId>> = HashMap::new();
    let mut cases = Cases::default();
    let mut latencies = Histogram::<u64>::new(3)?;
    let start = Instant::now();
    let (mut requests, mut degraded) = (0u64, 0u64);
    for moment in timeline.moments() {
        let events: Vec<Event> = moment.collect();
        let (visitor, time) = (&events[0].visitor_id, events[0].time);
        let mut targets: Vec<&ItemId> = Vec::new();
        for event in events.iter().filter(|event| event.event_type.is_interest()) {
            targets.extend(event.items.iter().map(|item| &item.item_id));
        }
        let touched = seen.entry(visitor.key()).or_default();
        let wanted = args.requests.is_none_or(|most| requests < most as u64);
        if time >= cut && wanted && !targets.is_empty() {
            clock.set(time);
            let mut query = Query::of(visitor.clone());
            query.page_size = PAGE_SIZE;
            if args.seen == SeenPolicy::Mask {
                query.exclude.clone_from(touched);
                targets.retain(|target| !touched.contains(target));
            }
            let asked = Instant::now();
            let slate = recommender.recommend(&query).await?;
            latencies.record(asked.elapsed().as_micros() as u64)?;
            requests += 1;
            degraded += u64::from(!slate.degraded.is_empty());
            for target in targets {
                let place = slate.places.iter().position(|place| &place.id == target);
                cases.push(visitor.key(), place.map(|place| place as u32 + 1));
            }
        }
        if args.seen == SeenPolicy::Mask {
            for item in
                events.iter().filter(|event| event.event_type.is_interest()).flat_map(|event| &event.items)
            {
                if !touched.contains(&item.item_id) {
                    touched.push(item.item_id.clone());
                }
            }
        }
        state.apply(&events);
    }
    let metrics = [Metric::Recall(20), Metric::Ndcg(10), Metric::Mrr(20)];
    Ok(Replayed {
        source: dataset.info.source.clone(),
        bundle: version,
        cut,
        events: timeline.len() as u64,
        requests,
        degraded,
        cases: cases.users.len() as u64,
        metrics: metrics.into_iter().filter_map(|metric| Some((metric, cases.estimate(metric)?))).collect(),
        recommend_p50_us: latencies.value_at_quantile(0.5),
        recommend_p99_us: latencies.value_at_quantile(0.99),
        elapsed: start.elapsed(),
    })
}

fn without_exploration() -> RecommendConfig {
    let mut config = RecommendConfig { seed: Some(0), ..RecommendConfig::default() };
    let mut placement = config.placement(endcap_recommend::DEFAULT_PLACEMENT).unwrap_or_default();
    placement.explore = ExploreConfig { slots: 0, ..placement.explore };
    config.placements.insert(endcap_recommend::DEFAULT_PLACEMENT.to_owned(), placement);
    config
}

/// What a replay found.
#[derive(Serialize)]
struct Replayed {
    source: String,
    bundle: String,
    cut: EventTime,
    events: u64,
    requests: u64,
    degraded: u64,
    cases: u64,
    metrics: Vec<(Metric, Estimate)>,
    recommend_p50_us: u64,
    recommend_p99_us: u64,
    elapsed: Duration,
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} · bundle {} · replayed from {}", self.source, self.bundle, self.cut)?;
        writeln!(
            f,
            "{} events, {} requests ({} degraded), {} cases in {:.1} s; Recommend in process p50 {} µs, p99 {} µs",
            self.events,
            self.requests,
            self.degraded,
            self.cases,
            self.elapsed.as_secs_f64(),
            self.recommend_p50_us,
            self.recommend_p99_us
        )?;
        for (metric, Estimate { mean, low, high }) in &self.metrics {
            writeln!(f, "  {:<10} {mean:.4} [{low:.4}, {high:.4}]", metric.to_string())?;
        }
        Ok(())
    }
}

/// Ranks with their shoppers.
#[derive(Default)]
struct Cases {
    numbers: HashMap<VisitorKey, u32>,
    users: Vec<u32>,
    ranks: Vec<Option<u32>>,
}

impl Cases {
    fn push(&mut self, visitor: VisitorKey, rank: Option<u32>) {
        let next = self.numbers.len() as u32;
        self.users.push(*self.numbers.entry(visitor).or_insert(next));
        self.ranks.push(rank);
    }

    fn estimate(&self, metric: Metric) -> Option<Estimate> {
        let values: Vec<f64> = self.ranks.iter().map(|&rank| metric.of(rank)).collect();
        Bootstrap::default().mean(&self.users, &values)
    }
}

/// All events in order of time, then of shopper.
struct Timeline {
    batches: Vec<EventBatch>,
    order: Vec<(EventTime, VisitorKey, u32, u32)>,
}

impl Timeline {
    fn read(dataset: &Dataset) -> anyhow::Result<Self> {
        let (mut batches, mut order) = (Vec::new(), Vec::new());
        for batch in dataset.events()? {
            let batch = batch?;
            for (row, event) in batch.iter().enumerate() {
                order.push((event.time, VisitorKey::of(event.visitor_id), batches.len() as u32, row as u32));
            }
            batches.push(batch);
        }
        order.sort_unstable();
        Ok(Self { batches, order })
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    /// Events of one shopper at one instant, together.
    fn moments(&self) -> impl Iterator<Item = impl Iterator<Item = Event> + '_> + '_ {
        self.order.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).map(|moment| {
            moment.iter().map(|&(_, _, batch, row)| self.batches[batch as usize].get(row as usize).to_event())
        })
    }
}

/// A state of the replay's own.
#[derive(Default)]
struct States(RwLock<(KeyMap<VisitorKey, UserState>, KeyMap<ItemKey, ItemCounters>)>);

impl States {
    fn apply(&self, events: &[Event]) {
        let mut guard = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (users, counters) = &mut *guard;
        for event in events {
            users.entry(event.visitor_id.key()).or_default().apply(event);
            for item in &event.items {
                counters.entry(item.item_id.key()).or_default().apply(event.event_type, event.time);
            }
        }
    }
}

impl StateReader for States {
    fn read<'a>(
        &'a self,
        visitor: VisitorKey,
        _: Option<UserKey>,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StateSnapshot, StateReadError>> {
        let guard = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let state = guard.0.get(&visitor).cloned().unwrap_or_default();
        let snapshot =
            StateSnapshot { state, applied: Arc::from([]), watermark: EventTime::MIN, consent: true };
        std::future::ready(Ok(snapshot)).boxed()
    }

    fn counters(&self, item: ItemKey, as_of: EventTime) -> CounterFeatures {
        let guard = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        guard.1.get(&item).map(|counters| counters.read(as_of)).unwrap_or_default()
    }
}

/// Impressions of a replay are not kept.
struct Nowhere;

impl ImpressionSink for Nowhere {
    fn offer(&self, _: v1::Impression, _: Option<&str>) -> Result<(), SinkFull> {
        Ok(())
    }
}
