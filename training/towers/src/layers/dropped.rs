//! Dropout as a layer.

use candle_core::Result;
use rayon::prelude::*;

use super::{Layer, Step, Trace, shard_rows};
use crate::Dropout;

/// `y = drop(x)`.
pub(crate) struct Dropped(pub(crate) Dropout);

impl Dropped {
    fn apply(&self, values: &mut [f32]) {
        let length = shard_rows(values.len());
        let shards = values.par_chunks_mut(length).enumerate();
        shards.for_each(|(shard, values)| self.0.apply(shard * length, values));
    }
}

impl Layer for Dropped {
    fn forward(&self, _: &[f32], x: &[f32]) -> Result<(Vec<f32>, Trace)> {
        let mut y = x.to_vec();
        self.apply(&mut y);
        Ok((y, Trace::default()))
    }

    fn backward(&self, _: Step<'_>, mut dy: Vec<f32>, _: &mut [f32]) -> Vec<f32> {
        self.apply(&mut dy);
        dy
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::layers::check::{layer_agrees, var};

    #[test]
    fn dropout_is_a_product_with_its_factors() {
        let dropout = Dropout::new(0.3, 5);
        let factors: Vec<f32> = (0..300 * 7).map(|place| dropout.factor(place)).collect();
        let factors = Tensor::from_vec(factors, (300, 7), &Device::Cpu).unwrap();
        layer_agrees(&var(1, (300, 7)), &var(2, 0), 0.0, || Dropped(dropout), |x, _| x * &factors);
    }
}
