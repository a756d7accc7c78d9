//! The number format of the frozen weights.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number format of frozen matrices and of what they are multiplied with. Sums, normalization, softmax, the residual stream and all
/// that is trained are f32 in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 24 significant bits: the reference.
    #[default]
    F32,
    /// 8 significant bits with the range of f32: half the memory of the weights, and about twice the speed where the CPU has
    /// AVX512-BF16. Other CPUs compute the same products in f32 from rounded values, which saves nothing.
    Bf16,
}

impl From<Precision> for ueo_kernels::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}
