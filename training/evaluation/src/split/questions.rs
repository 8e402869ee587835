//! What a part asks, question by question.

use std::ops::Range;

use endcap_neighbours::Interaction;
use endcap_proto::{EventTime, VisitorKey};
use endcap_towers::mix;

use super::Split;

/// What a protocol asks: this shopper has this history; which items come next?
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The shopper (or session), numbered from 0: [`get`](endcap_neighbours::Sequences::get) of the split's sequences.
    pub user: u32,
    /// The shopper's key.
    pub visitor: VisitorKey,
    /// When. Nothing at or after this instant is history.
    pub as_of: EventTime,
    /// What they showed interest in before, oldest first; also what counts as seen.
    pub history: &'a [Interaction],
    /// What they showed interest in then.
    pub targets: &'a [Interaction],
}

/// The questions of one part, in order of time where the times are real, else shopper by shopper: 20 bytes each.
#[derive(Debug, Clone)]
pub struct Questions<'a> {
    split: &'a Split,
    places: Vec<(EventTime, u32, Range<u32>)>,
}

// === impl Questions ===

impl<'a> Questions<'a> {
    pub(super) fn new(split: &'a Split, places: Vec<(EventTime, u32, Range<u32>)>) -> Self {
        Self { split, places }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The question at `index`.
    ///
    /// # Panics
    /// When there is none.
    pub fn get(&self, index: usize) -> Question<'a> {
        let (as_of, user, targets) = &self.places[index];
        let (visitor, sequence) = self.split.sequences.get(*user as usize);
        Question {
            user: *user,
            visitor,
            as_of: *as_of,
            history: &sequence[..targets.start as usize],
            targets: &sequence[targets.start as usize..targets.end as usize],
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Question<'a>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Only so many, drawn evenly by `seed`; their order stays.
    #[must_use]
    pub fn at_most(mut self, most: usize, seed: u64) -> Self {
        if self.places.len() > most {
            let mut order: Vec<(u64, usize)> =
                (0..self.places.len()).map(|index| (mix(seed ^ mix(index as u64)), index)).collect();
            order.select_nth_unstable(most);
            let mut chosen: Vec<usize> = order[..most].iter().map(|&(_, index)| index).collect();
            chosen.sort_unstable();
            self.places = chosen.into_iter().map(|index| self.places[index].clone()).collect();
        }
        self
    }
}
