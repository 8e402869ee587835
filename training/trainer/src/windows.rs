//! Which stretches of which sequences make up an epoch.
//!
//! A window is a run of at most `length` entries of one visitor; the entry after each asks a case. A
//! sequence that is longer is cut into windows, elsewhere in each epoch, so that every event is a target
//! and meets contexts of every length.

use std::ops::Range;

use endcap_towers::mix;

/// A run of one visitor's interactions that a step reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// The visitor's first interaction, among all.
    pub(crate) first: u32,
    /// Interactions read: `start..end`.
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Interactions asked for end here: one after `end` where order matters.
    pub(crate) targets_end: u32,
}

/// The windows of an epoch, in an order that is a function of seed and epoch. `visitors`: the part of each
/// visitor's interactions that may be learnt from.
pub(crate) fn epoch(
    visitors: &[Range<u32>],
    length: usize,
    ordered: bool,
    seed: u64,
    epoch: usize,
) -> Vec<Window> {
    let key = mix(seed ^ mix(epoch as u64));
    let mut windows = Vec::with_capacity(visitors.len());
    for (number, visitor) in visitors.iter().enumerate() {
        let length = length as u32;
        let (first, end) = (visitor.start, visitor.end);
        if first == end {
            continue;
        }
        // In order, the last interaction is a target only.
        let inputs = end - first - u32::from(ordered);
        let window = |start: u32, stop: u32| Window {
            first,
            start: first + start,
            end: first + stop,
            targets_end: first + stop + u32::from(ordered),
        };
        if inputs <= length {
            windows.push(window(0, inputs));
            continue;
        }
        let mut start = 0;
        let mut stop = 1 + (mix(key ^ number as u64) % u64::from(length)) as u32;
        while start < inputs {
            windows.push(window(start, stop.min(inputs)));
            (start, stop) = (stop, stop + length);
        }
    }
    shuffle(&mut windows, key);
    windows
}

/// Fisher and Yates's shuffle, a function of the key.
fn shuffle<T>(values: &mut [T], key: u64) {
    for i in (1..values.len()).rev() {
        let j = mix(key.wrapping_add(i as u64)) % (i as u64 + 1);
        values.swap(i, j as usize);
    }
}

/// Cuts windows into batches of at most `positions` rows, at least one window each. A window has a row for
/// its start beside one for each entry.
pub(crate) fn batches(windows: &[Window], positions: usize) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut rows) = (0, 0);
    for (i, window) in windows.iter().enumerate() {
        let size = (window.end - window.start) as usize + 1;
        if rows + size > positions && i > start {
            batches.push(start..i);
            (start, rows) = (i, 0);
        }
        rows += size;
    }
    if start < windows.len() {
        batches.push(start..windows.len());
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_a_target_once_an_epoch() {
        let visitors = [0..1, 1..1, 1..9, 9..209];
        for epoch_number in 0..5 {
            let windows = epoch(&visitors, 7, true, 3, epoch_number);
            assert!(windows.iter().all(|window| window.end - window.start <= 7));
            // The first window asks for the visitor's first event too, from nothing.
            let targets = windows
                .iter()
                .flat_map(|w| if w.start == w.first { w.first } else { w.start + 1 }..w.targets_end);
            let mut targets: Vec<u32> = targets.collect();
            targets.sort_unstable();
            assert_eq!(targets, (0..209).collect::<Vec<_>>());
        }
        assert_ne!(epoch(&visitors, 7, true, 3, 0), epoch(&visitors, 7, true, 3, 1));
        assert_eq!(epoch(&visitors, 7, true, 3, 0), epoch(&visitors, 7, true, 3, 0));
    }

    #[test]
    fn batches_are_full_and_a_partition() {
        let windows = epoch(&[0..300, 300..304, 304..320], 10, false, 1, 1);
        let batches = batches(&windows, 25);
        assert_eq!(
            batches.iter().cloned().flatten().collect::<Vec<_>>(),
            (0..windows.len()).collect::<Vec<_>>()
        );
        for batch in batches {
            let rows: u32 = windows[batch.clone()].iter().map(|w| w.end - w.start + 1).sum();
            assert!(rows <= 25);
        }
    }
}
