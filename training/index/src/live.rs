//! The live segment: what was upserted since the base was built, in chunks that a new snapshot shares with the last.
//!
//! A chunk that is full never changes again but for its rows' bits of life, so a write copies one chunk's worth of rows
//! at most. Labels of full chunks stand in a map that is copied once per chunk; those of the last are searched through.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::rows::Rows;

/// Rows in a chunk.
pub(crate) const CHUNK: usize = 256;

/// Where labels stand.
type LabelMap = HashMap<u64, u32, BuildHasherDefault<LabelHasher>>;

/// Labels are hashes already, or small numbers: one multiplication spreads either.
#[derive(Default)]
pub(crate) struct LabelHasher(u64);

impl Hasher for LabelHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, label: u64) {
        self.0 = spread(label);
    }
}

/// One multiplication, both halves of the product folded together.
#[inline]
pub(crate) fn spread(label: u64) -> u64 {
    let product = u128::from(label ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93_u128;
    (product as u64) ^ (product >> 64) as u64
}

/// Rows upserted since the base was built.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) chunks: Vec<Chunk>,
    /// Places of the labels of the first `sealed` chunks. A label's last place counts; the row may be dead.
    places: Arc<LabelMap>,
    /// Chunks that take no more rows.
    sealed: usize,
}

/// Up to [`CHUNK`] rows.
#[derive(Clone)]
pub(crate) struct Chunk {
    pub(crate) rows: Arc<Rows>,
    /// A bit for each row that was not replaced or deleted.
    pub(crate) alive: [u64; CHUNK / 64],
}

/// A row of the live segment: chunk · [`CHUNK`] + row.
pub(crate) type Place = u32;

impl Chunk {
    fn is_alive(&self, row: usize) -> bool {
        self.alive[row / 64] >> (row % 64) & 1 == 1
    }

    pub(crate) fn alive_rows(&self) -> impl Iterator<Item = usize> {
        (0..self.rows.len()).filter(|&row| self.is_alive(row))
    }
}

impl Live {
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), places: Arc::default(), sealed: 0 }
    }

    /// The chunks from `first` on, in a segment of their own: the rest went into a new base.
    pub(crate) fn since(&self, first: usize) -> Self {
        let mut live = Self { chunks: self.chunks[first..].to_vec(), ..Self::new() };
        live.seal();
        live
    }

    pub(crate) fn push(&mut self, label: u64, vector: &[f32]) {
        if self.chunks.last().is_some_and(|chunk| chunk.rows.len() == CHUNK) {
            self.seal();
        }
        if self.sealed == self.chunks.len() {
            let rows = Arc::new(Rows::with_capacity(vector.len(), CHUNK));
            self.chunks.push(Chunk { rows, alive: [0; CHUNK / 64] });
        }
        if let Some(chunk) = self.chunks.last_mut() {
            let row = chunk.rows.len();
            Arc::make_mut(&mut chunk.rows).push(label, vector);
            chunk.alive[row / 64] |= 1 << (row % 64);
        }
    }

    /// Closes the last chunk: later rows go into another.
    pub(crate) fn seal(&mut self) {
        let places = Arc::make_mut(&mut self.places);
        for (index, chunk) in self.chunks.iter().enumerate().skip(self.sealed) {
            let first = index * CHUNK;
            places.extend(
                chunk.rows.labels.iter().enumerate().map(|(row, &label)| (label, (first + row) as Place)),
            );
        }
        self.sealed = self.chunks.len();
    }

    /// Where the label's vector stands.
    pub(crate) fn find(&self, label: u64) -> Option<Place> {
        for (index, chunk) in self.chunks.iter().enumerate().skip(self.sealed).rev() {
            if let Some(row) = chunk.rows.labels.iter().rposition(|&other| other == label) {
                return chunk.is_alive(row).then_some((index * CHUNK + row) as Place);
            }
        }
        let place = *self.places.get(&label)?;
        self.chunks[place as usize / CHUNK].is_alive(place as usize % CHUNK).then_some(place)
    }

    pub(crate) fn kill(&mut self, place: Place) {
        let row = place as usize % CHUNK;
        self.chunks[place as usize / CHUNK].alive[row / 64] &= !(1 << (row % 64));
    }

    /// The chunk and the row in it.
    pub(crate) fn at(&self, place: Place) -> (&Rows, usize) {
        (&self.chunks[place as usize / CHUNK].rows, place as usize % CHUNK)
    }

    /// Rows pushed, dead ones included.
    pub(crate) fn rows(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.rows.len()).sum()
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().flat_map(|chunk| chunk.alive).map(|word| word.count_ones() as usize).sum()
    }
}
