//! Optimisers: AdamW for what is dense, row-wise Adam or Adagrad for tables of which a step touches few rows.

use endcap_towers::simd;
use rayon::prelude::*;

use crate::TableOptimiser;

/// Decay of the mean of gradients, and of the mean of their squares.
const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Learning rate of a step, as a share of the largest: it rises in a line over `warm_up` steps, then falls
/// along half a cosine to [`LAST`] at step `steps` (Loshchilov & Hutter 2017, arXiv:1608.03983).
pub(crate) fn schedule(step: usize, warm_up: usize, steps: usize) -> f32 {
    const LAST: f32 = 0.01;
    // Short runs warm up over a tenth of their steps.
    let warm_up = warm_up.min(steps / 10);
    if step < warm_up {
        return (step + 1) as f32 / (warm_up + 1) as f32;
    }
    let progress = ((step - warm_up) as f32 / (steps - warm_up).max(1) as f32).min(1.0);
    LAST + (1.0 - LAST) * 0.5 * (1.0 + (std::f32::consts::PI * progress).cos())
}

/// AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101): `w −= η (m̂ / (√v̂ + ε) + λ w)`.
pub(crate) struct AdamW {
    pub(crate) means: Vec<f32>,
    pub(crate) squares: Vec<f32>,
    pub(crate) steps: i32,
}

impl AdamW {
    pub(crate) fn new(size: usize) -> Self {
        Self { means: vec![0.0; size], squares: vec![0.0; size], steps: 0 }
    }

    /// One step against `scale` times the gradient. `decays`: which stretches of the weights decay.
    pub(crate) fn step(
        &mut self,
        weights: &mut [f32],
        gradient: &[f32],
        scale: f32,
        rate: f32,
        decay: f32,
        decays: impl Iterator<Item = std::ops::Range<usize>>,
    ) {
        self.steps += 1;
        for stretch in decays {
            weights[stretch].iter_mut().for_each(|weight| *weight *= 1.0 - rate * decay);
        }
        let mean_scale = 1.0 / (1.0 - BETA_1.powi(self.steps));
        let square_scale = 1.0 / (1.0 - BETA_2.powi(self.steps));
        let moments = self.means.iter_mut().zip(&mut self.squares);
        for ((weight, &g), (mean, square)) in weights.iter_mut().zip(gradient).zip(moments) {
            let g = g * scale;
            *mean += (1.0 - BETA_1) * (g - *mean);
            *square += (1.0 - BETA_2) * (g * g - *square);
            *weight -= rate * (*mean * mean_scale) / ((*square * square_scale).sqrt() + EPSILON);
        }
    }
}

/// Moves the rows of a table that a step touches and leaves the others as they are: of a table of n rows, a step costs
/// what it touches.
///
/// Adam keeps a mean for each number and one second moment for the row; moments are corrected by the number of times
/// that the row was touched. Adagrad (Duchi et al. 2011) keeps the sum of the rows' mean squares.
pub(crate) struct RowOptimiser {
    kind: TableOptimiser,
    width: usize,
    pub(crate) means: Vec<f32>,
    pub(crate) squares: Vec<f32>,
    pub(crate) steps: Vec<u32>,
    /// The touched rows by stretch of the table, as places among the gradients.
    order: Vec<u32>,
}

/// Stretches of a table, each worked on by one thread at a time.
const STRETCHES: usize = 32;

impl RowOptimiser {
    pub(crate) fn new(kind: TableOptimiser, rows: usize, width: usize) -> Self {
        let adam = kind == TableOptimiser::Adam;
        Self {
            kind,
            width,
            means: vec![0.0; if adam { rows * width } else { 0 }],
            squares: vec![0.0; rows],
            steps: vec![0; if adam { rows } else { 0 }],
            order: Vec::new(),
        }
    }

    /// One step of the rows `rows` of `table`, each named once, against `scale` times `gradients`: theirs, one after the
    /// other.
    pub(crate) fn step(&mut self, table: &mut [f32], rows: &[u32], gradients: &[f32], scale: f32, rate: f32) {
        let d = self.width;
        let stretch = (table.len() / d).div_ceil(STRETCHES).max(1);
        // Rows by stretch: a counting sort.
        let mut ends = [0usize; STRETCHES + 1];
        rows.iter().for_each(|&row| ends[row as usize / stretch + 1] += 1);
        (0..STRETCHES).for_each(|i| ends[i + 1] += ends[i]);
        let mut next = ends;
        self.order.resize(rows.len(), 0);
        for (place, &row) in (0..).zip(rows) {
            let next = &mut next[row as usize / stretch];
            self.order[*next] = place;
            *next += 1;
        }
        let places = (0..STRETCHES).into_par_iter().map(|i| &self.order[ends[i]..ends[i + 1]]);
        let parts = table.par_chunks_mut(stretch * d).zip(self.squares.par_chunks_mut(stretch));
        // Of each touched row of a stretch, its place there and its gradient.
        let touched = |number: usize, place: u32| {
            let row = rows[place as usize] as usize - number * stretch;
            (row, &gradients[place as usize * d..][..d])
        };
        match self.kind {
            TableOptimiser::Adam => {
                let moments = self.means.par_chunks_mut(stretch * d).zip(self.steps.par_chunks_mut(stretch));
                let parts = parts.zip(moments).zip(places).enumerate();
                parts.for_each(|(number, (((table, squares), (means, steps)), places))| {
                    simd(
                        #[inline(always)]
                        || {
                            for &place in places {
                                let (row, gradient) = touched(number, place);
                                let (table, means) = (&mut table[row * d..][..d], &mut means[row * d..][..d]);
                                adam(table, means, &mut squares[row], &mut steps[row], gradient, scale, rate);
                            }
                        },
                    );
                });
            }
            TableOptimiser::Adagrad => {
                parts.zip(places).enumerate().for_each(|(number, ((table, squares), places))| {
                    simd(
                        #[inline(always)]
                        || {
                            for &place in places {
                                let (row, gradient) = touched(number, place);
                                squares[row] += scale * scale * mean_square(gradient);
                                let rate = rate * scale / (squares[row].sqrt() + EPSILON);
                                for (weight, &g) in table[row * d..][..d].iter_mut().zip(gradient) {
                                    *weight -= rate * g;
                                }
                            }
                        },
                    );
                });
            }
        }
    }
}

/// Square of the length of a gradient.
pub(crate) fn square(gradient: &[f32]) -> f64 {
    simd(
        #[inline(always)]
        || {
            let mut sums = [0f64; 8];
            for gradient in gradient.chunks(8) {
                for (sum, &g) in sums.iter_mut().zip(gradient) {
                    *sum += f64::from(g) * f64::from(g);
                }
            }
            sums.iter().sum()
        },
    )
}

/// Eight partial sums: one chain of additions would be as slow as its additions are long.
#[inline(always)]
fn mean_square(gradient: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    for gradient in gradient.chunks(8) {
        sums.iter_mut().zip(gradient).for_each(|(sum, &g)| *sum += g * g);
    }
    sums.iter().sum::<f32>() / gradient.len() as f32
}

#[inline(always)]
fn adam(
    weights: &mut [f32],
    means: &mut [f32],
    second: &mut f32,
    steps: &mut u32,
    gradient: &[f32],
    scale: f32,
    rate: f32,
) {
    let square = scale * scale * mean_square(gradient);
    if square == 0.0 {
        return;
    }
    *steps += 1;
    let steps = (*steps).min(100_000) as i32;
    *second += (1.0 - BETA_2) * (square - *second);
    let deviation = (*second / (1.0 - BETA_2.powi(steps))).sqrt() + EPSILON;
    let rate = rate / (1.0 - BETA_1.powi(steps)) / deviation;
    for ((weight, mean), &g) in weights.iter_mut().zip(means).zip(gradient) {
        *mean += (1.0 - BETA_1) * (g * scale - *mean);
        *weight -= rate * *mean;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_rises_then_falls() {
        let rates: Vec<f32> = (0..=1000).map(|step| schedule(step, 10, 1000)).collect();
        assert!(rates[..10].is_sorted() && rates[10..].is_sorted_by(|a, b| a >= b));
        assert!(
            (rates[10] - 1.0).abs() < 1e-6
                && (rates[505] - 0.505).abs() < 0.01
                && (rates[1000] - 0.01).abs() < 1e-6
        );
        assert!(schedule(0, 100, 20) > 0.3, "a short run warms up over a tenth of its steps");
    }

    #[test]
    fn the_first_step_of_adam_is_the_rate_against_the_sign() {
        let mut weights = [1.0, 1.0, 1.0];
        AdamW::new(3).step(&mut weights, &[1.0, -4.0, 0.0], 0.5, 0.1, 0.5, std::iter::once(2..3));
        for (got, want) in weights.iter().zip([0.9, 1.1, 0.95]) {
            assert!((got - want).abs() < 1e-5, "{weights:?}");
        }
    }

    #[test]
    fn adam_finds_the_least_of_a_bowl() {
        let mut weights = [3.0f32, -2.0];
        let mut adam = AdamW::new(2);
        for _ in 0..2000 {
            let gradient = [2.0 * (weights[0] - 1.0), 20.0 * (weights[1] - 0.5)];
            adam.step(&mut weights, &gradient, 1.0, 0.01, 0.0, std::iter::empty());
        }
        assert!((weights[0] - 1.0).abs() < 1e-2 && (weights[1] - 0.5).abs() < 1e-2, "{weights:?}");
    }

    #[test]
    fn a_row_step_moves_by_the_rate_and_leaves_other_rows_alone() {
        let mut table = [0.0; 6];
        let mut adam = RowOptimiser::new(TableOptimiser::Adam, 3, 2);
        // Root mean square of (3, 4) is 3.5355: the first step is rate · g / 3.5355.
        adam.step(&mut table, &[2], &[6.0, 8.0], 0.5, 0.1);
        let want = [0.0, 0.0, 0.0, 0.0, -0.084_853, -0.113_137];
        for (got, want) in table.iter().zip(want) {
            assert!((got - want).abs() < 1e-5, "{table:?}");
        }
        let before = table;
        adam.step(&mut table, &[0], &[0.0, 0.0], 1.0, 0.1);
        assert_eq!(table, before, "no gradient, no step");
        // Adagrad's first step is of the same length; its second, of the same gradient, is shorter by √2.
        let mut table = [0.0; 6];
        let mut adagrad = RowOptimiser::new(TableOptimiser::Adagrad, 3, 2);
        adagrad.step(&mut table, &[2], &[6.0, 8.0], 0.5, 0.1);
        adagrad.step(&mut table, &[2, 0], &[3.0, 4.0, 0.0, 0.0], 1.0, 0.1);
        for (got, want) in table.iter().zip(want) {
            assert!((got - want * (1.0 + 0.5f32.sqrt())).abs() < 1e-5, "{table:?}");
        }
    }

    #[test]
    fn rows_in_any_order_are_moved_as_one_by_one() {
        let rows: Vec<u32> = (0..500u32).map(|i| i * 7919 % 1000).collect();
        let gradients: Vec<f32> = (0..500 * 3).map(|i| (i % 13) as f32 - 6.5).collect();
        for kind in [TableOptimiser::Adam, TableOptimiser::Adagrad] {
            let (mut together, mut one_by_one) = (vec![1.0; 1000 * 3], vec![1.0; 1000 * 3]);
            let mut optimiser = RowOptimiser::new(kind, 1000, 3);
            optimiser.step(&mut together, &rows, &gradients, 1.0, 0.1);
            let mut optimiser = RowOptimiser::new(kind, 1000, 3);
            for (row, gradient) in rows.iter().zip(gradients.chunks(3)) {
                optimiser.step(&mut one_by_one, &[*row], gradient, 1.0, 0.1);
            }
            assert_eq!(together, one_by_one);
        }
    }
}
