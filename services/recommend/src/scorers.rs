//! What a candidate is worth.

use endcap_towers::Head;

use crate::{
    StageError, View,
    filters::Asked,
    stage::{Candidates, Scorer},
};

/// Expected worth: the sum over outcomes of the ranker's probability × what the placement says it is worth.
pub(crate) struct RankerScorer;

/// Reciprocal rank fusion of the sources' lists: what is left when the ranker fails.
pub(crate) struct Fusion;

impl Scorer for RankerScorer {
    fn score(
        &self,
        view: &View<'_>,
        asked: &Asked<'_>,
        candidates: &mut Candidates<'_>,
    ) -> Result<(), StageError> {
        let failed = |reason: String| StageError { stage: "ranker", reason };
        let ranker = view.model().ranker().ok_or_else(|| failed("the model has none".to_owned()))?;
        let probabilities =
            ranker.predict(&candidates.features).map_err(|error| failed(error.to_string()))?;
        let worth = asked.value;
        for candidate in &mut candidates.rows {
            let heads = probabilities.chunks_exact(Head::ALL.len()).nth(candidate.row);
            let Some(&[click, cart, purchase]) = heads else {
                return Err(failed("fewer rows came back than went in".to_owned()));
            };
            candidate.probabilities = [click, cart, purchase];
            candidate.score = f64::from(click) * worth.click
                + f64::from(cart) * worth.cart
                + f64::from(purchase) * worth.purchase;
        }
        match candidates.rows.iter().any(|candidate| candidate.score.is_finite())
            || candidates.rows.is_empty()
        {
            true => Ok(()),
            false => Err(failed("no score is finite".to_owned())),
        }
    }
}

impl Scorer for Fusion {
    fn score(&self, _: &View<'_>, _: &Asked<'_>, candidates: &mut Candidates<'_>) -> Result<(), StageError> {
        for candidate in &mut candidates.rows {
            candidate.score = candidate.fusion;
        }
        Ok(())
    }
}
