//! Matrix products `C = A B` where `B` is packed beforehand: frozen weights once for ever, keys and values once per head.
//!
//! | instruction set | path |
//! |---|---|
//! | scalar | [`scalar`]: three loops |
//! | portable | [`portable`]: the `gemm` crate |
//! | AVX2, AVX-512 | [`tiled`]: register tiles of 4 x 24 and 8 x 48 over panels of `B` |
//!
//! [`bf16`] has the same products for operands in bf16, [`split`] those of f32 operands that are split into two bf16 numbers; both use the
//! tiles of AMX where there are any ([`amx`]).
//!
//! Rows of `C` never depend on how many other rows are computed with them in all but the portable path, so any grouping of rows
//! gives the same bits.

pub(crate) mod amx;
mod bf16;
mod portable;
mod scalar;
mod split;
#[cfg(target_arch = "x86_64")]
mod tiled;
mod weight;

use crate::buffer::{AlignedBuffer, count};
use crate::{Capability, InstructionSet};

pub(crate) use weight::PackedWeight;

use bf16::{PackedBf16, multiply_bf16};
use split::{PackedSplit, multiply_split};

/// A view of the left operand: element `(i, p)` is `data[i * row_stride + p * depth_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, T = f32> {
    pub data: &'a [T],
    pub rows: usize,
    pub row_stride: usize,
    pub depth_stride: usize,
}

impl<'a, T> Left<'a, T> {
    /// `[rows, depth]` with rows `row_stride` apart.
    pub fn rows(data: &'a [T], rows: usize, row_stride: usize) -> Self {
        Self {
            data,
            rows,
            row_stride,
            depth_stride: 1,
        }
    }

    /// The transpose of a stored `[depth, rows]` whose rows are `stride` apart.
    pub fn transposed(data: &'a [T], rows: usize, stride: usize) -> Self {
        Self {
            data,
            rows,
            row_stride: 1,
            depth_stride: stride,
        }
    }
}

/// Where the product goes: element `(i, j)` is `data[i * row_stride + j]`.
pub(crate) struct Output<'a> {
    pub data: &'a mut [f32],
    pub row_stride: usize,
    /// Adds to what is there instead of replacing it.
    pub accumulate: bool,
}

/// The panels of a packed right operand as the tiled path reads them.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Panels<'a, T> {
    data: &'a [T],
    /// The depth in steps: one row in f32, a pair of rows in bf16.
    steps: usize,
    columns: usize,
}

/// Adds or stores the columns of a finished tile that the result has, where its last panel is padded; `output` begins with the tile's first element.
#[inline(always)]
fn store_part<const PITCH: usize>(
    tile: &[[f32; PITCH]],
    columns: usize,
    bias: Option<&[f32]>,
    output: &mut [f32],
    row_stride: usize,
    accumulate: bool,
) {
    for (values, row) in tile.iter().zip(output.chunks_mut(row_stride)) {
        let (values, row) = (&values[..columns], &mut row[..columns]);
        match (bias, accumulate) {
            (None, false) => row.copy_from_slice(values),
            (None, true) => row.iter_mut().zip(values).for_each(|(c, v)| *c += v),
            (Some(bias), false) => row
                .iter_mut()
                .zip(values)
                .zip(bias)
                .for_each(|((c, v), b)| *c = v + b),
            (Some(bias), true) => row
                .iter_mut()
                .zip(values)
                .zip(bias)
                .for_each(|((c, v), b)| *c += v + b),
        }
    }
}

/// How a packed matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    RowMajor,
    /// Blocks of at most `depth_block` rows; in each block panels of up to three vectors of columns; in each panel row after row.
    Panels {
        lanes: usize,
        depth_block: usize,
    },
}

/// Columns with those that fill up the last vector.
///
/// # Panics
/// When they pass the largest `usize`.
fn padded(columns: usize, lanes: usize) -> usize {
    count([columns.div_ceil(lanes), lanes])
}

/// Vectors per panel: three where possible, and never a single one beside a full panel where two pairs do.
fn panel_vectors(vectors_left: usize) -> usize {
    match vectors_left {
        1 => 1,
        2 | 4 => 2,
        _ => 3,
    }
}

/// The panels of `columns` columns as (first column, width including padding).
fn panels(columns: usize, lanes: usize) -> impl Iterator<Item = (usize, usize)> {
    let vectors = columns.div_ceil(lanes);
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < vectors).then(|| {
            let panel = panel_vectors(vectors - done);
            let first = done * lanes;
            done += panel;
            (first, panel * lanes)
        })
    })
}

/// The right operand `[depth, columns]`, arranged for one instruction set.
pub(crate) struct PackedMatrix {
    capability: Capability,
    layout: Layout,
    depth: usize,
    columns: usize,
    data: AlignedBuffer<f32>,
}

impl PackedMatrix {
    /// An empty matrix; memory is kept from one packing to the next.
    pub fn new(capability: Capability) -> Self {
        let layout = match capability.vectors() {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => Layout::Panels {
                lanes: tiled::avx2::LANES,
                depth_block: tiled::DEPTH_BLOCK,
            },
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => Layout::Panels {
                lanes: tiled::avx512::LANES,
                depth_block: tiled::DEPTH_BLOCK,
            },
            _ => Layout::RowMajor,
        };
        Self {
            capability,
            layout,
            depth: 0,
            columns: 0,
            data: AlignedBuffer::default(),
        }
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    fn resize(&mut self, depth: usize, columns: usize) {
        self.depth = depth;
        self.columns = columns;
        let padded_columns = match self.layout {
            Layout::RowMajor => columns,
            Layout::Panels { lanes, .. } => padded(columns, lanes),
        };
        // Only grows: padding columns may hold stale values, which reach padding columns of the result only.
        self.data.grow(count([depth, padded_columns]));
    }

    /// Packs `B = source`: row `p` of `B` is `source[p * stride ..][.. columns]`.
    pub fn pack_rows(&mut self, source: &[f32], stride: usize, depth: usize, columns: usize) {
        self.resize(depth, columns);
        match self.layout {
            Layout::RowMajor => {
                for (row, target) in self
                    .data
                    .as_mut_slice()
                    .chunks_exact_mut(columns)
                    .take(depth)
                    .enumerate()
                {
                    target.copy_from_slice(&source[row * stride..][..columns]);
                }
            }
            Layout::Panels { lanes, depth_block } => {
                let mut rest = self.data.as_mut_slice();
                for first_row in (0..depth).step_by(depth_block) {
                    let rows = depth_block.min(depth - first_row);
                    for (first, width) in panels(columns, lanes) {
                        let used = width.min(columns - first);
                        let (panel, tail) = rest.split_at_mut(rows * width);
                        rest = tail;
                        for (row, target) in panel.chunks_exact_mut(width).enumerate() {
                            target[..used].copy_from_slice(
                                &source[(first_row + row) * stride + first..][..used],
                            );
                        }
                    }
                }
            }
        }
    }

    /// Packs `B = source` transposed: column `j` of `B` is `source[j * stride ..][.. depth]`.
    pub fn pack_transposed(&mut self, source: &[f32], stride: usize, depth: usize, columns: usize) {
        self.resize(depth, columns);
        match self.layout {
            Layout::RowMajor => {
                let data = self.data.as_mut_slice();
                for column in 0..columns {
                    for (row, &value) in source[column * stride..][..depth].iter().enumerate() {
                        data[row * columns + column] = value;
                    }
                }
            }
            Layout::Panels { lanes, depth_block } => {
                let mut rest = self.data.as_mut_slice();
                for first_row in (0..depth).step_by(depth_block) {
                    let rows = depth_block.min(depth - first_row);
                    for (first, width) in panels(columns, lanes) {
                        let used = width.min(columns - first);
                        let (panel, tail) = rest.split_at_mut(rows * width);
                        rest = tail;
                        for column in 0..used {
                            let values = &source[(first + column) * stride + first_row..][..rows];
                            for (target, &value) in panel.chunks_exact_mut(width).zip(values) {
                                target[column] = value;
                            }
                        }
                    }
                }
            }
        }
    }

    /// The matrix as `[depth, columns]`, row-major.
    pub fn to_row_major(&self) -> Vec<f32> {
        let mut row_major = vec![0.0; count([self.depth, self.columns])];
        match self.layout {
            Layout::RowMajor => row_major
                .copy_from_slice(&self.data.as_slice()[..count([self.depth, self.columns])]),
            Layout::Panels { lanes, depth_block } => {
                let mut rest = self.data.as_slice();
                for first_row in (0..self.depth).step_by(depth_block) {
                    let rows = depth_block.min(self.depth - first_row);
                    for (first, width) in panels(self.columns, lanes) {
                        let used = width.min(self.columns - first);
                        let (panel, tail) = rest.split_at(rows * width);
                        rest = tail;
                        for (row, values) in panel.chunks_exact(width).enumerate() {
                            row_major[(first_row + row) * self.columns + first..][..used]
                                .copy_from_slice(&values[..used]);
                        }
                    }
                }
            }
        }
        row_major
    }

    /// The transpose, packed for the same instruction set.
    pub fn transposed(&self) -> Self {
        let mut transposed = Self::new(self.capability);
        transposed.pack_transposed(&self.to_row_major(), self.columns, self.columns, self.depth);
        transposed
    }

    #[cfg(target_arch = "x86_64")]
    fn panels(&self) -> Panels<'_, f32> {
        Panels {
            data: self.data.as_slice(),
            steps: self.depth,
            columns: self.columns,
        }
    }
}

/// The values up to the last one of `rows` rows that are `row_stride` apart, where the last row is `length` long.
///
/// # Panics
/// When they pass the largest `usize`.
fn reach(what: &str, rows: usize, row_stride: usize, length: usize) -> usize {
    let before = (rows - 1).checked_mul(row_stride);
    before
        .and_then(|before| before.checked_add(length))
        .unwrap_or_else(|| {
            panic!("{what} of {rows} rows, {row_stride} values apart, is larger than memory")
        })
}

/// Checks that the operands of a product are as long as their shapes say; there is at least one row and one column.
///
/// The paths behind it read and write without further checks: no length may wrap around here.
///
/// # Panics
/// When one is not.
fn check<T>(
    left: &Left<'_, T>,
    depth: usize,
    columns: usize,
    bias: Option<&[f32]>,
    output: &Output<'_>,
) {
    let rows = left.rows;
    assert!(depth > 0, "a product needs at least one term");
    let row = reach("left operand", depth, left.depth_stride, 1);
    let needed = reach("left operand", rows, left.row_stride, row);
    assert!(
        needed <= left.data.len(),
        "left operand has {} values, its shape needs {needed}",
        left.data.len(),
    );
    assert!(columns <= output.row_stride, "rows of the output overlap");
    let needed = reach("output", rows, output.row_stride, columns);
    assert!(
        needed <= output.data.len(),
        "output has {} values, its shape needs {needed}",
        output.data.len()
    );
    if let Some(bias) = bias {
        assert_eq!(bias.len(), columns, "the bias has one value per column");
    }
}

/// `C = A B (+ bias) (+ C)`, on the calling thread.
///
/// # Panics
/// When an operand is shorter than its shape says.
pub(crate) fn multiply(
    left: Left<'_>,
    right: &PackedMatrix,
    bias: Option<&[f32]>,
    output: Output<'_>,
) {
    let (depth, columns) = (right.depth, right.columns);
    if left.rows == 0 || columns == 0 {
        return;
    }
    check(&left, depth, columns, bias, &output);
    match right.capability.vectors() {
        InstructionSet::Scalar => scalar::multiply(left, right, bias, output),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the capability was detected, `PackedMatrix::resize` made the panels of `right`, and the lengths were checked above.
        InstructionSet::Avx2 => unsafe {
            tiled::avx2::multiply(left, right.panels(), bias, output)
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        InstructionSet::Avx512 => unsafe {
            tiled::avx512::multiply(left, right.panels(), bias, output)
        },
        _ => portable::multiply(left, right, bias, output),
    }
}

#[cfg(test)]
mod tests;
