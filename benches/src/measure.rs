//! Measuring side by side: what shares a machine with others is only ever compared within one run.

use std::time::{Duration, Instant};

/// The middle of some figures; of an even number, the lower of the two.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// How often a second `work(i)` runs, i = 0, 1, …, for at least `time`, on one thread.
pub fn rate(time: Duration, mut work: impl FnMut(usize)) -> f64 {
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < time {
        // The clock is read once for several: it costs as much as a small piece of work.
        for i in done..done + 16 {
            work(i);
        }
        done += 16;
    }
    done as f64 / start.elapsed().as_secs_f64()
}

/// Median figures of several measurements, taken in turn, round after round.
pub fn in_turn(rounds: usize, measurements: &mut [&mut dyn FnMut() -> f64]) -> Vec<f64> {
    let mut figures = vec![Vec::with_capacity(rounds); measurements.len()];
    for _ in 0..rounds {
        for (figures, measurement) in figures.iter_mut().zip(measurements.iter_mut()) {
            figures.push(measurement());
        }
    }
    figures.into_iter().map(median).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!([median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0]), median(vec![7.0])], [2.0, 1.0, 7.0]);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn measurements_take_turns() {
        let order = std::cell::RefCell::new(Vec::new());
        let (mut a, mut b) = (
            || {
                order.borrow_mut().push('a');
                1.0
            },
            || {
                order.borrow_mut().push('b');
                2.0
            },
        );
        assert_eq!(in_turn(2, &mut [&mut a, &mut b]), [1.0, 2.0]);
        assert_eq!(*order.borrow(), ['a', 'b', 'a', 'b']);
    }
}
