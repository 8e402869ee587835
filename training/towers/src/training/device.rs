//! Where a training step is made.

use std::{fmt, str::FromStr};

use crate::TowersError;

/// Where a training step is made.
///
/// ```
/// use endcap_towers::Device;
/// assert_eq!("cuda:1".parse(), Ok(Device::Cuda(1)));
/// assert_eq!(Device::Cuda(0).to_string(), "cuda");
/// assert!("tpu".parse::<Device>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// This processor, by the kernels written for it.
    #[default]
    Cpu,
    /// This processor, by candle: the reference, many times slower.
    Candle,
    /// A GPU, by candle, in a build with the feature `cuda`.
    Cuda(usize),
}

/// A word that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be cpu, candle, cuda or cuda:N, is {0:?}")]
pub struct UnknownDevice(String);

impl Device {
    /// The device of candle's; none for the kernels.
    pub(super) fn of_candle(self) -> Result<Option<candle_core::Device>, TowersError> {
        match self {
            Self::Cpu => Ok(None),
            Self::Candle => Ok(Some(candle_core::Device::Cpu)),
            Self::Cuda(_) if !cfg!(feature = "cuda") => {
                let reason = "this build has no GPU path: build with `--features cuda`".to_owned();
                Err(TowersError::Device { device: self, reason })
            }
            Self::Cuda(number) => candle_core::Device::new_cuda(number)
                .map(Some)
                .map_err(|error| TowersError::Device { device: self, reason: error.to_string() }),
        }
    }
}

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(word: &str) -> Result<Self, UnknownDevice> {
        let unknown = || UnknownDevice(word.to_owned());
        match word {
            "cpu" => Ok(Self::Cpu),
            "candle" => Ok(Self::Candle),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let number = word.strip_prefix("cuda:").ok_or_else(unknown)?;
                number.parse().map(Self::Cuda).map_err(|_| unknown())
            }
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Candle => f.write_str("candle"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}
