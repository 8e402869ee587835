//! Means over a history: the order-free way to encode it.

/// Over which rows of its sequence a row's mean is taken.
///
/// ```
/// use endcap_towers::Pool;
/// // Three rows of one number.
/// assert_eq!(Pool::Prefix.means(&[1.0, 3.0, 8.0], 1), [1.0, 2.0, 4.0]);
/// assert_eq!(Pool::Others.means(&[1.0, 3.0, 8.0], 1), [5.5, 4.5, 2.0]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Itself and those before it: row t predicts what comes after it.
    Prefix,
    /// All but itself: row t predicts itself from the others, where order means nothing. A sequence of
    /// one row is its own mean.
    Others,
}

impl Pool {
    /// The mean of each row of one sequence; `x` and the answer: n × d.
    pub fn means(self, x: &[f32], d: usize) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        self.forward(x, d, &mut y);
        y
    }

    /// `y[t] = mean(x[s])` over the rows s of one sequence that row t sees; `x` and `y`: n × d.
    pub(crate) fn forward(self, x: &[f32], d: usize, y: &mut [f32]) {
        let n = x.len() / d;
        let mut sum = vec![0f32; d];
        match self {
            Self::Prefix => {
                for (t, (x, y)) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).enumerate() {
                    add(&mut sum, x);
                    scaled(y, &sum, 1.0 / (t + 1) as f32);
                }
            }
            Self::Others if n == 1 => y.copy_from_slice(x),
            Self::Others => {
                x.chunks_exact(d).for_each(|x| add(&mut sum, x));
                for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
                    for ((y, &sum), &x) in y.iter_mut().zip(&sum).zip(x) {
                        *y = (sum - x) / (n - 1) as f32;
                    }
                }
            }
        }
    }

    /// The gradient of [`Self::forward`].
    pub(crate) fn backward(self, grad: &[f32], d: usize, dx: &mut [f32]) {
        match self {
            Self::Prefix => {
                let mut sum = vec![0f32; d];
                for (t, (grad, dx)) in grad.chunks_exact(d).zip(dx.chunks_exact_mut(d)).enumerate().rev() {
                    for (sum, &grad) in sum.iter_mut().zip(grad) {
                        *sum += grad / (t + 1) as f32;
                    }
                    dx.copy_from_slice(&sum);
                }
            }
            // The matrix is symmetric.
            Self::Others => self.forward(grad, d, dx),
        }
    }
}

fn add(sum: &mut [f32], x: &[f32]) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum += x;
    }
}

fn scaled(y: &mut [f32], x: &[f32], scale: f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_the_rows_that_are_seen() {
        let x = [1.0, 3.0, 8.0];
        let mut y = [0.0; 3];
        Pool::Prefix.forward(&x, 1, &mut y);
        assert_eq!(y, [1.0, 2.0, 4.0]);
        Pool::Others.forward(&x, 1, &mut y);
        assert_eq!(y, [5.5, 4.5, 2.0]);
        let mut y = [0.0];
        Pool::Others.forward(&[7.0], 1, &mut y);
        assert_eq!(y, [7.0]);
    }
}
