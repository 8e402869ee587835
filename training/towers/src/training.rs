//! One training step's loss and gradients: plain slices in, plain slices out, candle's tape between.
//!
//! ```text
//! rows gathered from the tables ──bags──► item tower ──► unit vectors of the batch's items
//!                                                            │            │ the first: candidates
//! event types, gaps, positions ──────────────────────────────┴► user tower┴► softmax loss
//! ```
//!
//! A batch holds each item once, however often it is met, and the rows of the tables that these items
//! read are gathered into one leaf of the tape. So a step costs the same whatever the size of the catalogue.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use crate::{
    Bags, Dropout, Encoder, Pool, Sequences, TowersConfig, TowersError, ops,
    parameters::{CONTEXT_GROUP, EVENT_TYPES, Group, ITEM_FEED_FORWARD, SHOP_VECTOR, groups},
};

/// What one step learns from. Histories lie one after the other, without padding.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Rows gathered from the tables of ids and words: rows × dim.
    pub rows: Vec<f32>,
    /// The batch's items, each once: what each reads of `rows`.
    pub items: Bags,
    /// The shop's own vectors of these items: items × shop_vector, zero where there is none; empty when
    /// the shape has none.
    pub shop_vectors: Vec<f32>,
    /// Entries of each history.
    pub lengths: Vec<u32>,
    /// The histories, oldest entry first.
    pub entries: Vec<Entry>,
    /// What is asked of them.
    pub cases: Vec<Case>,
    /// The first items of the batch are candidates in every case, as many as there are numbers here: what
    /// is added to a candidate's score where it is not the target, −ln of its chance to be drawn.
    pub corrections: Vec<f32>,
    /// What a row of the mean-pool encoder sees.
    pub pool: Pool,
}

/// One entry of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The item's place in the batch.
    pub item: u32,
    /// Number of the event type.
    pub event_type: u8,
    /// Bucket of the time to the next entry.
    pub gap: u8,
}

/// Which item came next?
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// Where it is asked: the row among all rows of the batch, where every history has one row for its
    /// start and then one for each entry.
    pub row: u32,
    /// The item's place in the batch.
    pub target: u32,
    /// Weight in the loss.
    pub weight: f32,
}

/// What a step learnt.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Mean loss of a case, in nats.
    pub loss: f64,
    /// Gradient of [`Batch::rows`].
    pub rows: Vec<f32>,
    /// Gradients of the dense parameters, group by group.
    pub dense: Vec<Vec<f32>>,
}

impl Batch {
    /// Mean loss over the cases, by weight, and its gradients.
    ///
    /// # Errors
    /// When the parts do not fit each other.
    pub fn gradients(
        &self,
        config: &TowersConfig,
        dense: &[Vec<f32>],
        dropout: Dropout,
    ) -> Result<Gradients, TowersError> {
        self.step(config, dense, dropout).map_err(|error| TowersError::Input {
            field: "batch".into(),
            rule: error.to_string(),
        })
    }

    fn step(&self, config: &TowersConfig, dense: &[Vec<f32>], dropout: Dropout) -> candle_core::Result<Gradients> {
        let graph = Graph::new(config, dense)?;
        let rows = Var::from_slice(&self.rows, (self.rows.len() / config.dim, config.dim), &Device::Cpu)?;
        let items = graph.items(self, &rows)?;
        let users = graph.users(self, &items, dropout)?;
        let total: f64 = self.cases.iter().map(|case| f64::from(case.weight)).sum();
        let mut asked = Bags::new(users.dim(0)?);
        for case in &self.cases {
            if case.row as usize >= asked.inputs() {
                candle_core::bail!("a case in row {} of {}", case.row, asked.inputs());
            }
            asked.add(case.row, 1.0);
            asked.close();
        }
        let candidates = items.narrow(0, 0, self.corrections.len())?;
        let cases = ops::Candidates {
            corrections: self.corrections.clone(),
            targets: self.cases.iter().map(|case| case.target).collect(),
            shares: self.cases.iter().map(|case| (f64::from(case.weight) / total) as f32).collect(),
            temperature: config.temperature,
        };
        let loss = ops::softmax_loss(&ops::sum_bags(&users, Arc::new(asked))?, &candidates, Arc::new(cases))?;
        let gradients = loss.backward()?;
        let of = |var: &Var| match gradients.get(var) {
            Some(gradient) => gradient.flatten_all()?.to_vec1(),
            None => Ok(vec![0.0; var.elem_count()]),
        };
        Ok(Gradients {
            loss: f64::from(loss.to_scalar::<f32>()?),
            rows: of(&rows)?,
            dense: graph.vars.iter().map(of).collect::<candle_core::Result<_>>()?,
        })
    }
}

/// The two towers on candle's tape.
struct Graph<'a> {
    config: &'a TowersConfig,
    groups: Vec<Group>,
    vars: Vec<Var>,
}

impl<'a> Graph<'a> {
    fn new(config: &'a TowersConfig, dense: &[Vec<f32>]) -> candle_core::Result<Self> {
        let groups = groups(config);
        if !groups.iter().map(Group::size).eq(dense.iter().map(Vec::len)) {
            candle_core::bail!("the dense parameters are of another shape");
        }
        let vars = dense.iter().map(|values| Var::from_slice(values, values.len(), &Device::Cpu));
        Ok(Self { config, groups, vars: vars.collect::<candle_core::Result<_>>()? })
    }

    fn group(&self, name: &str) -> candle_core::Result<&Var> {
        let place = self.groups.iter().position(|group| group.name == name);
        place.map(|place| &self.vars[place]).ok_or_else(|| candle_core::Error::msg(format!("no layer {name}")))
    }

    /// The item tower: batch's items × dim, unit rows.
    fn items(&self, batch: &Batch, rows: &Tensor) -> candle_core::Result<Tensor> {
        let config = self.config;
        let mut x = ops::sum_bags(rows, Arc::new(batch.items.clone()))?;
        if config.shop_vector > 0 {
            let vectors = Tensor::from_slice(&batch.shop_vectors, (batch.items.len(), config.shop_vector), &Device::Cpu)?;
            let weight = self.group(SHOP_VECTOR)?.reshape((config.shop_vector, config.dim))?;
            x = (x + ops::linear(&vectors, &weight)?)?;
        }
        if config.item_hidden > 0 {
            x = ops::feed_forward(&x, self.group(ITEM_FEED_FORWARD)?, config.item_hidden, Dropout::NONE)?;
        }
        ops::unit_rows(&x)
    }

    /// The user tower: rows of all histories, each with one for its start, × dim; unit rows.
    fn users(&self, batch: &Batch, items: &Tensor, dropout: Dropout) -> candle_core::Result<Tensor> {
        let config = self.config;
        let lengths = batch.lengths.iter().map(|&length| length as usize);
        let sequences = Arc::new(Sequences::from_lengths(lengths.clone().map(|length| length + 1)));
        if lengths.clone().sum::<usize>() != batch.entries.len() || lengths.clone().any(|n| n > config.length) {
            candle_core::bail!("histories of {} entries in all, at most {} each", batch.entries.len(), config.length);
        }
        let mut entries = batch.entries.iter();
        let mut history = Bags::new(items.dim(0)?);
        let context_rows = EVENT_TYPES + endcap_features::GAP_BUCKETS + config.length + 1;
        let mut context = Bags::new(context_rows);
        for length in lengths {
            ContextRows::start(config).for_each(|row| context.add(row, 1.0));
            history.close();
            context.close();
            for (position, entry) in (1..).zip(entries.by_ref().take(length)) {
                if entry.item as usize >= history.inputs() {
                    candle_core::bail!("item {} of {}", entry.item, history.inputs());
                }
                history.add(entry.item, item_scale(config));
                history.close();
                ContextRows::entry(config, entry.event_type, entry.gap, position).for_each(|row| context.add(row, 1.0));
                context.close();
            }
        }
        let embeddings = self.group(CONTEXT_GROUP)?.reshape((context_rows, config.dim))?;
        let x = (ops::sum_bags(items, Arc::new(history))? + ops::sum_bags(&embeddings, Arc::new(context))?)?;
        let mut x = ops::dropped(&x, dropout)?;
        if config.encoder == Encoder::MeanPool {
            x = ops::pool(&x, sequences.clone(), batch.pool)?;
        }
        for block in 0..config.blocks {
            let layer = |part: u64| dropout.layer(4 * (block as u64 + 1) + part);
            if config.encoder == Encoder::Transformer {
                let parameters = self.group(&format!("user.blocks.{block}.attention"))?;
                x = ops::self_attention(&x, parameters, sequences.clone(), config.heads, layer(0))?;
            }
            let parameters = self.group(&format!("user.blocks.{block}.feed_forward"))?;
            x = ops::feed_forward(&x, parameters, config.hidden, layer(1))?;
        }
        ops::unit_rows(&ops::layer_norm(&x, self.group("user.norm")?)?)
    }
}

/// An item's unit vector enters the user tower with numbers of size 1.
pub(crate) fn item_scale(config: &TowersConfig) -> f32 {
    (config.dim as f32).sqrt()
}

/// Which embeddings are added to an entry of a history: rows of the context table, where event types come
/// first, then gaps, then positions. The mean-pool encoder knows no order, so it has the first alone.
pub(crate) struct ContextRows;

impl ContextRows {
    /// Of the row before the first entry.
    pub(crate) fn start(config: &TowersConfig) -> impl Iterator<Item = u32> + use<> {
        let position = (config.encoder == Encoder::Transformer).then_some(Self::position(0));
        std::iter::once(0).chain(position)
    }

    /// Of an entry, whose place in its history counts from 1.
    pub(crate) fn entry(
        config: &TowersConfig,
        event_type: u8,
        gap: u8,
        position: u32,
    ) -> impl Iterator<Item = u32> + use<> {
        let ordered = config.encoder == Encoder::Transformer;
        let event_type = u32::from(event_type).min(EVENT_TYPES as u32 - 1);
        let gap = EVENT_TYPES as u32 + u32::from(gap).min(endcap_features::GAP_BUCKETS as u32 - 1);
        std::iter::once(event_type).chain([gap, Self::position(position)].into_iter().filter(move |_| ordered))
    }

    fn position(position: u32) -> u32 {
        (EVENT_TYPES + endcap_features::GAP_BUCKETS) as u32 + position
    }
}

#[cfg(test)]
mod tests;
