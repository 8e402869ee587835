//! The histories that both sides learn from.

use std::{fs, path::Path};

use anyhow::Context;
use endcap_clickstream::TimeKind;
use endcap_features::VocabularyConfig;
use endcap_neighbours::SequencesBuilder;
use endcap_proto::{Event, EventId, EventItem, EventTime, EventType, Item, ItemId, VisitorId};
use endcap_trainer::TrainingData;
use rand::{Rng, SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Zipf};
use serde_json::{Value, json};

use crate::events::Events;

const SEED: u64 = 5;

/// How long histories are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lengths {
    /// All of so many events.
    All(usize),
    /// As often as visitors of Amazon Beauty (5-core) reviewed.
    Beauty,
}

/// What a data set consists of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) items: usize,
    pub(super) visitors: usize,
    pub(super) lengths: Lengths,
    /// Whether the last event of each history is a purchase, the others being views.
    pub(super) buys: bool,
    /// Categories: an item's is its number modulo these; 0 for none.
    pub(super) categories: usize,
}

/// Twentieths of the visitors of Amazon Beauty (5-core), by their number of reviews.
const BEAUTY: [usize; 20] = [5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 8, 8, 9, 11, 13, 17, 30];

/// Each visitor's items, drawn by Zipf's law.
pub(super) fn histories(shape: Shape) -> anyhow::Result<Vec<Vec<u32>>> {
    let mut rng = StdRng::seed_from_u64(SEED);
    let zipf = Zipf::new(shape.items as f64, 1.0).context("a catalogue without items")?;
    let histories = (0..shape.visitors).map(|_| {
        let length = match shape.lengths {
            Lengths::All(length) => length,
            Lengths::Beauty => BEAUTY[rng.random_range(0..BEAUTY.len())],
        };
        // Popular items lie anywhere in the table, as in a shop's.
        let mut item = || {
            let rank = zipf.sample(&mut rng) as u64 - 1;
            (endcap_towers::mix(rank) % shape.items as u64) as u32
        };
        (0..length).map(|_| item()).collect()
    });
    Ok(histories.collect())
}

/// What our trainer reads of them.
pub(super) fn ours(shape: Shape, histories: &[Vec<u32>]) -> anyhow::Result<TrainingData> {
    let mut sequences = SequencesBuilder::new();
    let mut counts = vec![0u64; shape.items];
    let ids: Vec<ItemId> = (0..shape.items as u64)
        .map(|number| Ok(ItemId::new(Events::item(number))?))
        .collect::<anyhow::Result<_>>()?;
    for (visitor, history) in histories.iter().enumerate() {
        let visitor_id = VisitorId::new(visitor.to_string())?;
        for (place, &item) in history.iter().enumerate() {
            counts[item as usize] += 1;
            let buys = shape.buys && place + 1 == history.len();
            sequences.push(&Event {
                event_id: EventId::new(format!("{visitor} {place}"))?,
                event_type: if buys { EventType::Purchase } else { EventType::View },
                time: EventTime::clamped(1 + place as i64),
                visitor_id: visitor_id.clone(),
                user_id: None,
                session_id: None,
                items: vec![EventItem {
                    item_id: ids[item as usize].clone(),
                    quantity: 1,
                    unit_price: None,
                    position: None,
                }],
                transaction: None,
                search_query: None,
                page_categories: Vec::new(),
                placement: None,
                attribution_token: None,
                experiment_ids: Vec::new(),
                attributes: Default::default(),
                consent: true,
            });
        }
    }
    let catalogue: Vec<Item> = ids
        .iter()
        .enumerate()
        .map(|(number, id)| {
            let category = number.checked_rem(shape.categories).map(|category| format!("category{category}"));
            Item { categories: category.into_iter().collect(), ..Item::bare(id.clone()) }
        })
        .collect();
    // An item without an event has its row too.
    let counts: Vec<(Box<str>, u64)> =
        ids.iter().zip(counts).map(|(id, count)| (id.as_str().into(), count.max(1))).collect();
    let (sequences, vocabulary) = (sequences.finish(), VocabularyConfig::default());
    Ok(TrainingData::new(catalogue, &counts, sequences, true, TimeKind::Real, &vocabulary)?)
}

/// What the peer reads of them: files in `dir`, and their names.
pub(super) fn theirs(histories: &[Vec<u32>], dir: &Path) -> anyhow::Result<Value> {
    let write = |name: &str, numbers: &mut dyn Iterator<Item = u32>| -> anyhow::Result<String> {
        let path = dir.join(name);
        fs::write(&path, numbers.flat_map(u32::to_le_bytes).collect::<Vec<u8>>())?;
        Ok(path.display().to_string())
    };
    let mut end = 0;
    let mut ends = histories.iter().map(|history| {
        end += history.len() as u32;
        end
    });
    Ok(json!({
        "histories": write("histories.u32", &mut histories.iter().flatten().copied())?,
        "ends": write("ends.u32", &mut ends)?,
    }))
}
