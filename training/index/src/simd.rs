//! Which instruction set the scans run on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An instruction set that the scans have a kernel for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Simd {
    /// What every machine of the target has, as the compiler uses it.
    Portable,
    /// NEON, on AArch64.
    Neon,
    /// AVX2.
    Avx2,
    /// AVX-512 F, BW and VNNI.
    Avx512,
}

impl Simd {
    /// Every level that this machine has, best first; [`Simd::Portable`] is always the last.
    pub fn available() -> Vec<Simd> {
        [Simd::Avx512, Simd::Avx2, Simd::Neon, Simd::Portable]
            .into_iter()
            .filter(|level| level.is_available())
            .collect()
    }

    /// The best level of this machine.
    pub fn best() -> Simd {
        Simd::available()[0]
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Simd::Portable => true,
            Simd::Neon => false,
            Simd::Avx2 => is_x86_feature_detected!("avx2"),
            Simd::Avx512 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
            }
        };
        #[cfg(target_arch = "aarch64")]
        return match self {
            Simd::Portable => true,
            Simd::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Simd::Avx2 | Simd::Avx512 => false,
        };
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        return self == Simd::Portable;
    }
}

impl fmt::Display for Simd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Simd::Portable => "portable",
            Simd::Neon => "neon",
            Simd::Avx2 => "avx2",
            Simd::Avx512 => "avx512",
        })
    }
}
