//! One training step's loss and gradients: forward and backward by hand, over the kernels that serving runs too.
//!
//! ```text
//! rows gathered from the tables ──bags──► item tower ──► unit vectors of the batch's items
//!                                                            │            │ the first: candidates
//! event types, gaps, positions ──────────────────────────────┴► user tower┴► softmax loss
//! ```
//!
//! A batch holds each item once, however often it is met, and the rows of the tables that these items
//! read are gathered before. So a step costs the same whatever the size of the catalogue.
//!
//! The user tower runs chunk by chunk: some 256 rows of whole histories go forward, through the loss and backward while
//! what they leave behind is still in the core's cache. Chunks are dealt to lanes, each with gradients of its own, which
//! are added up in order. Chunks and lanes are a function of the batch alone, so weights come out the same on any
//! number of threads. Buffers live as long as the [`Step`]: no memory is asked for once they have grown.

mod batch;
mod candle;
mod context;
mod device;
mod items;
mod users;

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

pub(crate) use batch::item_scale;
pub use batch::{Batch, BatchParts, Case, Entry};
pub(crate) use context::ContextRows;
pub use device::{Device, UnknownDevice};

use crate::{
    Dropout, TowersConfig, TowersError,
    kernels::{
        math::{add, add_groups},
        simd, sized,
        softmax::Candidates,
    },
    parameters::{Group, groups},
};
use items::{ItemBuffers, ItemTower};
use users::{Buffers, Lane, Shared, UserTower};

/// What a step learnt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gradients {
    /// Mean loss of a case, in nats.
    pub loss: f64,
    /// Gradient of the gathered rows.
    pub rows: Vec<f32>,
    /// Gradients of the dense parameters, group by group.
    pub dense: Vec<Vec<f32>>,
    /// Gradient of `ln(1 / temperature)`.
    pub scale: f64,
}

/// Makes steps for towers of one shape.
pub struct Step {
    config: TowersConfig,
    device: Device,
    /// What candle calls it; the kernels make the step where there is none.
    candle: Option<candle_core::Device>,
    sizes: Vec<usize>,
    /// How many of the groups are the item tower's; they come first.
    item_groups: usize,
    items: ItemBuffers,
    candidates: Candidates,
    lanes: Vec<Lane>,
    /// A thread that begins a lane takes one, and gives it back.
    buffers: Mutex<Vec<Buffers>>,
    users: Vec<f32>,
    dinput: Vec<f32>,
    dsums: Vec<f32>,
    gradients: Gradients,
}

impl Step {
    /// Steps for this shape, by the kernels.
    ///
    /// # Errors
    /// When the shape breaks a rule.
    pub fn new(config: TowersConfig) -> Result<Self, TowersError> {
        Self::on(Device::Cpu, config)
    }

    /// Steps for this shape, on a device.
    ///
    /// # Errors
    /// When the shape breaks a rule, or the device cannot be had.
    pub fn on(device: Device, config: TowersConfig) -> Result<Self, TowersError> {
        config.validate()?;
        let groups = groups(&config);
        Ok(Self {
            sizes: groups.iter().map(Group::size).collect(),
            item_groups: groups.iter().take_while(|group| group.name.starts_with("item.")).count(),
            items: ItemBuffers::default(),
            candidates: Candidates::default(),
            lanes: Vec::new(),
            buffers: Mutex::default(),
            users: Vec::new(),
            dinput: Vec::new(),
            dsums: Vec::new(),
            gradients: Gradients::default(),
            candle: device.of_candle()?,
            device,
            config,
        })
    }

    /// Lets the scores be `dot / temperature` from here on.
    pub fn set_temperature(&mut self, temperature: f32) {
        self.config.temperature = temperature;
    }

    /// Mean loss over the cases, by weight, and its gradients, at these rows of the tables (rows × dim) and dense
    /// parameters.
    ///
    /// # Errors
    /// When batch, rows and parameters do not fit each other, or the device fails.
    pub fn gradients(
        &mut self,
        batch: &Batch,
        rows: &[f32],
        dense: &[Vec<f32>],
        dropout: Dropout,
    ) -> Result<&Gradients, TowersError> {
        let refuse = |rule: String| Err(TowersError::Input { field: "step".into(), rule });
        let d = self.config.dim;
        if rows.len() != batch.rows() * d {
            return refuse(format!("needs {} rows of {d}, has {} numbers", batch.rows(), rows.len()));
        }
        if !dense.iter().map(Vec::len).eq(self.sizes.iter().copied()) {
            return refuse("has dense parameters of another shape".into());
        }
        if let Some(device) = &self.candle {
            self.gradients = candle::gradients(&self.config, device, batch, rows, dense, dropout)
                .map_err(|error| TowersError::Device { device: self.device, reason: error.to_string() })?;
            return Ok(&self.gradients);
        }
        let (item_groups, user_groups) = dense.split_at(self.item_groups);
        let item_tower = ItemTower::new(&self.config, item_groups);
        let user_tower = UserTower::new(&self.config, user_groups);
        item_tower.forward(batch, rows, &mut self.items);
        let vectors = &self.items.vectors;
        self.candidates.set(vectors, d, &batch.parts.corrections, self.config.temperature);
        let shared = Shared { batch, items: vectors, candidates: &self.candidates, dropout };

        let count = batch.lanes.len();
        if self.lanes.len() < count {
            self.lanes.resize_with(count, Lane::default);
        }
        let candidate_numbers = batch.parts.corrections.len() * d;
        let mut users = sized(&mut self.users, batch.parts.cases.len() * d);
        let dinput = sized(&mut self.dinput, batch.gradients * d);
        let mut rest = &mut *dinput;
        let mut work = Vec::with_capacity(count);
        for (range, lane) in batch.lanes.iter().zip(&mut self.lanes) {
            let chunks = &batch.chunks[range.clone()];
            let (own_rows, later) =
                rest.split_at_mut(chunks.iter().map(|chunk| chunk.gradients.len()).sum::<usize>() * d);
            let (own_users, later_users) =
                users.split_at_mut(chunks.iter().map(|chunk| chunk.cases.len()).sum::<usize>() * d);
            (rest, users) = (later, later_users);
            work.push((chunks, lane, own_users, own_rows));
        }
        let pool = || self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        work.into_par_iter().for_each(|(chunks, lane, mut users, mut rows)| {
            let mut buffers = pool().pop().unwrap_or_default();
            lane.begin(user_groups, candidate_numbers);
            for chunk in chunks {
                let (own_users, later_users) = users.split_at_mut(chunk.cases.len() * d);
                let (own_rows, later_rows) = rows.split_at_mut(chunk.gradients.len() * d);
                user_tower.chunk(&shared, chunk, lane, &mut buffers, own_users, own_rows);
                (users, rows) = (later_users, later_rows);
            }
            lane.end();
            pool().push(buffers);
        });

        // What the candidates and the histories say of the items, added up in order.
        let lanes = &self.lanes[..count];
        let dinput = &*dinput;
        let gradient_of = |items: std::ops::Range<usize>, out: &mut [f32]| {
            let numbers = items.start * d..(items.end * d).min(candidate_numbers);
            out.fill(0.0);
            for lane in lanes {
                let part = lane.candidates.get(numbers.clone()).unwrap_or_default();
                simd(
                    #[inline(always)]
                    || add(out, part),
                );
            }
            batch.places.add_to(dinput, d, items.start, out);
        };
        let Gradients { loss, rows: drows, dense: ddense, scale } = &mut self.gradients;
        ddense.resize(dense.len(), Vec::new());
        for (own, group) in ddense.iter_mut().zip(dense) {
            own.clear();
            own.resize(group.len(), 0.0);
        }
        let (ditem_groups, duser_groups) = ddense.split_at_mut(self.item_groups);
        let dsums = sized(&mut self.dsums, batch.parts.items.len() * d);
        item_tower.backward(batch, gradient_of, &mut self.items, dsums, ditem_groups);
        drows.resize(batch.rows() * d, 0.0);
        let dsums = &*dsums;
        let shard = batch.rows().div_ceil(64).max(64);
        drows.par_chunks_mut(shard * d).enumerate().for_each(|(number, out)| {
            batch.readers.apply(dsums, d, number * shard, out);
        });
        *loss = lanes.iter().map(|lane| lane.loss.value).sum();
        *scale = lanes.iter().map(|lane| lane.loss.scale).sum();
        for lane in lanes {
            add_groups(duser_groups, &lane.dense);
        }
        Ok(&self.gradients)
    }

    /// The user vectors of the last step's cases: cases × dim.
    #[cfg(test)]
    pub(crate) fn users(&self) -> &[f32] {
        &self.users
    }

    /// The vectors of the last step's items: items × dim.
    #[cfg(test)]
    pub(crate) fn items(&self) -> &[f32] {
        &self.items.vectors
    }
}

#[cfg(test)]
mod tests;
