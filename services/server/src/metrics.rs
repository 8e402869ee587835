//! Every metric of the service: name, labels, help. Scraped as `/metrics`.
//!
//! Handles are looked up by small `Copy` labels; what the recommender and the stream know is read when scraped.

use std::{fmt, sync::Arc, time::Duration};

use endcap_recommend::{Passing, RecallTally, Recommender, Slate, stage::Reason};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, text},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};

use crate::{Code, StreamStatus};

/// Seconds, by factors of 2: 62.5 µs to 2 s.
const LATENCIES: [f64; 16] = [
    62.5e-6, 125e-6, 250e-6, 500e-6, 1e-3, 2e-3, 4e-3, 8e-3, 16e-3, 32e-3, 64e-3, 125e-3, 250e-3, 500e-3,
    1.0, 2.0,
];

/// The metrics of one service.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latencies: Family<MethodLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    shed: Counter,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    degraded: Family<StageLabels, Counter>,
    removed: Family<ReasonLabels, Counter>,
    impressions_lost: Counter,
    events_written: Counter,
    items_changed: Counter,
}

/// The methods of the API, by the names that metrics use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Method(pub(crate) &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: Method,
    code: Code,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: Method,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: Method,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: ReasonLabel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ReasonLabel(Reason);

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(recommender: Arc<Recommender>, stream: Option<Arc<dyn StreamStatus>>) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(LATENCIES);
        let mut metrics = Self {
            registry: Registry::with_prefix("endcap"),
            requests: Family::default(),
            latencies: Family::new_with_constructor(histogram),
            in_flight: Gauge::default(),
            shed: Counter::default(),
            stages: Family::new_with_constructor(histogram),
            degraded: Family::default(),
            removed: Family::default(),
            impressions_lost: Counter::default(),
            events_written: Counter::default(),
            items_changed: Counter::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "Requests answered, by method and code", metrics.requests.clone());
        registry.register(
            "request_seconds",
            "Time from the headers of a request to the headers of its answer, by method",
            metrics.latencies.clone(),
        );
        registry.register("requests_in_flight", "Requests being answered now", metrics.in_flight.clone());
        registry.register(
            "requests_shed",
            "Requests refused because too many were in flight",
            metrics.shed.clone(),
        );
        registry.register(
            "recommend_stage_seconds",
            "Time in each stage of Recommend",
            metrics.stages.clone(),
        );
        registry.register(
            "recommend_degraded",
            "Slates made without a stage that failed, by stage",
            metrics.degraded.clone(),
        );
        registry.register(
            "recommend_removed",
            "Candidates taken out, by reason; not_finite is a defect",
            metrics.removed.clone(),
        );
        registry.register(
            "impressions_lost",
            "Impressions lost because their queue was full",
            metrics.impressions_lost.clone(),
        );
        registry.register(
            "events_written",
            "Events that EventService.Write handed to the broker",
            metrics.events_written.clone(),
        );
        registry.register(
            "items_changed",
            "Items upserted or deleted through CatalogService",
            metrics.items_changed.clone(),
        );
        registry.register_collector(Box::new(Catalogue(recommender)));
        if let Some(stream) = stream {
            registry.register_collector(Box::new(Stream(stream)));
        }
        metrics
    }

    /// The exposition, in the text format of OpenMetrics.
    pub(crate) fn expose(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }

    pub(crate) fn begin(&self) {
        self.in_flight.inc();
    }

    pub(crate) fn end(&self, method: Method, code: Code, took: Duration) {
        self.in_flight.dec();
        self.requests.get_or_create(&RequestLabels { method, code }).inc();
        self.latencies.get_or_create(&MethodLabels { method }).observe(took.as_secs_f64());
    }

    /// A request that was refused before it began.
    pub(crate) fn shed(&self, method: Method) {
        self.shed.inc();
        self.requests.get_or_create(&RequestLabels { method, code: Code::ResourceExhausted }).inc();
    }

    pub(crate) fn slate(&self, slate: &Slate) {
        let trace = &slate.trace;
        let stages = [
            ("hydration", trace.hydration),
            ("user_vector", trace.user_vector),
            ("filter", trace.filter),
            ("sources", trace.funnel.sources),
            ("rules", trace.funnel.rules),
            ("features", trace.funnel.features),
            ("scoring", trace.funnel.scoring),
            ("places", trace.finish),
        ];
        for (stage, took) in stages {
            self.stages.get_or_create(&StageLabels { stage: Method(stage) }).observe(took.as_secs_f64());
        }
        for error in &slate.degraded {
            self.degraded.get_or_create(&StageLabels { stage: Method(error.stage) }).inc();
        }
        for &(reason, count) in &trace.removed {
            self.removed.get_or_create(&ReasonLabels { reason: ReasonLabel(reason) }).inc_by(count.into());
        }
        if trace.impression_lost {
            self.impressions_lost.inc();
        }
    }

    pub(crate) fn events_written(&self, count: usize) {
        self.events_written.inc_by(count as u64);
    }

    pub(crate) fn items_changed(&self, count: usize) {
        self.items_changed.inc_by(count as u64);
    }
}

// === read when scraped ===

/// What the recommender knows.
struct Catalogue(Arc<Recommender>);

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Catalogue")
    }
}

impl Collector for Catalogue {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.0.status();
        gauge(&mut encoder, "index_items", "Items that can be retrieved.", status.items)?;
        gauge(&mut encoder, "live_items", "Items changed since the bundle was made.", status.live_items)?;
        let recall = self.0.recall();
        let help = "Share of the true best items that the index finds, of the queries that were probed, by how much their filter passes.";
        let kind = prometheus_client::metrics::MetricType::Histogram;
        let mut family = encoder.encode_descriptor("retrieval_recall", help, None, kind)?;
        for (passing, tally) in
            Passing::ALL.into_iter().zip(&recall.recall).filter(|(_, tally)| tally.queries > 0)
        {
            let bounds = RecallTally::BOUNDS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(tally.counts.into_iter().chain([0])).collect();
            let labels = [("passes", passing.name())];
            family.encode_family(&labels)?.encode_histogram::<[(&str, &str); 0]>(
                tally.sum,
                tally.queries,
                &buckets,
                None,
            )?;
        }
        let help = "Queries drawn for the recall probe that found it busy.";
        counter(&mut encoder, "recall_probes_skipped", help, recall.skipped)?;
        let info = prometheus_client::metrics::info::Info::new([("version", status.bundle_version)]);
        let help = "The bundle that serves.";
        info.encode(encoder.encode_descriptor(
            "bundle",
            help,
            None,
            prometheus_client::metrics::MetricType::Info,
        )?)
    }
}

/// What the stream's consumer knows.
struct Stream(Arc<dyn StreamStatus>);

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl Collector for Stream {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let report = self.0.report();
        gauge(&mut encoder, "visitors", "Visitors with a state.", report.visitors as usize)?;
        counter(&mut encoder, "events_applied", "Events applied to state.", report.applied)?;
        counter(
            &mut encoder,
            "events_repeated",
            "Events that came again and were dropped.",
            report.repeated,
        )?;
        counter(&mut encoder, "events_late", "Events too late to be applied.", report.late)?;
        let help = "Events of shoppers who were erased, which were passed over.";
        counter(&mut encoder, "events_erased", help, report.erased)?;
        counter(&mut encoder, "events_dead", "Messages that went to the dead letters.", report.dead)?;
        counter(
            &mut encoder,
            "impressions_delivered",
            "Impressions that the broker has.",
            report.impressions_delivered,
        )?;
        counter(
            &mut encoder,
            "impressions_spilled",
            "Impressions put on disk because the broker was away.",
            report.impressions_spilled,
        )?;
        gauge(
            &mut encoder,
            "impressions_spill_bytes",
            "Bytes of impressions that wait on disk.",
            report.spill_bytes as usize,
        )?;
        let help = "Impressions that are lost, by reason.";
        let kind = prometheus_client::metrics::MetricType::Counter;
        let mut dropped = encoder.encode_descriptor("impressions_dropped", help, None, kind)?;
        for (reason, count) in &report.impressions_dropped {
            ConstCounter::new(*count).encode(dropped.encode_family(&[("reason", *reason)])?)?;
        }
        counter(
            &mut encoder,
            "consumer_pauses",
            "Times that reading paused because what lies behind it could not follow.",
            report.pauses,
        )?;
        counter(
            &mut encoder,
            "consumer_rebalances",
            "Times that a consumer group dealt the partitions out anew.",
            report.rebalances,
        )?;
        if let Some(shared) = report.shared_state {
            let help = "Questions to the servers of the shared state, each of one command or many.";
            counter(&mut encoder, "shared_state_round_trips", help, shared.round_trips)?;
            let help = "Partitions flushed to the shared state: counters, event ids and offset in one write.";
            counter(&mut encoder, "shared_state_commits", help, shared.commits)?;
            let help =
                "Values of the shared state that another writer had changed, and that were written again.";
            counter(&mut encoder, "shared_state_conflicts", help, shared.conflicts)?;
        }
        let help = "Records in finished files of the archive.";
        let kind = prometheus_client::metrics::MetricType::Counter;
        let mut archived = encoder.encode_descriptor("archive_records", help, None, kind)?;
        for (topic, count) in &report.archived {
            ConstCounter::new(*count).encode(archived.encode_family(&[("topic", topic.as_str())])?)?;
        }
        let help = "Records of a partition that are not applied yet; absent where the broker has not said.";
        let kind = prometheus_client::metrics::MetricType::Gauge;
        let mut lag = encoder.encode_descriptor("consumer_lag", help, None, kind)?;
        for partition in report.lag.iter().filter(|partition| partition.end_offset >= 0) {
            let labels = [("topic", partition.topic.clone()), ("partition", partition.partition.to_string())];
            let behind = (partition.end_offset - partition.applied_offset).max(0);
            ConstGauge::new(behind).encode(lag.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: usize,
) -> Result<(), fmt::Error> {
    let kind = prometheus_client::metrics::MetricType::Gauge;
    ConstGauge::new(value as i64).encode(encoder.encode_descriptor(name, help, None, kind)?)
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), fmt::Error> {
    let kind = prometheus_client::metrics::MetricType::Counter;
    ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, kind)?)
}

// === labels ===

impl EncodeLabelValue for Method {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.name(), encoder)
    }
}

impl EncodeLabelValue for ReasonLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.0.name(), encoder)
    }
}
