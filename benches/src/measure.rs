//! Measuring side by side: what shares a machine with others is only ever compared within one run.

use std::time::{Duration, Instant};

/// How much to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// A minute or two.
    Short,
    /// With catalogues and stores of a million, and graphs of hard vectors, which take minutes to build.
    Full,
}

/// The middle of some figures; of an even number, the lower of the two.
pub fn median(figures: Vec<f64>) -> f64 {
    quantile(&figures, 0.5)
}

/// The smallest figure that at least this share of them does not exceed; NaN where there are none.
pub fn quantile(figures: &[f64], share: f64) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let place = (share * figures.len() as f64).ceil() as usize;
    figures.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Bytes of memory that this process holds now, and at the most so far; none where the system does not tell.
pub fn memory() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    field("VmRSS:").zip(field("VmHWM:"))
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
    fn a_quantile_is_a_figure_that_was_measured() {
        let figures: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| quantile(&figures, share)), [1.0, 100.0, 198.0, 200.0]);
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
