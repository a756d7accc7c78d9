//! Depthwise convolution of square maps with channels last: each channel has a kernel of its own.
//!
//! Both directions gather: an output position sums over the inputs that its kernel covers, an input position over the outputs whose
//! kernels cover it. Which ones those are is a table per axis, so borders and strides cost nothing inside.

use crate::buffer::count;
use crate::capability::{Arithmetic, multiversion};
use crate::{Capability, ShapeError};
use rayon::prelude::*;

/// Channels whose sums stay in registers.
const LANES: usize = 32;

/// A convolution whose weight never changes, with a border of `side / 2` zeros.
pub struct DepthwiseConvolution {
    capability: Capability,
    channels: usize,
    side: usize,
    stride: usize,
    /// `[side, side, channels]`
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// What one position along an axis gathers: places in the kernel and in the map that is read.
type Taps = Vec<(usize, usize)>;

impl DepthwiseConvolution {
    /// Takes a weight `[channels, side, side]`, row-major as in PyTorch, and a bias `[channels]`.
    ///
    /// # Errors
    /// [`ShapeError`] when a length does not match, or a side is even.
    ///
    /// # Panics
    /// When `stride` is 0.
    pub fn new(
        capability: Capability,
        weight: &[f32],
        bias: &[f32],
        side: usize,
        stride: usize,
    ) -> Result<Self, ShapeError> {
        assert!(stride > 0, "a stride is at least 1");
        let channels = bias.len();
        ShapeError::check("side of a depthwise convolution (odd)", side | 1, side)?;
        let axes = [channels, side, side];
        ShapeError::check_count("weight of a depthwise convolution", axes, weight.len())?;
        let taps = side * side;
        let mut last = vec![0.0; weight.len()];
        for (channel, kernel) in weight.chunks_exact(taps).enumerate() {
            for (tap, value) in kernel.iter().enumerate() {
                last[tap * channels + channel] = *value;
            }
        }
        Ok(Self {
            capability,
            channels,
            side,
            stride,
            weight: last,
            bias: bias.to_vec(),
        })
    }

    /// Channels of a map.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Side of the map that comes of one with this side.
    pub fn output_side(&self, input_side: usize) -> usize {
        input_side.div_ceil(self.stride)
    }

    /// The output of a batch of maps, on all threads of the rayon pool.
    ///
    /// # Shapes
    /// `x` `[images, input_side, input_side, channels]`; the result the same with [`Self::output_side`].
    ///
    /// # Panics
    /// When `x` has another length.
    pub fn forward(&self, images: usize, input_side: usize, x: &[f32]) -> Vec<f32> {
        let output_side = self.output_side(input_side);
        let taps = self.axis(input_side, output_side);
        self.gather(images, [input_side, output_side], &taps, &self.bias, x)
    }

    /// The gradient of the input.
    ///
    /// # Shapes
    /// `dy` as the output of [`Self::forward`], the result as its input.
    ///
    /// # Panics
    /// When `dy` has another length.
    pub fn backward(&self, images: usize, input_side: usize, dy: &[f32]) -> Vec<f32> {
        let output_side = self.output_side(input_side);
        let mut taps = vec![Taps::new(); input_side];
        for (output, inputs) in self.axis(input_side, output_side).into_iter().enumerate() {
            for (tap, input) in inputs {
                taps[input].push((tap, output));
            }
        }
        let zeros = vec![0.0; self.channels];
        self.gather(images, [output_side, input_side], &taps, &zeros, dy)
    }

    /// The inputs of each output position along an axis.
    fn axis(&self, input_side: usize, output_side: usize) -> Vec<Taps> {
        let border = self.side / 2;
        let of = |output: usize| {
            (0..self.side)
                .filter_map(|tap| Some((tap, (output * self.stride + tap).checked_sub(border)?)))
                .filter(|&(_, input)| input < input_side)
                .collect()
        };
        (0..output_side).map(of).collect()
    }

    fn gather(
        &self,
        images: usize,
        [from, to]: [usize; 2],
        taps: &[Taps],
        bias: &[f32],
        x: &[f32],
    ) -> Vec<f32> {
        let channels = self.channels;
        let (source, line) = (count([from, from, channels]), count([to, channels]));
        assert_eq!(x.len(), count([images, source]), "the maps of a batch");
        let mut y = vec![0.0; count([images, to, line])];
        y.par_chunks_exact_mut(line.max(1))
            .enumerate()
            .for_each(|(row, y)| {
                let (image, row) = (row / to, row % to);
                let map = &x[image * source..][..source];
                let row = Row {
                    rows: &taps[row],
                    columns: taps,
                    side: self.side,
                    map_side: from,
                    weight: &self.weight,
                    bias,
                };
                gather_row(self.capability, row, map, y);
            });
        y
    }
}

/// What a line of positions gathers.
struct Row<'a> {
    rows: &'a [(usize, usize)],
    columns: &'a [Taps],
    side: usize,
    map_side: usize,
    weight: &'a [f32],
    bias: &'a [f32],
}

#[inline(always)]
fn gather_row_generic<A: Arithmetic>(row: Row<'_>, map: &[f32], y: &mut [f32]) {
    let channels = row.bias.len();
    for (columns, y) in row.columns.iter().zip(y.chunks_exact_mut(channels)) {
        let mut first = 0;
        while first + LANES <= channels {
            let mut sums = [0.0; LANES];
            sums.copy_from_slice(&row.bias[first..][..LANES]);
            visit(&row, columns, channels, |tap, position| {
                let weight = &row.weight[tap + first..][..LANES];
                let values = &map[position + first..][..LANES];
                for lane in 0..LANES {
                    sums[lane] = A::mul_add(weight[lane], values[lane], sums[lane]);
                }
            });
            y[first..][..LANES].copy_from_slice(&sums);
            first += LANES;
        }
        let rest = channels - first;
        let y = &mut y[first..];
        y.copy_from_slice(&row.bias[first..]);
        visit(&row, columns, channels, |tap, position| {
            let weight = &row.weight[tap + first..][..rest];
            let values = &map[position + first..][..rest];
            for ((y, weight), value) in y.iter_mut().zip(weight).zip(values) {
                *y = A::mul_add(*weight, *value, *y);
            }
        });
    }
}

/// Calls `visit` with where a place of the kernel and the position that it covers begin.
#[inline(always)]
fn visit(
    row: &Row<'_>,
    columns: &[(usize, usize)],
    channels: usize,
    mut visit: impl FnMut(usize, usize),
) {
    for &(tap_row, map_row) in row.rows {
        for &(tap_column, map_column) in columns {
            let tap = tap_row * row.side + tap_column;
            let position = map_row * row.map_side + map_column;
            visit(tap * channels, position * channels);
        }
    }
}

multiversion! {
    /// One line of output positions.
    fn gather_row = gather_row_generic(row: Row<'_>, map: &[f32], y: &mut [f32])
}

#[cfg(test)]
mod tests;
