//! Convolutions with frozen weights over maps `[images, height, width, channels]`, as products with a matrix packed once for each
//! direction.
//!
//! Channels lie next to each other, so a 1 x 1 convolution is a product of the map itself. A 3 x 3 convolution is computed by minimal
//! filtering ([`winograd`]); with a stride or few channels it is a product of patches ([`patches`]).
//!
//! The precision is that of products of patches, 1 x 1 convolutions included. Minimal filtering is f32 in all of them: its transforms would
//! multiply the errors of rounded operands, and it has a quarter of the multiplications to begin with.

mod patches;
mod winograd;

use crate::buffer::count;
use crate::{Capability, Precision, ShapeError};
use patches::{PatchProduct, PatchScratch};
use std::ops::Range;
use std::sync::OnceLock;
use winograd::{FilterScratch, TileSide, TransformedFilter};

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
    ///
    /// # Panics
    /// When they pass the largest `usize`.
    pub fn positions(self) -> usize {
        count([self.images, self.height, self.width])
    }

    /// Numbers in the map.
    ///
    /// # Panics
    /// When they pass the largest `usize`.
    pub fn len(self) -> usize {
        count([self.images, self.height, self.width, self.channels])
    }
}

/// Fewest channels on either side for which minimal filtering pays. Transforms take whole vectors of channels, so that 12 took 1.2 of the
/// time of a product of patches where 16 took half of it.
const FILTERED_CHANNELS: usize = 16;

/// Memory for the operands of one chunk.
#[derive(Default)]
pub(crate) struct ConvolutionScratch {
    patches: PatchScratch,
    filter: FilterScratch,
}

/// How one direction of a convolution is computed.
enum Method {
    Patches(PatchProduct),
    Filtered(TransformedFilter),
}

impl Method {
    /// The ranges of output positions that are computed together.
    fn chunks(&self, output: MapShape) -> impl Iterator<Item = Range<usize>> {
        let mut start = 0;
        std::iter::from_fn(move || {
            let range = start..match self {
                Self::Patches(product) => product.chunk_end(output, start),
                Self::Filtered(filter) => filter.chunk_end(output, start),
            };
            start = range.end;
            (!range.is_empty()).then_some(range)
        })
    }

    /// Computes the output positions of a chunk; `target` holds only these.
    fn apply(
        &self,
        map: &[f32],
        shape: MapShape,
        range: Range<usize>,
        scratch: &mut ConvolutionScratch,
        target: &mut [f32],
        accumulate: bool,
    ) {
        match self {
            Self::Patches(product) => {
                let patches = &mut scratch.patches;
                product.apply(map, shape, range, patches, target, accumulate);
            }
            Self::Filtered(filter) => {
                let scratch = &mut scratch.filter;
                filter.apply(map, shape, range, scratch, target, accumulate);
            }
        }
    }
}

/// `z = conv(x)` with a frozen weight and without bias: 1 x 1, or 3 x 3 with a border of one zero.
pub(crate) struct FrozenConvolution {
    capability: Capability,
    stride: usize,
    inputs: usize,
    outputs: usize,
    forward: Method,
    /// The convolution of `dz` whose taps run backwards and whose channels are exchanged; made at the first backward pass.
    input_gradient: OnceLock<Method>,
    /// `[outputs, inputs, 3, 3]` where it is filtered, to transform the other direction from; else empty.
    weight: Vec<f32>,
}

impl FrozenConvolution {
    /// Packs a weight `[outputs, inputs, kernel, kernel]` as PyTorch stores it, for operands in a precision.
    ///
    /// # Errors
    /// [`ShapeError`] for other kernels than 1 and 3 or a weight of another length.
    pub fn new(
        capability: Capability,
        precision: Precision,
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
        ShapeError::check_count(
            "weight of a convolution",
            [outputs, inputs, kernel, kernel],
            weight.len(),
        )?;
        let filtered = kernel == 3 && stride == 1 && inputs.min(outputs) >= FILTERED_CHANNELS;
        let (forward, weight) = if filtered {
            let (taps, _) = weight.as_chunks::<9>();
            let taps = |input: usize, output: usize| taps[output * inputs + input];
            let side = TileSide::of(inputs, outputs);
            let filter = TransformedFilter::new(capability, side, inputs, outputs, taps);
            (Method::Filtered(filter), weight.to_vec())
        } else {
            let product = PatchProduct::new(
                capability, precision, weight, inputs, outputs, kernel, stride,
            );
            (Method::Patches(product), Vec::new())
        };
        Ok(Self {
            capability,
            stride,
            inputs,
            outputs,
            forward,
            input_gradient: OnceLock::new(),
            weight,
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
    pub fn chunks(&self, output: MapShape) -> impl Iterator<Item = Range<usize>> {
        self.forward.chunks(output)
    }

    /// Computes the output positions of `range`, which is one of [`FrozenConvolution::chunks`].
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
        scratch: &mut ConvolutionScratch,
        z: &mut [f32],
    ) {
        assert_eq!(
            x.len(),
            shape.len(),
            "the input has the shape that is given"
        );
        assert_eq!(shape.channels, self.inputs, "channels of the input");
        self.forward.apply(x, shape, range, scratch, z, false);
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
        scratch: &mut ConvolutionScratch,
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
        let method = self.input_gradient.get_or_init(|| self.reversed());
        for range in method.chunks(shape) {
            let dx = &mut dx[range.start * self.inputs..range.end * self.inputs];
            method.apply(dz, output, range, scratch, dx, accumulate);
        }
    }

    /// The method of the input's gradient.
    fn reversed(&self) -> Method {
        match &self.forward {
            Method::Patches(product) => Method::Patches(product.reversed()),
            Method::Filtered(_) => {
                let (inputs, outputs) = (self.inputs, self.outputs);
                let (taps, _) = self.weight.as_chunks::<9>();
                let reversed = |output: usize, input: usize| {
                    let mut taps = taps[output * inputs + input];
                    taps.reverse();
                    taps
                };
                let side = TileSide::of(outputs, inputs);
                let filter =
                    TransformedFilter::new(self.capability, side, outputs, inputs, reversed);
                Method::Filtered(filter)
            }
        }
    }
}

#[cfg(test)]
mod tests;
