//! What the ranker learns from: candidates of the funnel at moments of the validation period, and what came of them.
//!
//! The funnel proposes as it does when it serves, from models that have not seen the period. A candidate's
//! *click* label says that it is (one of) what the shopper went to next; *cart* and *purchase*, that the shopper put
//! it into the cart or bought it within [`OUTCOME_WITHIN_MS`]. Of the candidates without any label a share is kept,
//! and weighs as much more, so that probabilities are those of all candidates.

use std::{collections::HashMap, convert::Infallible};

use endcap_evaluation::{Moment, Moments};
use endcap_features::RANK_FEATURES_LEN;
use endcap_proto::{EventTime, EventType, ItemKey, VisitorKey};
use endcap_recommend::{Asked, DEFAULT_PAGE_SIZE, Funnel, Model, ValueConfig};
use endcap_towers::Head;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::RankerRows;

/// How long after a moment an addition to the cart or a purchase counts as its outcome.
pub(crate) const OUTCOME_WITHIN_MS: i64 = 24 * 3_600_000;

const HEADS: usize = Head::ALL.len();

/// Which moments and candidates are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampling {
    /// Most moments.
    pub(crate) moments: usize,
    /// Share of the candidates without a label.
    pub(crate) negatives: f64,
    /// Seed of both draws.
    pub(crate) seed: u64,
}

/// Candidates of one moment, until their outcomes are known.
struct Open {
    as_of: EventTime,
    items: Vec<ItemKey>,
    first_row: usize,
}

/// Assembles rows from moments.
pub(crate) fn assemble(model: &Model, funnel: &Funnel, from: &Moments<'_>, sampling: Sampling) -> RankerRows {
    let mut rng = StdRng::seed_from_u64(sampling.seed);
    let all = candidates(model, funnel, from, sampling.moments, &mut rng);
    let mut rows = RankerRows { features: RANK_FEATURES_LEN, ..RankerRows::default() };
    for (row, &group) in all.groups.iter().enumerate() {
        let labels = &all.labels[row * HEADS..(row + 1) * HEADS];
        let positive = labels.contains(&1.0);
        if positive || rng.random::<f64>() < sampling.negatives {
            rows.values
                .extend_from_slice(&all.values[row * RANK_FEATURES_LEN..(row + 1) * RANK_FEATURES_LEN]);
            rows.labels.extend_from_slice(labels);
            rows.weights.push(if positive { 1.0 } else { (1.0 / sampling.negatives) as f32 });
            rows.groups.push(group);
        }
    }
    rows
}

fn candidates(
    model: &Model,
    funnel: &Funnel,
    from: &Moments<'_>,
    most: usize,
    rng: &mut StdRng,
) -> RankerRows {
    let is_interest = |moment: &Moment<'_>| moment.interests().next().is_some();
    let mut moments = 0usize;
    let Ok(()) = from.run(|moment| {
        moments += usize::from(is_interest(moment));
        Ok::<_, Infallible>(())
    });
    let share = most as f64 / moments.max(1) as f64;
    let asked = Asked::page(DEFAULT_PAGE_SIZE, ValueConfig::default());
    let mut rows = RankerRows { features: RANK_FEATURES_LEN, ..RankerRows::default() };
    let mut open: HashMap<VisitorKey, Vec<Open>> = HashMap::new();
    let Ok(()) = from.run(|moment| {
        if is_interest(moment) && rng.random::<f64>() < share {
            let view = model.view(moment.state, moment.as_of);
            let candidates = funnel.candidates(&view, &asked, &[], &|item| moment.counters(item));
            let items = candidates.rows.iter().map(|candidate| candidate.entry.attributes.key).collect();
            let first_row = rows.groups.len();
            let group = rows.groups.last().map_or(0, |group| group + 1);
            for candidate in &candidates.rows {
                let row = candidate.row * RANK_FEATURES_LEN;
                rows.values.extend_from_slice(&candidates.features[row..row + RANK_FEATURES_LEN]);
                rows.labels.extend([0.0; HEADS]);
                rows.groups.push(group);
            }
            let opened = Open { as_of: moment.as_of, items, first_row };
            for (item, _) in moment.interests() {
                opened.label(&mut rows, item, Head::Click);
            }
            open.entry(moment.visitor).or_default().push(opened);
        }
        if let Some(waiting) = open.get_mut(&moment.visitor) {
            waiting.retain(|open| moment.as_of.millis_since(open.as_of) <= OUTCOME_WITHIN_MS);
            for (item, event_type) in moment.interests() {
                let head = match event_type {
                    EventType::AddToCart => Head::Cart,
                    EventType::Purchase => Head::Purchase,
                    _ => continue,
                };
                waiting.iter().for_each(|open| open.label(&mut rows, item, head));
            }
        }
        Ok::<_, Infallible>(())
    });
    rows
}

// === impl Open ===

impl Open {
    fn label(&self, rows: &mut RankerRows, item: ItemKey, head: Head) {
        if let Some(place) = self.items.iter().position(|&candidate| candidate == item) {
            rows.labels[(self.first_row + place) * HEADS + head as usize] = 1.0;
        }
    }
}
