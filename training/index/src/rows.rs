//! Labelled vectors in memory, twice: in f32, row by row, for exact scores; and in 8 bits, sixteen rows to a block, for
//! the scan that finds out which rows deserve one.
//!
//! A row `x` is kept as `scale · c`, where `c` has integers from −127 to 127 and `scale = max|x| / 127`; a query
//! likewise. The scores of two such vectors differ from the true one by no more than [`Blocks::error_bound`], by Cauchy
//! and Schwarz, and a scan that keeps everything within twice that bound of its k-th best loses nothing.
//!
//! Inside a block of 16 rows the codes lie as `[width / 4][16][4]` bytes, each `c + 128`: one 64-byte load brings four
//! numbers of each of the sixteen rows, which is what the multiply-add instructions of [`crate::kernels`] eat.

use crate::IndexError;

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

/// Numbers that one vector takes in memory: `dim`, padded with zeros to whole registers.
pub(crate) fn width(dim: usize) -> usize {
    dim.next_multiple_of(16)
}

/// Labelled vectors.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) dim: usize,
    pub(crate) width: usize,
    pub(crate) labels: Vec<u64>,
    /// Row-major, `rows × width`.
    pub(crate) vectors: Vec<f32>,
    pub(crate) blocks: Blocks,
}

/// The same vectors in 8 bits.
#[derive(Clone, Default)]
pub(crate) struct Blocks {
    /// `blocks × width × 16` bytes.
    pub(crate) codes: Vec<u8>,
    /// One per row, zero in the last block's empty places.
    pub(crate) scales: Vec<f32>,
    /// Largest norm of what quantisation took from a row.
    error: f32,
    /// Largest norm of a row, quantised or not.
    norm: f32,
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
    pub(crate) correction: i32,
    norm: f32,
    /// Norm of what quantisation took.
    error: f32,
}

impl Rows {
    pub(crate) fn with_capacity(dim: usize, rows: usize) -> Self {
        let width = width(dim);
        Self {
            dim,
            width,
            labels: Vec::with_capacity(rows),
            vectors: Vec::with_capacity(rows * width),
            blocks: Blocks {
                codes: Vec::with_capacity(rows.div_ceil(BLOCK) * BLOCK * width),
                scales: Vec::with_capacity(rows.next_multiple_of(BLOCK)),
                ..Blocks::default()
            },
        }
    }

    /// Appends a row of `dim` finite numbers.
    pub(crate) fn push(&mut self, label: u64, vector: &[f32]) {
        let row = self.labels.len();
        self.labels.push(label);
        self.vectors.extend_from_slice(vector);
        self.vectors.resize((row + 1) * self.width, 0.0);
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
        if lane == 0 {
            self.codes.resize((block + 1) * BLOCK * padded.len(), OFFSET);
            self.scales.resize((block + 1) * BLOCK, 0.0);
        }
        let scale = scale_of(padded);
        let codes = &mut self.codes[block * BLOCK * padded.len()..];
        let mut error = 0.0;
        for (d, &x) in padded.iter().enumerate() {
            let code = code_of(x, scale);
            codes[d / 4 * (4 * BLOCK) + lane * 4 + d % 4] = code.wrapping_add_unsigned(OFFSET) as u8;
            error += (x - f32::from(code) * scale).powi(2);
        }
        self.scales[row] = scale;
        self.error = self.error.max(error.sqrt());
        self.norm = self.norm.max(norm(padded) + error.sqrt());
    }

    /// How far a quantised score can be from the f32 one: `|q·x − q̂·x̂| ≤ |q|·|x − x̂| + |q − q̂|·|x̂|`, and what
    /// rounding may add.
    pub(crate) fn error_bound(&self, query: &Query) -> f32 {
        let rounding = (query.vector.len() + 16) as f32 * f32::EPSILON * query.norm * self.norm;
        1.001 * (query.norm * self.error + query.error * self.norm) + rounding
    }

    /// A row's codes (`width` bytes) in the order of its dimensions.
    pub(crate) fn row_codes(&self, row: usize, width: usize) -> impl Iterator<Item = u8> {
        let block = &self.codes[row / BLOCK * BLOCK * width..][..BLOCK * width];
        let lane = row % BLOCK;
        (0..width).map(move |d| block[d / 4 * (4 * BLOCK) + lane * 4 + d % 4])
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
        let mut vector = query.to_vec();
        vector.resize(width(dim), 0.0);
        let scale = scale_of(&vector);
        let codes: Vec<i8> = vector.iter().map(|&x| code_of(x, scale)).collect();
        let error = vector.iter().zip(&codes).map(|(x, &c)| (x - f32::from(c) * scale).powi(2)).sum::<f32>();
        Ok(Self {
            words: codes.as_chunks::<4>().0.iter().map(|c| i32::from_le_bytes(c.map(|c| c as u8))).collect(),
            correction: -i32::from(OFFSET) * codes.iter().map(|&c| i32::from(c)).sum::<i32>(),
            norm: norm(&vector),
            error: error.sqrt(),
            scale,
            codes,
            vector,
        })
    }
}

/// The first number that an index cannot hold.
pub(crate) fn unfit(vector: &[f32]) -> Option<(usize, f32)> {
    vector.iter().enumerate().find(|(_, x)| !(x.abs() <= LARGEST)).map(|(position, &value)| (position, value))
}

/// The step between codes; zero where the numbers are too small to be divided by.
fn scale_of(vector: &[f32]) -> f32 {
    let largest = vector.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    if largest < 1e-30 { 0.0 } else { largest / LEVELS }
}

fn code_of(x: f32, scale: f32) -> i8 {
    if scale == 0.0 { 0 } else { (x / scale).round().clamp(-LEVELS, LEVELS) as i8 }
}

fn norm(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}
