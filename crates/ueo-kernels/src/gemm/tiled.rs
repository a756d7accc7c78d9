//! Register-tiled products for x86-64: one driver and one tile, instantiated for AVX2, AVX-512 and AVX-512 with bf16 pairs.
//!
//! A tile of `ROWS x 3 LANES` sums stays in registers (9 of 16 with AVX2, 24 of 32 with AVX-512) while one panel of `B` streams
//! past it; what rows are left over have a tile of their own height. A panel (`DEPTH_BLOCK x 3 LANES`) is used by a block of rows of `A` before the next one, so it comes from main memory
//! once per block and from the second-level cache for each tile, where the block of rows stays too.

use super::{Left, Output, Panels, padded, panels, store_part};
use crate::cache;
use crate::precision::Bf16;
use std::ops::Range;

/// Steps of `B` in a panel, one row in f32 and a pair of rows in bf16: 768 x 48 values of four bytes are 144 KiB, a small part of a
/// second-level cache, and one block covers the width of ViT-B.
///
/// Measured with tiles of 8 x 48 on AMD Zen 4: 98 % of the f32 peak and 93 to 97 % of the bf16 peak at the shapes of ViT-B/16.
/// Tiles of 14 x 32, blocks of 256 or 384 and a repacked left operand were all slower by 2 to 15 %.
pub(super) const DEPTH_BLOCK: usize = 768;

/// Fewest rows of a block: with fewer, reading the panels takes the time.
const LEAST_ROWS: usize = 96;

/// Rows of the left operand that meet all panels before the next rows do: as many as stay in the second-level cache beside a panel, a
/// multiple of every tile's height. `row_bytes` is the length of a row within a block of the depth. No sum depends on it.
fn row_block(row_bytes: usize, panel_columns: usize) -> usize {
    let left_over = cache::second_level_bytes().saturating_sub(row_bytes * panel_columns);
    (left_over / row_bytes / LEAST_ROWS * LEAST_ROWS).max(LEAST_ROWS)
}

/// Blocks of rows with each panel of a block of the depth: rows, first column, width of the panel including padding, the panel.
fn blocks<T>(
    rows: usize,
    row_block: usize,
    columns: usize,
    lanes: usize,
    block: &[T],
) -> impl Iterator<Item = (Range<usize>, usize, usize, &[T])> {
    let depth = block.len() / padded(columns, lanes);
    (0..rows).step_by(row_block).flat_map(move |first_row| {
        let rows = first_row..rows.min(first_row + row_block);
        panels(columns, lanes).map(move |(first, width)| {
            // Panels before this one are `first` columns wide in all.
            let panel = &block[first * depth..][..width * depth];
            (rows.clone(), first, width, panel)
        })
    })
}

/// What a tile is computed from and where it goes. Left operand and output begin with the tile's first element.
struct Tile<'a, L, S> {
    left: &'a [L],
    row_stride: usize,
    depth_stride: usize,
    depth: usize,
    panel: &'a [S],
    /// Columns of the panel that the result has.
    columns: usize,
    bias: Option<&'a [f32]>,
    output: &'a mut [f32],
    output_stride: usize,
    accumulate: bool,
}

macro_rules! tiled {
    ($module:ident, $features:literal, $left:ty, $step:ty, $vector:ident, $lanes:literal, $rows:literal, [$($rest:literal),*],
     $zero:ident, $load:path, $broadcast:path, $fused:path, $add:ident, $load_values:ident, $store:ident) => {
        pub(super) mod $module {
            use super::*;
            use std::arch::x86_64::{$add, $load_values, $store, $vector, $zero};

            /// Values of the left operand that one step along the depth takes.
            const VALUES_PER_STEP: usize = size_of::<$step>() / size_of::<$left>();
            /// Columns in a vector register.
            pub(in crate::gemm) const LANES: usize = $lanes;
            /// Rows of a tile.
            const ROWS: usize = $rows;
            /// Columns of a full tile.
            const PITCH: usize = 3 * LANES;

            /// `C = A B (+ bias) (+ C)` for `HEIGHT` rows and one panel of `VECTORS` vectors; the depth counts steps.
            ///
            /// # Safety
            /// The CPU has the instruction set, and `tile.left[i * tile.row_stride + p * tile.depth_stride]` is readable, as a step
            /// that need not be aligned, for `i < HEIGHT` and `p < tile.depth`.
            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn tile<const HEIGHT: usize, const VECTORS: usize>(
                tile: Tile<'_, $left, $step>,
            ) {
                let Tile {
                    left,
                    row_stride,
                    depth_stride,
                    depth,
                    panel,
                    columns,
                    bias,
                    output,
                    output_stride,
                    accumulate,
                } = tile;
                assert_eq!(panel.len(), depth * VECTORS * LANES, "one panel");
                let left: [*const $step; HEIGHT] =
                    std::array::from_fn(|i| left[i * row_stride..].as_ptr().cast());
                let mut sums: [[$vector; VECTORS]; HEIGHT] = [[$zero(); VECTORS]; HEIGHT];
                let mut panel = panel.as_ptr();
                let mut offset = 0;
                for _ in 0..depth {
                    let mut right = [$zero(); VECTORS];
                    for (j, vector) in right.iter_mut().enumerate() {
                        // SAFETY: the panel has `depth` rows of `VECTORS` vectors.
                        *vector = unsafe { $load(panel.add(j * LANES)) };
                    }
                    for (sums, left) in sums.iter_mut().zip(&left) {
                        // SAFETY: inside the left operand by the caller's promise.
                        let value = $broadcast(unsafe { left.add(offset).read_unaligned() });
                        for (sum, vector) in sums.iter_mut().zip(&right) {
                            *sum = $fused(value, *vector, *sum);
                        }
                    }
                    offset += depth_stride;
                    // SAFETY: at most one past the panel's end.
                    panel = unsafe { panel.add(VECTORS * LANES) };
                }
                if columns < VECTORS * LANES {
                    let mut buffer = [[0.0; PITCH]; HEIGHT];
                    for (row, sums) in buffer.iter_mut().zip(&sums) {
                        for (target, sum) in row.chunks_exact_mut(LANES).zip(sums) {
                            // SAFETY: the chunk has LANES values.
                            unsafe { $store(target.as_mut_ptr(), *sum) };
                        }
                    }
                    store_part(&buffer, columns, bias, output, output_stride, accumulate);
                    return;
                }
                // Whole vectors go where they belong without a stop in between, which a product of few steps would feel.
                if let Some(bias) = bias {
                    let mut vectors = [$zero(); VECTORS];
                    for (vector, values) in vectors.iter_mut().zip(bias.chunks_exact(LANES)) {
                        // SAFETY: the chunk has LANES values.
                        *vector = unsafe { $load_values(values.as_ptr()) };
                    }
                    for sums in &mut sums {
                        for (sum, vector) in sums.iter_mut().zip(&vectors) {
                            *sum = $add(*sum, *vector);
                        }
                    }
                }
                for (i, sums) in sums.iter().enumerate() {
                    let row = &mut output[i * output_stride..][..VECTORS * LANES];
                    for (target, sum) in row.chunks_exact_mut(LANES).zip(sums) {
                        let mut value = *sum;
                        if accumulate {
                            // SAFETY: the chunk has LANES values.
                            value = $add(unsafe { $load_values(target.as_ptr()) }, value);
                        }
                        // SAFETY: the chunk has LANES values.
                        unsafe { $store(target.as_mut_ptr(), value) };
                    }
                }
            }

            /// A tile of a panel that is up to three vectors wide.
            ///
            /// # Safety
            /// As [`tile`].
            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn tile_of<const HEIGHT: usize>(width: usize, operands: Tile<'_, $left, $step>) {
                // SAFETY: by the caller's promise.
                unsafe {
                    match width / LANES {
                        3 => tile::<HEIGHT, 3>(operands),
                        2 => tile::<HEIGHT, 2>(operands),
                        _ => tile::<HEIGHT, 1>(operands),
                    }
                }
            }

            /// `C = A B (+ bias) (+ C)`.
            ///
            /// # Safety
            /// The CPU has the instruction set, `right` holds panels for it, and `gemm` has checked all lengths: `left` reaches
            /// `right.steps * VALUES_PER_STEP` deep, and its depth stride is 1 where a step takes several values.
            #[target_feature(enable = $features)]
            pub(in crate::gemm) unsafe fn multiply(
                left: Left<'_, $left>,
                right: Panels<'_, $step>,
                bias: Option<&[f32]>,
                output: Output<'_>,
            ) {
                let Panels {
                    data: mut packed,
                    steps: depth,
                    columns,
                } = right;
                for first_depth in (0..depth).step_by(DEPTH_BLOCK) {
                    let depth_here = DEPTH_BLOCK.min(depth - first_depth);
                    let accumulate = output.accumulate || first_depth > 0;
                    let bias = bias.filter(|_| first_depth + depth_here == depth);
                    let first_value = first_depth * VALUES_PER_STEP * left.depth_stride;
                    let (block, rest) = packed.split_at(depth_here * padded(columns, LANES));
                    packed = rest;
                    let row_block = row_block(depth_here * size_of::<$step>(), PITCH);
                    for (rows, first, width, panel) in
                        blocks(left.rows, row_block, columns, LANES, block)
                    {
                        let used = width.min(columns - first);
                        let bias = bias.map(|bias| &bias[first..first + used]);
                        for first_row in rows.clone().step_by(ROWS) {
                            let operands = Tile {
                                left: &left.data[first_row * left.row_stride + first_value..],
                                row_stride: left.row_stride,
                                depth_stride: left.depth_stride,
                                depth: depth_here,
                                panel,
                                columns: used,
                                bias,
                                output: &mut output.data[first_row * output.row_stride + first..],
                                output_stride: output.row_stride,
                                accumulate,
                            };
                            // SAFETY: the caller has checked the last element of `left`, which is the farthest that the last row of
                            // a tile reaches.
                            unsafe {
                                match rows.end - first_row {
                                    $($rest => tile_of::<$rest>(width, operands),)*
                                    _ => tile_of::<ROWS>(width, operands),
                                }
                            }
                        }
                    }
                }
            }
        }
    };
}

// Four rows are 12 sums, and with three vectors of `B` and two broadcasts in flight one sum lives in memory: half the speed on Zen 5.
tiled!(
    avx2,
    "avx2,fma",
    f32,
    f32,
    __m256,
    8,
    3,
    [1, 2],
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    std::arch::x86_64::_mm256_set1_ps,
    std::arch::x86_64::_mm256_fmadd_ps,
    _mm256_add_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps
);
tiled!(
    avx512,
    "avx512f,avx2,fma",
    f32,
    f32,
    __m512,
    16,
    8,
    [1, 2, 3, 4, 5, 6, 7],
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    std::arch::x86_64::_mm512_set1_ps,
    std::arch::x86_64::_mm512_fmadd_ps,
    _mm512_add_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps
);
tiled!(
    avx512_bf16,
    "avx512f,avx512bf16,avx2,fma",
    Bf16,
    u32,
    __m512,
    16,
    8,
    [1, 2, 3, 4, 5, 6, 7],
    _mm512_setzero_ps,
    pairs::load,
    pairs::broadcast,
    pairs::multiply_add,
    _mm512_add_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps
);

/// Vectors of bf16 pairs in the shape that the driver expects: a step is a pair of rows of `B`, interleaved, in one 32-bit lane. They
/// travel as vectors of f32, whose bits nothing looks at before the product.
mod pairs {
    use std::arch::x86_64::{
        __m512, __m512bh, _mm512_castsi512_ps, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_set1_epi32,
    };

    #[inline(always)]
    fn as_bf16(vector: __m512) -> __m512bh {
        // SAFETY: both are 64 bytes of plain data.
        unsafe { std::mem::transmute::<__m512, __m512bh>(vector) }
    }

    /// # Safety
    /// The CPU has AVX-512 and sixteen pairs are readable.
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    pub(super) unsafe fn load(pairs: *const u32) -> __m512 {
        // SAFETY: by the caller's promise.
        unsafe { _mm512_loadu_ps(pairs.cast()) }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    pub(super) fn broadcast(pair: u32) -> __m512 {
        _mm512_castsi512_ps(_mm512_set1_epi32(pair.cast_signed()))
    }

    /// `sum + a_low b_low + a_high b_high` per lane, in f32.
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    pub(super) fn multiply_add(a: __m512, b: __m512, sum: __m512) -> __m512 {
        _mm512_dpbf16_ps(sum, as_bf16(a), as_bf16(b))
    }
}
