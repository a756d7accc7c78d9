//! A frozen weight as the right operand of products, in one direction and one precision.

use super::{
    Left, Output, PackedBf16, PackedMatrix, PackedSplit, multiply, multiply_bf16, multiply_split,
};
use crate::precision::Operand;
use crate::{Capability, Precision};

/// The right operand `[depth, columns]` of products with operands in a precision.
pub(crate) enum PackedWeight {
    F32(PackedMatrix),
    Bf16(PackedBf16),
    Split(PackedSplit),
}

impl PackedWeight {
    /// Packs `B = weight` transposed: column `j` of `B` is row `j` of the weight `[columns, depth]`.
    pub fn pack_transposed(
        capability: Capability,
        precision: Precision,
        weight: &[f32],
        depth: usize,
        columns: usize,
    ) -> Self {
        match precision {
            Precision::Bf16 => Self::Bf16(PackedBf16::pack_transposed(
                capability, weight, depth, depth, columns,
            )),
            Precision::F32Split if capability.has_tiles() => Self::Split(
                PackedSplit::pack_transposed(capability, weight, depth, depth, columns),
            ),
            Precision::F32 | Precision::F32Split => {
                let mut packed = PackedMatrix::new(capability);
                packed.pack_transposed(weight, depth, depth, columns);
                Self::F32(packed)
            }
        }
    }

    pub fn depth(&self) -> usize {
        match self {
            Self::F32(packed) => packed.depth(),
            Self::Bf16(packed) => packed.depth(),
            Self::Split(packed) => packed.depth(),
        }
    }

    pub fn columns(&self) -> usize {
        match self {
            Self::F32(packed) => packed.columns(),
            Self::Bf16(packed) => packed.columns(),
            Self::Split(packed) => packed.columns(),
        }
    }

    /// The precision of operands.
    pub fn precision(&self) -> Precision {
        match self {
            Self::F32(_) => Precision::F32,
            Self::Bf16(_) => Precision::Bf16,
            Self::Split(_) => Precision::F32Split,
        }
    }

    /// The matrix as `[depth, columns]`, row-major.
    pub fn to_row_major(&self) -> Vec<f32> {
        match self {
            Self::F32(packed) => packed.to_row_major(),
            Self::Bf16(packed) => packed.to_row_major(),
            Self::Split(packed) => packed.to_row_major(),
        }
    }

    /// The transpose, packed for the same instruction set.
    pub fn transposed(&self) -> Self {
        match self {
            Self::F32(packed) => Self::F32(packed.transposed()),
            Self::Bf16(packed) => Self::Bf16(packed.transposed()),
            Self::Split(packed) => Self::Split(packed.transposed()),
        }
    }

    /// `C = A B (+ bias) (+ C)` for `rows` rows of `A`, on the calling thread.
    ///
    /// # Panics
    /// When the left operand has another precision, or an operand is shorter than its shape says.
    pub fn multiply(
        &self,
        rows: usize,
        left: Operand<'_>,
        bias: Option<&[f32]>,
        output: Output<'_>,
    ) {
        match (self, left) {
            (Self::F32(packed), Operand::F32(left)) => {
                multiply(Left::rows(left, rows, packed.depth()), packed, bias, output);
            }
            (Self::Bf16(packed), Operand::Bf16(left)) => {
                multiply_bf16(Left::rows(left, rows, packed.depth()), packed, bias, output);
            }
            (Self::Split(packed), Operand::F32(left)) => {
                multiply_split(Left::rows(left, rows, packed.depth()), packed, bias, output);
            }
            _ => panic!("the operand has the weight's precision"),
        }
    }
}
