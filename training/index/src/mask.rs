//! Bitmaps over rows, 64 rows a word.

use std::ops::Range;

/// Which rows count: those in both of two bitmaps, each of which may be missing and then holds all.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mask<'a> {
    pub(crate) selected: Option<&'a [u64]>,
    pub(crate) alive: Option<&'a [u64]>,
}

impl<'a> Mask<'a> {
    /// The rows 64 · `place` and up.
    #[inline(always)]
    pub(crate) fn word(self, place: usize) -> u64 {
        let of = |words: Option<&[u64]>| words.map_or(u64::MAX, |words| words[place]);
        of(self.selected) & of(self.alive)
    }

    #[inline(always)]
    pub(crate) fn has(self, row: usize) -> bool {
        self.word(row / 64) >> (row % 64) & 1 == 1
    }

    /// The rows of a range that count, ascending.
    pub(crate) fn rows(self, range: Range<usize>) -> Bits<impl FnMut() -> Option<u64> + use<'a>> {
        let Range { start, end } = range;
        let mut place = start / 64;
        let next = move || {
            let first = 64 * place;
            if first >= end {
                return None;
            }
            let mut word = self.word(place);
            if first < start {
                word &= u64::MAX << (start - first);
            }
            if end - first < 64 {
                word &= (1 << (end - first)) - 1;
            }
            place += 1;
            Some(word)
        };
        Bits { first: start / 64 * 64, rest: 0, begun: false, next }
    }
}

/// The numbers of rows that count, gathered from bitmaps.
#[derive(Default)]
pub(crate) struct Gathered {
    /// Room for them and more.
    room: Vec<u32>,
    count: usize,
}

impl Gathered {
    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    pub(crate) fn rows(&self) -> &[u32] {
        &self.room[..self.count]
    }

    /// Adds the rows of a range that count, ascending.
    pub(crate) fn add(&mut self, mask: Mask<'_>, range: Range<usize>) {
        let Range { start, end } = range;
        for place in start / 64..end.div_ceil(64) {
            let first = 64 * place;
            let mut word = mask.word(place);
            if first < start {
                word &= u64::MAX << (start - first);
            }
            if end - first < 64 {
                word &= (1 << (end - first)) - 1;
            }
            if word == 0 {
                continue;
            }
            if self.room.len() < self.count + 64 {
                self.room.resize(2 * self.count + 1024, 0);
            }
            // Eight at a time, whether there are as many or not: a branch for each bit would be guessed wrong too often.
            let count = word.count_ones() as usize;
            for eight in self.room[self.count..].as_chunks_mut::<8>().0 {
                for row in eight {
                    *row = first as u32 + word.trailing_zeros();
                    word &= word.wrapping_sub(1);
                }
                if word == 0 {
                    break;
                }
            }
            self.count += count;
        }
    }
}

/// The set bits of a stream of words, ascending.
pub(crate) struct Bits<F> {
    /// What the first bit of the present word is called.
    first: usize,
    /// What is left of it.
    rest: u64,
    begun: bool,
    next: F,
}

impl<F: FnMut() -> Option<u64>> Iterator for Bits<F> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.rest == 0 {
            self.rest = (self.next)()?;
            self.first += if self.begun { 64 } else { 0 };
            self.begun = true;
        }
        let bit = self.rest.trailing_zeros() as usize;
        self.rest &= self.rest - 1;
        Some(self.first + bit)
    }
}

/// A bitmap of `rows` set bits.
pub(crate) fn all(rows: usize) -> Vec<u64> {
    let mut words = vec![u64::MAX; rows.div_ceil(64)];
    if let (Some(last), used @ 1..) = (words.last_mut(), rows % 64) {
        *last = (1 << used) - 1;
    }
    words
}

/// The set bits of a bitmap, ascending.
pub(crate) fn bits(words: &[u64]) -> impl Iterator<Item = usize> + '_ {
    Mask { selected: Some(words), alive: None }.rows(0..64 * words.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_rows_of_a_range_are_those_in_both_bitmaps(
            words in prop::collection::vec((any::<u64>(), any::<u64>()), 1..5),
            range in (0usize..320, 0usize..320),
            which in (any::<bool>(), any::<bool>()),
        ) {
            let (selected, alive): (Vec<u64>, Vec<u64>) = words.into_iter().unzip();
            let mask = Mask { selected: which.0.then_some(&selected[..]), alive: which.1.then_some(&alive[..]) };
            let last = 64 * selected.len();
            let range = range.0.min(range.1).min(last)..range.0.max(range.1).min(last);
            let expected: Vec<usize> = range.clone().filter(|&row| mask.has(row)).collect();
            prop_assert_eq!(mask.rows(range.clone()).collect::<Vec<_>>(), &expected[..]);
            let mut gathered = Gathered::default();
            gathered.add(mask, 0..last.min(7));
            let before = gathered.rows().len();
            gathered.add(mask, range);
            prop_assert_eq!(gathered.rows()[before..].iter().map(|&row| row as usize).collect::<Vec<_>>(), expected);
        }
    }
}
