//! The ranker: from the features of a candidate to the probability of each outcome.
//!
//! `p = σ(a · network(clip((x − mean) / deviation)) + b)` per head: features are standardised as they were
//! in training, and a and b calibrate the network's logit on held-out data (Platt 1999). On disk it is
//! `NAME.json` (shape) and `NAME.safetensors` (numbers).

mod network;

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

pub use network::RankerNetwork;

use crate::{
    RankerConfig, TowersError,
    kernels::{math::sigmoid, simd},
    weights::{Numbers, Tensors},
};

/// What the ranker predicts, in the order of its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// The product is clicked.
    Click = 0,
    /// It is put into the cart.
    Cart = 1,
    /// It is bought.
    Purchase = 2,
}

impl Head {
    /// Every head, in the order of the outputs.
    pub const ALL: [Self; 3] = [Self::Click, Self::Cart, Self::Purchase];

    /// The head's name: `click`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Click => "click",
            Self::Cart => "cart",
            Self::Purchase => "purchase",
        }
    }
}

/// One network with a calibrated probability per [`Head`].
#[derive(Debug, Clone, PartialEq)]
pub struct Ranker {
    config: RankerConfig,
    network: RankerNetwork,
    weights: RankerWeights,
}

/// The numbers of a ranker.
#[derive(Debug, Clone, PartialEq)]
pub struct RankerWeights {
    /// Mean of each feature in training.
    pub means: Vec<f32>,
    /// Standard deviation of each feature in training; above 0.
    pub deviations: Vec<f32>,
    /// Parameters of the [`RankerNetwork`].
    pub network: Vec<f32>,
    /// Slope and offset of each head's logit.
    pub calibration: Vec<[f32; 2]>,
}

/// A standardised feature is held within these bounds, so that one wild input cannot decide alone.
const CLIP: f32 = 8.0;

/// Version of `NAME.json`.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    format: u32,
    features: usize,
    heads: Vec<Head>,
    network: RankerConfig,
}

impl Ranker {
    /// A ranker of these numbers.
    ///
    /// # Errors
    /// When they do not fit the shape, or are not finite.
    pub fn new(config: RankerConfig, weights: RankerWeights) -> Result<Self, TowersError> {
        let features = weights.means.len();
        let network = RankerNetwork::new(features, &config.hidden, Head::ALL.len());
        let refuse = |reason: String| Err(TowersError::Weights(reason));
        if config.hidden.contains(&0) || config.hidden.iter().any(|&width| width > 8192) {
            return Err(TowersError::Config {
                field: "hidden",
                rule: "must be widths within 1..=8192".into(),
            });
        }
        let sizes = [weights.deviations.len(), weights.network.len(), weights.calibration.len()];
        if sizes != [features, network.parameters(), Head::ALL.len()] {
            return refuse(format!(
                "a ranker of {features} features and heads {:?} has other sizes than {sizes:?}",
                Head::ALL
            ));
        }
        let calibration = weights.calibration.iter().flatten();
        let mut numbers =
            weights.means.iter().chain(&weights.deviations).chain(&weights.network).chain(calibration);
        if !numbers.all(|number| number.is_finite())
            || weights.deviations.iter().any(|&deviation| deviation <= 0.0)
        {
            return refuse("a number of the ranker is not finite, or a deviation not above 0".into());
        }
        Ok(Self { config, network, weights })
    }

    /// The shape.
    pub fn config(&self) -> &RankerConfig {
        &self.config
    }

    /// Inputs per candidate: `RANK_FEATURES.len()` at the time it was trained.
    pub fn features(&self) -> usize {
        self.weights.means.len()
    }

    /// Probabilities of the rows of `features` (n × [`Self::features`], row after row): n × 3, in the
    /// order of [`Head::ALL`]. A feature that is not finite counts as its mean.
    ///
    /// # Errors
    /// When the length is no multiple of the number of features.
    pub fn predict(&self, features: &[f32]) -> Result<Vec<f32>, TowersError> {
        if !features.len().is_multiple_of(self.features().max(1)) {
            let rule =
                format!("must be rows of {} features, are {} numbers", self.features(), features.len());
            return Err(TowersError::Input { field: "features".into(), rule });
        }
        if features.is_empty() {
            return Ok(Vec::new());
        }
        let mut x = features.to_vec();
        standardise(&self.weights.means, &self.weights.deviations, &mut x);
        let mut out = self.network.logits(&self.weights.network, &x);
        for row in out.chunks_exact_mut(Head::ALL.len()) {
            for (value, [slope, offset]) in row.iter_mut().zip(&self.weights.calibration) {
                *value = sigmoid(slope.mul_add(*value, *offset));
            }
        }
        Ok(out)
    }

    /// Reads `DIR/NAME.json` and `DIR/NAME.safetensors`.
    ///
    /// # Errors
    /// When they cannot be read, or do not fit each other.
    pub fn read(dir: &Path, name: &str) -> Result<Self, TowersError> {
        let (shape_path, weights_path) = paths(dir, name);
        let read =
            |path: &Path| fs::read(path).map_err(|source| TowersError::Io { path: path.to_owned(), source });
        let shape: Shape = serde_json::from_slice(&read(&shape_path)?)
            .map_err(|error| TowersError::Weights(format!("{}: {error}", shape_path.display())))?;
        if shape.format != FORMAT || shape.heads != Head::ALL {
            let (format, heads) = (shape.format, shape.heads);
            let reason = format!(
                "a ranker of format {format} with heads {heads:?}, this build reads format {FORMAT} with {:?}",
                Head::ALL
            );
            return Err(TowersError::Weights(reason));
        }
        let bytes = read(&weights_path)?;
        let mut tensors = Tensors::read(&bytes)?;
        let n = Some(shape.features);
        let parameters =
            RankerNetwork::new(shape.features, &shape.network.hidden, Head::ALL.len()).parameters();
        let weights = RankerWeights {
            means: tensors.take("means", &[n])?,
            deviations: tensors.take("deviations", &[n])?,
            network: tensors.take("network", &[Some(parameters)])?,
            calibration: tensors
                .take("calibration", &[Some(Head::ALL.len()), Some(2)])?
                .chunks_exact(2)
                .map(|pair| [pair[0], pair[1]])
                .collect(),
        };
        tensors.done()?;
        Self::new(shape.network, weights)
    }

    /// Writes `DIR/NAME.json` and `DIR/NAME.safetensors`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, dir: &Path, name: &str) -> Result<(), TowersError> {
        let (shape_path, weights_path) = paths(dir, name);
        let write = |path: &Path, bytes: &[u8]| {
            fs::write(path, bytes).map_err(|source| TowersError::Io { path: path.to_owned(), source })
        };
        let shape = Shape {
            format: FORMAT,
            features: self.features(),
            heads: Head::ALL.to_vec(),
            network: self.config.clone(),
        };
        let shape =
            serde_json::to_vec_pretty(&shape).map_err(|error| TowersError::Weights(error.to_string()))?;
        let RankerWeights { means, deviations, network, calibration } = &self.weights;
        let calibration: Vec<f32> = calibration.iter().flatten().copied().collect();
        let tensors = vec![
            ("means".to_owned(), Numbers::new([means.len()], means)),
            ("deviations".to_owned(), Numbers::new([deviations.len()], deviations)),
            ("network".to_owned(), Numbers::new([network.len()], network)),
            ("calibration".to_owned(), Numbers::new([calibration.len() / 2, 2], &calibration)),
        ];
        let weights = Numbers::serialize(tensors, "endcap ranker 1")?;
        write(&shape_path, &shape)?;
        write(&weights_path, &weights)
    }
}

/// `x = clip((x − mean) / deviation)` within ±8, row by row; what is not finite becomes 0.
///
/// ```
/// let mut rows = [3.0, f32::NAN, 1e9, 5.0];
/// endcap_towers::standardise(&[1.0, 4.0], &[2.0, 1.0], &mut rows);
/// assert_eq!(rows, [1.0, 0.0, 8.0, 1.0]);
/// ```
pub fn standardise(means: &[f32], deviations: &[f32], x: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for row in x.chunks_exact_mut(means.len()) {
                for ((x, mean), deviation) in row.iter_mut().zip(means).zip(deviations) {
                    let standard = (*x - mean) / deviation;
                    *x = if standard.is_finite() { standard.clamp(-CLIP, CLIP) } else { 0.0 };
                }
            }
        },
    );
}

fn paths(dir: &Path, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    (dir.join(format!("{name}.json")), dir.join(format!("{name}.safetensors")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranker(hidden: &[usize]) -> Ranker {
        let network = RankerNetwork::new(2, hidden, 3);
        let weights = RankerWeights {
            means: vec![1.0, 0.0],
            deviations: vec![2.0, 1.0],
            network: (0..network.parameters()).map(|i| (i as f32 * 0.7).sin()).collect(),
            calibration: vec![[1.0, 0.0], [2.0, -1.0], [1.0, 0.5]],
        };
        Ranker::new(RankerConfig { hidden: hidden.to_vec() }, weights).unwrap()
    }

    #[test]
    fn a_worked_prediction() {
        let weights = RankerWeights {
            means: vec![1.0, 0.0],
            deviations: vec![2.0, 1.0],
            network: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.5],
            calibration: vec![[1.0, 0.0], [2.0, -1.0], [1.0, 0.5]],
        };
        let ranker = Ranker::new(RankerConfig { hidden: vec![] }, weights).unwrap();
        // Standardised: (1, 0.5); logits 1, 0.5, 0.5; calibrated 1, 0, 1.
        let p = ranker.predict(&[3.0, 0.5]).unwrap();
        for (got, want) in p.iter().zip([0.731_058_6, 0.5, 0.731_058_6]) {
            assert!((got - want).abs() < 1e-6, "{p:?}");
        }
        // A NaN counts as the mean, a wild value is held.
        assert_eq!(ranker.predict(&[f32::NAN, 0.5]).unwrap(), ranker.predict(&[1.0, 0.5]).unwrap());
        assert_eq!(ranker.predict(&[1e30, 0.0]).unwrap(), ranker.predict(&[17.0, 0.0]).unwrap());
        assert!(ranker.predict(&[1.0]).is_err());
        assert!(ranker.predict(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_batch_row_equals_a_single_row() {
        let ranker = ranker(&[16, 8]);
        let rows: Vec<f32> = (0..1200).map(|i| (i as f32 * 0.37).cos() * 3.0).collect();
        let batch = ranker.predict(&rows).unwrap();
        for (row, want) in rows.chunks(2).zip(batch.chunks(3)) {
            for (got, want) in ranker.predict(row).unwrap().iter().zip(want) {
                assert!((got - want).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn files_give_the_ranker_back_or_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let ranker = ranker(&[4]);
        ranker.write(dir.path(), "ranker").unwrap();
        assert_eq!(Ranker::read(dir.path(), "ranker").unwrap(), ranker);
        let path = dir.path().join("ranker.safetensors");
        let good = fs::read(&path).unwrap();
        for cut in 0..good.len() {
            fs::write(&path, &good[..cut]).unwrap();
            assert!(Ranker::read(dir.path(), "ranker").is_err(), "{cut} bytes");
        }
        fs::write(&path, &good).unwrap();
        fs::write(
            dir.path().join("ranker.json"),
            r#"{"format":1,"features":3,"heads":["click","cart","purchase"],"network":{"hidden":[4]}}"#,
        )
        .unwrap();
        assert!(matches!(Ranker::read(dir.path(), "ranker"), Err(TowersError::Weights(_))));
    }
}
