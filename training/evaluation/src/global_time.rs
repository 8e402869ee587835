//! The protocol `global-time`: one cut in time; the model stays as it is, histories roll forward.

use std::collections::HashSet;

use endcap_clickstream::{ClickstreamError, Dataset};
use endcap_features::{KeyMap, KeySet};
use endcap_proto::{EventTime, ItemKey};
use endcap_recommend::{Asked, Model, ValueConfig};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

use crate::{Bootstrap, Group, Metric, Moment, Rank, Replay, Report, System, Systems, report::Ranks};

/// What to do with items that the shopper touched before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenItems {
    /// They compete like any other.
    Allow,
    /// They are left out, and cases whose target is one are dropped.
    Mask,
}

/// How cases are made and judged.
#[derive(Debug, Clone)]
pub struct GlobalTime {
    /// Events at or after this instant are asked about.
    pub cut: EventTime,
    /// Seen items.
    pub seen: SeenItems,
    /// At most so many cases, drawn uniformly with `seed`.
    pub max_cases: Option<usize>,
    /// Seed of the draw and of the intervals.
    pub seed: u64,
    /// What is measured.
    pub metrics: Vec<Metric>,
}

/// One question: what does this shopper go to next?
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The shopper, numbered from 0.
    pub user: u32,
    /// What they went to.
    pub target: ItemKey,
    /// Whether they had a history.
    pub history: bool,
    /// Whether the target was met in training.
    pub warm: bool,
}

/// Why an evaluation ends without a report.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// The data cannot be read.
    #[error(transparent)]
    Clickstream(#[from] ClickstreamError),
    /// The bundle knows the answers.
    #[error(
        "the bundle was trained on events up to {newest}, and the test set starts at {cut}: train it with `--holdout` \
         at least as large as the test set"
    )]
    SawTheFuture {
        /// The newest event of its training.
        newest: EventTime,
        /// The first instant of the test set.
        cut: EventTime,
    },
    /// Nothing to ask.
    #[error("no cases: no interest event (click, view, cart, wishlist, purchase, rating) at or after {cut}")]
    NoCases {
        /// The first instant of the test set.
        cut: EventTime,
    },
    /// A stage failed.
    #[error("{system} cannot rank: {reason}")]
    System {
        /// Which system.
        system: &'static str,
        /// Why.
        reason: String,
    },
}

// === impl GlobalTime ===

impl GlobalTime {
    /// What is measured when nothing else is asked for.
    pub const METRICS: &[Metric] = &[Metric::Recall(20), Metric::Ndcg(10), Metric::Mrr(20)];

    /// Asks every system about every case. `trained_until` is the time of the newest event that the model was
    /// trained on.
    ///
    /// # Errors
    /// When the model has seen the test set, when there are no cases, or when something cannot be read.
    pub fn evaluate(
        &self,
        model: &Model,
        trained_until: Option<EventTime>,
        dataset: &Dataset,
    ) -> Result<Report, EvaluationError> {
        if let Some(newest) = trained_until.filter(|&newest| newest >= self.cut) {
            return Err(EvaluationError::SawTheFuture { newest, cut: self.cut });
        }
        let replay = Replay::read(dataset)?;
        let systems = Systems::new(model);
        let chosen = self.draw(replay.interests(self.cut).count());
        let mut seen: KeyMap<u32, KeySet<ItemKey>> = KeyMap::default();
        let (mut cases, mut ranks) = (Vec::new(), vec![Vec::new(); System::ALL.len()]);
        let mut asked = 0usize;
        let masking = self.seen == SeenItems::Mask;
        let from = if masking { EventTime::MIN } else { self.cut };
        replay.run(from, |moment| {
            let touched = seen.entry(moment.user).or_default();
            if moment.as_of >= self.cut {
                let targets: Vec<ItemKey> = moment
                    .interests()
                    .map(|(item, _)| item)
                    .filter(|item| {
                        let taken = chosen.as_ref().is_none_or(|chosen| chosen.contains(&asked));
                        asked += 1;
                        taken && !(masking && touched.contains(item))
                    })
                    .collect();
                if !targets.is_empty() {
                    self.ask(&systems, moment, &targets, touched, &mut cases, &mut ranks)?;
                }
            }
            if masking {
                touched.extend(moment.interests().map(|(item, _)| item));
            }
            Ok::<_, EvaluationError>(())
        })?;
        self.report(model, dataset, &cases, &ranks)
    }

    fn ask(
        &self,
        systems: &Systems<'_>,
        moment: &Moment<'_>,
        targets: &[ItemKey],
        masked: &KeySet<ItemKey>,
        cases: &mut Vec<Case>,
        ranks: &mut [Vec<Rank>],
    ) -> Result<(), EvaluationError> {
        let asked = Asked::page(Systems::LIST, ValueConfig::default());
        let view = systems.view(moment);
        for (system, ranks) in System::ALL.iter().zip(ranks) {
            ranks.extend(systems.rank(*system, moment, &view, &asked, targets, masked)?);
        }
        cases.extend(targets.iter().map(|&target| Case {
            user: moment.user,
            target,
            history: !moment.state.history().is_empty(),
            warm: systems.is_warm(target),
        }));
        Ok(())
    }

    fn report(
        &self,
        model: &Model,
        dataset: &Dataset,
        cases: &[Case],
        ranks: &[Vec<Rank>],
    ) -> Result<Report, EvaluationError> {
        let bootstrap = Bootstrap { seed: self.seed, ..Bootstrap::default() };
        let names: Vec<String> = System::ALL.iter().map(|system| system.name().to_owned()).collect();
        let place = |system| System::ALL.iter().position(|&other| other == system).unwrap_or_default();
        let compare: Vec<(usize, usize)> = [System::TowersExact, System::Funnel]
            .into_iter()
            .flat_map(|ours| {
                [System::Popularity, System::RecentPopularity].map(|baseline| (place(ours), place(baseline)))
            })
            .collect();
        let table = Ranks {
            cases,
            systems: &names,
            ranks,
            metrics: &self.metrics,
            compare: &compare,
            bootstrap: &bootstrap,
        };
        let groups: Vec<Group> = [
            table.group("all", |_| true),
            table.group("warm items", |case| case.warm),
            table.group("without history", |case| !case.history),
        ]
        .into_iter()
        .flatten()
        .collect();
        if groups.is_empty() {
            return Err(EvaluationError::NoCases { cut: self.cut });
        }
        let policy = match self.seen {
            SeenItems::Allow => "seen items compete",
            SeenItems::Mask => "seen items masked",
        };
        Ok(Report {
            protocol: format!("global-time, cut at {}, {policy}", self.cut),
            bundle: model.version().to_owned(),
            source: dataset.info.source.clone(),
            catalogue: model.bundle_items().len(),
            bootstrap: (bootstrap.seed, bootstrap.draws),
            groups,
        })
    }

    fn draw(&self, total: usize) -> Option<HashSet<usize>> {
        let most = self.max_cases.filter(|&most| most < total)?;
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut chosen = HashSet::with_capacity(most);
        // Floyd's algorithm: a uniform draw without replacement in one pass.
        for last in total - most..total {
            let pick = rng.random_range(0..=last);
            if !chosen.insert(pick) {
                chosen.insert(last);
            }
        }
        Some(chosen)
    }
}
