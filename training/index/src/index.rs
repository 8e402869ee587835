//! The index: one immutable snapshot at a time, replaced by writers, never waited for by readers.
//!
//! A write copies what it changes (a bitmap of base rows, one chunk of the live segment), shares the rest with the
//! snapshot before, and swaps one pointer: whoever asks next sees it. Writers take turns.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::build::{Built, Source};
use crate::kernels::Kernels;
use crate::live::Live;
use crate::mask::{all, bits};
use crate::rows::{MAX_DIM, Rows, pad, unfit};
use crate::snapshot::{Alive, Base, State};
use crate::{Allowed, Calibration, Hit, IndexConfig, IndexError, Plan, Retriever, Snapshot, file};

/// Most rows of a base, so that live rows can still be numbered in 32 bits.
const MAX_ROWS: usize = 4_000_000_000;
/// Fewer changes than this are never worth a compaction.
const FEW_CHANGES: usize = 4_096;

/// A searchable set of labelled vectors that changes while it is read.
pub struct Index {
    current: ArcSwap<State>,
    /// Held by the one writer of the moment.
    writing: Mutex<()>,
    /// Held by the one compaction of the moment.
    compacting: Mutex<()>,
    config: Arc<IndexConfig>,
}

/// What [`Index::compact`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compaction {
    /// Nothing had changed since the base was built.
    Clean,
    /// Another thread is at it.
    Running,
    /// The base was rebuilt.
    Done {
        /// Items in the new base.
        items: usize,
        /// Items upserted while it was built: they wait in the live segment.
        pending: usize,
    },
}

impl Index {
    /// Builds an index of `labels.len()` vectors of `dim` numbers (`vectors`: row-major, `labels × dim`), and measures
    /// its ways on blends of its items; see [`calibrate`](Self::calibrate).
    ///
    /// # Errors
    /// Any parameter out of range, a shape that does not fit, a number that is not finite, a label given twice.
    pub fn build(
        labels: &[u64],
        vectors: &[f32],
        dim: usize,
        config: &IndexConfig,
    ) -> Result<Self, IndexError> {
        config.validate()?;
        if !(1..=MAX_DIM).contains(&dim) {
            return Err(IndexError::Config { parameter: "dim", value: dim.to_string(), rule: "1 to 4,096" });
        }
        if labels.len() > MAX_ROWS {
            return Err(IndexError::TooMany(labels.len()));
        }
        if labels.len().checked_mul(dim) != Some(vectors.len()) {
            return Err(IndexError::Shape { labels: labels.len(), dim, found: vectors.len() });
        }
        check_values(labels, vectors, dim)?;
        let kernels = Kernels::new(config.simd)?;
        let source = Source { labels: labels.to_vec(), vectors: pad(vectors.into(), dim), dim, known: None };
        let Built { base, plan, .. } = Base::build(source, Arc::new(config.clone()), kernels)?;
        let index = Self::of(base, plan);
        index.calibrate(&[])?;
        Ok(index)
    }

    pub(crate) fn of(base: Base, plan: Plan) -> Self {
        let config = Arc::clone(&base.config);
        let (base, plan) = (Arc::new(base), Arc::new(plan));
        let state = State { base, plan, alive: Alive::default(), live: Live::new() };
        Self {
            current: ArcSwap::from_pointee(state),
            writing: Mutex::default(),
            compacting: Mutex::default(),
            config,
        }
    }

    /// Reads what [`save`](Self::save) wrote. The checksum is verified before anything is parsed.
    ///
    /// # Errors
    /// [`IndexError::Io`], or [`IndexError::Corrupt`] with the reason.
    pub fn load(dir: &Path) -> Result<Self, IndexError> {
        let (base, plan) = file::read(dir)?;
        let measured = plan.calibration.is_some();
        let index = Self::of(base, plan);
        if !measured {
            index.calibrate(&[])?;
        }
        Ok(index)
    }

    /// Writes the index as `dir/index.bin` (temporary name, then rename), compacting it first where it has changed.
    ///
    /// # Errors
    /// [`IndexError::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), IndexError> {
        let _one = self.compacting.lock().unwrap_or_else(PoisonError::into_inner);
        self.rebuild()?;
        let state = self.current.load();
        file::write(dir, &state.base, &state.plan)
    }

    /// Measures what each way costs and finds, on vectors of users (`users`: row-major, whole rows of
    /// [`dim`](Self::dim)) or, where there are none, on blends of the index's own items. From then on
    /// queries are planned by it; [`save`](Self::save) stores it. An index without approximate ways needs none, and stays
    /// without.
    ///
    /// # Errors
    /// [`IndexError::Dimension`] or [`IndexError::QueryValue`] of `users`: the plan stays.
    pub fn calibrate(&self, users: &[f32]) -> Result<Option<Arc<Calibration>>, IndexError> {
        let state = self.current.load_full();
        if state.base.partitions.is_none() && state.base.graph.is_none() {
            return Ok(None);
        }
        let IndexConfig { recall_target, seed, .. } = *self.config;
        let calibration = Arc::new(Calibration::measure(&state, users, recall_target, seed)?);
        let _turn = self.turn();
        let mut now = State::clone(&self.current.load());
        if now.base.generation == state.base.generation {
            let plan = Plan { calibration: Some(Arc::clone(&calibration)), ..Plan::clone(&now.plan) };
            now.plan = Arc::new(plan);
            self.current.store(Arc::new(now));
        }
        Ok(Some(calibration))
    }

    /// The present view: take one per request, and search and filter on that.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.current.load_full())
    }

    /// [`Retriever::retrieve`] on the present snapshot, the planned way.
    ///
    /// # Errors
    /// A query of another dimension, or with a number that is not finite.
    pub fn search(&self, query: &[f32], k: usize, allowed: &Allowed<'_>) -> Result<Vec<Hit>, IndexError> {
        self.snapshot().retrieve(query, k, allowed)
    }

    /// As [`search`](Self::search), exactly, whatever the plan.
    ///
    /// # Errors
    /// As [`search`](Self::search).
    pub fn search_exact(
        &self,
        query: &[f32],
        k: usize,
        allowed: &Allowed<'_>,
    ) -> Result<Vec<Hit>, IndexError> {
        self.snapshot().search_exact(query, k, allowed)
    }

    /// Adds a vector, or replaces the label's. The next query sees it.
    ///
    /// # Errors
    /// A vector of another dimension, or with a number that is not finite: the index is unchanged.
    pub fn upsert(&self, label: u64, vector: &[f32]) -> Result<(), IndexError> {
        let dim = self.dim();
        if vector.len() != dim {
            return Err(IndexError::Dimension { expected: dim, found: vector.len() });
        }
        self.upsert_batch(&[label], vector)
    }

    /// [`upsert`](Self::upsert) of many (`vectors`: `labels × dim`): all become visible at once; of one label given
    /// twice the later vector stays.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert): all or nothing.
    pub fn upsert_batch(&self, labels: &[u64], vectors: &[f32]) -> Result<(), IndexError> {
        let dim = self.dim();
        if labels.len().checked_mul(dim) != Some(vectors.len()) {
            return Err(IndexError::Shape { labels: labels.len(), dim, found: vectors.len() });
        }
        check_values(labels, vectors, dim)?;
        let _turn = self.turn();
        let mut state = State::clone(&self.current.load());
        for (&label, vector) in labels.iter().zip(vectors.chunks_exact(dim)) {
            state.remove(label);
            state.live.push(label, vector);
        }
        self.current.store(Arc::new(state));
        Ok(())
    }

    /// Removes a label; whether it was there. No later query returns it.
    pub fn delete(&self, label: u64) -> bool {
        self.delete_batch(&[label]) == 1
    }

    /// [`delete`](Self::delete) of many at once; how many were there.
    pub fn delete_batch(&self, labels: &[u64]) -> usize {
        let _turn = self.turn();
        let mut state = State::clone(&self.current.load());
        let removed = labels.iter().filter(|&&label| state.remove(label)).count();
        if removed > 0 {
            self.current.store(Arc::new(state));
        }
        removed
    }

    /// Whether the label has a vector.
    pub fn contains(&self, label: u64) -> bool {
        self.snapshot().contains(label)
    }

    /// The label's vector.
    pub fn vector(&self, label: u64) -> Option<Vec<f32>> {
        self.snapshot().vector(label).map(<[f32]>::to_vec)
    }

    /// Items that can be returned.
    pub fn len(&self) -> usize {
        self.current.load().len()
    }

    /// Whether nothing can be returned.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers in a vector.
    pub fn dim(&self) -> usize {
        self.current.load().base.rows.dim
    }

    /// How queries go at present.
    pub fn plan(&self) -> Plan {
        Plan::clone(&self.current.load().plan)
    }

    /// The configuration it was built with.
    pub fn config(&self) -> &IndexConfig {
        &self.config
    }

    /// Whether enough has changed for [`compact`](Self::compact) to pay: `compact_percent` of the base's items, and
    /// 4,096 changes at least.
    pub fn compaction_due(&self) -> bool {
        let state = self.current.load();
        let changes = state.alive.dead + state.live.rows();
        let enough = state.base.rows.len() / 100 * self.config.compact_percent as usize;
        changes >= enough.max(FEW_CHANGES)
    }

    /// Rebuilds the base from everything live. Blocks the calling thread (give it one of its own), not readers or
    /// writers: changes made meanwhile are carried over. From then on the generation is another.
    ///
    /// # Errors
    /// [`IndexError::Graph`]: the old base stays.
    pub fn compact(&self) -> Result<Compaction, IndexError> {
        let _one = match self.compacting.try_lock() {
            Ok(guard) => guard,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return Ok(Compaction::Running),
        };
        self.rebuild()
    }

    /// The work of [`compact`](Self::compact), by whoever holds `compacting`.
    fn rebuild(&self) -> Result<Compaction, IndexError> {
        let before = {
            let _turn = self.turn();
            let mut state = State::clone(&self.current.load());
            if state.alive.dead + state.live.rows() == 0 {
                return Ok(Compaction::Clean);
            }
            // Later rows go into later chunks, which the new state takes over whole.
            state.live.seal();
            let state = Arc::new(state);
            self.current.store(Arc::clone(&state));
            state
        };
        let Rows { dim, width, .. } = before.base.rows;
        let mut labels = Vec::with_capacity(before.len());
        let mut vectors = Vec::with_capacity(before.len() * width);
        // What is known already: the partition of each row that comes from the base.
        let mut known = Vec::new();
        for (from, alive) in before.segments() {
            for row in bits(&alive) {
                labels.push(from.labels[row]);
                vectors.extend_from_slice(from.padded(row));
            }
        }
        if let Some(partitions) = &before.base.partitions {
            known = partitions.of_rows(before.base.rows.len());
            let mut row = 0;
            known.retain(|_| {
                row += 1;
                before.alive.is_alive(row - 1)
            });
        }
        let known = before.base.partitions.as_ref().map(|partitions| (partitions, known));
        let source = Source { labels, vectors: vectors.into(), dim, known };
        let Built { base, plan, inverse } =
            Base::build(source, Arc::clone(&self.config), before.base.kernels)?;
        let base = Arc::new(base);
        let plan = Arc::new(self.carry_over(&before.plan, plan, &base)?);

        let _turn = self.turn();
        let now = self.current.load_full();
        let mut alive = Alive::default();
        let mut passed = 0;
        for ((_, then), (_, now)) in before.segments().zip(now.segments()) {
            for (then, now) in then.iter().zip(&*now) {
                for bit in bits(&[then & !now]) {
                    let row = passed + (then & ((1 << bit) - 1)).count_ones() as usize;
                    let row = inverse.as_ref().map_or(row, |inverse| inverse[row] as usize);
                    alive.kill(row, base.rows.len());
                }
                passed += then.count_ones() as usize;
            }
        }
        let live = now.live.since(before.live.chunks.len());
        let done = Compaction::Done { items: base.rows.len(), pending: live.len() };
        self.current.store(Arc::new(State { base, plan, alive, live }));
        Ok(done)
    }

    /// What was measured of the former base holds for the next one too, as long as that is cut the same way and not of
    /// another size; otherwise it is measured again, on blends.
    fn carry_over(&self, before: &Plan, plan: Plan, base: &Arc<Base>) -> Result<Plan, IndexError> {
        let alike = |measured: &&Arc<Calibration>| {
            let (items, then) = (base.rows.len(), measured.items);
            (before.partitions, before.graph) == (plan.partitions, plan.graph)
                && items < then + then / 2
                && then < items + items / 2
        };
        let calibration = match before.calibration.as_ref().filter(alike) {
            Some(calibration) => Some(Arc::clone(calibration)),
            None if base.partitions.is_none() && base.graph.is_none() => None,
            None => {
                let IndexConfig { recall_target, seed, .. } = *self.config;
                let (base, plan) = (Arc::clone(base), Arc::new(plan.clone()));
                let state = State { base, plan, alive: Alive::default(), live: Live::new() };
                Some(Arc::new(Calibration::measure(&state, &[], recall_target, seed)?))
            }
        };
        Ok(Plan { calibration, ..plan })
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// # Errors
/// [`IndexError::Value`].
pub(crate) fn check_values(labels: &[u64], vectors: &[f32], dim: usize) -> Result<(), IndexError> {
    let mut rows = labels.iter().zip(vectors.chunks_exact(dim));
    match rows.find_map(|(&label, vector)| Some((label, unfit(vector)?))) {
        Some((label, (position, value))) => Err(IndexError::Value { label, position, value }),
        None => Ok(()),
    }
}

impl State {
    /// Kills the label's row; whether it had one.
    fn remove(&mut self, label: u64) -> bool {
        if let Some(place) = self.live.find(label) {
            self.live.kill(place);
        } else if let Some(row) = self.base_row(label) {
            self.alive.kill(row, self.base.rows.len());
        } else {
            return false;
        }
        true
    }

    /// Base and live chunks, each with the bits of its living rows.
    fn segments(&self) -> impl Iterator<Item = (&Rows, std::borrow::Cow<'_, [u64]>)> {
        let base = match self.alive.words() {
            Some(words) => words.into(),
            None => all(self.base.rows.len()).into(),
        };
        let live = self.live.chunks.iter().map(|chunk| (&*chunk.rows, chunk.alive[..].into()));
        std::iter::once((&self.base.rows, base)).chain(live)
    }
}
