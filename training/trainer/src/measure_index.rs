//! What the ways of retrieval cost and find, measured with shoppers of the validation period.
//!
//! An index measures itself on blends of its items when it is built. The vectors that it will meet are those of the user
//! tower, which lie elsewhere: so the plan of a published index comes from them.

use std::convert::Infallible;

use endcap_evaluation::Moments;
use endcap_recommend::Model;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::publish::PublishError;

/// Shoppers' moments whose vectors are asked for; the index takes as many as it needs.
const MOMENTS: usize = 256;

/// Calibrates the model's index with the user tower's vectors at random ones of the moments. An index that only scans has
/// nothing to measure.
pub(crate) fn measure_index(model: &Model, from: &Moments<'_>, seed: u64) -> Result<(), PublishError> {
    let plan = model.index().plan();
    if plan.partitions == 0 && !plan.graph {
        return Ok(());
    }
    let mut moments = 0usize;
    let Ok(()) = from.run(|_| {
        moments += 1;
        Ok::<_, Infallible>(())
    });
    let mut rng = StdRng::seed_from_u64(seed);
    let share = 2.0 * MOMENTS as f64 / moments.max(1) as f64;
    let mut vectors = Vec::new();
    let Ok(()) = from.run(|moment| {
        if rng.random::<f64>() < share && vectors.len() < MOMENTS * model.towers().dim() {
            let view = model.view(moment.state, moment.as_of);
            // A newcomer's vector is everybody's: one like it says nothing of the others.
            if let (false, Ok(vector)) = (view.history().is_empty(), view.vector()) {
                vectors.extend_from_slice(vector);
            }
        }
        Ok::<_, Infallible>(())
    });
    model.index().calibrate(&vectors)?;
    Ok(())
}
