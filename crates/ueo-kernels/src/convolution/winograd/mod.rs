//! 3 x 3 convolutions by minimal filtering: F(4 x 4, 3 x 3) of Winograd, as Lavin and Gray apply it to convolutional networks
//! (<https://arxiv.org/abs/1509.09308>, algorithm 1).
//!
//! A tile of 4 x 4 results sees 6 x 6 positions. Positions are transformed ([`transform`]), multiplied with the transformed filter
//! at each of 36 points, a product of matrices over tiles and channels, and transformed back: 36 multiplications per
//! channel pair where the definition takes 144. `docs/backward.md` has the equations.

mod transform;

use super::MapShape;
use crate::Capability;
use crate::attention::fit;
use crate::gemm::{Left, Output, PackedMatrix, multiply};
use std::ops::Range;
use transform::{Inverse, Layout, POINTS, Tiles};

/// Numbers of transformed positions and products that a chunk of tiles should have: half a megabyte, about half of a core's
/// second-level cache.
const CHUNK_NUMBERS: usize = 128 * 1024;
/// Tiles that a chunk should have all the same, so that it makes use of the matrices that it reads.
const CHUNK_TILES: usize = 48;
/// Numbers between the places of one tile at two points, beyond what the tiles take: a cache line, so that 36 places do not compete for one
/// set of the first-level cache where channels are a power of two.
const PADDING: usize = 16;

/// Memory for the transformed positions and products of one chunk.
#[derive(Default)]
pub(crate) struct FilterScratch {
    positions: Vec<f32>,
    products: Vec<f32>,
}

/// A 3 x 3 filter at the 36 points of the transform.
pub(super) struct TransformedFilter {
    capability: Capability,
    inputs: usize,
    outputs: usize,
    /// `[inputs, outputs]` for each point.
    points: Vec<PackedMatrix>,
    /// What the positions outside of the map hold, `[inputs]`.
    border: Vec<f32>,
}

impl TransformedFilter {
    /// Transforms and packs a filter; `taps` gives the `[3, 3]` taps of an input and an output.
    pub fn new(
        capability: Capability,
        inputs: usize,
        outputs: usize,
        taps: impl Fn(usize, usize) -> [f32; 9],
    ) -> Self {
        let mut matrices = vec![vec![0.0; inputs * outputs]; POINTS];
        for input in 0..inputs {
            for output in 0..outputs {
                let transformed = transform::filter(taps(input, output));
                for (matrix, value) in matrices.iter_mut().zip(transformed) {
                    matrix[input * outputs + output] = value;
                }
            }
        }
        let points = matrices
            .iter()
            .map(|rows| {
                let mut packed = PackedMatrix::new(capability);
                packed.pack_rows(rows, outputs, inputs, outputs);
                packed
            })
            .collect();
        Self {
            capability,
            inputs,
            outputs,
            points,
            border: vec![0.0; inputs],
        }
    }

    /// The ranges of positions that are computed together: whole rows of tiles, as the shape alone decides.
    pub fn chunks(&self, shape: MapShape) -> impl Iterator<Item = Range<usize>> + use<> {
        let tiles = Tiles::new(shape);
        let fitting = CHUNK_NUMBERS / (POINTS * (self.inputs + self.outputs));
        let rows = (fitting.max(CHUNK_TILES) / tiles.per_row).max(1);
        (0..tiles.rows()).step_by(rows).map(move |first| {
            let end = tiles.rows().min(first + rows);
            tiles.position(first)..tiles.position(end)
        })
    }

    /// Computes the positions `range`, which is one of [`TransformedFilter::chunks`].
    ///
    /// # Shapes
    /// `map` as `shape`, `target` `[range, outputs]`.
    pub fn apply(
        &self,
        map: &[f32],
        shape: MapShape,
        range: Range<usize>,
        scratch: &mut FilterScratch,
        target: &mut [f32],
        accumulate: bool,
    ) {
        let tiles = Tiles::new(shape);
        let rows = tiles.row(range.start)..tiles.row(range.end);
        let count = rows.len() * tiles.per_row;
        let layout = |channels: usize| Layout {
            channels,
            point_stride: count * channels + PADDING,
        };
        let (before, after) = (layout(self.inputs), layout(self.outputs));
        let positions = fit(&mut scratch.positions, POINTS * before.point_stride);
        let products = fit(&mut scratch.products, POINTS * after.point_stride);
        transform::positions(
            self.capability,
            map,
            tiles,
            rows.clone(),
            &self.border,
            before,
            positions,
        );
        for (point, matrix) in self.points.iter().enumerate() {
            let left = &positions[point * before.point_stride..];
            let output = Output {
                data: &mut products[point * after.point_stride..],
                row_stride: self.outputs,
                accumulate: false,
            };
            multiply(Left::rows(left, count, self.inputs), matrix, None, output);
        }
        transform::products(
            self.capability,
            Inverse {
                products,
                layout: after,
                tiles,
                rows,
                accumulate,
            },
            target,
        );
    }
}

#[cfg(test)]
mod tests;
