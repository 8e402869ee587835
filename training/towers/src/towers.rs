//! The two towers as serving runs them: weights in plain slices, forward passes only.

use endcap_features::ItemFeatures;
use endcap_proto::EventType;
use rayon::prelude::*;

use crate::{
    Encoder, TowersConfig, TowersError, Weights,
    kernels::{
        attention::{self, SelfAttention},
        dropout::Dropout,
        feed_forward::{self, FeedForward},
        gru::{self, Gru},
        matmul::{Matrix, MatrixMut, Write, matmul},
        norm::{layer_norm, unit_rows},
    },
    parameters::{CONTEXT_GROUP, ITEM_FEED_FORWARD, SHOP_VECTOR},
    training::{ContextRows, item_scale},
};

/// The user tower and the item tower, ready to run.
///
/// ```
/// use endcap_features::ItemFeatures;
/// use endcap_proto::{EventType, ItemKey};
/// use endcap_towers::{Towers, TowersConfig, UserInput, Weights};
///
/// // Three items with ids, four words; a fourth item that nobody has met, but whose words are known.
/// let towers = Towers::new(Weights::new(TowersConfig::default(), 3, 4, 1)?);
/// let item = |id_row, words: &[u32]| ItemFeatures { key: ItemKey(0), id_row, words: words.into(), vector: vec![] };
/// let items = [item(Some(0), &[0, 1]), item(Some(1), &[]), item(Some(2), &[3]), item(None, &[0, 1])];
/// let vectors = towers.item_vectors(&items)?;
/// let vector = |item: usize| &vectors[item * 64..][..64];
/// assert!((vector(3).iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
///
/// let history = UserInput { items: &[vector(0)], event_types: &[EventType::View], gap_buckets: &[10] };
/// assert_eq!(towers.user_vectors(&[history, UserInput::default()])?.len(), 2 * 64);
/// # Ok::<(), endcap_towers::TowersError>(())
/// ```
pub struct Towers {
    weights: Weights,
}

/// What the user tower reads: a history, oldest first. The three slices are of one length.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserInput<'a> {
    /// The item tower's vectors of the history's items, `dim` numbers each.
    pub items: &'a [&'a [f32]],
    /// What was done.
    pub event_types: &'a [EventType],
    /// Time to the next entry, or to the request for the last: buckets of `features_at`.
    pub gap_buckets: &'a [u8],
}

/// Items at a time: their hidden layer stays in the cache.
const ITEM_CHUNK: usize = 256;
/// From so many users on, threads share the work.
const PARALLEL_USERS: usize = 8;

impl Towers {
    /// Reads weights (safetensors) of this shape.
    ///
    /// # Errors
    /// When the shape breaks a rule, or a tensor is missing, of another shape, or holds a value that is
    /// not finite.
    pub fn load(config: TowersConfig, weights: &[u8]) -> Result<Self, TowersError> {
        Ok(Self::new(Weights::read(config, weights)?))
    }

    /// The towers of these weights.
    pub fn new(weights: Weights) -> Self {
        Self { weights }
    }

    /// The weights back.
    pub fn into_weights(self) -> Weights {
        self.weights
    }

    /// The shape.
    pub fn config(&self) -> &TowersConfig {
        self.weights.config()
    }

    /// Length of the vectors.
    pub fn dim(&self) -> usize {
        self.config().dim
    }

    /// `score = dot / temperature`.
    pub fn temperature(&self) -> f32 {
        self.config().temperature
    }

    /// The newest entries of a history that the user tower reads.
    pub fn length(&self) -> usize {
        self.config().length
    }

    /// Items that have an id embedding: rows `0..item_rows()`.
    pub fn item_rows(&self) -> usize {
        self.weights.item_rows()
    }

    /// Words that have an embedding: rows `0..word_rows()`.
    pub fn word_rows(&self) -> usize {
        self.weights.word_rows()
    }

    /// Vectors of items: n × `dim`, each of length 1, row after row.
    ///
    /// `unit(F(id + Σ words / √(number of words) + unit(shop's vector) W))`, where F is a feed-forward layer
    /// with its residual, and an item without an id of its own has the one of the unknown.
    ///
    /// # Errors
    /// When a row lies beyond the tables, or the shop's vector has another length.
    pub fn item_vectors(&self, items: &[ItemFeatures]) -> Result<Vec<f32>, TowersError> {
        for item in items {
            self.check_item(item)?;
        }
        let d = self.dim();
        let mut out = vec![0.0; items.len() * d];
        if items.len() <= ITEM_CHUNK {
            self.item_chunk(items, &mut out);
        } else {
            let chunks = items.par_chunks(ITEM_CHUNK).zip(out.par_chunks_mut(ITEM_CHUNK * d));
            chunks.for_each(|(items, out)| self.item_chunk(items, out));
        }
        Ok(out)
    }

    fn check_item(&self, item: &ItemFeatures) -> Result<(), TowersError> {
        let refuse = |what: &str, rule: String| {
            Err(TowersError::Input { field: format!("{what} of item {:#018x}", item.key.0), rule })
        };
        if let Some(row) = item.id_row.filter(|&row| row as usize >= self.item_rows()) {
            return refuse("id_row", format!("must be below {}, is {row}", self.item_rows()));
        }
        if let Some(row) = item.words.iter().find(|&&row| row as usize >= self.word_rows()) {
            return refuse("words", format!("must be below {}, one is {row}", self.word_rows()));
        }
        if !item.vector.is_empty() && item.vector.len() != self.config().shop_vector {
            let rule =
                format!("must be of length {} or empty, is {}", self.config().shop_vector, item.vector.len());
            return refuse("vector", rule);
        }
        if !item.vector.iter().all(|number| number.is_finite()) {
            return refuse("vector", "must be finite".to_owned());
        }
        Ok(())
    }

    fn item_chunk(&self, items: &[ItemFeatures], out: &mut [f32]) {
        let (config, d) = (self.config(), self.dim());
        let mut x = vec![0.0; items.len() * d];
        for (item, x) in items.iter().zip(x.chunks_exact_mut(d)) {
            let id = item.id_row.map_or(self.item_rows(), |row| row as usize);
            x.copy_from_slice(&self.weights.items[id * d..][..d]);
            let scale = word_weight(item.words.len());
            for &word in &item.words {
                add(x, &self.weights.words[word as usize * d..][..d], scale);
            }
            if let (Some(weight), false) = (self.weights.group(SHOP_VECTOR), item.vector.is_empty()) {
                let vector: Vec<f32> = shop_vector(&item.vector).collect();
                let (vector, weight) =
                    (Matrix::new(&vector, 1, vector.len()), Matrix::new(weight, vector.len(), d));
                matmul(MatrixMut::new(x, 1, d), Write::Add, 1.0, vector, weight);
            }
        }
        if let Some(parameters) = self.weights.group(ITEM_FEED_FORWARD) {
            let layer = FeedForward::new(parameters, d, config.item_hidden);
            let mut y = vec![0.0; items.len() * d];
            layer.forward(&x, 0, Dropout::NONE, &mut feed_forward::Trace::default(), &mut y);
            x = y;
        }
        unit_rows(&x, d, out);
    }

    /// Vectors of users: n × `dim`, each of length 1, row after row. Of a history longer than
    /// [`Self::length`] the newest entries are read; an empty one gives the vector of a newcomer.
    ///
    /// # Errors
    /// When the slices of an input differ in length, or an item's vector is not `dim` long.
    pub fn user_vectors(&self, users: &[UserInput<'_>]) -> Result<Vec<f32>, TowersError> {
        for (place, user) in users.iter().enumerate() {
            let n = user.items.len();
            if (user.event_types.len(), user.gap_buckets.len()) != (n, n) {
                let (types, gaps) = (user.event_types.len(), user.gap_buckets.len());
                let rule = format!("must have one length, have {n} items, {types} event types, {gaps} gaps");
                return Err(TowersError::Input { field: format!("history of user {place}"), rule });
            }
            if let Some(item) = user.items.iter().find(|item| item.len() != self.dim()) {
                let rule = format!("must be of length {}, one is {}", self.dim(), item.len());
                return Err(TowersError::Input { field: format!("item vectors of user {place}"), rule });
            }
        }
        let d = self.dim();
        let mut out = vec![0.0; users.len() * d];
        if users.len() < PARALLEL_USERS {
            users.iter().zip(out.chunks_exact_mut(d)).for_each(|(user, out)| self.user(user, out));
        } else {
            users.par_iter().zip(out.par_chunks_mut(d)).for_each(|(user, out)| self.user(user, out));
        }
        Ok(out)
    }

    /// One user's vector. Every user is computed by themselves, so nobody else's history can change it.
    fn user(&self, user: &UserInput<'_>, out: &mut [f32]) {
        let (config, d) = (self.config(), self.dim());
        let mut x = self.inputs(user);
        if config.encoder == Encoder::MeanPool {
            let mut sum = vec![0.0; d];
            let rows = x.len() / d;
            x.chunks_exact(d).for_each(|row| add(&mut sum, row, 1.0));
            sum.iter_mut().for_each(|sum| *sum *= 1.0 / rows as f32);
            x = sum;
        }
        for block in 0..config.blocks {
            if let Some(parameters) = self.weights.group(&format!("user.blocks.{block}.attention")) {
                let layer = SelfAttention::new(parameters, d, config.heads);
                // Of the last block, nothing but its last row is used.
                x = if block + 1 == config.blocks { layer.last_row(&x) } else { attend(&layer, &x, d) };
            }
            if let Some(parameters) = self.weights.group(&format!("user.blocks.{block}.gru")) {
                let mut y = vec![0.0; x.len()];
                let lengths = [(x.len() / d) as u32];
                Gru::new(parameters, d).forward(
                    &x,
                    &lengths,
                    0,
                    Dropout::NONE,
                    &mut gru::Trace::default(),
                    &mut y,
                );
                // Of the last block, nothing but its last row is used.
                x = if block + 1 == config.blocks { y.split_off(y.len() - d) } else { y };
            }
            if let Some(parameters) = self.weights.group(&format!("user.blocks.{block}.feed_forward")) {
                let layer = FeedForward::new(parameters, d, config.hidden);
                let mut y = vec![0.0; x.len()];
                layer.forward(&x, 0, Dropout::NONE, &mut feed_forward::Trace::default(), &mut y);
                x = y;
            }
        }
        let (gain, bias) = self.weights.group("user.norm").unwrap_or_default().split_at(d);
        let mut normal = vec![0.0; d];
        layer_norm(&x, gain, bias, &mut normal);
        unit_rows(&normal, d, out);
    }

    /// What enters the encoder: a row for the start of the history, and one for each entry.
    fn inputs(&self, user: &UserInput<'_>) -> Vec<f32> {
        let (config, d) = (self.config(), self.dim());
        let context = self.weights.group(CONTEXT_GROUP).unwrap_or_default();
        debug_assert_eq!(context.len(), ContextRows::count(config) * d);
        let skipped = user.items.len().saturating_sub(config.length);
        let mut x = vec![0.0; (user.items.len() - skipped + 1) * d];
        let (start, rows) = x.split_at_mut(d);
        let context = |row: u32| &context[row as usize * d..][..d];
        ContextRows::start(config).as_slice().iter().for_each(|&row| add(start, context(row), 1.0));
        for (position, row) in rows.chunks_exact_mut(d).enumerate() {
            let entry = skipped + position;
            add(row, user.items[entry], item_scale(config));
            let (event_type, gap) = (user.event_types[entry] as u8, user.gap_buckets[entry]);
            let places = ContextRows::entry(config, event_type, gap, position as u32 + 1);
            places.as_slice().iter().for_each(|&place| add(row, context(place), 1.0));
        }
        x
    }
}

/// Every row of a block's attention.
fn attend(layer: &SelfAttention<'_>, x: &[f32], d: usize) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    let lengths = [(x.len() / d) as u32];
    layer.forward(x, &lengths, 0, Dropout::NONE, &mut attention::Trace::default(), &mut y);
    y
}

/// What each of an item's `n` words is multiplied with: their sum keeps its size whatever `n`.
///
/// ```
/// assert_eq!(endcap_towers::word_weight(4), 0.5);
/// ```
pub fn word_weight(n: usize) -> f32 {
    1.0 / (n.max(1) as f32).sqrt()
}

/// A shop's own vector as the item tower reads it: of length 1, whatever the shop's scale; zero stays zero.
///
/// ```
/// let vector: Vec<f32> = endcap_towers::shop_vector(&[30.0, 40.0]).collect();
/// assert_eq!(vector, [0.6, 0.8]);
/// ```
pub fn shop_vector(vector: &[f32]) -> impl Iterator<Item = f32> + '_ {
    let length = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    vector.iter().map(move |&x| (f64::from(x) * scale) as f32)
}

fn add(sum: &mut [f32], x: &[f32], scale: f32) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum += x * scale;
    }
}

/// `out[u][i] = users[u] · items[i]`: every user's score for every item, before the temperature. `users`:
/// m × d, `items`: n × d, `out`: m × n; in this thread.
///
/// ```
/// let mut scores = [0.0; 2];
/// endcap_towers::dot_products(&[3.0, 4.0], &[1.0, 0.0, 2.0, 5.0], 2, &mut scores);
/// assert_eq!(scores, [3.0, 26.0]);
/// ```
///
/// # Panics
/// When the slices do not fit each other.
pub fn dot_products(users: &[f32], items: &[f32], d: usize, out: &mut [f32]) {
    let (m, n) = (users.len() / d, items.len() / d);
    let (users, items) = (Matrix::new(users, m, d), Matrix::new(items, n, d));
    matmul(MatrixMut::new(out, m, n), Write::Replace, 1.0, users, items.t());
}
