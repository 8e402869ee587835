//! Which row of the base holds a label: a table with open addressing and linear probing, which lies in a file as it lies
//! in memory. Half of its places are empty, so a look-up meets one or two labels.

use rayon::prelude::*;

use crate::IndexError;
use crate::buffer::Buffer;
use crate::live::spread;

const EMPTY: u32 = u32::MAX;

/// Label → row. It does not hold the labels: whoever asks lends them.
#[derive(Default)]
pub(crate) struct Places {
    /// Two places per row, each a row or [`EMPTY`].
    pub(crate) table: Buffer<u32>,
}

impl Places {
    /// # Errors
    /// [`IndexError::DuplicateLabel`].
    pub(crate) fn of(labels: &[u64]) -> Result<Self, IndexError> {
        let mut table = vec![EMPTY; Self::size(labels.len())];
        for (row, &label) in labels.iter().enumerate() {
            for place in Self::path(table.len(), label) {
                match table[place] {
                    EMPTY => {
                        table[place] = row as u32;
                        break;
                    }
                    first if labels[first as usize] == label => {
                        return Err(IndexError::DuplicateLabel { label, first: first as usize, second: row });
                    }
                    _ => {}
                }
            }
        }
        Ok(Self { table: table.into() })
    }

    /// Places in the table of that many rows.
    pub(crate) fn size(rows: usize) -> usize {
        2 * rows
    }

    /// Where a label may stand, most likely first.
    fn path(size: usize, label: u64) -> impl Iterator<Item = usize> {
        let first = ((u128::from(spread(label)) * size as u128) >> 64) as usize;
        (first..size).chain(0..first)
    }

    /// The row of a label among `labels`.
    #[inline]
    pub(crate) fn get(&self, labels: &[u64], label: u64) -> Option<u32> {
        let table = &*self.table;
        for place in Self::path(table.len(), label) {
            match table[place] {
                EMPTY => return None,
                row if labels[row as usize] == label => return Some(row),
                _ => {}
            }
        }
        None
    }

    /// The same table for rows in another order: row `r` has become row `inverse[r]`.
    pub(crate) fn reorder(&mut self, inverse: &[u32]) {
        for row in self.table.owned_mut().iter_mut().filter(|row| **row != EMPTY) {
            *row = inverse[*row as usize];
        }
    }

    /// Whether a table that was read finds each label's row, and so holds none twice.
    pub(crate) fn check(&self, labels: &[u64]) -> Result<(), String> {
        let rows = labels.len();
        if self.table.len() != Self::size(rows) {
            return Err(format!("{} places for {rows} labels", self.table.len()));
        }
        if self.table.par_iter().any(|&row| row != EMPTY && row as usize >= rows) {
            return Err("a label's place is out of range".into());
        }
        let astray = |&(row, &label): &(usize, &u64)| self.get(labels, label) != Some(row as u32);
        match labels.par_iter().enumerate().find_any(astray) {
            Some((row, label)) => Err(format!("label {label} of row {row} is not where it should be found")),
            None => Ok(()),
        }
    }
}
