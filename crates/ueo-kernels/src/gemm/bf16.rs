//! Products of bf16 operands, summed in f32.
//!
//! With AVX512-BF16 a step of the tiled path multiplies pairs; AMX has tiles of them. Everywhere else the right operand is kept as rounded f32 values and the
//! left one is widened, so the same product is computed by the f32 paths, the scalar reference included.

use super::amx::{self, LeftRows, TiledMatrix};
#[cfg(target_arch = "x86_64")]
use super::{AlignedBuffer, Panels, padded, panels, tiled};
use super::{Left, Output, PackedMatrix, check, multiply};
use crate::buffer::{count, fit};
use crate::precision::Bf16;
use crate::{Capability, InstructionSet};
use std::cell::RefCell;

/// The right operand `[depth, columns]`, rounded to bf16 and arranged for one instruction set.
pub(crate) struct PackedBf16 {
    capability: Capability,
    depth: usize,
    columns: usize,
    storage: Storage,
}

enum Storage {
    /// As the f32 panels, with the values of two rows interleaved.
    #[cfg(target_arch = "x86_64")]
    Pairs(AlignedBuffer<u32>),
    Tiles(TiledMatrix),
    Widened(PackedMatrix),
}

impl PackedBf16 {
    /// Packs `B = source` transposed: column `j` of `B` is `source[j * stride ..][.. depth]`.
    pub fn pack_transposed(
        capability: Capability,
        source: &[f32],
        stride: usize,
        depth: usize,
        columns: usize,
    ) -> Self {
        let storage = match capability.instruction_set() {
            // An odd depth has no last pair.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512Bf16 if depth.is_multiple_of(2) => {
                Storage::Pairs(pack_pairs(source, stride, depth, columns))
            }
            InstructionSet::Amx | InstructionSet::AmxEmulated => Storage::Tiles(
                TiledMatrix::pack_transposed(source, stride, depth, columns, false),
            ),
            _ => {
                let rounded: Vec<f32> = (0..columns)
                    .flat_map(|column| &source[column * stride..][..depth])
                    .map(|&value| Bf16::round(value).to_f32())
                    .collect();
                let mut packed = PackedMatrix::new(capability);
                packed.pack_transposed(&rounded, depth, depth, columns);
                Storage::Widened(packed)
            }
        };
        Self {
            capability,
            depth,
            columns,
            storage,
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
        match &self.storage {
            #[cfg(target_arch = "x86_64")]
            Storage::Pairs(data) => {
                let mut row_major = vec![0.0; count([self.depth, self.columns])];
                let mut rest = data.as_slice();
                for (first_pair, pairs) in blocks(self.depth) {
                    for (first, width) in panels(self.columns, tiled::avx512_bf16::LANES) {
                        let used = width.min(self.columns - first);
                        let (panel, tail) = rest.split_at(pairs * width);
                        rest = tail;
                        for (pair, values) in panel.chunks_exact(width).enumerate() {
                            let row = 2 * (first_pair + pair);
                            for (column, &value) in values[..used].iter().enumerate() {
                                let at = row * self.columns + first + column;
                                let [low, high] = Bf16::from_pair(value);
                                row_major[at] = low.to_f32();
                                row_major[at + self.columns] = high.to_f32();
                            }
                        }
                    }
                }
                row_major
            }
            Storage::Tiles(tiles) => tiles.to_row_major(),
            Storage::Widened(packed) => packed.to_row_major(),
        }
    }

    /// The transpose, packed for the same instruction set.
    pub fn transposed(&self) -> Self {
        let row_major = self.to_row_major();
        Self::pack_transposed(
            self.capability,
            &row_major,
            self.columns,
            self.columns,
            self.depth,
        )
    }
}

/// The depth in blocks of pairs, as (first pair, pairs).
#[cfg(target_arch = "x86_64")]
fn blocks(depth: usize) -> impl Iterator<Item = (usize, usize)> {
    let pairs = depth / 2;
    (0..pairs)
        .step_by(tiled::DEPTH_BLOCK)
        .map(move |first| (first, tiled::DEPTH_BLOCK.min(pairs - first)))
}

#[cfg(target_arch = "x86_64")]
fn pack_pairs(source: &[f32], stride: usize, depth: usize, columns: usize) -> AlignedBuffer<u32> {
    let lanes = tiled::avx512_bf16::LANES;
    let mut data = AlignedBuffer::default();
    data.grow(count([depth / 2, padded(columns, lanes)]));
    let mut rest = data.as_mut_slice();
    for (first_pair, pairs) in blocks(depth) {
        for (first, width) in panels(columns, lanes) {
            let used = width.min(columns - first);
            let (panel, tail) = rest.split_at_mut(pairs * width);
            rest = tail;
            for column in 0..used {
                let values = &source[(first + column) * stride + 2 * first_pair..][..2 * pairs];
                let (values, _) = values.as_chunks::<2>();
                for (target, &[low, high]) in panel.chunks_exact_mut(width).zip(values) {
                    target[column] = Bf16::pair(Bf16::round(low), Bf16::round(high));
                }
            }
        }
    }
    data
}

thread_local! {
    /// The left operand widened to f32, where the CPU has no products of pairs.
    static WIDENED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `C = A B (+ bias) (+ C)`, on the calling thread; `A` and `B` in bf16, `C` in f32.
///
/// # Panics
/// When an operand is shorter than its shape says, or the left one is not `[rows, depth]` with consecutive values.
pub(crate) fn multiply_bf16(
    left: Left<'_, Bf16>,
    right: &PackedBf16,
    bias: Option<&[f32]>,
    output: Output<'_>,
) {
    let (depth, columns) = (right.depth, right.columns);
    if left.rows == 0 || columns == 0 {
        return;
    }
    check(&left, depth, columns, bias, &output);
    assert_eq!(left.depth_stride, 1, "pairs are consecutive values");
    match &right.storage {
        #[cfg(target_arch = "x86_64")]
        Storage::Pairs(data) => {
            let panels = Panels {
                data: data.as_slice(),
                steps: depth / 2,
                columns,
            };
            // SAFETY: pairs are packed only where the instruction set was detected, `pack_pairs` made the panels, and the lengths
            // and the depth stride were checked above.
            unsafe { tiled::avx512_bf16::multiply(left, panels, bias, output) }
        }
        Storage::Tiles(tiles) => {
            let left = LeftRows::Bf16(left);
            amx::multiply(right.capability, left, tiles, bias, output);
        }
        Storage::Widened(packed) => WIDENED.with_borrow_mut(|widened| {
            let widened = fit(widened, count([left.rows, depth]));
            for (row, target) in widened.chunks_exact_mut(depth).enumerate() {
                let values = &left.data[row * left.row_stride..][..depth];
                for (target, value) in target.iter_mut().zip(values) {
                    *target = value.to_f32();
                }
            }
            let left = Left::rows(widened, left.rows, depth);
            multiply(left, packed, bias, output);
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{Random, relative_error};

    fn rounded(values: &[f32]) -> Vec<Bf16> {
        values.iter().map(|&value| Bf16::round(value)).collect()
    }

    /// `bias + c + A B` in f64, from the given values without any rounding.
    fn expected(a: &[f32], b_transposed: &[f32], bias: &[f32], c: &[f32]) -> Vec<f64> {
        let columns = bias.len();
        let depth = b_transposed.len() / columns;
        let mut sums = Vec::new();
        for (row, a) in a.chunks_exact(depth).enumerate() {
            for (j, b) in b_transposed.chunks_exact(depth).enumerate() {
                let product: f64 = a
                    .iter()
                    .zip(b)
                    .map(|(&a, &b)| f64::from(a) * f64::from(b))
                    .sum();
                sums.push(product + f64::from(bias[j]) + f64::from(c[row * columns + j]));
            }
        }
        sums
    }

    #[test]
    fn products_of_rounded_values_are_summed_in_f32() {
        let mut random = Random::new(21);
        let shapes = [
            (1, 1, 1),
            (5, 3, 17),
            (1, 2, 16),
            (9, 64, 197),
            (17, 198, 64),
            (50, 96, 288),
            (3, 1540, 50),
            (8, 3072, 96),
        ];
        // Every height of a tile, with whole panels of three, two and one vectors and without.
        let heights = (1..=9).flat_map(|rows| [48, 80, 16, 90].map(|columns| (rows, 8, columns)));
        for (rows, depth, columns) in shapes.into_iter().chain(heights) {
            let a = random.values(rows * depth, 1.0);
            let b = random.values(depth * columns, 1.0);
            let bias = random.values(columns, 1.0);
            let c = random.values(rows * columns, 1.0);
            let exact = expected(&a, &b, &bias, &c);
            let widen = |values: &[f32]| -> Vec<f32> {
                values.iter().map(|&v| Bf16::round(v).to_f32()).collect()
            };
            let of_rounded = expected(&widen(&a), &widen(&b), &bias, &c);
            let a = rounded(&a);
            for capability in Capability::available() {
                let what = format!("{capability:?} {rows} {depth} {columns}");
                let packed = PackedBf16::pack_transposed(capability, &b, depth, depth, columns);
                for packed in [packed.transposed().transposed(), packed] {
                    let mut y = c.clone();
                    let output = Output {
                        data: &mut y,
                        row_stride: columns,
                        accumulate: true,
                    };
                    multiply_bf16(Left::rows(&a, rows, depth), &packed, Some(&bias), output);
                    // Only the order of f32 sums differs from the products of rounded values ...
                    let error = relative_error(&y, &of_rounded);
                    assert!(error < 2e-6, "{what}: {error:e} from rounded values");
                    // ... and each factor was rounded to 8 bits, an error of at most 2^-9 each.
                    let error = relative_error(&y, &exact);
                    assert!(error < 2.0 / 512.0, "{what}: {error:e} from exact values");
                }
            }
        }
    }

    #[test]
    fn rows_do_not_depend_on_their_neighbors() {
        let mut random = Random::new(22);
        let (rows, depth, columns) = (21, 100, 130);
        let a = rounded(&random.values(rows * depth, 1.0));
        let b = random.values(depth * columns, 1.0);
        for capability in Capability::available()
            .filter(|capability| capability.vectors() != InstructionSet::Portable)
        {
            let packed = PackedBf16::pack_transposed(capability, &b, depth, depth, columns);
            let product = |a: &[Bf16]| {
                let rows = a.len() / depth;
                let mut y = vec![0.0; rows * columns];
                let output = Output {
                    data: &mut y,
                    row_stride: columns,
                    accumulate: false,
                };
                multiply_bf16(Left::rows(a, rows, depth), &packed, None, output);
                y
            };
            let whole = product(&a);
            for (a, expected) in a.chunks_exact(depth).zip(whole.chunks_exact(columns)) {
                assert_eq!(product(a), expected, "{capability:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "left operand has 5 values, its shape needs 6")]
    fn short_operands_are_refused() {
        let packed = PackedBf16::pack_transposed(Capability::detect(), &[1.0; 6], 3, 3, 2);
        let left = [Bf16::default(); 5];
        let output = Output {
            data: &mut [0.0; 4],
            row_stride: 2,
            accumulate: false,
        };
        multiply_bf16(Left::rows(&left, 2, 3), &packed, None, output);
    }
}
