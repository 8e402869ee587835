//! What the ranker learns from: candidates of the funnel at moments of the validation period, and what came of them.
//!
//! The funnel proposes as it does when it serves, from models that have not seen the period. A candidate's
//! *click* label says that it is (one of) what the shopper went to next; *cart* and *purchase*, that the shopper put
//! it into the cart or bought it within [`OUTCOME_WITHIN_MS`]. All candidates are kept, so that probabilities
//! can be calibrated.

use std::collections::HashMap;

use endcap_evaluation::{Moment, Replay};
use endcap_features::RANK_FEATURES_LEN;
use endcap_proto::{EventTime, EventType, ItemKey, VisitorKey};
use endcap_recommend::{Asked, Funnel, Model, ValueConfig};
use endcap_towers::Head;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::RankerRows;

/// How long after a moment an addition to the cart or a purchase counts as its outcome.
pub const OUTCOME_WITHIN_MS: i64 = 24 * 3_600_000;

/// Candidates of one moment, until their outcomes are known.
struct Open {
    as_of: EventTime,
    items: Vec<ItemKey>,
    first_row: usize,
}

/// Assembles rows from at most `max_moments` moments at or after `from`, drawn with `seed`.
pub fn assemble(
    model: &Model,
    funnel: &Funnel,
    replay: &Replay,
    from: EventTime,
    max_moments: usize,
    seed: u64,
) -> RankerRows {
    let mut moments = 0usize;
    let interested = |moment: &Moment<'_>| moment.interests().next().is_some();
    let counted: Result<(), std::convert::Infallible> = replay.run(from, |moment| {
        moments += usize::from(interested(moment));
        Ok(())
    });
    let Ok(()) = counted;
    let share = if moments == 0 { 0.0 } else { (max_moments as f64 / moments as f64).min(1.0) };
    let mut rng = StdRng::seed_from_u64(seed);
    let asked = Asked::page(endcap_recommend::DEFAULT_PAGE_SIZE, ValueConfig::default());
    let mut rows = RankerRows::new(RANK_FEATURES_LEN);
    let mut open: HashMap<VisitorKey, Vec<Open>> = HashMap::new();
    let replayed: Result<(), std::convert::Infallible> = replay.run(from, |moment| {
        if let Some(waiting) = open.get_mut(&moment.visitor) {
            waiting.retain(|open| moment.as_of.millis_since(open.as_of) <= OUTCOME_WITHIN_MS);
            for (item, event_type) in moment.interests() {
                settle(&mut rows, waiting, item, event_type);
            }
        }
        if !interested(moment) || rng.random::<f64>() >= share {
            return Ok(());
        }
        let view = model.view(moment.state, moment.as_of);
        let candidates = funnel.candidates(&view, &asked, &[], &|item| moment.counters(item));
        let first_row = rows.len();
        let items: Vec<ItemKey> =
            candidates.rows.iter().map(|candidate| candidate.entry.attributes.key).collect();
        let group = rows.groups.last().map_or(0, |group| group + 1);
        for candidate in &candidates.rows {
            let features = &candidates.features[candidate.row * RANK_FEATURES_LEN..][..RANK_FEATURES_LEN];
            rows.push(features, [false; Head::ALL.len()], group);
        }
        for (item, event_type) in moment.interests() {
            if let Some(place) = items.iter().position(|&candidate| candidate == item) {
                rows.labels[first_row + place][Head::Click as usize] = true;
            }
            let now = [Open { as_of: moment.as_of, items: items.clone(), first_row }];
            settle(&mut rows, &now, item, event_type);
        }
        open.entry(moment.visitor).or_default().push(Open { as_of: moment.as_of, items, first_row });
        Ok(())
    });
    let Ok(()) = replayed;
    rows
}

fn settle(rows: &mut RankerRows, waiting: &[Open], item: ItemKey, event_type: EventType) {
    let heads: &[Head] = match event_type {
        EventType::AddToCart => &[Head::Cart],
        EventType::Purchase => &[Head::Purchase],
        _ => return,
    };
    for open in waiting {
        if let Some(place) = open.items.iter().position(|&candidate| candidate == item) {
            for &head in heads {
                rows.labels[open.first_row + place][head as usize] = true;
            }
        }
    }
}
