//! The numbers of two towers: two tables, and the dense parameters by layer.
//!
//! | tensor | shape |
//! |---|---|
//! | `item.id` | items + 1 × dim; the last row stands for an item without one of its own |
//! | `item.word` | words × dim |
//! | `item.shop_vector.weight` | shop_vector × dim, where the shop has vectors |
//! | `item.feed_forward.*` | norm, up, down: where `item_hidden` > 0 |
//! | `user.context.{event_type, gap, position}` | rows × dim |
//! | `user.blocks.N.attention.*`, or `user.blocks.N.gru.*` | norm, projections, where the encoder has them |
//! | `user.blocks.N.feed_forward.*` | norm, up, down |
//! | `user.norm.{gain, bias}` | dim |

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

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
                Init::Normal(deviation) => normals(
                    mix(seed ^ (number as u64) << 16 ^ (place as u64) << 8 ^ 3),
                    spec.size(),
                    deviation,
                ),
            });
            specs.flatten().collect()
        });
        let dense = dense.collect();
        Ok(Self { items: rows, words: table(2, words), dense, groups, config })
    }

    /// The same weights with longer tables. Rows that there are stay what and where they are, the one of the unknown item
    /// stays the last; new rows are drawn by `seed`. Tables that are long enough stay as they are.
    ///
    /// # Errors
    /// When the shape breaks a rule.
    pub fn grow(self, items: usize, words: usize, seed: u64) -> Result<Self, TowersError> {
        let d = self.config.dim;
        let (items, words) = (items.max(self.item_rows()), words.max(self.word_rows()));
        let drawn = Self::new(self.config.clone(), items, words, seed)?;
        let (own, unknown) = self.items.split_at(self.item_rows() * d);
        let items = [own, &drawn.items[own.len()..items * d], unknown].concat();
        let words = [&self.words, &drawn.words[self.words.len()..]].concat();
        Ok(Self { items, words, ..self })
    }

    /// Reads safetensors of this shape.
    ///
    /// # Errors
    /// When the shape breaks a rule; when a tensor is missing, too many, of another shape or type, or
    /// holds a number that is not finite.
    pub fn read(config: TowersConfig, bytes: &[u8]) -> Result<Self, TowersError> {
        config.validate()?;
        let mut tensors = Tensors::read(bytes)?;
        let groups = groups(&config);
        let items = tensors.take(ITEMS, &[None, Some(config.dim)])?;
        if items.is_empty() {
            return Err(TowersError::Weights(format!("{ITEMS} has no row for unknown items")));
        }
        let words = tensors.take(WORDS, &[None, Some(config.dim)])?;
        let mut dense = Vec::with_capacity(groups.len());
        for group in &groups {
            let mut numbers = Vec::with_capacity(group.size());
            for spec in &group.specs {
                let shape: Vec<Option<usize>> = spec.shape.iter().copied().map(Some).collect();
                numbers.extend(tensors.take(&format!("{}.{}", group.name, spec.name), &shape)?);
            }
            dense.push(numbers);
        }
        tensors.done()?;
        Ok(Self { config, groups, items, words, dense })
    }

    /// Writes safetensors, which [`Self::read`] reads. Equal weights give equal bytes.
    ///
    /// # Errors
    /// When they do not fit the format.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, TowersError> {
        let d = self.config.dim;
        let mut tensors = vec![
            (ITEMS.to_owned(), Numbers::new([self.items.len() / d, d], &self.items)),
            (WORDS.to_owned(), Numbers::new([self.words.len() / d, d], &self.words)),
        ];
        for (group, mut numbers) in self.groups.iter().zip(self.dense.iter().map(Vec::as_slice)) {
            for spec in &group.specs {
                let (own, rest) = numbers.split_at(spec.size());
                numbers = rest;
                let shape = spec.shape.clone();
                tensors.push((format!("{}.{}", group.name, spec.name), Numbers { shape, numbers: own }));
            }
        }
        Numbers::serialize(tensors, "endcap towers 1")
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

/// The tensors of a file, to be taken one by one.
pub(crate) struct Tensors<'a> {
    tensors: SafeTensors<'a>,
    left: BTreeSet<String>,
}

impl<'a> Tensors<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, TowersError> {
        let tensors =
            SafeTensors::deserialize(bytes).map_err(|error| TowersError::Weights(error.to_string()))?;
        let left = tensors.names().into_iter().map(str::to_owned).collect();
        Ok(Self { tensors, left })
    }

    /// The numbers of a tensor of this shape, where `None` is any length.
    pub(crate) fn take(&mut self, name: &str, shape: &[Option<usize>]) -> Result<Vec<f32>, TowersError> {
        let refuse = |reason: String| Err(TowersError::Weights(reason));
        let Ok(tensor) = self.tensors.tensor(name) else { return refuse(format!("{name} is missing")) };
        self.left.remove(name);
        let fits = |(want, &size): (&Option<usize>, &usize)| want.is_none_or(|want| want == size);
        let same_shape = tensor.shape().len() == shape.len() && shape.iter().zip(tensor.shape()).all(fits);
        if tensor.dtype() != Dtype::F32 || !same_shape {
            let want: Vec<String> = shape.iter().map(|n| n.map_or("any".into(), |n| n.to_string())).collect();
            let (dtype, shape, want) = (tensor.dtype(), tensor.shape(), want.join(" × "));
            return refuse(format!("{name} is {dtype:?} {shape:?}, where the shape asks for F32 {want}"));
        }
        let numbers = tensor.data().chunks_exact(4);
        let numbers: Vec<f32> = numbers.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        match numbers.iter().position(|number| !number.is_finite()) {
            Some(place) => refuse(format!("{name}[{place}] is {}, not finite", numbers[place])),
            None => Ok(numbers),
        }
    }

    /// That nothing is left.
    pub(crate) fn done(self) -> Result<(), TowersError> {
        match self.left.first() {
            Some(name) => Err(TowersError::Weights(format!("{name} has no place in this shape"))),
            None => Ok(()),
        }
    }
}

/// A tensor to be written.
pub(crate) struct Numbers<'a> {
    shape: Vec<usize>,
    numbers: &'a [f32],
}

impl<'a> Numbers<'a> {
    pub(crate) fn new<const N: usize>(shape: [usize; N], numbers: &'a [f32]) -> Self {
        Self { shape: shape.to_vec(), numbers }
    }

    /// A file of these tensors.
    pub(crate) fn serialize(tensors: Vec<(String, Self)>, format: &str) -> Result<Vec<u8>, TowersError> {
        let about = HashMap::from([("format".to_owned(), format.to_owned())]);
        safetensors::serialize(tensors, Some(about)).map_err(|error| TowersError::Weights(error.to_string()))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TowersConfig {
        TowersConfig { dim: 8, hidden: 8, item_hidden: 4, shop_vector: 2, length: 3, ..Default::default() }
    }

    #[test]
    fn bytes_give_the_weights_back_and_are_the_same_every_time() {
        let weights = Weights::new(config(), 5, 7, 1).unwrap();
        let bytes = weights.to_safetensors().unwrap();
        assert_eq!(Weights::read(config(), &bytes).unwrap(), weights);
        assert_eq!(Weights::new(config(), 5, 7, 1).unwrap().to_safetensors().unwrap(), bytes);
        assert_ne!(Weights::new(config(), 5, 7, 2).unwrap().items, weights.items);
        assert_eq!((weights.item_rows(), weights.word_rows()), (5, 7));
        // More items leave those there are as they were, and the unknown one too.
        let grown = Weights::new(config(), 6, 7, 1).unwrap();
        assert_eq!(grown.items[..5 * 8], weights.items[..5 * 8]);
        assert_eq!(grown.items[6 * 8..], weights.items[5 * 8..]);
    }

    #[test]
    fn growing_renumbers_nothing() {
        let small = Weights::new(config(), 5, 7, 1).unwrap();
        let grown = small.clone().grow(8, 9, 2).unwrap();
        assert_eq!((grown.item_rows(), grown.word_rows()), (8, 9));
        assert_eq!(grown.items[..5 * 8], small.items[..5 * 8]);
        assert_eq!(grown.items[8 * 8..], small.items[5 * 8..], "the unknown item's row");
        assert_eq!((&grown.words[..7 * 8], &grown.dense), (&small.words[..], &small.dense));
        assert!(grown.items[5 * 8..8 * 8].iter().all(|&x| x != 0.0));
        assert_eq!(grown.clone().grow(3, 2, 5).unwrap(), grown, "nothing shrinks");
    }

    #[test]
    fn weights_of_another_shape_or_broken_ones_are_refused() {
        let weights = Weights::new(config(), 2, 0, 1).unwrap();
        let bytes = weights.to_safetensors().unwrap();
        let refused =
            |config: TowersConfig, bytes: &[u8]| Weights::read(config, bytes).unwrap_err().to_string();
        assert!(
            refused(TowersConfig { hidden: 12, ..config() }, &bytes)
                .contains("user.blocks.0.feed_forward.up.weight is F32 [8, 8]")
        );
        assert!(
            refused(TowersConfig { blocks: 2, ..config() }, &bytes)
                .contains("user.blocks.1.attention.norm.gain is missing")
        );
        assert!(refused(TowersConfig { item_hidden: 0, ..config() }, &bytes).contains("has no place"));
        assert!(
            refused(TowersConfig { heads: 3, ..config() }, &bytes)
                .contains("heads must divide dim (8), is 3")
        );
        for cut in 0..bytes.len() {
            assert!(Weights::read(config(), &bytes[..cut]).is_err(), "{cut} bytes");
        }
        let mut broken = weights;
        broken.dense[1][0] = f32::NAN;
        assert!(refused(config(), &broken.to_safetensors().unwrap()).contains("not finite"));
    }

    #[test]
    fn normals_are_normal() {
        let numbers = normals(3, 100_000, 0.5);
        let mean = numbers.iter().sum::<f32>() / 1e5;
        let variance = numbers.iter().map(|x| x * x).sum::<f32>() / 1e5;
        let beyond = numbers.iter().filter(|x| x.abs() > 1.0).count() as f32 / 1e5;
        assert!(mean.abs() < 0.01 && (variance - 0.25).abs() < 0.005 && (beyond - 0.0455).abs() < 0.003);
    }
}
