//! Softmax over candidates shared by all rows of a batch, without ever holding rows × candidates.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    math::{dot, exp, max, sum},
    matmul::{Matrix, MatrixMut, Write, matmul},
    simd, sized,
    transpose::transpose,
};

/// Columns of scores made at a time: what they read of the candidates stays in the first cache.
const PANEL: usize = 32;
/// The most numbers of scores held at a time: half of a second-level cache.
const TILE_NUMBERS: usize = 128 * 1024;
/// Numbers of the candidates read at a time where all rows need them.
const BLOCK_NUMBERS: usize = 16 * 1024;
/// Exponentials of less than this below their bound may vanish, so the bound must be found row by row.
const NARROW: f32 = 80.0;

/// The candidates of a batch, laid out for the products that the loss makes.
#[derive(Default)]
pub(crate) struct Candidates {
    n: usize,
    d: usize,
    /// The vectors in columns, panel by panel: d × [`PANEL`] each.
    panels: Vec<f32>,
    /// Per candidate, what is added to its score where it may be there by chance: −ln of that chance.
    corrections: Vec<f32>,
    /// Per candidate, its chance to be there.
    chances: Vec<f32>,
    /// The least and the largest correction; that of a target is 0.
    range: (f32, f32),
    /// Length of the longest vector.
    longest: f32,
    inverse_temperature: f32,
}

/// Rows, and which candidate came next in each.
pub(crate) struct Cases<'a> {
    /// Rows × d.
    pub(crate) x: &'a [f32],
    /// Per row, its target among the candidates.
    pub(crate) targets: &'a [u32],
    /// Per row, its share of the loss; they sum to 1 over the batch.
    pub(crate) shares: &'a [f32],
    /// What histories ask for; the first row is case `first` there.
    pub(crate) asked: &'a Asked,
    pub(crate) first: usize,
}

/// Which candidates the history of each case asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    candidates: Vec<u32>,
    /// Per case, its history's candidates, each once.
    of: Vec<Range<u32>>,
}

/// What was found, in nats.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Loss {
    /// `Σ share · (ln Σ_c exp(s_c) − s_target)`.
    pub(crate) value: f64,
    /// Its derivative by `ln(1 / temperature)`: `Σ x · ∂loss/∂x`.
    pub(crate) scale: f64,
}

/// Buffers, used again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    scores: Vec<f32>,
    weighted: Vec<f32>,
    factors: Vec<f32>,
}

impl Asked {
    /// Adds the cases of the next history, by their targets.
    pub(crate) fn add_history(&mut self, targets: impl ExactSizeIterator<Item = u32>) {
        let (cases, start) = (targets.len(), self.candidates.len());
        let mut own: Vec<u32> = targets.collect();
        own.sort_unstable();
        own.dedup();
        self.candidates.extend(own);
        self.of.extend(std::iter::repeat_n(start as u32..self.candidates.len() as u32, cases));
    }

    /// What the history of a case asks for.
    pub(crate) fn of_case(&self, case: usize) -> &[u32] {
        let Range { start, end } = self.of[case];
        &self.candidates[start as usize..end as usize]
    }
}

impl Candidates {
    /// Takes the first candidates of `vectors` (at least n × d), n being the number of `corrections`.
    pub(crate) fn set(&mut self, vectors: &[f32], d: usize, corrections: &[f32], temperature: f32) {
        let n = corrections.len();
        self.n = n;
        self.d = d;
        self.inverse_temperature = 1.0 / temperature;
        self.range = corrections.iter().fold((0.0, 0.0), |(low, high), &c| (c.min(low), c.max(high)));
        self.corrections.clear();
        self.corrections.extend_from_slice(corrections);
        self.corrections.resize(n.next_multiple_of(PANEL), 0.0);
        self.chances.clear();
        self.chances.extend(corrections.iter().map(|correction| (-correction).exp()));
        let panels = sized(&mut self.panels, n.next_multiple_of(PANEL) * d);
        let panels = panels.par_chunks_exact_mut(PANEL * d).zip(vectors[..n * d].par_chunks(PANEL * d));
        panels.with_min_len(16).for_each(|(panel, vectors)| {
            let count = vectors.len() / d;
            if count < PANEL {
                panel.fill(0.0);
            }
            transpose(vectors, d, count, d, panel, PANEL);
        });
        self.longest = longest(&vectors[..n * d], d);
    }

    /// The loss of some rows. Scores are `s = x · candidate / temperature + correction` (the logQ correction of Yi et al.
    /// 2019, doi:10.1145/3298689.3346996), the correction being left out for whatever a row's own history asks for, its
    /// target among it: that is there for certain, not by chance. Corrected like the rest, what a shopper turned to before
    /// and after would weigh as a negative many times what it is.
    ///
    /// The gradient of `x` is written to `dx`, that of the candidates (n × d) is added to `dcandidates`, or written there
    /// where they are `fresh`, which then they are no more. `vectors`: as [set](Self::set).
    pub(crate) fn loss(
        &self,
        vectors: &[f32],
        cases: &Cases<'_>,
        scratch: &mut Scratch,
        dx: &mut [f32],
        dcandidates: &mut [f32],
        fresh: &mut bool,
    ) -> Loss {
        let d = self.d;
        let stride = self.stride();
        let most = (TILE_NUMBERS / stride).clamp(12, 96) / 12 * 12;
        let mut loss = Loss::default();
        // Tiles of about equal size, in whole blocks of registers.
        let rows = cases.targets.len();
        let tile = rows.div_ceil(rows.div_ceil(most).max(1)).next_multiple_of(6).max(1);
        for (number, (x, dx)) in cases.x.chunks(tile * d).zip(dx.chunks_mut(tile * d)).enumerate() {
            let range = number * tile..number * tile + x.len() / d;
            let first = cases.first + range.start;
            let (targets, shares) = (&cases.targets[range.clone()], &cases.shares[range]);
            let cases = Cases { x, targets, shares, asked: cases.asked, first };
            let write = if std::mem::take(fresh) { Write::Replace } else { Write::Add };
            loss.value += self.tile(vectors, &cases, scratch, dx, dcandidates, write);
            simd(
                #[inline(always)]
                || {
                    let rows = x.chunks_exact(d).zip(dx.chunks_exact(d));
                    loss.scale += rows.map(|(x, dx)| f64::from(dot(x, dx))).sum::<f64>();
                },
            );
        }
        loss
    }

    /// Rows of scores begin so far apart: an odd number of cache lines, so that columns do not fall onto each other.
    fn stride(&self) -> usize {
        self.n.next_multiple_of(PANEL) + 16
    }

    fn tile(
        &self,
        vectors: &[f32],
        cases: &Cases<'_>,
        scratch: &mut Scratch,
        dx: &mut [f32],
        dcandidates: &mut [f32],
        write: Write,
    ) -> f64 {
        let Cases { x, targets, shares, asked, first } = *cases;
        let (n, d, stride, rows) = (self.n, self.d, self.stride(), targets.len());
        let scale = self.inverse_temperature;
        let scores = sized(&mut scratch.scores, rows * stride);
        let x_view = Matrix::new(x, rows, d);
        let longest = longest(x, d);
        let (low, high) = self.range;
        let reach = scale * longest * self.longest;
        // Where no score can lie far below the bound of all, that bound will do for every row.
        let common = (2.0 * reach + high - low <= NARROW).then_some(reach + high);
        for (number, panel) in
            self.panels[..n.next_multiple_of(PANEL) * d].chunks_exact(PANEL * d).enumerate()
        {
            let first = number * PANEL;
            let out = &mut scores[first..];
            let end = (rows - 1) * stride + PANEL;
            matmul(
                MatrixMut::strided(&mut out[..end], rows, PANEL, stride),
                Write::Replace,
                1.0,
                x_view,
                Matrix::new(panel, d, PANEL),
            );
            let Some(corrections) = self.corrections[first..].first_chunk::<PANEL>() else { break };
            simd(
                #[inline(always)]
                || {
                    let rows = out[..end].chunks_mut(stride).filter_map(<[f32]>::first_chunk_mut::<PANEL>);
                    match common {
                        Some(bound) => {
                            let mut shifts = *corrections;
                            for shift in &mut shifts {
                                *shift -= bound;
                            }
                            for row in rows {
                                for c in 0..PANEL {
                                    row[c] = exp(row[c].mul_add(scale, shifts[c]));
                                }
                            }
                        }
                        None => {
                            for row in rows {
                                for c in 0..PANEL {
                                    row[c] = row[c].mul_add(scale, corrections[c]);
                                }
                            }
                        }
                    }
                },
            );
        }
        // Each row's exponentials, less their sum at its target, are its gradient times that sum.
        let weighted = sized(&mut scratch.weighted, rows * d);
        let factors = sized(&mut scratch.factors, rows);
        let mut loss = 0.0;
        for (row, (&target, &share)) in targets.iter().zip(shares).enumerate() {
            let target = target as usize;
            let factor = &mut factors[row];
            let (x, weighted) = (&x[row * d..][..d], &mut weighted[row * d..][..d]);
            let scores = &mut scores[row * stride..][..n];
            for &candidate in asked.of_case(first + row) {
                let candidate = candidate as usize;
                match common {
                    Some(_) => scores[candidate] *= self.chances[candidate],
                    None => scores[candidate] -= self.corrections[candidate],
                }
            }
            simd(
                #[inline(always)]
                || {
                    let positive = dot(x, &vectors[target * d..][..d]) * scale;
                    let bound = common.unwrap_or_else(|| {
                        scores[target] = positive;
                        let top = max(scores);
                        for score in &mut *scores {
                            *score = exp(*score - top);
                        }
                        top
                    });
                    scores[target] = exp(positive - bound);
                    let total = sum(scores);
                    scores[target] -= total;
                    *factor = share * scale / total;
                    for (weighted, &x) in weighted.iter_mut().zip(x) {
                        *weighted = x * *factor;
                    }
                    loss += f64::from(share) * f64::from(total.ln() + (bound - positive));
                },
            );
        }
        // Block by block of the candidates, each of which stays near the core for all rows.
        let block = (BLOCK_NUMBERS / d).max(1);
        for (number, vectors) in vectors[..n * d].chunks(block * d).enumerate() {
            let (first, count) = (number * block, vectors.len() / d);
            let part = if first == 0 { Write::Replace } else { Write::Add };
            let scores = Matrix::strided(&scores[first..], rows, count, stride);
            matmul(MatrixMut::new(dx, rows, d), part, 1.0, scores, Matrix::new(vectors, count, d));
        }
        let scores = Matrix::strided(scores, rows, n, stride);
        let weighted = Matrix::new(weighted, rows, d);
        matmul(MatrixMut::new(dcandidates, n, d), write, 1.0, scores.t(), weighted);
        for (dx, &factor) in dx.chunks_exact_mut(d).zip(&*factors) {
            dx.iter_mut().for_each(|dx| *dx *= factor);
        }
        loss
    }
}

/// Length of the longest row.
fn longest(x: &[f32], d: usize) -> f32 {
    simd(
        #[inline(always)]
        || {
            let mut square = 0f32;
            for x in x.chunks_exact(d) {
                square = square.max(dot(x, x));
            }
            square.sqrt()
        },
    )
}
