//! Convolutions with frozen weights over maps `[images, height, width, channels]`, as products with a matrix packed once for each
//! direction.
//!
//! Channels lie next to each other, so a 1 x 1 convolution is a product of the map itself, and a 3 x 3 convolution is a product of
//! patches whose rows are runs of three positions. Patches are gathered a chunk at a time, small enough to stay in the cache.

mod patches;

use crate::attention::fit;
use crate::gemm::{Left, Output, PackedMatrix, multiply};
use crate::{Capability, ShapeError};
use std::ops::Range;
use std::sync::OnceLock;

/// The axes of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapShape {
    pub images: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl MapShape {
    /// Positions of all images.
    pub fn positions(self) -> usize {
        self.images * self.height * self.width
    }

    /// Numbers in the map.
    pub fn len(self) -> usize {
        self.positions() * self.channels
    }
}

/// Numbers of a chunk's operand and result together: half a megabyte, about half of a core's second-level cache.
const CHUNK_NUMBERS: usize = 128 * 1024;
/// Chunks are multiples of this many positions, so that every chunk begins a period of [`crate::batch_norm`] and full tiles.
const CHUNK_POSITIONS: usize = 64;

/// Ranges of positions with `numbers` operand and result values each.
fn chunks(positions: usize, numbers: usize) -> impl Iterator<Item = Range<usize>> {
    let chunk = (CHUNK_NUMBERS / numbers)
        .next_multiple_of(CHUNK_POSITIONS)
        .max(CHUNK_POSITIONS);
    (0..positions)
        .step_by(chunk)
        .map(move |start| start..positions.min(start + chunk))
}

/// `z = conv(x)` with a frozen weight and without bias: 1 x 1, or 3 x 3 with a border of one zero.
pub(crate) struct FrozenConvolution {
    capability: Capability,
    kernel: usize,
    stride: usize,
    inputs: usize,
    outputs: usize,
    /// `[kernel * kernel * inputs, outputs]`
    forward: PackedMatrix,
    /// `[kernel * kernel * outputs, inputs]`, taps reversed; packed at the first backward pass.
    input_gradient: OnceLock<PackedMatrix>,
}

impl FrozenConvolution {
    /// Packs a weight `[outputs, inputs, kernel, kernel]` as PyTorch stores it.
    ///
    /// # Errors
    /// [`ShapeError`] for other kernels than 1 and 3 or a weight of another length.
    pub fn new(
        capability: Capability,
        weight: &[f32],
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<Self, ShapeError> {
        let supported = if kernel == 1 { 1 } else { 3 };
        ShapeError::check("kernel of a convolution (1 or 3)", supported, kernel)?;
        ShapeError::check(
            "stride of a convolution (1 or 2)",
            stride.clamp(1, 2),
            stride,
        )?;
        ShapeError::check(
            "inputs of a convolution (at least 1)",
            inputs.max(1),
            inputs,
        )?;
        ShapeError::check(
            "outputs of a convolution (at least 1)",
            outputs.max(1),
            outputs,
        )?;
        let taps = kernel * kernel;
        ShapeError::check(
            "weight of a convolution",
            outputs * inputs * taps,
            weight.len(),
        )?;
        let mut rows = vec![0.0; weight.len()];
        for (output, weight) in weight.chunks_exact(inputs * taps).enumerate() {
            for (input, weight) in weight.chunks_exact(taps).enumerate() {
                for (tap, &value) in weight.iter().enumerate() {
                    rows[(tap * inputs + input) * outputs + output] = value;
                }
            }
        }
        let mut forward = PackedMatrix::new(capability);
        forward.pack_rows(&rows, outputs, taps * inputs, outputs);
        Ok(Self {
            capability,
            kernel,
            stride,
            inputs,
            outputs,
            forward,
            input_gradient: OnceLock::new(),
        })
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The shape of the result for an input of a shape.
    pub fn output_shape(&self, input: MapShape) -> MapShape {
        assert_eq!(input.channels, self.inputs, "channels of the input");
        MapShape {
            height: input.height.div_ceil(self.stride),
            width: input.width.div_ceil(self.stride),
            channels: self.outputs,
            ..input
        }
    }

    /// The ranges of output positions that are computed together; they depend on the shape only.
    pub fn chunks(&self, output: MapShape) -> impl Iterator<Item = Range<usize>> + use<> {
        chunks(output.positions(), self.forward.depth() + self.outputs)
    }

    /// Computes the output positions of `range`.
    ///
    /// # Shapes
    /// `x` as `shape`, `z` `[range, outputs]`.
    ///
    /// # Panics
    /// When a length does not match.
    pub fn forward(
        &self,
        x: &[f32],
        shape: MapShape,
        range: Range<usize>,
        patches: &mut Vec<f32>,
        z: &mut [f32],
    ) {
        assert_eq!(
            x.len(),
            shape.len(),
            "the input has the shape that is given"
        );
        assert_eq!(shape.channels, self.inputs, "channels of the input");
        let (rows, depth) = (range.len(), self.forward.depth());
        let left = if self.kernel == 1 && self.stride == 1 {
            &x[range.start * self.inputs..range.end * self.inputs]
        } else {
            let patches = fit(patches, rows * depth);
            patches::gather(x, shape, self.kernel, self.stride, range, patches);
            patches
        };
        let output = Output {
            data: z,
            row_stride: self.outputs,
            accumulate: false,
        };
        multiply(Left::rows(left, rows, depth), &self.forward, None, output);
    }

    /// `dx = conv^T(dz)`, or `dx += conv^T(dz)`.
    ///
    /// # Shapes
    /// `dz` as the output for an input of `shape`, `dx` as `shape`.
    ///
    /// # Panics
    /// When a length does not match, or for a stride of two: only a first layer has one, whose input needs no gradient.
    pub fn backward(
        &self,
        dz: &[f32],
        shape: MapShape,
        patches: &mut Vec<f32>,
        dx: &mut [f32],
        accumulate: bool,
    ) {
        assert_eq!(self.stride, 1, "only stride 1 has an input gradient");
        let output = self.output_shape(shape);
        assert_eq!(
            dz.len(),
            output.len(),
            "the gradient has the output's shape"
        );
        assert_eq!(dx.len(), shape.len(), "the input's gradient has its shape");
        let packed = self.input_gradient.get_or_init(|| self.reversed());
        let depth = packed.depth();
        for range in chunks(shape.positions(), depth + self.inputs) {
            let rows = range.len();
            let left = if self.kernel == 1 {
                &dz[range.start * self.outputs..range.end * self.outputs]
            } else {
                let patches = fit(patches, rows * depth);
                patches::gather(dz, output, self.kernel, 1, range.clone(), patches);
                patches
            };
            let output = Output {
                data: &mut dx[range.start * self.inputs..range.end * self.inputs],
                row_stride: self.inputs,
                accumulate,
            };
            multiply(Left::rows(left, rows, depth), packed, None, output);
        }
    }

    /// The matrix of the input's gradient: a convolution of `dz` whose taps run backwards and whose channels are exchanged.
    fn reversed(&self) -> PackedMatrix {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let taps = self.kernel * self.kernel;
        let forward = self.forward.to_row_major();
        let mut rows = vec![0.0; forward.len()];
        for (tap, block) in forward.chunks_exact(inputs * outputs).enumerate() {
            let reversed = &mut rows[(taps - 1 - tap) * inputs * outputs..][..inputs * outputs];
            for (input, row) in block.chunks_exact(outputs).enumerate() {
                for (output, &value) in row.iter().enumerate() {
                    reversed[output * inputs + input] = value;
                }
            }
        }
        let mut packed = PackedMatrix::new(self.capability);
        packed.pack_rows(&rows, inputs, taps * outputs, inputs);
        packed
    }
}

#[cfg(test)]
mod tests;
