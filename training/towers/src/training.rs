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
    Bags, Dropout, Encoder, Pool, Sequences, TowersConfig, TowersError,
    layers::{
        AddBags, AddProjection, Dropped, FeedForward, Layer, LayerNorm, Pooled, SelfAttention, SumBags,
        UnitRows, chain,
    },
    loss::{Candidates, softmax_loss},
    parameters::{EVENT_TYPES, Group, groups},
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
        self.step(config, dense, dropout)
            .map_err(|error| TowersError::Input { field: "batch".into(), rule: error.to_string() })
    }

    fn step(
        &self,
        config: &TowersConfig,
        dense: &[Vec<f32>],
        dropout: Dropout,
    ) -> candle_core::Result<Gradients> {
        let graph = Graph::new(config, dense)?;
        let rows = Var::from_slice(&self.rows, (self.rows.len() / config.dim, config.dim), &Device::Cpu)?;
        let items = graph.items(self, &rows)?;
        let asked = graph.users(self, &items, dropout, Some(self.asked()?))?;
        let total: f64 = self.cases.iter().map(|case| f64::from(case.weight)).sum();
        let cases = Candidates {
            corrections: self.corrections.clone(),
            targets: self.cases.iter().map(|case| case.target).collect(),
            shares: self.cases.iter().map(|case| (f64::from(case.weight) / total) as f32).collect(),
            temperature: config.temperature,
        };
        let loss = softmax_loss(&asked, &items, Arc::new(cases))?;
        let gradients = loss.backward()?;
        let of = |var: &Var| match gradients.get(var) {
            Some(gradient) => gradient.flatten_all()?.to_vec1::<f32>(),
            None => Ok(vec![0.0; var.elem_count()]),
        };
        let flat = [of(&graph.item)?, of(&graph.user)?].concat();
        let mut flat = flat.into_iter();
        Ok(Gradients {
            loss: f64::from(loss.to_scalar::<f32>()?),
            rows: of(&rows)?,
            dense: dense.iter().map(|group| flat.by_ref().take(group.len()).collect()).collect(),
        })
    }

    /// Picks the rows of the cases out of all rows.
    fn asked(&self) -> candle_core::Result<Bags> {
        let mut asked = Bags::new(self.entries.len() + self.lengths.len());
        for case in &self.cases {
            if case.row as usize >= asked.inputs() {
                candle_core::bail!("a case in row {} of {}", case.row, asked.inputs());
            }
            asked.add(case.row, 1.0);
            asked.close();
        }
        Ok(asked)
    }
}

/// The two towers on candle's tape: two chains of layers, and the parameters of each.
struct Graph<'a> {
    config: &'a TowersConfig,
    item: Var,
    user: Var,
}

impl<'a> Graph<'a> {
    fn new(config: &'a TowersConfig, dense: &[Vec<f32>]) -> candle_core::Result<Self> {
        let groups = groups(config);
        if !groups.iter().map(Group::size).eq(dense.iter().map(Vec::len)) {
            candle_core::bail!("the dense parameters are of another shape");
        }
        // The item tower's groups come first.
        let (item, user) =
            dense.split_at(groups.iter().take_while(|group| group.name.starts_with("item.")).count());
        let var = |groups: &[Vec<f32>]| {
            Var::from_vec(groups.concat(), groups.iter().map(Vec::len).sum::<usize>(), &Device::Cpu)
        };
        Ok(Self { config, item: var(item)?, user: var(user)? })
    }

    /// The item tower: batch's items × dim, unit rows.
    fn items(&self, batch: &Batch, rows: &Tensor) -> candle_core::Result<Tensor> {
        let config = self.config;
        let dim = config.dim;
        let mut layers: Vec<Box<dyn Layer>> = vec![Box::new(SumBags { bags: batch.items.clone(), dim })];
        if config.shop_vector > 0 {
            let constants = batch.shop_vectors.clone();
            layers.push(Box::new(AddProjection { constants, width: config.shop_vector, dim }));
        }
        if config.item_hidden > 0 {
            layers.push(Box::new(FeedForward { dim, hidden: config.item_hidden, dropout: Dropout::NONE }));
        }
        layers.push(Box::new(UnitRows { dim }));
        chain(rows, &self.item, layers)
    }

    /// The user tower: rows of all histories, each with one for its start, × dim; unit rows. Where `asked`
    /// is given, what it picks of them.
    fn users(
        &self,
        batch: &Batch,
        items: &Tensor,
        dropout: Dropout,
        asked: Option<Bags>,
    ) -> candle_core::Result<Tensor> {
        let config = self.config;
        let dim = config.dim;
        let lengths = batch.lengths.iter().map(|&length| length as usize);
        if lengths.clone().sum::<usize>() != batch.entries.len() || lengths.clone().any(|n| n > config.length)
        {
            candle_core::bail!(
                "histories of {} entries in all, at most {} each",
                batch.entries.len(),
                config.length
            );
        }
        let sequences = Arc::new(Sequences::from_lengths(lengths.map(|length| length + 1)));
        let (history, context) = inputs(config, batch, items.dim(0)?)?;
        let mut layers: Vec<Box<dyn Layer>> =
            vec![Box::new(SumBags { bags: history, dim }), Box::new(AddBags { bags: context, dim })];
        if !dropout.is_none() {
            layers.push(Box::new(Dropped(dropout)));
        }
        if config.encoder == Encoder::MeanPool {
            layers.push(Box::new(Pooled { sequences: sequences.clone(), pool: batch.pool, dim }));
        }
        for block in 0..config.blocks {
            let dropout = |part: u64| dropout.layer(4 * (block as u64 + 1) + part);
            if config.encoder == Encoder::Transformer {
                let (sequences, heads, dropout) = (sequences.clone(), config.heads, dropout(0));
                layers.push(Box::new(SelfAttention { sequences, dim, heads, dropout }));
            }
            layers.push(Box::new(FeedForward { dim, hidden: config.hidden, dropout: dropout(1) }));
        }
        layers.push(Box::new(LayerNorm { dim }));
        layers.push(Box::new(UnitRows { dim }));
        layers.extend(asked.map(|bags| -> Box<dyn Layer> { Box::new(SumBags { bags, dim }) }));
        chain(items, &self.user, layers)
    }
}

/// What each row of all histories reads of the items, and of the context table.
fn inputs(config: &TowersConfig, batch: &Batch, items: usize) -> candle_core::Result<(Bags, Bags)> {
    let mut entries = batch.entries.iter();
    let mut history = Bags::new(items);
    let mut context = Bags::new(ContextRows::count(config));
    for &length in &batch.lengths {
        ContextRows::start(config).for_each(|row| context.add(row, 1.0));
        history.close();
        context.close();
        for (position, entry) in (1..).zip(entries.by_ref().take(length as usize)) {
            if entry.item as usize >= items {
                candle_core::bail!("item {} of {items}", entry.item);
            }
            history.add(entry.item, item_scale(config));
            history.close();
            ContextRows::entry(config, entry.event_type, entry.gap, position)
                .for_each(|row| context.add(row, 1.0));
            context.close();
        }
    }
    Ok((history, context))
}

/// An item's unit vector enters the user tower with numbers of size 1.
pub(crate) fn item_scale(config: &TowersConfig) -> f32 {
    (config.dim as f32).sqrt()
}

/// Which embeddings are added to an entry of a history: rows of the context table, where event types come
/// first, then gaps, then positions. The mean-pool encoder knows no order, so it has the first alone.
pub(crate) struct ContextRows;

impl ContextRows {
    /// Rows of the table.
    pub(crate) fn count(config: &TowersConfig) -> usize {
        EVENT_TYPES + endcap_features::GAP_BUCKETS + config.length + 1
    }

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
        std::iter::once(event_type)
            .chain([gap, Self::position(position)].into_iter().filter(move |_| ordered))
    }

    fn position(position: u32) -> u32 {
        (EVENT_TYPES + endcap_features::GAP_BUCKETS) as u32 + position
    }
}

#[cfg(test)]
mod tests;
