//! Sequences as the fits read them: one dense row number an interaction.

use endcap_features::KeyMap;
use endcap_proto::{EventTime, ItemKey};

use crate::{Interaction, NeighboursError, Unit};

/// The interactions of all sequences, end to end: 4 bytes each.
#[derive(Debug, Default)]
pub(crate) struct Corpus {
    items: Vec<ItemKey>,
    rows: KeyMap<ItemKey, u32>,
    /// Row of the item, and two flags.
    marks: Vec<u32>,
}

const STARTS_VISITOR: u32 = 1 << 31;
const STARTS_SESSION: u32 = 1 << 30;
const ROW: u32 = STARTS_SESSION - 1;

/// Lists of numbers, end to end: list `i` is `values[starts[i]..starts[i + 1]]`.
#[derive(Debug)]
pub(crate) struct Lists {
    starts: Vec<usize>,
    values: Vec<u32>,
}

impl Corpus {
    /// Reads the interactions before `until`, calling `each` with their rows. Where one product goes
    /// through several event types in a row (clicked, viewed, bought), the first stands for all: it
    /// is one visit to the product.
    pub(crate) fn read<S: AsRef<[Interaction]>>(
        sequences: impl IntoIterator<Item = S>,
        until: EventTime,
        mut each: impl FnMut(u32, &Interaction),
    ) -> Result<Self, NeighboursError> {
        let mut corpus = Self::default();
        for sequence in sequences {
            let mut starts = STARTS_VISITOR | STARTS_SESSION;
            let mut previous: Option<&Interaction> = None;
            for interaction in sequence.as_ref().iter().filter(|interaction| interaction.time < until) {
                if interaction.starts_session {
                    starts |= STARTS_SESSION;
                }
                let next = corpus.items.len() as u32;
                let row = *corpus.rows.entry(interaction.item).or_insert(next);
                if row == next {
                    corpus.items.push(interaction.item);
                }
                if row > ROW || corpus.marks.len() >= u32::MAX as usize {
                    return Err(NeighboursError::TooLarge);
                }
                each(row, interaction);
                let same_visit = starts == 0
                    && previous.is_some_and(|previous| {
                        previous.item == interaction.item && previous.event_type != interaction.event_type
                    });
                previous = Some(interaction);
                if !same_visit {
                    corpus.marks.push(row | starts);
                    starts = 0;
                }
            }
        }
        Ok(corpus)
    }

    /// The items, by row.
    pub(crate) fn items(&self) -> &[ItemKey] {
        &self.items
    }

    /// The row at a position, where there is one and it is of the same unit as the position before.
    pub(crate) fn follower(&self, position: usize, unit: Unit) -> Option<u32> {
        let mark = *self.marks.get(position)?;
        (mark & starts(unit) == 0).then_some(mark & ROW)
    }

    /// For each item the positions at which it stands, rising.
    pub(crate) fn positions(&self) -> Lists {
        Lists::group(self.items.len(), || {
            self.marks.iter().enumerate().map(|(position, mark)| (mark & ROW, position as u32))
        })
    }

    /// For each unit its distinct items, of the newest `most` interactions, by row.
    pub(crate) fn baskets(&self, unit: Unit, most: usize) -> Lists {
        let mut baskets = Lists { starts: vec![0], values: Vec::new() };
        let mut start = 0;
        while start < self.marks.len() {
            let rest = &self.marks[start + 1..];
            let len = 1 + rest.iter().position(|mark| mark & starts(unit) != 0).unwrap_or(rest.len());
            let newest = &self.marks[start + len.saturating_sub(most)..start + len];
            let mut rows: Vec<u32> = newest.iter().map(|mark| mark & ROW).collect();
            rows.sort_unstable();
            rows.dedup();
            baskets.values.extend(rows);
            baskets.starts.push(baskets.values.len());
            start += len;
        }
        baskets
    }
}

fn starts(unit: Unit) -> u32 {
    match unit {
        Unit::Session => STARTS_SESSION | STARTS_VISITOR,
        Unit::Visitor => STARTS_VISITOR,
    }
}

impl Lists {
    /// For each of `len` groups its values, in the order in which `pairs` (group, value) gives them,
    /// twice.
    fn group<I: Iterator<Item = (u32, u32)>>(len: usize, pairs: impl Fn() -> I) -> Self {
        let mut starts = vec![0; len + 1];
        pairs().for_each(|(group, _)| starts[group as usize + 1] += 1);
        (0..len).for_each(|group| starts[group + 1] += starts[group]);
        let mut free = starts.clone();
        let mut values = vec![0; starts[len]];
        for (group, value) in pairs() {
            values[free[group as usize]] = value;
            free[group as usize] += 1;
        }
        Self { starts, values }
    }

    /// For each of `len` values the lists that hold it, rising.
    pub(crate) fn inverted(&self, len: usize) -> Self {
        Self::group(len, || {
            (0..self.len()).flat_map(|list| self.get(list).iter().map(move |&value| (value, list as u32)))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn get(&self, list: usize) -> &[u32] {
        &self.values[self.starts[list]..self.starts[list + 1]]
    }
}
