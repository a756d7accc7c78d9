//! The tile instructions in software, as Intel's manual defines them (Intel 64 and IA-32 Architectures Software Developer's Manual,
//! volume 2, TDPBF16PS): what tests run where the processor has no tiles.

use super::{STEPS, Sums, TILE, Tile, TilePair, TileUnit};
use crate::Capability;
use crate::capability::{Arithmetic, multiversion};
use crate::precision::Bf16;

/// A tile of sums.
type Accumulator = [[f32; TILE]; TILE];

/// Tiles as plain memory.
pub(crate) struct Emulated(pub Capability);

impl TileUnit for Emulated {
    fn multiply(
        &mut self,
        left: &[TilePair],
        right: &[TilePair],
        sums: &mut Sums,
        accumulate: bool,
    ) {
        assert_eq!(left.len(), right.len(), "both operands have one depth");
        for (top, of_left) in [(0, 0), (TILE, 1)] {
            for (first, of_right) in [(0, 0), (TILE, 1)] {
                let mut accumulator = [[0.0; TILE]; TILE];
                if accumulate {
                    for (row, sums) in accumulator.iter_mut().zip(&sums.0[top..]) {
                        row.copy_from_slice(&sums[first..first + TILE]);
                    }
                }
                for (left, right) in left.iter().zip(right) {
                    let (left, right) = (&left[of_left], &right[of_right]);
                    dot_product(self.0, left, right, &mut accumulator);
                }
                for (row, sums) in accumulator.iter().zip(&mut sums.0[top..]) {
                    sums[first..first + TILE].copy_from_slice(row);
                }
            }
        }
    }
}

/// A subnormal number becomes zero, as the instruction treats its operands and results.
#[inline(always)]
fn flush(value: f32) -> f32 {
    if value.abs() < f32::MIN_POSITIVE {
        0.0_f32.copysign(value)
    } else {
        value
    }
}

#[inline(always)]
fn dot_product_generic<A: Arithmetic>(left: &Tile, right: &Tile, sums: &mut Accumulator) {
    let wide = |value: Bf16| flush(value.to_f32());
    for (left, sums) in left.0.chunks_exact(STEPS).zip(sums) {
        // Even and odd steps have sums of their own, which meet before they are added to what was there.
        let (mut even, mut odd) = ([0.0_f32; TILE], [0.0_f32; TILE]);
        for (left, right) in left.chunks_exact(2).zip(right.0.chunks_exact(STEPS)) {
            let (first, second) = (wide(left[0]), wide(left[1]));
            for column in 0..TILE {
                // One rounding on every processor, whatever `A` is.
                even[column] = flush(first.mul_add(wide(right[2 * column]), even[column]));
                odd[column] = flush(second.mul_add(wide(right[2 * column + 1]), odd[column]));
            }
        }
        for column in 0..TILE {
            sums[column] = flush(flush(sums[column]) + flush(even[column] + odd[column]));
        }
    }
}

multiversion! {
    /// TDPBF16PS on whole tiles: `sums += left right`.
    fn dot_product = dot_product_generic(left: &Tile, right: &Tile, sums: &mut Accumulator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(values: &[(usize, f32)]) -> Tile {
        let mut tile = Tile::default();
        for &(at, value) in values {
            tile.0[at] = Bf16::round(value);
        }
        tile
    }

    #[test]
    fn a_tile_of_pairs_is_summed_in_the_order_of_the_instruction() {
        // Row 2 of the left tile meets column 3 of the right one, whose value for step p lies at [p / 2, 3, p % 2].
        let right = |step: usize| step / 2 * STEPS + 6 + step % 2;
        let left = |step: usize| 2 * STEPS + step;
        let tiny = 2.0_f32.powi(-12);
        let values = [(0, 1.0), (1, 3.0), (2, -1.0), (30, tiny), (31, 5.0)];
        let a = tile(&values.map(|(step, value)| (left(step), value)));
        let b = tile(&values.map(|(step, _)| (right(step), 2.0)));
        for capability in Capability::available() {
            let mut sums = [[0.5; TILE]; TILE];
            dot_product(capability, &a, &b, &mut sums);
            for (row, sums) in sums.iter().enumerate() {
                for (column, &sum) in sums.iter().enumerate() {
                    let expected = match (row, column) {
                        // 0.5 + ((2 - 2 + 2 tiny) + (6 + 10))
                        (2, 3) => 16.5 + 2.0 * tiny,
                        _ => 0.5,
                    };
                    assert_eq!(sum, expected, "{capability:?} {row} {column}");
                }
            }
        }
    }

    #[test]
    fn subnormal_numbers_are_zero() {
        let subnormal = f32::MIN_POSITIVE / 2.0;
        for capability in Capability::available() {
            let mut sums = [[subnormal; TILE]; TILE];
            let a = tile(&[(0, subnormal), (STEPS, f32::MIN_POSITIVE)]);
            let b = tile(&[(0, 1e30), (2, 0.5)]);
            dot_product(capability, &a, &b, &mut sums);
            assert_eq!(sums[0][0], 0.0, "{capability:?}: a subnormal operand");
            assert_eq!(sums[1][1], 0.0, "{capability:?}: a subnormal product");
            assert_eq!(sums[2][2], 0.0, "{capability:?}: a subnormal sum");
        }
    }
}
