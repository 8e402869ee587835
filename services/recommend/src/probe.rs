//! The recall probe: a small share of live queries is asked again, exactly, off the request's path.
//!
//! ```text
//! request ─► towers' query (snapshot, vector, filter) ─► queue of a few ─► the planned way ─┐
//!              drawn by recommend.recall_probe              full: skipped    every item ─────┴─► recall@k, by how much the filter passes
//! ```
//!
//! The planned way is walked again rather than kept from the request: it is a function of the snapshot, the vector and
//! the filter, which the probe holds, so it finds what the request found, and the request carries nothing along.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
};

use endcap_index::{Allowed, Snapshot};

use crate::{CompiledFilter, View, draws::Draws, filters::Asked};

/// Queries that wait; more are skipped.
const WAITING: usize = 8;

/// How much of a catalogue a query's filter passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Passing {
    /// There is no filter.
    All,
    /// More than a tenth.
    Many,
    /// A hundredth to a tenth.
    Some,
    /// A thousandth to a hundredth.
    Few,
    /// Less.
    HardlyAny,
}

/// The recall of the queries that were probed, since the start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RecallReport {
    /// By how much the filters passed, in the order of [`Passing::ALL`].
    pub recall: [RecallTally; 5],
    /// Queries drawn for the probe that found its queue full.
    pub skipped: u64,
}

/// Recall of some queries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RecallTally {
    /// How many queries.
    pub queries: u64,
    /// Sum of their recall.
    pub sum: f64,
    /// How many had a recall up to each of [`RecallTally::BOUNDS`], and more than the bound before.
    pub counts: [u64; 8],
}

/// Probes some queries. Ends with what is in its queue when it is dropped.
pub(crate) struct RecallProbe {
    share: f64,
    seen: Arc<Seen>,
    /// None where the share is 0.
    worker: Option<(SyncSender<Probe>, JoinHandle<()>)>,
}

#[derive(Default)]
struct Seen {
    recall: Mutex<[RecallTally; 5]>,
    skipped: AtomicU64,
}

/// A query, as the towers asked it.
struct Probe {
    snapshot: Snapshot,
    vector: Vec<f32>,
    k: usize,
    filter: Option<Arc<CompiledFilter>>,
    except: Vec<u64>,
}

// === impl RecallProbe ===

impl RecallProbe {
    /// Probes `share` of the queries.
    pub(crate) fn new(share: f64) -> Self {
        let seen = Arc::new(Seen::default());
        let start = || {
            let (sender, receiver) = mpsc::sync_channel::<Probe>(WAITING);
            let seen = Arc::clone(&seen);
            let probe = move || receiver.into_iter().for_each(|probe| seen.note(&probe));
            match thread::Builder::new().name("recall-probe".to_owned()).spawn(probe) {
                Ok(handle) => Some((sender, handle)),
                Err(error) => {
                    tracing::warn!(%error, "recall is not probed: its thread does not start");
                    None
                }
            }
        };
        let worker = if share > 0.0 { start() } else { None };
        Self { share, seen, worker }
    }

    /// Takes the query of the towers for `k` items, if `seed` draws it. Never waits.
    pub(crate) fn offer(&self, seed: u64, view: &View<'_>, asked: &Asked<'_>, k: usize) {
        let Some((queue, _)) = &self.worker else { return };
        // Lists of candidates are scored one by one: there is nothing to miss.
        if k == 0 || !asked.only.is_empty() || Draws::new(seed ^ 0x7265_6361_6c6c).unit() >= self.share {
            return;
        }
        let Ok(vector) = view.vector() else { return };
        let probe = Probe {
            snapshot: view.index().clone(),
            vector: vector.to_vec(),
            k,
            filter: asked.filter.clone(),
            except: asked.except.clone(),
        };
        if let Err(TrySendError::Full(_)) = queue.try_send(probe) {
            self.seen.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn report(&self) -> RecallReport {
        let recall = self.seen.recall.lock().unwrap_or_else(PoisonError::into_inner).clone();
        RecallReport { recall, skipped: self.seen.skipped.load(Ordering::Relaxed) }
    }
}

impl Drop for RecallProbe {
    fn drop(&mut self) {
        if let Some((queue, handle)) = self.worker.take() {
            drop(queue);
            if handle.join().is_err() {
                tracing::error!("defect: the recall probe panicked");
            }
        }
    }
}

// === impl Seen ===

impl Seen {
    fn note(&self, probe: &Probe) {
        match probe.recall() {
            Some((recall, passing)) => {
                let mut tallies = self.recall.lock().unwrap_or_else(PoisonError::into_inner);
                tallies[passing as usize].add(recall);
            }
            None => tracing::debug!("a probed query had no answer"),
        }
    }
}

// === impl Probe ===

impl Probe {
    /// The share of the true best that the planned way finds, and how much the filter passes; none where there is nothing to
    /// find.
    fn recall(&self) -> Option<(f64, Passing)> {
        let allowed = match &self.filter {
            None => Allowed::Except(&self.except),
            Some(filter) => Allowed::Selected { selection: filter.selection(), except: &self.except },
        };
        let Self { snapshot, vector, k, .. } = self;
        let answer = snapshot.answer(vector, *k, &allowed).ok()?;
        let exact = snapshot.search_exact(vector, *k, &allowed).ok()?;
        // What scores as high as the last true one is as good, whichever of equals it is.
        let least = exact.last()?.score;
        let good = answer.hits.iter().filter(|hit| hit.score >= least).count();
        let passing = match (&self.filter, answer.selectivity()) {
            (None, _) => Passing::All,
            (Some(_), share) if share > 0.1 => Passing::Many,
            (Some(_), share) if share > 0.01 => Passing::Some,
            (Some(_), share) if share > 0.001 => Passing::Few,
            (Some(_), _) => Passing::HardlyAny,
        };
        Some((good.min(exact.len()) as f64 / exact.len() as f64, passing))
    }
}

// === impl Passing ===

impl Passing {
    /// Every class.
    pub const ALL: [Self; 5] = [Self::All, Self::Many, Self::Some, Self::Few, Self::HardlyAny];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Many => "10-100%",
            Self::Some => "1-10%",
            Self::Few => "0.1-1%",
            Self::HardlyAny => "0-0.1%",
        }
    }
}

// === impl RecallTally ===

impl RecallTally {
    /// Upper bounds of the counts.
    pub const BOUNDS: [f64; 8] = [0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0];

    fn add(&mut self, recall: f64) {
        self.queries += 1;
        self.sum += recall;
        let place = Self::BOUNDS.iter().position(|&bound| recall <= bound).unwrap_or(Self::BOUNDS.len() - 1);
        self.counts[place] += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use endcap_features::UserState;
    use endcap_index::Retriever;

    use super::*;
    use crate::{FilterExpression, Model, ValueConfig, shop};

    fn probe(model: &Model, filter: Option<&str>) -> Probe {
        let snapshot = model.index().snapshot();
        let expression = filter.map(|text| FilterExpression::parse(text, &BTreeMap::new()).unwrap().unwrap());
        let filter = expression.map(|expression| model.filter(&snapshot, &expression));
        Probe { vector: vec![0.5; snapshot.dim()], snapshot, k: 20, filter, except: vec![3] }
    }

    #[test]
    fn an_exact_plan_has_recall_1_under_any_filter() {
        let model = Model::new(shop::parts((0..400).map(shop::item).collect(), "bundle-1", 1)).unwrap();
        for (filter, passing) in [
            (None, Passing::All),
            (Some("price < 50"), Passing::Many),
            (Some("category: \"Things > Kind 3\""), Passing::Some),
            (Some("id: ANY(\"item-1\", \"item-2\")"), Passing::Few),
        ] {
            let probe = probe(&model, filter);
            assert_eq!(probe.recall(), Some((1.0, passing)), "{filter:?}");
        }
        assert_eq!(probe(&model, Some("brand = nobody")).recall(), None);
    }

    #[test]
    fn a_tally_is_a_histogram() {
        let mut tally = RecallTally::default();
        for recall in [0.0, 0.5, 0.51, 0.99, 1.0, 1.0] {
            tally.add(recall);
        }
        assert_eq!((tally.queries, tally.sum), (6, 4.0));
        assert_eq!(tally.counts, [2, 1, 0, 0, 0, 1, 0, 2]);
    }

    #[test]
    fn the_drawn_share_is_probed_or_skipped_and_a_drop_ends_what_waits() {
        let model = Model::new(shop::parts((0..50).map(shop::item).collect(), "bundle-1", 1)).unwrap();
        let state = UserState::default();
        let view = model.view(&state, shop::now());
        let asked = Asked::page(20, ValueConfig::default());
        for (share, least, most) in [(0.0, 0, 0), (0.1, 60, 140), (1.0, 1_000, 1_000)] {
            let probe = RecallProbe::new(share);
            for seed in 0..1_000 {
                probe.offer(seed, &view, &asked, 10);
            }
            let seen = Arc::clone(&probe.seen);
            drop(probe);
            let probed = seen.recall.lock().unwrap()[Passing::All as usize].clone();
            assert_eq!(probed.sum, probed.queries as f64, "the scan is exact");
            let drawn = probed.queries + seen.skipped.load(Ordering::Relaxed);
            assert!((least..=most).contains(&drawn), "{share}: {drawn}");
        }
    }
}
