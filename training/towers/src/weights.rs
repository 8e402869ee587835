//! The numbers of two towers: two tables, and the dense parameters by layer.
//!
//! | tensor | shape |
//! |---|---|
//! | `item.id` | items + 1 × dim; the last row stands for an item without one of its own |
//! | `item.word` | words × dim |
//! | `item.shop_vector.weight` | shop_vector × dim, where the shop has vectors |
//! | `item.feed_forward.*` | norm, up, down: where `item_hidden` > 0 |
//! | `user.context.{event_type, gap, position}` | rows × dim |
//! | `user.blocks.N.attention.*`, `user.blocks.N.feed_forward.*` | norm, projections |
//! | `user.norm.{gain, bias}` | dim |

use std::{borrow::Cow, collections::HashMap};

use safetensors::{Dtype, SafeTensors, View};

use crate::{
    TowersConfig, TowersError, mix,
    parameters::{Group, Init, groups},
};

/// Standard deviation of embeddings at the start.
const EMBEDDING: f32 = 0.02;

/// The numbers of two towers of one shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    config: TowersConfig,
    groups: Vec<Group>,
    /// Items + 1 rows of `dim`; the last one stands for an item that has no row of its own.
    pub items: Vec<f32>,
    /// Words, rows of `dim`.
    pub words: Vec<f32>,
    /// The dense parameters: a slice per group, in the order of [`Self::groups`].
    pub dense: Vec<Vec<f32>>,
}

impl Weights {
    /// Weights to begin training with: a function of shape and seed. A table that grows keeps the rows it had.
    ///
    /// # Errors
    /// When the shape breaks a rule.
    pub fn new(config: TowersConfig, items: usize, words: usize, seed: u64) -> Result<Self, TowersError> {
        config.validate()?;
        let groups = groups(&config);
        let table = |salt: u64, rows: usize| normals(mix(seed ^ salt), rows * config.dim, EMBEDDING);
        // The row of the unknown item comes last but is drawn first: it does not depend on how many there are.
        let mut rows = table(1, items + 1);
        rows.rotate_left(config.dim);
        let dense = groups.iter().enumerate().map(|(number, group)| {
            let specs = group.specs.iter().enumerate().map(|(place, spec)| match spec.init {
                Init::Zeros => vec![0.0; spec.size()],
                Init::Ones => vec![1.0; spec.size()],
                Init::Normal(deviation) => {
                    normals(mix(seed ^ (number as u64) << 16 ^ (place as u64) << 8 ^ 3), spec.size(), deviation)
                }
            });
            specs.flatten().collect()
        });
        let dense = dense.collect();
        Ok(Self { items: rows, words: table(2, words), dense, groups, config })
    }

    /// Reads safetensors of this shape.
    ///
    /// # Errors
    /// When the shape breaks a rule; when a tensor is missing, too many, of another shape or type, or
    /// holds a number that is not finite.
    pub fn read(config: TowersConfig, bytes: &[u8]) -> Result<Self, TowersError> {
        config.validate()?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| TowersError::Weights(error.to_string()))?;
        let groups = groups(&config);
        let mut names: Vec<&str> = tensors.names();
        let mut take = |name: &str, shape: &[Option<usize>]| -> Result<Vec<f32>, TowersError> {
            names.retain(|other| *other != name);
            let tensor = tensors.tensor(name).map_err(|_| TowersError::Weights(format!("{name} is missing")))?;
            let fits = |(&want, &size): (&Option<usize>, &usize)| want.is_none_or(|want| want == size);
            let same_shape = tensor.shape().len() == shape.len() && shape.iter().zip(tensor.shape()).all(fits);
            if tensor.dtype() != Dtype::F32 || !same_shape {
                let want: Vec<String> = shape.iter().map(|n| n.map_or("any".into(), |n| n.to_string())).collect();
                let (dtype, shape, want) = (tensor.dtype(), tensor.shape(), want.join(" × "));
                let reason = format!("{name} is {dtype:?} {shape:?}, where the shape asks for F32 {want}");
                return Err(TowersError::Weights(reason));
            }
            let numbers = tensor.data().chunks_exact(4);
            let numbers: Vec<f32> = numbers.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            match numbers.iter().position(|number| !number.is_finite()) {
                Some(place) => {
                    Err(TowersError::Weights(format!("{name}[{place}] is {}, not finite", numbers[place])))
                }
                None => Ok(numbers),
            }
        };
        let items = take(ITEMS, &[None, Some(config.dim)])?;
        if items.is_empty() {
            return Err(TowersError::Weights(format!("{ITEMS} has no row for unknown items")));
        }
        let words = take(WORDS, &[None, Some(config.dim)])?;
        let mut dense = Vec::with_capacity(groups.len());
        for group in &groups {
            let mut numbers = Vec::with_capacity(group.size());
            for spec in &group.specs {
                let shape: Vec<Option<usize>> = spec.shape.iter().copied().map(Some).collect();
                numbers.extend(take(&format!("{}.{}", group.name, spec.name), &shape)?);
            }
            dense.push(numbers);
        }
        if let Some(name) = names.first() {
            return Err(TowersError::Weights(format!("{name} has no place in this shape")));
        }
        Ok(Self { config, groups, items, words, dense })
    }

    /// Writes safetensors, which [`Self::read`] reads. Equal weights give equal bytes.
    ///
    /// # Errors
    /// When they do not fit the format.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, TowersError> {
        let d = self.config.dim;
        let mut tensors = vec![
            (ITEMS.to_owned(), Numbers { shape: vec![self.items.len() / d, d], numbers: &self.items }),
            (WORDS.to_owned(), Numbers { shape: vec![self.words.len() / d, d], numbers: &self.words }),
        ];
        for (group, mut numbers) in self.groups.iter().zip(self.dense.iter().map(Vec::as_slice)) {
            for spec in &group.specs {
                let (own, rest) = numbers.split_at(spec.size());
                numbers = rest;
                let name = format!("{}.{}", group.name, spec.name);
                tensors.push((name, Numbers { shape: spec.shape.clone(), numbers: own }));
            }
        }
        let about = HashMap::from([("format".to_owned(), "endcap towers 1".to_owned())]);
        safetensors::serialize(tensors, Some(about)).map_err(|error| TowersError::Weights(error.to_string()))
    }

    /// The shape.
    pub fn config(&self) -> &TowersConfig {
        &self.config
    }

    /// The layers' dense parameters, in the order of `dense`.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Items that have a row of their own.
    pub fn item_rows(&self) -> usize {
        (self.items.len() / self.config.dim).saturating_sub(1)
    }

    /// Words.
    pub fn word_rows(&self) -> usize {
        self.words.len() / self.config.dim
    }

    /// The parameters of the layer with this name.
    pub(crate) fn group(&self, name: &str) -> Option<&[f32]> {
        let place = self.groups.iter().position(|group| group.name == name)?;
        self.dense.get(place).map(Vec::as_slice)
    }
}

const ITEMS: &str = "item.id";
const WORDS: &str = "item.word";

/// A tensor to be written.
struct Numbers<'a> {
    shape: Vec<usize>,
    numbers: &'a [f32],
}

impl View for Numbers<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if cfg!(target_endian = "little") {
            return Cow::Borrowed(bytemuck::cast_slice(self.numbers));
        }
        Cow::Owned(self.numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        self.numbers.len() * 4
    }
}

/// `n` normal numbers by Box and Muller's method, number i a function of (`key`, i).
fn normals(key: u64, n: usize, deviation: f32) -> Vec<f32> {
    let uniform = |i: u64| (mix(key.wrapping_add(i)) >> 11) as f64 / (1u64 << 53) as f64;
    let normal = |i: u64| {
        let radius = (-2.0 * (1.0 - uniform(2 * i)).ln()).sqrt();
        (radius * (std::f64::consts::TAU * uniform(2 * i + 1)).cos()) as f32
    };
    (0..n as u64).map(|i| normal(i) * deviation).collect()
}
