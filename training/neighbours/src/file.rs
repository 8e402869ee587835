//! Reading and writing models as safetensors.
//!
//! The header's metadata has one entry, `endcap`, which names model and version; the tensors are
//! little-endian, and every length and index is checked before it is used.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use endcap_proto::ItemKey;
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorView};

/// Version of all files of this crate.
const FORMAT_VERSION: u32 = 1;

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum NeighboursError {
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is no safetensors file.
    #[error("{path}: {source}")]
    Safetensors {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: SafeTensorError,
    },
    /// The file is of another model or version, or a tensor breaks a rule.
    #[error("{path}: {rule}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// The rule broken.
        rule: String,
    },
    /// More items than the model is meant for.
    #[error(
        "{items} items, and EASE is for at most {most} (memory grows with the square of the items, time with the cube): \
         leave it out, or raise `ease.max_items`"
    )]
    TooManyItems {
        /// How many there are.
        items: usize,
        /// How many may be.
        most: usize,
    },
    /// More items or interactions than a fit can number.
    #[error("more than 2^30 items or 2^32 interactions: fit on a shorter time")]
    TooLarge,
}

/// A value of a tensor.
pub(crate) trait Element: Copy {
    const DTYPE: Dtype;
    const BYTES: usize;
    fn write(self, out: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! elements {
    ($($element:ty = $dtype:ident;)*) => {$(
        impl Element for $element {
            const DTYPE: Dtype = Dtype::$dtype;
            const BYTES: usize = size_of::<$element>();

            fn write(self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Self {
                let mut word = [0; size_of::<$element>()];
                word.copy_from_slice(bytes);
                Self::from_le_bytes(word)
            }
        }
    )*};
}

elements! {
    u64 = U64;
    u32 = U32;
    f32 = F32;
}

/// The tensors of a file, all of them vectors.
#[derive(Debug, Default)]
pub(crate) struct Tensors(Vec<(&'static str, Dtype, usize, Vec<u8>)>);

impl Tensors {
    pub(crate) fn with<E: Element>(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = E>,
    ) -> Self {
        let mut bytes = Vec::new();
        values.into_iter().for_each(|value| value.write(&mut bytes));
        self.0.push((name, E::DTYPE, bytes.len() / E::BYTES, bytes));
        self
    }

    pub(crate) fn save(self, path: &Path, model: &str) -> Result<(), NeighboursError> {
        let failed = |source| NeighboursError::Safetensors { path: path.to_owned(), source };
        let views = self.0.iter().map(|(name, dtype, len, bytes)| {
            Ok((*name, TensorView::new(*dtype, vec![*len], bytes).map_err(failed)?))
        });
        let views = views.collect::<Result<Vec<_>, _>>()?;
        // One entry: a map of several would be written in an order that changes from run to run.
        let metadata = HashMap::from([("endcap".to_owned(), signature(model))]);
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(failed)?;
        std::fs::write(path, bytes).map_err(|source| NeighboursError::Io { path: path.to_owned(), source })
    }
}

fn signature(model: &str) -> String {
    format!("{model} {FORMAT_VERSION}")
}

/// A file that is being read.
pub(crate) struct TensorFile<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
}

impl<'a> TensorFile<'a> {
    /// Reads the file at `path` and hands it to `read`.
    pub(crate) fn load<T>(
        path: &Path,
        model: &str,
        read: impl FnOnce(&TensorFile<'_>) -> Result<T, NeighboursError>,
    ) -> Result<T, NeighboursError> {
        let bytes =
            std::fs::read(path).map_err(|source| NeighboursError::Io { path: path.to_owned(), source })?;
        let failed = |source| NeighboursError::Safetensors { path: path.to_owned(), source };
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(failed)?;
        let file = TensorFile { path, tensors: SafeTensors::deserialize(&bytes).map_err(failed)? };
        let found = metadata.metadata().as_ref().and_then(|metadata| metadata.get("endcap"));
        if found.map(String::as_str) != Some(&signature(model)) {
            let found = found.map_or("nothing".to_owned(), |found| format!("{found:?}"));
            return Err(file.broken(format!(
                "must be {:?} of its header, found {found}: train again with this build",
                signature(model)
            )));
        }
        read(&file)
    }

    pub(crate) fn broken(&self, rule: impl Into<String>) -> NeighboursError {
        NeighboursError::Format { path: self.path.to_owned(), rule: rule.into() }
    }

    /// The values of a tensor.
    pub(crate) fn values<E: Element>(&self, name: &str) -> Result<Vec<E>, NeighboursError> {
        let tensor =
            self.tensors.tensor(name).map_err(|_| self.broken(format!("tensor {name} is missing")))?;
        if tensor.dtype() != E::DTYPE || tensor.shape().len() != 1 {
            return Err(self.broken(format!("tensor {name} must be a vector of {:?}", E::DTYPE)));
        }
        Ok(tensor.data().chunks_exact(E::BYTES).map(E::read).collect())
    }

    /// The values of a tensor that must have one for each of `len`, finite and not negative.
    pub(crate) fn weights(&self, name: &str, len: usize) -> Result<Vec<f32>, NeighboursError> {
        let weights = self.values::<f32>(name)?;
        if weights.len() != len || weights.iter().any(|weight| !weight.is_finite() || *weight < 0.0) {
            return Err(self.broken(format!("tensor {name} must be {len} finite numbers from 0")));
        }
        Ok(weights)
    }

    /// The tensor `items`: distinct keys.
    pub(crate) fn items(&self) -> Result<Vec<ItemKey>, NeighboursError> {
        let items: Vec<ItemKey> = self.values::<u64>("items")?.into_iter().map(ItemKey).collect();
        let mut sorted = items.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(self.broken("tensor items must hold each key once"));
        }
        Ok(items)
    }
}
