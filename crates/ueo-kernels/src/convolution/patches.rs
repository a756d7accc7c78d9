//! Convolutions as products of patches: the neighborhoods of positions are gathered, a chunk at a time, small enough to stay in the
//! cache.

use super::MapShape;
use crate::Capability;
use crate::buffer::{count, fit};
use crate::gemm::{Left, Output, PackedMatrix, multiply};
use std::ops::Range;

/// Numbers of a chunk's operand and result together: half a megabyte, about half of a core's second-level cache.
const CHUNK_NUMBERS: usize = 128 * 1024;
/// Chunks are multiples of this many positions, so that every chunk begins a period of [`crate::batch_norm`] and full tiles.
const CHUNK_POSITIONS: usize = 64;

/// A convolution whose weight is one packed matrix.
pub(super) struct PatchProduct {
    capability: Capability,
    kernel: usize,
    stride: usize,
    inputs: usize,
    outputs: usize,
    /// `[kernel * kernel * inputs, outputs]`
    matrix: PackedMatrix,
}

impl PatchProduct {
    /// Packs a weight `[outputs, inputs, kernel, kernel]`.
    pub fn new(
        capability: Capability,
        weight: &[f32],
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
    ) -> Self {
        let taps = kernel * kernel;
        let mut rows = vec![0.0; weight.len()];
        for (output, weight) in weight.chunks_exact(inputs * taps).enumerate() {
            for (input, weight) in weight.chunks_exact(taps).enumerate() {
                for (tap, &value) in weight.iter().enumerate() {
                    rows[(tap * inputs + input) * outputs + output] = value;
                }
            }
        }
        let mut matrix = PackedMatrix::new(capability);
        matrix.pack_rows(&rows, outputs, taps * inputs, outputs);
        Self {
            capability,
            kernel,
            stride,
            inputs,
            outputs,
            matrix,
        }
    }

    /// The convolution of the input's gradient: taps run backwards and channels are exchanged.
    pub fn reversed(&self) -> Self {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let taps = self.kernel * self.kernel;
        let forward = self.matrix.to_row_major();
        let mut rows = vec![0.0; forward.len()];
        for (tap, block) in forward.chunks_exact(inputs * outputs).enumerate() {
            let reversed = &mut rows[(taps - 1 - tap) * inputs * outputs..][..inputs * outputs];
            for (input, row) in block.chunks_exact(outputs).enumerate() {
                for (output, &value) in row.iter().enumerate() {
                    reversed[output * inputs + input] = value;
                }
            }
        }
        let mut matrix = PackedMatrix::new(self.capability);
        matrix.pack_rows(&rows, inputs, taps * outputs, inputs);
        Self {
            inputs: outputs,
            outputs: inputs,
            matrix,
            ..*self
        }
    }

    /// Where the chunk that begins at an output position ends: where it began when there is none left.
    pub fn chunk_end(&self, output: MapShape, start: usize) -> usize {
        let chunk = (CHUNK_NUMBERS / (self.matrix.depth() + self.outputs))
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
        patches: &mut Vec<f32>,
        target: &mut [f32],
        accumulate: bool,
    ) {
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
        multiply(Left::rows(left, rows, depth), &self.matrix, None, output);
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
