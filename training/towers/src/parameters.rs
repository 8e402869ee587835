//! Dense parameters: which there are, how they begin, and where each lies.
//!
//! A layer's parameters lie one after the other in one slice, in the order of its specs; a model is a list
//! of such groups. The optimiser walks groups, the weights' file holds a tensor per spec, and a layer
//! takes its group apart with [`split`].

use crate::{
    TowersConfig,
    config::Encoder,
    kernels::{attention::SelfAttention, feed_forward::FeedForward, gru::Gru},
};

/// One parameter of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Its name within the layer: `up.weight`.
    pub name: &'static str,
    /// Its shape; a matrix is input × output.
    pub shape: Vec<usize>,
    /// How it begins.
    pub init: Init,
}

/// How a parameter begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Normal, with mean 0 and this standard deviation.
    Normal(f32),
}

/// A layer's parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The layer's name: `user.blocks.0.attention`.
    pub name: String,
    /// Its parameters, in their order within the slice.
    pub specs: Vec<Spec>,
}

impl Spec {
    pub(crate) fn new<const N: usize>(name: &'static str, shape: [usize; N], init: Init) -> Self {
        Self { name, shape: shape.to_vec(), init }
    }

    /// How many numbers it is.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether weight decay pulls on it: on matrices of a layer, not on gains, biases and embeddings.
    pub fn decays(&self) -> bool {
        self.name.ends_with(".weight")
    }
}

impl Group {
    /// How many numbers they are together.
    pub fn size(&self) -> usize {
        self.specs.iter().map(Spec::size).sum()
    }
}

/// Embeddings of event types, gaps and positions begin small beside the items they are added to.
const CONTEXT: Init = Init::Normal(0.02);
/// Event types by their number; 0 is the start of a history.
pub(crate) const EVENT_TYPES: usize = 32;

/// The dense parameters of towers of this shape; their tables of items and words are apart.
pub(crate) fn groups(config: &TowersConfig) -> Vec<Group> {
    let d = config.dim;
    let group = |name: String, specs| Group { name, specs };
    let mut groups = Vec::new();
    if config.shop_vector > 0 {
        let init = Init::Normal(0.02);
        groups.push(group(SHOP_VECTOR.into(), vec![Spec::new("weight", [config.shop_vector, d], init)]));
    }
    if config.item_hidden > 0 {
        groups.push(group(ITEM_FEED_FORWARD.into(), FeedForward::specs(d, config.item_hidden)));
    }
    let context = vec![
        Spec::new("event_type", [EVENT_TYPES, d], CONTEXT),
        Spec::new("gap", [endcap_features::GAP_BUCKETS, d], CONTEXT),
        Spec::new("position", [config.length + 1, d], CONTEXT),
    ];
    groups.push(group(CONTEXT_GROUP.into(), context));
    for block in 0..config.blocks {
        match config.encoder {
            Encoder::Transformer => {
                groups.push(group(format!("user.blocks.{block}.attention"), SelfAttention::specs(d)));
            }
            Encoder::Gru => groups.push(group(format!("user.blocks.{block}.gru"), Gru::specs(d))),
            Encoder::MeanPool => {}
        }
        groups.push(group(format!("user.blocks.{block}.feed_forward"), FeedForward::specs(d, config.hidden)));
    }
    let norm = vec![Spec::new("gain", [d], Init::Ones), Spec::new("bias", [d], Init::Zeros)];
    groups.push(group("user.norm".into(), norm));
    groups
}

pub(crate) const SHOP_VECTOR: &str = "item.shop_vector";
pub(crate) const ITEM_FEED_FORWARD: &str = "item.feed_forward";
pub(crate) const CONTEXT_GROUP: &str = "user.context";

/// Takes a slice apart: `N` parts of these sizes, one after the other.
///
/// # Panics
/// When the sizes do not add up to the slice.
pub(crate) fn split<const N: usize>(slice: &[f32], sizes: [usize; N]) -> [&[f32]; N] {
    let mut rest = slice;
    let parts = sizes.map(|size| {
        let (part, others) = rest.split_at(size);
        rest = others;
        part
    });
    assert!(rest.is_empty(), "{} numbers more than the parameters", rest.len());
    parts
}

/// [`split`], to write into.
pub(crate) fn split_mut<const N: usize>(slice: &mut [f32], sizes: [usize; N]) -> [&mut [f32]; N] {
    let mut rest = slice;
    let parts = sizes.map(|size| {
        let (part, others) = std::mem::take(&mut rest).split_at_mut(size);
        rest = others;
        part
    });
    assert!(rest.is_empty(), "{} numbers more than the parameters", rest.len());
    parts
}
