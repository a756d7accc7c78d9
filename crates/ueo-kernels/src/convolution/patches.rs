//! Convolutions as products of patches: the neighborhoods of positions are gathered, a chunk at a time, small enough to stay in the
//! cache.

use super::MapShape;
use crate::buffer::{count, fit};
use crate::gemm::{Output, PackedWeight};
use crate::precision::OperandBuffer;
use crate::{Capability, Precision, cache};
use std::ops::Range;

/// Chunks are multiples of this many positions, so that every chunk begins a period of [`crate::batch_norm`] and full tiles.
const CHUNK_POSITIONS: usize = 64;

/// Memory for the operand of one chunk.
#[derive(Default)]
pub(super) struct PatchScratch {
    patches: Vec<f32>,
    operand: OperandBuffer,
}

/// A convolution whose weight is one packed matrix.
pub(super) struct PatchProduct {
    capability: Capability,
    kernel: usize,
    stride: usize,
    inputs: usize,
    outputs: usize,
    /// `[kernel * kernel * inputs, outputs]`
    matrix: PackedWeight,
}

impl PatchProduct {
    /// Packs a weight `[outputs, inputs, kernel, kernel]`.
    pub fn new(
        capability: Capability,
        precision: Precision,
        weight: &[f32],
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
    ) -> Self {
        let taps = kernel * kernel;
        // `[outputs, taps, inputs]`, as a patch lies in memory.
        let mut rows = vec![0.0; weight.len()];
        for (output, weight) in weight.chunks_exact(inputs * taps).enumerate() {
            for (input, weight) in weight.chunks_exact(taps).enumerate() {
                for (tap, &value) in weight.iter().enumerate() {
                    rows[(output * taps + tap) * inputs + input] = value;
                }
            }
        }
        Self {
            capability,
            kernel,
            stride,
            inputs,
            outputs,
            matrix: PackedWeight::pack_transposed(
                capability,
                precision,
                &rows,
                taps * inputs,
                outputs,
            ),
        }
    }

    /// The convolution of the input's gradient: taps run backwards and channels are exchanged.
    pub fn reversed(&self) -> Self {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let taps = self.kernel * self.kernel;
        // `[taps, inputs, outputs]`
        let forward = self.matrix.to_row_major();
        // `[inputs, taps, outputs]`
        let mut rows = vec![0.0; forward.len()];
        for (tap, block) in forward.chunks_exact(inputs * outputs).enumerate() {
            for (input, values) in block.chunks_exact(outputs).enumerate() {
                let at = (input * taps + taps - 1 - tap) * outputs;
                rows[at..at + outputs].copy_from_slice(values);
            }
        }
        Self {
            inputs: outputs,
            outputs: inputs,
            matrix: PackedWeight::pack_transposed(
                self.capability,
                self.matrix.precision(),
                &rows,
                taps * outputs,
                inputs,
            ),
            ..*self
        }
    }

    /// Where the chunk that begins at an output position ends: where it began when there is none left.
    pub fn chunk_end(&self, output: MapShape, start: usize) -> usize {
        // Operand and result together fill half of a core's second-level cache.
        let chunk = (cache::half_second_level_numbers() / (self.matrix.depth() + self.outputs))
            .next_multiple_of(CHUNK_POSITIONS)
            .max(CHUNK_POSITIONS);
        output.positions().min(start + chunk)
    }

    /// Computes the output positions `range`.
    ///
    /// # Shapes
    /// `map` as `shape`, `target` `[range, outputs]`.
    pub fn apply(
        &self,
        map: &[f32],
        shape: MapShape,
        range: Range<usize>,
        scratch: &mut PatchScratch,
        target: &mut [f32],
        accumulate: bool,
    ) {
        let PatchScratch { patches, operand } = scratch;
        let (rows, depth) = (range.len(), self.matrix.depth());
        let left = if self.kernel == 1 && self.stride == 1 {
            &map[range.start * self.inputs..range.end * self.inputs]
        } else {
            let patches = fit(patches, count([rows, depth]));
            gather(map, shape, self.kernel, self.stride, range, patches);
            patches
        };
        let output = Output {
            data: target,
            row_stride: self.outputs,
            accumulate,
        };
        let left = operand.rounded(self.capability, self.matrix.precision(), left);
        self.matrix.multiply(rows, left, None, output);
    }
}

/// Writes one row `[kernel, kernel, channels]` per output position of `range`; what lies outside of the map is zero.
///
/// Output position `(y, x)` sees input positions `(stride y - kernel / 2 ..)` by `(stride x - kernel / 2 ..)`.
fn gather(
    map: &[f32],
    shape: MapShape,
    kernel: usize,
    stride: usize,
    range: Range<usize>,
    patches: &mut [f32],
) {
    let MapShape {
        height,
        width,
        channels,
        ..
    } = shape;
    let (rows, columns) = (height.div_ceil(stride), width.div_ceil(stride));
    let border = kernel / 2;
    let run = kernel * channels;
    for (position, patch) in range.zip(patches.chunks_exact_mut(kernel * run)) {
        let (image, inside) = (position / (rows * columns), position % (rows * columns));
        let (top, left) = (inside / columns * stride, inside % columns * stride);
        // Columns of the window that lie inside of the map.
        let first = border.saturating_sub(left);
        let last = kernel.min(width + border - left);
        for (line, target) in patch.chunks_exact_mut(run).enumerate() {
            let y = top + line;
            if y < border || y >= height + border {
                target.fill(0.0);
                continue;
            }
            let source = ((image * height + y - border) * width + left + first - border) * channels;
            let used = (last - first) * channels;
            target[..first * channels].fill(0.0);
            target[first * channels..][..used].copy_from_slice(&map[source..][..used]);
            target[last * channels..].fill(0.0);
        }
    }
}
