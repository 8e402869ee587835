//! Labelled vectors in memory, twice: in f32, row by row, for exact scores; and in 8 bits, sixteen rows to a block, for
//! the scan that finds out which rows deserve one.
//!
//! A row `x` is kept as `scale · c`, where `c` has integers from −127 to 127 and `scale = max|x| / 127`; a query
//! likewise. The scores of two such vectors differ from the true one by no more than [`Blocks::error_bound`], by Cauchy
//! and Schwarz, and a scan that keeps everything within twice that bound of its k-th best loses nothing.
//!
//! Inside a block of 16 rows the codes lie as `[width / 4][16][4]` bytes, each `c + 128`: one 64-byte load brings four
//! numbers of each of the sixteen rows, which is what the multiply-add instructions of [`crate::kernels`] eat.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::IndexError;
use crate::buffer::Buffer;

/// Rows in a block: the 32-bit lanes of a 512-bit register.
pub(crate) const BLOCK: usize = 16;
/// Largest absolute code.
const LEVELS: f32 = 127.0;
/// What is added to a code to make it a byte.
pub(crate) const OFFSET: u8 = 128;
/// Largest absolute number of a vector: products of two, summed over 4,096 dimensions, stay finite.
const LARGEST: f32 = 1e15;
/// Most numbers in a vector.
pub(crate) const MAX_DIM: usize = 4096;

/// Quantised scores are off by a small part of what they could be at worst. The exact ways allow for the worst; partitions,
/// where rows are missed anyway, for this part of it.
pub(crate) const USUAL_ERROR: f32 = 0.35;

/// Numbers that one vector takes in memory: `dim`, padded with zeros to whole registers.
pub(crate) fn width(dim: usize) -> usize {
    dim.next_multiple_of(16)
}

/// Labelled vectors.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) dim: usize,
    pub(crate) width: usize,
    pub(crate) labels: Buffer<u64>,
    /// Row-major, `rows × width`.
    pub(crate) vectors: Buffer<f32>,
    pub(crate) blocks: Blocks,
}

/// The same vectors in 8 bits.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Blocks {
    /// `blocks × width × 16` bytes.
    pub(crate) codes: Buffer<u8>,
    /// One per row, zero in the last block's empty places.
    pub(crate) scales: Buffer<f32>,
    /// Largest norm of what quantisation took from a row.
    pub(crate) error: f32,
    /// Largest norm of a row, quantised or not.
    pub(crate) norm: f32,
}

/// The same codes row by row, for those who come to rows in no order: of 64 numbers, one cache line a row.
#[derive(Clone, Copy)]
pub(crate) struct Codes<'a> {
    pub(crate) width: usize,
    pub(crate) codes: &'a [u8],
    pub(crate) scales: &'a [f32],
}

/// A query, padded and quantised.
pub(crate) struct Query {
    /// `width` numbers.
    pub(crate) vector: Vec<f32>,
    /// `width` codes.
    pub(crate) codes: Vec<i8>,
    /// The codes again, four to a word as a register wants them.
    pub(crate) words: Vec<i32>,
    pub(crate) scale: f32,
    /// −128 Σ codes: takes back what [`OFFSET`] adds to a dot product.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "others multiply signed bytes"))]
    pub(crate) correction: i32,
    pub(crate) norm: f32,
    /// Norm of what quantisation took.
    error: f32,
}

impl Rows {
    /// Rows of `dim` finite numbers each, already [padded](pad).
    pub(crate) fn of(dim: usize, labels: Vec<u64>, vectors: Vec<f32>) -> Self {
        let width = width(dim);
        let places = labels.len().next_multiple_of(BLOCK);
        let mut codes = vec![OFFSET; places * width];
        let mut scales = vec![0.0; places];
        let blocks = codes.par_chunks_mut(BLOCK * width).zip(scales.par_chunks_mut(BLOCK));
        let (error, norm) = blocks
            .zip(vectors.par_chunks(BLOCK * width))
            .map(|((codes, scales), vectors)| {
                let mut largest = (0.0, 0.0);
                for (lane, vector) in vectors.chunks_exact(width).enumerate() {
                    let (scale, error, norm) = encode(vector, lane, codes);
                    scales[lane] = scale;
                    largest = larger(largest, (error, norm));
                }
                largest
            })
            .reduce(|| (0.0, 0.0), larger);
        let blocks = Blocks { codes: codes.into(), scales: scales.into(), error, norm };
        Self { dim, width, labels: labels.into(), vectors: vectors.into(), blocks }
    }

    pub(crate) fn with_capacity(dim: usize, rows: usize) -> Self {
        let width = width(dim);
        Self {
            dim,
            width,
            labels: Vec::with_capacity(rows).into(),
            vectors: Vec::with_capacity(rows * width).into(),
            blocks: Blocks {
                codes: Vec::with_capacity(rows.div_ceil(BLOCK) * BLOCK * width).into(),
                scales: Vec::with_capacity(rows.next_multiple_of(BLOCK)).into(),
                ..Blocks::default()
            },
        }
    }

    /// Appends a row of `dim` finite numbers.
    pub(crate) fn push(&mut self, label: u64, vector: &[f32]) {
        let row = self.labels.len();
        self.labels.owned_mut().push(label);
        let vectors = self.vectors.owned_mut();
        vectors.extend_from_slice(vector);
        vectors.resize((row + 1) * self.width, 0.0);
        self.blocks.push(row, &self.vectors[row * self.width..]);
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The padded vector of a row.
    pub(crate) fn padded(&self, row: usize) -> &[f32] {
        &self.vectors[row * self.width..][..self.width]
    }

    /// The vector of a row.
    pub(crate) fn vector(&self, row: usize) -> &[f32] {
        &self.padded(row)[..self.dim]
    }
}

impl Blocks {
    fn push(&mut self, row: usize, padded: &[f32]) {
        let (block, lane) = (row / BLOCK, row % BLOCK);
        let (codes, scales) = (self.codes.owned_mut(), self.scales.owned_mut());
        if lane == 0 {
            codes.resize((block + 1) * BLOCK * padded.len(), OFFSET);
            scales.resize((block + 1) * BLOCK, 0.0);
        }
        let (scale, error, norm) = encode(padded, lane, &mut codes[block * BLOCK * padded.len()..]);
        scales[row] = scale;
        (self.error, self.norm) = larger((self.error, self.norm), (error, norm));
    }

    /// How far a quantised score can be from the f32 one: `|q·x − q̂·x̂| ≤ |q|·|x − x̂| + |q − q̂|·|x̂|`, and what
    /// rounding may add.
    pub(crate) fn error_bound(&self, query: &Query) -> f32 {
        let rounding = (query.vector.len() + 16) as f32 * f32::EPSILON * query.norm * self.norm;
        1.001 * (query.norm * self.error + query.error * self.norm) + rounding
    }
}

/// The codes of a block's rows, row after row.
pub(crate) fn by_row(rows: &Rows) -> Vec<u8> {
    let Rows { width, blocks, .. } = rows;
    let mut codes = vec![0; rows.len() * width];
    let blocks = blocks.codes.par_chunks(BLOCK * width);
    codes.par_chunks_mut(BLOCK * width).zip(blocks).for_each(|(codes, block)| {
        for (lane, out) in codes.chunks_exact_mut(*width).enumerate() {
            for (four, group) in out.chunks_exact_mut(4).zip(block.chunks_exact(4 * BLOCK)) {
                four.copy_from_slice(&group[4 * lane..][..4]);
            }
        }
    });
    codes
}

impl Codes<'_> {
    /// The codes of a row, each with [`OFFSET`] added.
    #[inline(always)]
    pub(crate) fn row(&self, row: u32) -> &[u8] {
        &self.codes[row as usize * self.width..][..self.width]
    }

    #[inline(always)]
    pub(crate) fn scale(&self, row: u32) -> f32 {
        self.scales[row as usize]
    }
}

impl Query {
    /// # Errors
    /// [`IndexError::Dimension`] or [`IndexError::QueryValue`].
    pub(crate) fn new(query: &[f32], dim: usize) -> Result<Self, IndexError> {
        if query.len() != dim {
            return Err(IndexError::Dimension { expected: dim, found: query.len() });
        }
        if let Some((position, value)) = unfit(query) {
            return Err(IndexError::QueryValue { position, value });
        }
        let mut vector = Vec::with_capacity(width(dim));
        vector.extend_from_slice(query);
        vector.resize(width(dim), 0.0);
        Ok(Self::of_padded(vector))
    }

    /// A finite vector, padded already.
    pub(crate) fn of_padded(vector: Vec<f32>) -> Self {
        let scale = scale_of(&vector);
        let inverse = inverse_of(scale);
        let codes: Vec<i8> = vector.iter().map(|&x| code_of(x, inverse) as i8).collect();
        let error = vector.iter().zip(&codes).map(|(x, &c)| (x - f32::from(c) * scale).powi(2)).sum::<f32>();
        Self {
            words: codes.as_chunks::<4>().0.iter().map(|c| i32::from_le_bytes(c.map(|c| c as u8))).collect(),
            correction: -i32::from(OFFSET) * codes.iter().map(|&c| i32::from(c)).sum::<i32>(),
            norm: norm(&vector),
            error: error.sqrt(),
            scale,
            codes,
            vector,
        }
    }
}

/// The first number that an index cannot hold.
pub(crate) fn unfit(vector: &[f32]) -> Option<(usize, f32)> {
    vector
        .iter()
        .enumerate()
        .find(|(_, x)| x.is_nan() || x.abs() > LARGEST)
        .map(|(position, &value)| (position, value))
}

/// Vectors of `dim` numbers, each followed by zeros up to its [`width`].
pub(crate) fn pad(vectors: Cow<'_, [f32]>, dim: usize) -> Cow<'_, [f32]> {
    let width = width(dim);
    if width == dim {
        return vectors;
    }
    let mut padded = vec![0.0; vectors.len() / dim * width];
    for (padded, vector) in padded.chunks_exact_mut(width).zip(vectors.chunks_exact(dim)) {
        padded[..dim].copy_from_slice(vector);
    }
    padded.into()
}

/// Writes a vector's codes into its lane of a block: the scale, the norm of what was lost, and the larger of the norms
/// before and after.
fn encode(vector: &[f32], lane: usize, block: &mut [u8]) -> (f32, f32, f32) {
    let scale = scale_of(vector);
    let inverse = inverse_of(scale);
    let (mut error, mut square) = (0.0, 0.0);
    for (four, group) in vector.chunks_exact(4).zip(block.chunks_exact_mut(4 * BLOCK)) {
        for (&x, byte) in four.iter().zip(&mut group[4 * lane..]) {
            let code = code_of(x, inverse);
            *byte = (code + f32::from(OFFSET)) as u8;
            error += (x - code * scale).powi(2);
            square += x * x;
        }
    }
    (scale, error.sqrt(), square.sqrt() + error.sqrt())
}

fn larger(a: (f32, f32), b: (f32, f32)) -> (f32, f32) {
    (a.0.max(b.0), a.1.max(b.1))
}

/// The step between codes; zero where the numbers are too small to be divided by.
fn scale_of(vector: &[f32]) -> f32 {
    let largest = vector.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    if largest < 1e-30 { 0.0 } else { largest / LEVELS }
}

fn inverse_of(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The nearest whole number of steps.
fn code_of(x: f32, inverse: f32) -> f32 {
    // Beside 1.5 · 2²³ there is no room for a fraction: adding and taking it away rounds, and needs no call.
    const ROUND: f32 = 12_582_912.0;
    (x * inverse + ROUND - ROUND).clamp(-LEVELS, LEVELS)
}

fn norm(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any vectors, at any scale: the approximate score is off by less than the bound that the scan relies on, and
        /// the bound is not so wide as to be useless.
        #[test]
        fn quantised_scores_are_within_the_bound(
            dim in 1usize..80,
            scales in (-12i32..12, -12i32..12),
            seed in prop::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 80),
        ) {
            let vector: Vec<f32> = seed[..dim].iter().map(|(x, _)| x * 10f32.powi(scales.0)).collect();
            let query: Vec<f32> = seed[..dim].iter().map(|(_, q)| q * 10f32.powi(scales.1)).collect();
            let rows = Rows::of(dim, vec![7], pad((&vector[..]).into(), dim).into_owned());
            let query = Query::new(&query, dim).unwrap();
            let codes = by_row(&rows);
            let dot: i32 = codes.iter().zip(&query.codes)
                .map(|(&x, &q)| (i32::from(x) - i32::from(OFFSET)) * i32::from(q)).sum();
            let approximate = f64::from(dot as f32 * (rows.blocks.scales[0] * query.scale));
            let exact: f64 = vector.iter().zip(&query.vector).map(|(&x, &q)| f64::from(x) * f64::from(q)).sum();
            let bound = f64::from(rows.blocks.error_bound(&query));
            prop_assert!((exact - approximate).abs() <= bound, "{exact} {approximate} ± {bound}");
            prop_assert!(bound <= 0.03 * f64::from(norm(&vector) * query.norm) * (dim as f64).sqrt().max(1.0) + 1e-30);
        }

        #[test]
        fn rows_pushed_one_by_one_equal_rows_made_at_once(
            dim in 1usize..40,
            vectors in prop::collection::vec(prop::collection::vec(-2.0f32..2.0, 40), 0..40),
        ) {
            let mut pushed = Rows::with_capacity(dim, 0);
            for (label, vector) in vectors.iter().enumerate() {
                pushed.push(label as u64, &vector[..dim]);
            }
            let flat: Vec<f32> = vectors.iter().flat_map(|vector| &vector[..dim]).copied().collect();
            let made = Rows::of(dim, (0..vectors.len() as u64).collect(), pad(flat.into(), dim).into_owned());
            prop_assert_eq!(&made.vectors, &pushed.vectors);
            prop_assert_eq!(made.blocks, pushed.blocks);
        }
    }
}
