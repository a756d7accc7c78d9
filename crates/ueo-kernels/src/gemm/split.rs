//! Products of f32 operands that are split into two bf16 numbers each and summed in f32, on the tiles of AMX.
//!
//! A number of 24 significant bits becomes two of 8: 16 to 17 bits are kept, so results are about 4e-6 off, where f32 is 5e-7 off.

use super::amx::{self, LeftRows, TiledMatrix};
use super::{Left, Output};
use crate::Capability;

/// The right operand `[depth, columns]`, split.
pub(crate) struct PackedSplit {
    capability: Capability,
    depth: usize,
    columns: usize,
    tiles: TiledMatrix,
}

impl PackedSplit {
    /// Packs `B = source` transposed: column `j` of `B` is `source[j * stride ..][.. depth]`.
    pub fn pack_transposed(
        capability: Capability,
        source: &[f32],
        stride: usize,
        depth: usize,
        columns: usize,
    ) -> Self {
        Self {
            capability,
            depth,
            columns,
            tiles: TiledMatrix::pack_transposed(source, stride, depth, columns, true),
        }
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The matrix as `[depth, columns]`, row-major.
    pub fn to_row_major(&self) -> Vec<f32> {
        self.tiles.to_row_major()
    }

    /// The transpose, packed for the same instruction set.
    pub fn transposed(&self) -> Self {
        let rows = self.to_row_major();
        Self::pack_transposed(
            self.capability,
            &rows,
            self.columns,
            self.columns,
            self.depth,
        )
    }
}

/// `C = A B (+ bias) (+ C)`, on the calling thread.
///
/// # Panics
/// When an operand is shorter than its shape says, or the left one is not `[rows, depth]` with consecutive values.
pub(crate) fn multiply_split(
    left: Left<'_>,
    right: &PackedSplit,
    bias: Option<&[f32]>,
    output: Output<'_>,
) {
    let left = LeftRows::F32(left);
    amx::multiply(right.capability, left, &right.tiles, bias, output);
}
