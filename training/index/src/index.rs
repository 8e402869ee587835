//! The index: one immutable snapshot at a time, replaced by writers, never waited for by readers.
//!
//! A write copies what it changes (a bitmap of base rows, one chunk of the live segment), shares the rest with the
//! snapshot before, and swaps one pointer: whoever asks next sees it. Writers take turns.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::graph::Graph;
use crate::kernels::Kernels;
use crate::live::{LabelMap, Live};
use crate::rows::{Codes, MAX_DIM, Rows, pad, unfit};
use crate::snapshot::{Alive, Base, State, all, bits};
use crate::{Allowed, Hit, IndexConfig, IndexError, Plan, Retriever, Snapshot, Way, file};

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
    /// Builds an index of `labels.len()` vectors of `dim` numbers (`vectors`: row-major, `labels × dim`).
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
            return Err(IndexError::Config { parameter: "dim", value: dim as u64, rule: "1 to 4,096" });
        }
        if labels.len() > MAX_ROWS {
            return Err(IndexError::TooMany(labels.len()));
        }
        if labels.len().checked_mul(dim) != Some(vectors.len()) {
            return Err(IndexError::Shape { labels: labels.len(), dim, found: vectors.len() });
        }
        check_values(labels, vectors, dim)?;
        let kernels = Kernels::new(config.simd)?;
        let rows = Rows::of(dim, labels.to_vec(), pad(vectors.into(), dim));
        Ok(Self::of(Base::build(rows, Arc::new(config.clone()), kernels)?))
    }

    pub(crate) fn of(base: Base) -> Self {
        let config = Arc::clone(&base.config);
        let state = State { base: Arc::new(base), alive: Alive::default(), live: Live::new() };
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
        file::read(dir).map(Self::of)
    }

    /// Writes the index as `dir/index.bin` (temporary name, then rename), compacting it first where it has changed.
    ///
    /// # Errors
    /// [`IndexError::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), IndexError> {
        let _one = self.compacting.lock().unwrap_or_else(PoisonError::into_inner);
        self.rebuild()?;
        file::write(dir, &self.current.load().base)
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
        self.snapshot().by(Way::Scan).retrieve(query, k, allowed)
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
        self.current.load().plan()
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
        for (from, alive) in before.segments() {
            for row in bits(&alive) {
                labels.push(from.labels[row]);
                vectors.extend_from_slice(from.padded(row));
            }
        }
        let rows = Rows::of(dim, labels, vectors);
        let base = Base::build(rows, Arc::clone(&self.config), before.base.kernels)?;

        let _turn = self.turn();
        let now = self.current.load_full();
        let mut alive = Alive::default();
        let mut passed = 0;
        for ((_, then), (_, now)) in before.segments().zip(now.segments()) {
            for (then, now) in then.iter().zip(&*now) {
                for bit in bits(&[then & !now]) {
                    let row = passed + (then & ((1 << bit) - 1)).count_ones() as usize;
                    alive.kill(row, base.rows.len());
                }
                passed += then.count_ones() as usize;
            }
        }
        let live = now.live.since(before.live.chunks.len());
        let done = Compaction::Done { items: base.rows.len(), pending: live.len() };
        self.current.store(Arc::new(State { base: Arc::new(base), alive, live }));
        Ok(done)
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

impl Base {
    pub(crate) fn build(rows: Rows, config: Arc<IndexConfig>, kernels: Kernels) -> Result<Self, IndexError> {
        let graph = match rows.len() >= config.scan_below.max(1) {
            true => Some(Graph::build(&rows, &config.graph, kernels)?),
            false => None,
        };
        Self::of(rows, graph, config, kernels)
    }

    /// # Errors
    /// [`IndexError::DuplicateLabel`].
    pub(crate) fn of(
        rows: Rows,
        graph: Option<Graph>,
        config: Arc<IndexConfig>,
        kernels: Kernels,
    ) -> Result<Self, IndexError> {
        static GENERATIONS: AtomicU64 = AtomicU64::new(1);
        let mut places = LabelMap::with_capacity_and_hasher(rows.len(), Default::default());
        for (row, &label) in rows.labels.iter().enumerate() {
            if let Some(first) = places.insert(label, row as u32) {
                return Err(IndexError::DuplicateLabel { label, first: first as usize, second: row });
            }
        }
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { generation, codes: Codes::of(&rows), rows, places, graph, config, kernels })
    }
}
