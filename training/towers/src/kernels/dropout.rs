//! Dropout by a counter: whether an element is kept is a hash of its place, so any thread can tell,
//! the backward pass needs no memory of it, and a seed makes a run again exactly.

use super::simd;

/// Zeroes a share of the elements and scales the others so that the mean stays (Srivastava et al. 2014).
///
/// `y_i = x_i · [hash(key, i) ≥ rate] / (1 − rate)`, in any shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Hashes below this are dropped.
    threshold: u32,
    scale: f32,
    key: u64,
}

impl Dropout {
    /// Keeps everything.
    pub const NONE: Self = Self { threshold: 0, scale: 1.0, key: 0 };

    /// Drops a share `rate` (0 ≤ rate < 1) of the elements, chosen by `key`.
    pub fn new(rate: f32, key: u64) -> Self {
        let rate = rate.clamp(0.0, 0.99);
        Self { threshold: (f64::from(rate) * f64::from(u32::MAX)) as u32, scale: 1.0 / (1.0 - rate), key }
    }

    /// The same share, chosen anew for the layer with this number.
    pub fn layer(self, layer: u64) -> Self {
        Self { key: mix(self.key ^ layer.wrapping_mul(0x9e37_79b9_7f4a_7c15)), ..self }
    }

    /// Whether this drops nothing.
    pub(crate) fn is_none(self) -> bool {
        self.threshold == 0
    }

    /// `values = drop(values)`; the first of them has the place `first`.
    pub(crate) fn apply(self, first: usize, values: &mut [f32]) {
        if self.is_none() {
            return;
        }
        simd(
            #[inline(always)]
            || {
                for (place, value) in (first as u32..).zip(values) {
                    *value *= self.factor(place);
                }
            },
        );
    }

    /// `values = x + drop(values)`; the first of them has the place `first`.
    pub(crate) fn add_to(self, x: &[f32], first: usize, values: &mut [f32]) {
        self.apply(first, values);
        for (value, &x) in values.iter_mut().zip(x) {
            *value += x;
        }
    }

    /// What the element at `place` is multiplied with: 0, or the scale.
    #[inline(always)]
    pub(crate) fn factor(self, place: u32) -> f32 {
        // "lowbias32" by C. Wellons, with the key in two places.
        let mut x = place.wrapping_mul(0x9e37_79b9) ^ self.key as u32;
        x ^= x >> 16;
        x = x.wrapping_mul(0x7feb_352d) ^ (self.key >> 32) as u32;
        x ^= x >> 15;
        x = x.wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        if x >= self.threshold { self.scale } else { 0.0 }
    }
}

/// SplitMix64's finaliser (Steele et al. 2014): every bit of the input changes half of the output's.
///
/// ```
/// // The first number of SplitMix64 seeded with 0.
/// assert_eq!(endcap_towers::mix(0), 0xe220_a839_7b1d_cdaf);
/// ```
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_its_share_and_keeps_the_mean() {
        for rate in [0.1f32, 0.5] {
            let dropout = Dropout::new(rate, 7);
            let n = 200_000;
            let factors: Vec<f32> = (0..n).map(|place| dropout.factor(place)).collect();
            let dropped = factors.iter().filter(|&&f| f == 0.0).count() as f32 / n as f32;
            assert!((dropped - rate).abs() < 0.005, "{dropped}");
            let pairs = factors.windows(2).filter(|pair| pair[0] == 0.0 && pair[1] == 0.0).count() as f32;
            assert!((pairs / n as f32 - rate * rate).abs() < 0.005, "neighbours are independent");
            assert!((factors.iter().sum::<f32>() / n as f32 - 1.0).abs() < 0.01);
        }
        assert!((0..1000).all(|place| Dropout::NONE.factor(place) == 1.0));
    }

    #[test]
    fn layers_and_keys_choose_differently() {
        let kept = |d: Dropout| (0..64).map(|place| d.factor(place) > 0.0).collect::<Vec<_>>();
        let dropout = Dropout::new(0.5, 1);
        assert_ne!(kept(dropout), kept(dropout.layer(1)));
        assert_ne!(kept(dropout.layer(1)), kept(dropout.layer(2)));
        assert_ne!(kept(dropout), kept(Dropout::new(0.5, 2)));
    }
}
