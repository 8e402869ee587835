//! Filters: which items a query may return.
//!
//! A caller that filters by attributes compiles its filter once into a [`Selection`] of a snapshot's base rows (a
//! bitmap, by scanning its own columns in the order of [`Snapshot::base_labels`]) and keeps it in a cache with the
//! snapshot's generation. Items upserted since live outside the base; for those few the selection's predicate is asked
//! when a query meets them. So a change of an item's attributes must reach the index as an upsert, even where its
//! vector stays: the item then moves out of the base, and the cached bitmap is never stale about it. After a
//! compaction the generation changes: a selection of an older generation still answers rightly, by asking the predicate
//! for every base row, and should be made anew.

use std::fmt;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::Snapshot;
use crate::mask::bits;

/// Which items a query may return.
#[derive(Debug, Clone, Copy)]
pub enum Allowed<'a> {
    /// All.
    All,
    /// All but these labels (any order; repeats and unknown labels do no harm).
    Except(&'a [u64]),
    /// None but these labels (any order; repeats and unknown labels do no harm).
    Labels(&'a [u64]),
    /// The items of a selection, less some labels.
    Selected {
        /// The compiled filter.
        selection: &'a Selection,
        /// Labels that are not wanted all the same.
        except: &'a [u64],
    },
}

type Predicate = Arc<dyn Fn(u64) -> bool + Send + Sync>;

/// A compiled filter: a bitmap over the base rows of one generation, and a predicate for everything newer.
#[derive(Clone)]
pub struct Selection {
    pub(crate) generation: u64,
    /// One bit per base row, 64 rows a word.
    pub(crate) words: Arc<[u64]>,
    /// The rows again, ascending, where a list of them is no larger than the bitmap.
    pub(crate) listed: Option<Arc<[u32]>>,
    pub(crate) rows: usize,
    pub(crate) predicate: Predicate,
}

impl Selection {
    /// Asks `predicate` about every item of the snapshot's base.
    pub fn new(snapshot: &Snapshot, predicate: impl Fn(u64) -> bool + Send + Sync + 'static) -> Self {
        let mut words = vec![0u64; snapshot.base_labels().len().div_ceil(64)];
        for (row, &label) in snapshot.base_labels().iter().enumerate() {
            words[row / 64] |= u64::from(predicate(label)) << (row % 64);
        }
        Self::from_words(snapshot, words, Arc::new(predicate))
    }

    /// Takes a bitmap over the snapshot's base rows: row `r` is the item `snapshot.base_labels()[r]`; rows past the
    /// end are ignored. `predicate` must agree with it, and is asked about items upserted later.
    pub fn from_rows(
        snapshot: &Snapshot,
        rows: &RoaringBitmap,
        predicate: impl Fn(u64) -> bool + Send + Sync + 'static,
    ) -> Self {
        let count = snapshot.base_labels().len();
        let mut words = vec![0u64; count.div_ceil(64)];
        for row in rows.iter().map(|row| row as usize).take_while(|&row| row < count) {
            words[row / 64] |= 1 << (row % 64);
        }
        Self::from_words(snapshot, words, Arc::new(predicate))
    }

    fn from_words(snapshot: &Snapshot, words: Vec<u64>, predicate: Predicate) -> Self {
        let rows = words.iter().map(|word| word.count_ones() as usize).sum();
        let listed = (2 * words.len() >= rows).then(|| bits(&words).map(|row| row as u32).collect());
        Self { generation: snapshot.generation(), words: words.into(), listed, rows, predicate }
    }

    /// The generation of the base whose rows the bitmap numbers.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Base rows selected, deleted ones included.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selection").field("generation", &self.generation).field("rows", &self.rows).finish()
    }
}
