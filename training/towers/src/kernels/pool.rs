//! Means over a history: the order-free way to encode it.

use super::simd;

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
        let all: Vec<u32> = (0..(x.len() / d) as u32).collect();
        let mut y = vec![0.0; x.len()];
        self.forward(x, d, &all, &mut y);
        y
    }

    /// The means of some rows of one sequence: `y[i] = mean(x[s])` over the rows s that row `asked[i]` sees; `x`: n × d,
    /// `y`: asked × d. `asked` rises.
    pub(crate) fn forward(self, x: &[f32], d: usize, asked: &[u32], y: &mut [f32]) {
        let n = x.len() / d;
        let mut sum = vec![0f32; d];
        simd(
            #[inline(always)]
            || match self {
                Self::Prefix => {
                    let mut asked = asked.iter().zip(y.chunks_exact_mut(d)).peekable();
                    for (t, x) in x.chunks_exact(d).enumerate() {
                        add(&mut sum, x);
                        while let Some((_, y)) = asked.next_if(|(asked, _)| **asked as usize == t) {
                            scaled(y, &sum, 1.0 / (t + 1) as f32);
                        }
                    }
                }
                Self::Others => {
                    x.chunks_exact(d).for_each(|x| add(&mut sum, x));
                    for (&t, y) in asked.iter().zip(y.chunks_exact_mut(d)) {
                        let x = &x[t as usize * d..][..d];
                        if n == 1 {
                            y.copy_from_slice(x);
                            continue;
                        }
                        for ((y, &sum), &x) in y.iter_mut().zip(&sum).zip(x) {
                            *y = (sum - x) / (n - 1) as f32;
                        }
                    }
                }
            },
        );
    }

    /// The gradient of [`Self::forward`]; `dx` (n × d) is written.
    pub(crate) fn backward(self, grad: &[f32], d: usize, asked: &[u32], dx: &mut [f32]) {
        let n = dx.len() / d;
        let mut sum = vec![0f32; d];
        simd(
            #[inline(always)]
            || match self {
                Self::Prefix => {
                    let mut asked = asked.iter().zip(grad.chunks_exact(d)).rev().peekable();
                    for (t, dx) in dx.chunks_exact_mut(d).enumerate().rev() {
                        while let Some((_, grad)) = asked.next_if(|(asked, _)| **asked as usize == t) {
                            let scale = 1.0 / (t + 1) as f32;
                            sum.iter_mut()
                                .zip(grad)
                                .for_each(|(sum, &grad)| *sum = grad.mul_add(scale, *sum));
                        }
                        dx.copy_from_slice(&sum);
                    }
                }
                Self::Others if n == 1 => {
                    dx.fill(0.0);
                    grad.chunks_exact(d).for_each(|grad| add(dx, grad));
                }
                Self::Others => {
                    let scale = 1.0 / (n - 1) as f32;
                    grad.chunks_exact(d).for_each(|grad| add(&mut sum, grad));
                    sum.iter_mut().for_each(|sum| *sum *= scale);
                    dx.chunks_exact_mut(d).for_each(|dx| dx.copy_from_slice(&sum));
                    for (&t, grad) in asked.iter().zip(grad.chunks_exact(d)) {
                        let dx = &mut dx[t as usize * d..][..d];
                        dx.iter_mut().zip(grad).for_each(|(dx, &grad)| *dx = grad.mul_add(-scale, *dx));
                    }
                }
            },
        );
    }
}

#[inline(always)]
fn add(sum: &mut [f32], x: &[f32]) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum += x;
    }
}

#[inline(always)]
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
        assert_eq!(Pool::Prefix.means(&x, 1), [1.0, 2.0, 4.0]);
        assert_eq!(Pool::Others.means(&x, 1), [5.5, 4.5, 2.0]);
        assert_eq!(Pool::Others.means(&[7.0], 1), [7.0]);
        let mut y = [0.0; 2];
        Pool::Prefix.forward(&x, 1, &[0, 2], &mut y);
        assert_eq!(y, [1.0, 4.0]);
    }
}
