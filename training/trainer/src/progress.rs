//! What a progress bar shows.

use std::time::Duration;

use crate::{EpochReport, fit::TrainReport};

/// Hears how a fit goes on. `()` hears nothing.
pub trait Progress {
    /// A step was made.
    fn step(&mut self, step: &StepProgress) {
        let _ = step;
    }

    /// An epoch ended, with its validation.
    fn epoch(&mut self, epoch: &EpochReport) {
        let _ = epoch;
    }

    /// Training is over.
    fn done(&mut self, report: &TrainReport) {
        let _ = report;
    }

    /// Whether to stop after this step with the best weights so far.
    fn is_cancelled(&self) -> bool {
        false
    }
}

impl Progress for () {}

/// Where a fit stands.
#[derive(Debug, Clone, PartialEq)]
pub struct StepProgress {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Most epochs there will be.
    pub epochs: usize,
    /// Step within the epoch, from 1.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Cases of the epoch so far: what was asked of its histories.
    pub cases: usize,
    /// Positions of histories trained on, per second of this epoch.
    pub positions_per_second: f64,
    /// Mean loss of the epoch so far, in nats.
    pub loss: f64,
    /// Time left if every epoch is run.
    pub eta: Duration,
}
