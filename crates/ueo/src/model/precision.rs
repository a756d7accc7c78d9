//! The number format of the frozen weights.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number format of frozen matrices and of what they are multiplied with. Sums, normalization, softmax, the residual stream and all
/// that is trained are f32 in each. Of the modified ResNet it is that of 1 x 1 convolutions; 3 x 3 convolutions are f32 in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit floating point, the reference.
    #[default]
    F32,
    /// bfloat16 with sums in f32.
    ///
    /// 8 significant bits with the range of f32: half the memory of the weights, and twice the speed or more where the CPU multiplies bf16
    /// faster than f32. Other CPUs compute the same products in f32 from rounded values, which saves nothing.
    Bf16,
    /// Sums of two bfloat16 numbers, nearly as accurate as f32.
    ///
    /// Errors of 4e-6 instead of 5e-7; faster than f32 where the CPU has AMX. Other CPUs compute in f32.
    F32Split,
}

impl From<Precision> for ueo_kernels::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
            Precision::F32Split => Self::F32Split,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(ueo_kernels::Precision::from(*self).name())
    }
}
