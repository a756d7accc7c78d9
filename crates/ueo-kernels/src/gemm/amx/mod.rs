//! Products on tiles: sums of 32 x 32 stay in four tiles of 16 x 16 while two tiles of each operand stream past them.
//!
//! The unit that multiplies is behind [`TileUnit`]: the processor's ([`hardware`]), or the same instructions in software ([`emulated`]),
//! so that everything but a few lines of assembly is tested on any machine. Operands are bf16 and sums f32. An f32 operand is split into
//! two bf16 numbers: three products of them, the small ones first, make up nearly the product in f32.

mod emulated;
mod hardware;
pub(crate) mod self_check;

use super::{Left, Output, check, store_part};
use crate::buffer::{count, fit};
use crate::capability::{Arithmetic, multiversion};
use crate::precision::Bf16;
use crate::{Capability, InstructionSet, cache};
use emulated::Emulated;
use std::cell::RefCell;
use std::ops::Range;

pub(crate) use hardware::Hardware;

/// Rows of a tile. A row is 64 bytes long.
const TILE: usize = 16;
/// Steps of the depth in a tile: 16 pairs.
const STEPS: usize = 32;
/// Rows and columns of the sums that are computed together, two tiles each.
const SIDE: usize = 2 * TILE;
/// Fewest rows of the left operand that meet a panel of the right one: with fewer, reading the panel takes the time.
const LEAST_ROWS: usize = 2 * SIDE;

/// 16 rows of 32 values: of the left operand `[row, step]`, of the right one `[pair of steps, column, 2]`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Tile([Bf16; TILE * STEPS]);

/// Two tiles that are read for the same 32 steps: two bands of rows of the left operand, or of columns of the right one.
type TilePair = [Tile; 2];

impl Default for Tile {
    fn default() -> Self {
        Self([Bf16::default(); TILE * STEPS])
    }
}

/// The sums of a product, `[row, column]`.
#[repr(C, align(64))]
struct Sums([[f32; SIDE]; SIDE]);

/// What multiplies tiles on the calling thread while it lives.
trait TileUnit {
    /// `sums = left right`, or `sums += left right`, for as many times 32 steps as both operands have.
    ///
    /// # Panics
    /// When the operands differ in their depth.
    fn multiply(
        &mut self,
        left: &[TilePair],
        right: &[TilePair],
        sums: &mut Sums,
        accumulate: bool,
    );
}

/// The right operand `[depth, columns]` as tiles: panels of 32 columns, one after the other; what is missing of the last tiles is zero.
pub(super) struct TiledMatrix {
    depth: usize,
    columns: usize,
    /// Values rounded to bf16.
    high: Vec<TilePair>,
    /// What is left of them, rounded; empty where operands are bf16.
    low: Vec<TilePair>,
}

impl TiledMatrix {
    /// Packs `B = source` transposed: column `j` of `B` is `source[j * stride ..][.. depth]`; `split` keeps what rounding takes away.
    pub fn pack_transposed(
        source: &[f32],
        stride: usize,
        depth: usize,
        columns: usize,
        split: bool,
    ) -> Self {
        let steps = depth.div_ceil(STEPS);
        let len = count([columns.div_ceil(SIDE), steps]);
        let mut high = vec![TilePair::default(); len];
        let mut low = vec![TilePair::default(); if split { len } else { 0 }];
        for column in 0..columns {
            for (row, &value) in source[column * stride..][..depth].iter().enumerate() {
                let (pair, half, at) = place(steps, row, column);
                let parts = Bf16::split(value);
                high[pair][half].0[at] = parts[0];
                if split {
                    low[pair][half].0[at] = parts[1];
                }
            }
        }
        Self {
            depth,
            columns,
            high,
            low,
        }
    }

    /// The matrix as `[depth, columns]`, row-major.
    pub fn to_row_major(&self) -> Vec<f32> {
        let steps = self.depth.div_ceil(STEPS);
        let mut row_major = Vec::with_capacity(count([self.depth, self.columns]));
        for row in 0..self.depth {
            for column in 0..self.columns {
                let (pair, half, at) = place(steps, row, column);
                let part = |tiles: &[TilePair]| -> f32 {
                    tiles
                        .get(pair)
                        .map_or(0.0, |pair| pair[half].0[at].to_f32())
                };
                row_major.push(part(&self.high) + part(&self.low));
            }
        }
        row_major
    }

    fn panel(&self, tiles: Range<usize>, part: Part) -> &[TilePair] {
        match part {
            Part::High => &self.high[tiles],
            Part::Low => &self.low[tiles],
        }
    }
}

/// Where an element of the right operand lies: the pair of tiles, the tile of it, the value of that.
fn place(steps: usize, row: usize, column: usize) -> (usize, usize, usize) {
    let (step, row) = (row / STEPS, row % STEPS);
    let (panel, column) = (column / SIDE, column % SIDE);
    let (half, column) = (column / TILE, column % TILE);
    let at = row / 2 * STEPS + 2 * column + row % 2;
    (panel * steps + step, half, at)
}

/// A part of a split operand; a bf16 operand is its own high part.
#[derive(Clone, Copy)]
enum Part {
    High,
    Low,
}

/// The parts that are multiplied for a product in bf16.
const ROUNDED: [(Part, Part); 1] = [(Part::High, Part::High)];
/// The parts of split operands that are multiplied, the smallest products first. Low by low is below the error of the others.
const SPLIT: [(Part, Part); 3] = [
    (Part::Low, Part::High),
    (Part::High, Part::Low),
    (Part::High, Part::High),
];

/// The left operand as it comes.
#[derive(Clone, Copy)]
pub(super) enum LeftRows<'a> {
    Bf16(Left<'a, Bf16>),
    /// To be split.
    F32(Left<'a, f32>),
}

/// A block of rows of the left operand as tiles: bands of 32 rows, one after the other.
#[derive(Default)]
struct LeftTiles {
    high: Vec<TilePair>,
    low: Vec<TilePair>,
}

thread_local! {
    static LEFT: RefCell<LeftTiles> = RefCell::default();
}

impl LeftTiles {
    /// Packs rows, with rows and steps of zeros behind them up to whole bands and tiles.
    fn pack(
        &mut self,
        capability: Capability,
        left: LeftRows<'_>,
        rows: Range<usize>,
        depth: usize,
    ) {
        let len = count([rows.len().div_ceil(SIDE), depth.div_ceil(STEPS)]);
        match left {
            LeftRows::Bf16(left) => pack_bf16(left, rows, depth, fit(&mut self.high, len)),
            LeftRows::F32(left) => {
                let (high, low) = (fit(&mut self.high, len), fit(&mut self.low, len));
                pack_split(capability, left, rows, depth, high, low);
            }
        }
    }

    fn band(&self, tiles: Range<usize>, part: Part) -> &[TilePair] {
        match part {
            Part::High => &self.high[tiles],
            Part::Low => &self.low[tiles],
        }
    }
}

/// Calls `visit` with the row of tiles and the steps of each stretch of up to 32 steps of a row within a block of `rows` rows, padding rows
/// included: pair of tiles, tile, first value, steps.
#[inline(always)]
fn stretches(
    rows: usize,
    depth: usize,
    mut visit: impl FnMut(usize, usize, usize, usize, Range<usize>),
) {
    let steps = depth.div_ceil(STEPS);
    for row in 0..rows.next_multiple_of(SIDE) {
        let (band, half, line) = (row / SIDE, row % SIDE / TILE, row % TILE);
        for step in 0..steps {
            let first = step * STEPS;
            let used = if row < rows {
                first..depth.min(first + STEPS)
            } else {
                first..first
            };
            visit(row, band * steps + step, half, line * STEPS, used);
        }
    }
}

fn pack_bf16(left: Left<'_, Bf16>, rows: Range<usize>, depth: usize, tiles: &mut [TilePair]) {
    stretches(rows.len(), depth, |row, pair, half, at, steps| {
        let target = &mut tiles[pair][half].0[at..][..STEPS];
        let (values, padding) = target.split_at_mut(steps.len());
        let start = (rows.start + row) * left.row_stride + steps.start;
        if !steps.is_empty() {
            values.copy_from_slice(&left.data[start..][..steps.len()]);
        }
        padding.fill(Bf16::default());
    });
}

#[inline(always)]
fn pack_split_generic<A: Arithmetic>(
    left: Left<'_, f32>,
    rows: Range<usize>,
    depth: usize,
    high: &mut [TilePair],
    low: &mut [TilePair],
) {
    stretches(rows.len(), depth, |row, pair, half, at, steps| {
        let high = &mut high[pair][half].0[at..][..STEPS];
        let low = &mut low[pair][half].0[at..][..STEPS];
        let mut values = [0.0; STEPS];
        if !steps.is_empty() {
            let start = (rows.start + row) * left.row_stride + steps.start;
            values[..steps.len()].copy_from_slice(&left.data[start..][..steps.len()]);
        }
        for i in 0..STEPS {
            [high[i], low[i]] = Bf16::split(values[i]);
        }
    });
}

multiversion! {
    /// Packs rows of an f32 operand, split into two bf16 numbers.
    fn pack_split = pack_split_generic(left: Left<'_, f32>, rows: Range<usize>, depth: usize, high: &mut [TilePair], low: &mut [TilePair])
}

#[inline(always)]
fn store_generic<A: Arithmetic>(
    sums: &Sums,
    rows: usize,
    columns: usize,
    bias: Option<&[f32]>,
    output: Output<'_>,
) {
    let Output {
        data,
        row_stride,
        accumulate,
    } = output;
    store_part(&sums.0[..rows], columns, bias, data, row_stride, accumulate);
}

multiversion! {
    /// Writes the sums that the result has to where `output` begins.
    fn store = store_generic(sums: &Sums, rows: usize, columns: usize, bias: Option<&[f32]>, output: Output<'_>)
}

/// `C = A B (+ bias) (+ C)` on the tiles of a capability, on the calling thread.
///
/// # Panics
/// When an operand is shorter than its shape says, or the left one is not `[rows, depth]` with consecutive values.
pub(super) fn multiply(
    capability: Capability,
    left: LeftRows<'_>,
    right: &TiledMatrix,
    bias: Option<&[f32]>,
    output: Output<'_>,
) {
    match Hardware::detect() {
        Some(hardware) if capability.instruction_set() == InstructionSet::Amx => {
            multiply_on(&mut hardware.begin(), capability, left, right, bias, output);
        }
        _ => {
            let mut unit = Emulated(capability);
            multiply_on(&mut unit, capability, left, right, bias, output);
        }
    }
}

/// As [`multiply`] on a given unit.
fn multiply_on(
    unit: &mut impl TileUnit,
    capability: Capability,
    left: LeftRows<'_>,
    right: &TiledMatrix,
    bias: Option<&[f32]>,
    output: Output<'_>,
) {
    let &TiledMatrix { depth, columns, .. } = right;
    let (rows, depth_stride) = match left {
        LeftRows::Bf16(left) => (left.rows, left.depth_stride),
        LeftRows::F32(left) => (left.rows, left.depth_stride),
    };
    if rows == 0 || columns == 0 {
        return;
    }
    match &left {
        LeftRows::Bf16(left) => check(left, depth, columns, bias, &output),
        LeftRows::F32(left) => check(left, depth, columns, bias, &output),
    }
    assert_eq!(depth_stride, 1, "a row's values are consecutive");
    let parts: &[(Part, Part)] = match left {
        LeftRows::Bf16(_) => &ROUNDED,
        LeftRows::F32(_) => &SPLIT,
    };
    let steps = depth.div_ceil(STEPS);
    LEFT.with_borrow_mut(|tiles| {
        let mut sums = Sums([[0.0; SIDE]; SIDE]);
        for first_row in (0..rows).step_by(block_rows(parts, steps)) {
            let block = first_row..rows.min(first_row + block_rows(parts, steps));
            tiles.pack(capability, left, block.clone(), depth);
            for (panel, first) in (0..columns).step_by(SIDE).enumerate() {
                let used = SIDE.min(columns - first);
                let bias = bias.map(|bias| &bias[first..first + used]);
                for (band, row) in block.clone().step_by(SIDE).enumerate() {
                    for (index, &(of_left, of_right)) in parts.iter().enumerate() {
                        unit.multiply(
                            tiles.band(band * steps..(band + 1) * steps, of_left),
                            right.panel(panel * steps..(panel + 1) * steps, of_right),
                            &mut sums,
                            index > 0,
                        );
                    }
                    let target = Output {
                        data: &mut output.data[row * output.row_stride + first..],
                        ..output
                    };
                    let height = SIDE.min(block.end - row);
                    store(capability, &sums, height, used, bias, target);
                }
            }
        }
    });
}

/// Rows of the left operand that are packed together: as many as half of the second-level cache holds. The result does not depend on it.
fn block_rows(parts: &[(Part, Part)], steps: usize) -> usize {
    let copies = if parts.len() == 1 { 1 } else { 2 };
    let bytes_per_row = copies * steps * STEPS * size_of::<Bf16>();
    let rows = cache::second_level_bytes() / 2 / bytes_per_row;
    (rows / SIDE * SIDE).max(LEAST_ROWS)
}

#[cfg(test)]
mod tests;
