//! Optimisers: AdamW for what is dense, row-wise Adam for tables of which a step touches few rows.

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
    means: Vec<f32>,
    squares: Vec<f32>,
    steps: i32,
}

impl AdamW {
    pub(crate) fn new(size: usize) -> Self {
        Self { means: vec![0.0; size], squares: vec![0.0; size], steps: 0 }
    }

    /// One step. `decays`: which stretches of the weights decay.
    pub(crate) fn step(
        &mut self,
        weights: &mut [f32],
        gradient: &[f32],
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
            *mean += (1.0 - BETA_1) * (g - *mean);
            *square += (1.0 - BETA_2) * (g * g - *square);
            *weight -= rate * (*mean * mean_scale) / ((*square * square_scale).sqrt() + EPSILON);
        }
    }
}

/// Adam with one second moment for a whole row, and rows that are not touched left as they are: of a table
/// of n rows, a step costs what it touches. Moments are corrected by the number of times the row was.
pub(crate) struct RowAdam {
    width: usize,
    means: Vec<f32>,
    squares: Vec<f32>,
    steps: Vec<u32>,
}

impl RowAdam {
    pub(crate) fn new(rows: usize, width: usize) -> Self {
        Self { width, means: vec![0.0; rows * width], squares: vec![0.0; rows], steps: vec![0; rows] }
    }

    /// One step of the rows `rows` of `table`, each named once; `gradients`: theirs, one after the other.
    pub(crate) fn step(&mut self, table: &mut [f32], rows: &[u32], gradients: &[f32], rate: f32) {
        let d = self.width;
        for (&row, gradient) in rows.iter().zip(gradients.chunks_exact(d)) {
            let row = row as usize;
            let square = gradient.iter().map(|g| g * g).sum::<f32>() / d as f32;
            if square == 0.0 {
                continue;
            }
            self.steps[row] += 1;
            let steps = self.steps[row].min(100_000) as i32;
            let squares = &mut self.squares[row];
            *squares += (1.0 - BETA_2) * (square - *squares);
            let deviation = (*squares / (1.0 - BETA_2.powi(steps))).sqrt() + EPSILON;
            let rate = rate / (1.0 - BETA_1.powi(steps)) / deviation;
            let means = &mut self.means[row * d..][..d];
            for ((weight, mean), &g) in table[row * d..][..d].iter_mut().zip(means).zip(gradient) {
                *mean += (1.0 - BETA_1) * (g - *mean);
                *weight -= rate * *mean;
            }
        }
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
        AdamW::new(3).step(&mut weights, &[0.5, -2.0, 0.0], 0.1, 0.5, std::iter::once(2..3));
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
            adam.step(&mut weights, &gradient, 0.01, 0.0, std::iter::empty());
        }
        assert!((weights[0] - 1.0).abs() < 1e-2 && (weights[1] - 0.5).abs() < 1e-2, "{weights:?}");
    }

    #[test]
    fn a_row_step_moves_by_the_rate_and_leaves_other_rows_alone() {
        let mut table = [0.0; 6];
        let mut adam = RowAdam::new(3, 2);
        // Root mean square of (3, 4) is 3.5355: the first step is rate · g / 3.5355.
        adam.step(&mut table, &[2], &[3.0, 4.0], 0.1);
        let want = [0.0, 0.0, 0.0, 0.0, -0.084_853, -0.113_137];
        for (got, want) in table.iter().zip(want) {
            assert!((got - want).abs() < 1e-5, "{table:?}");
        }
        let before = table;
        adam.step(&mut table, &[0], &[0.0, 0.0], 0.1);
        assert_eq!(table, before, "no gradient, no step");
    }
}
