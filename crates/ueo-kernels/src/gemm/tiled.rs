//! Register-tiled products for x86-64: one driver and one tile, instantiated for AVX2 and AVX-512.
//!
//! A tile of `ROWS x 3 LANES` sums stays in registers (12 of 16 with AVX2, 24 of 32 with AVX-512) while one panel of `B` streams
//! past it. A panel (`DEPTH_BLOCK x 3 LANES`) is used by all rows of `A` before the next one, so it comes from main memory once
//! per call and from the second-level cache for each tile.

use super::{Left, Output, PackedMatrix, panels};

/// Rows of `B` in a panel: 768 x 48 floats are 144 KiB, a small part of a second-level cache, and one block covers the width of
/// ViT-B.
pub(super) const DEPTH_BLOCK: usize = 768;

/// Adds or stores one finished tile.
#[inline(always)]
fn store_tile<const PITCH: usize>(
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

macro_rules! tiled {
    ($module:ident, $features:literal, $vector:ident, $lanes:literal, $rows:literal,
     $zero:ident, $load:ident, $broadcast:ident, $fused:ident, $store:ident) => {
        pub(super) mod $module {
            use super::*;
            use std::arch::x86_64::{$broadcast, $fused, $load, $store, $vector, $zero};

            /// Floats in a vector register.
            pub(in crate::gemm) const LANES: usize = $lanes;
            /// Rows of a tile.
            const ROWS: usize = $rows;
            /// Columns of a full tile.
            const PITCH: usize = 3 * LANES;

            /// `tile = A B` for `ROWS` rows and one panel of `VECTORS` vectors.
            ///
            /// # Safety
            /// The CPU has the instruction set; `left[i][p * depth_stride]` for `p < depth` and `depth * VECTORS * LANES` values
            /// from `panel` are readable.
            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn tile<const VECTORS: usize>(
                depth: usize,
                left: &[*const f32; ROWS],
                depth_stride: usize,
                panel: *const f32,
                tile: &mut [[f32; PITCH]; ROWS],
            ) {
                let mut sums: [[$vector; VECTORS]; ROWS] = [[$zero(); VECTORS]; ROWS];
                let left = *left;
                let mut panel = panel;
                let mut offset = 0;
                for _ in 0..depth {
                    let mut right = [$zero(); VECTORS];
                    for (j, vector) in right.iter_mut().enumerate() {
                        // SAFETY: inside the panel by the caller's promise.
                        *vector = unsafe { $load(panel.add(j * LANES)) };
                    }
                    for (sums, left) in sums.iter_mut().zip(&left) {
                        // SAFETY: inside the left operand by the caller's promise.
                        let value = $broadcast(unsafe { *left.add(offset) });
                        for (sum, vector) in sums.iter_mut().zip(&right) {
                            *sum = $fused(value, *vector, *sum);
                        }
                    }
                    offset += depth_stride;
                    // SAFETY: at most one past the panel's end.
                    panel = unsafe { panel.add(VECTORS * LANES) };
                }
                for (row, sums) in tile.iter_mut().zip(&sums) {
                    for (target, sum) in row.chunks_exact_mut(LANES).zip(sums) {
                        // SAFETY: the chunk has LANES values.
                        unsafe { $store(target.as_mut_ptr(), *sum) };
                    }
                }
            }

            /// `C = A B (+ bias) (+ C)`.
            ///
            /// # Safety
            /// The CPU has the instruction set, `right` holds panels for it, and `gemm::multiply` has checked all lengths.
            #[target_feature(enable = $features)]
            pub(in crate::gemm) unsafe fn multiply(
                left: Left<'_>,
                right: &PackedMatrix,
                bias: Option<&[f32]>,
                output: Output<'_>,
            ) {
                let (depth, columns) = (right.depth(), right.columns());
                let mut buffer = [[0.0; PITCH]; ROWS];
                let mut packed = right.data.as_slice();
                for first_depth in (0..depth).step_by(DEPTH_BLOCK) {
                    let depth_here = DEPTH_BLOCK.min(depth - first_depth);
                    let accumulate = output.accumulate || first_depth > 0;
                    let bias = bias.filter(|_| first_depth + depth_here == depth);
                    for (first, width) in panels(columns, LANES) {
                        let (panel, rest) = packed.split_at(depth_here * width);
                        packed = rest;
                        let used = width.min(columns - first);
                        let bias = bias.map(|bias| &bias[first..first + used]);
                        for first_row in (0..left.rows).step_by(ROWS) {
                            let rows = ROWS.min(left.rows - first_row);
                            // Rows past the end repeat the last one: computed, never stored.
                            let pointers = std::array::from_fn(|i| {
                                let row = first_row + i.min(rows - 1);
                                left.data[row * left.row_stride + first_depth * left.depth_stride..]
                                    .as_ptr()
                            });
                            let panel = panel.as_ptr();
                            // SAFETY: `gemm::multiply` has checked the last element of `left`, which is the farthest any pointer
                            // reaches; `split_at` has checked the panel.
                            unsafe {
                                match width / LANES {
                                    3 => tile::<3>(
                                        depth_here,
                                        &pointers,
                                        left.depth_stride,
                                        panel,
                                        &mut buffer,
                                    ),
                                    2 => tile::<2>(
                                        depth_here,
                                        &pointers,
                                        left.depth_stride,
                                        panel,
                                        &mut buffer,
                                    ),
                                    _ => tile::<1>(
                                        depth_here,
                                        &pointers,
                                        left.depth_stride,
                                        panel,
                                        &mut buffer,
                                    ),
                                }
                            }
                            let target = &mut output.data[first_row * output.row_stride + first..];
                            if used == PITCH {
                                store_tile(
                                    &buffer[..rows],
                                    PITCH,
                                    bias,
                                    target,
                                    output.row_stride,
                                    accumulate,
                                );
                            } else {
                                store_tile(
                                    &buffer[..rows],
                                    used,
                                    bias,
                                    target,
                                    output.row_stride,
                                    accumulate,
                                );
                            }
                        }
                    }
                }
            }
        }
    };
}

tiled!(
    avx2,
    "avx2,fma",
    __m256,
    8,
    4,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_storeu_ps
);
tiled!(
    avx512,
    "avx512f,avx2,fma",
    __m512,
    16,
    8,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_storeu_ps
);
