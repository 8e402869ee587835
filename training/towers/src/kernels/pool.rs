//! Means over a history: the order-free way to encode it.

use super::{math::add_scaled, simd};

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
        self.forward(all.len(), &all, &mut vec![0.0; d], &mut y, |row, sign, sum| {
            add_scaled(sum, &x[row * d..][..d], sign);
        });
        y
    }

    /// The means of some rows of one sequence of `n` rows x: `y[i] = mean(x[s])` over the rows s that row `asked[i]`
    /// sees; `y`: asked × d. `asked` rises. `add(row, sign, sum)` adds `sign · x[row]`; `sum` is overwritten.
    pub(crate) fn forward(
        self,
        n: usize,
        asked: &[u32],
        sum: &mut [f32],
        y: &mut [f32],
        add: impl Fn(usize, f32, &mut [f32]),
    ) {
        let d = sum.len();
        simd(
            #[inline(always)]
            || {
                sum.fill(0.0);
                let mut seen = 0;
                let all = match self {
                    Self::Prefix => 0,
                    Self::Others => n,
                };
                for row in 0..all {
                    add(row, 1.0, sum);
                }
                for (&asked, y) in asked.iter().zip(y.chunks_exact_mut(d)) {
                    let asked = asked as usize;
                    match self {
                        Self::Prefix => {
                            while seen <= asked {
                                add(seen, 1.0, sum);
                                seen += 1;
                            }
                            scaled(y, sum, 1.0 / (asked + 1) as f32);
                        }
                        Self::Others if n == 1 => y.copy_from_slice(sum),
                        Self::Others => {
                            y.copy_from_slice(sum);
                            add(asked, -1.0, y);
                            let scale = 1.0 / (n - 1) as f32;
                            for y in y {
                                *y *= scale;
                            }
                        }
                    }
                }
            },
        );
    }

    /// The gradient of [`Self::forward`], as [`Self::parts`] puts it together. `grad` (asked × d) comes in as that of
    /// the means; `all`: d numbers.
    pub(crate) fn backward(self, n: usize, asked: &[u32], grad: &mut [f32], all: &mut [f32]) {
        let d = all.len();
        simd(
            #[inline(always)]
            || {
                all.fill(0.0);
                for (&asked, grad) in asked.iter().zip(grad.chunks_exact_mut(d)).rev() {
                    let seen = match self {
                        Self::Prefix => asked as usize + 1,
                        Self::Others => n.max(2) - 1,
                    };
                    let scale = 1.0 / seen as f32;
                    for (grad, all) in grad.iter_mut().zip(&mut *all) {
                        *grad *= scale;
                        *all += *grad;
                        if self == Self::Prefix {
                            *grad = *all;
                        }
                    }
                }
            },
        );
    }

    /// What the gradients of the rows of a sequence consist of: calls `part(row, of, sign)` for each part, `of` being the
    /// place of one that was asked for, or their number for the sum of all.
    #[inline(always)]
    pub(crate) fn parts(self, n: usize, asked: &[u32], mut part: impl FnMut(usize, usize, f32)) {
        match self {
            Self::Prefix => {
                let mut row = 0;
                for (of, &asked) in asked.iter().enumerate() {
                    while row <= asked as usize {
                        part(row, of, 1.0);
                        row += 1;
                    }
                }
            }
            Self::Others => {
                for row in 0..n {
                    part(row, asked.len(), 1.0);
                }
                for (of, &asked) in asked.iter().enumerate().filter(|_| n > 1) {
                    part(asked as usize, of, -1.0);
                }
            }
        }
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
        let row = |row: usize, sign: f32, sum: &mut [f32]| sum[0] += sign * x[row];
        Pool::Prefix.forward(3, &[0, 2], &mut [9.0], &mut y, row);
        assert_eq!(y, [1.0, 4.0]);
    }

    #[test]
    fn the_parts_of_a_gradient_are_the_means_the_other_way() {
        // asked, and per row what it weighs in each of their means.
        let third = 1.0 / 3.0;
        for (pool, n, asked, want) in [
            (
                Pool::Prefix,
                4,
                &[0, 2, 2][..],
                &[[1.0, third, third], [0.0, third, third], [0.0, third, third], [0.0; 3]][..],
            ),
            (Pool::Others, 4, &[1, 2, 2], &[[third; 3], [0.0, third, third], [third, 0.0, 0.0], [third; 3]]),
            (Pool::Others, 1, &[0, 0, 0], &[[1.0; 3]]),
        ] {
            for one in 0..3 {
                let (mut grad, mut all) = ([0.0; 3], [9.0]);
                grad[one] = 1.0;
                pool.backward(n, asked, &mut grad, &mut all);
                let mut rows = vec![0.0; n];
                pool.parts(n, asked, |row, of, sign| rows[row] += sign * grad.get(of).unwrap_or(&all[0]));
                for (row, want) in rows.iter().zip(want) {
                    assert!((row - want[one]).abs() < 1e-6, "{pool:?} {one}: {rows:?}");
                }
            }
        }
    }
}
