//! 3 x 3 convolutions by Winograd's minimal filtering, as Lavin and Gray apply it to convolutional networks
//! (<https://arxiv.org/abs/1509.09308>, algorithm 1).
//!
//! A tile of 4 x 4 results sees 6 x 6 positions. Positions are transformed ([`transform`]), multiplied with the transformed filter
//! at each of 36 points, a product of matrices over tiles and channels, and transformed back: 36 multiplications per
//! channel pair where the definition takes 144. A tile of 2 x 2 takes 16 instead of 36. `docs/backward.md` has the equations.

mod transform;

use super::MapShape;
use crate::buffer::{count, fit};
use crate::gemm::{Left, Output, PackedMatrix, multiply};
use crate::{Capability, cache};
use std::ops::Range;
use transform::{Backward, Forward, Four, Layout, Tiles, Two};

/// Tiles that a chunk should have all the same, so that it makes use of the matrices that it reads.
const CHUNK_TILES: usize = 48;
/// Products of inputs and outputs from which tiles of 2 x 2 are used. 36 matrices of 512 x 512 take 38 MB, more than caches hold, and
/// the small maps behind have few tiles to make up for reading them; 16 take 17 MB. RN50 is as fast with either.
const LARGE_FILTER: usize = 512 * 512;
/// Numbers between the last tile at a point and the first at the next: a cache line, so that the places of one tile at all points do not
/// compete for one set of the first-level cache where channels are a power of two.
const PADDING: usize = 16;

/// Memory for the transformed positions and products of one chunk.
#[derive(Default)]
pub(crate) struct FilterScratch {
    positions: Vec<f32>,
    products: Vec<f32>,
}

/// Side of a tile of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TileSide {
    Two,
    Four,
}

impl TileSide {
    /// The side that suits a filter.
    pub fn of(inputs: usize, outputs: usize) -> Self {
        if inputs * outputs < LARGE_FILTER {
            Self::Four
        } else {
            Self::Two
        }
    }

    fn results(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    fn points(self) -> usize {
        (self.results() + 2).pow(2)
    }
}

/// A 3 x 3 filter at the points of a transform.
pub(super) struct TransformedFilter {
    capability: Capability,
    side: TileSide,
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
        side: TileSide,
        inputs: usize,
        outputs: usize,
        taps: impl Fn(usize, usize) -> [f32; 9],
    ) -> Self {
        let mut transformed = vec![0.0; side.points()];
        let mut matrices = vec![vec![0.0; inputs * outputs]; side.points()];
        for input in 0..inputs {
            for output in 0..outputs {
                let taps = taps(input, output);
                match side {
                    TileSide::Two => transform::filter::<Two, 2, 4>(taps, &mut transformed),
                    TileSide::Four => transform::filter::<Four, 4, 6>(taps, &mut transformed),
                }
                for (matrix, &value) in matrices.iter_mut().zip(&transformed) {
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
            side,
            inputs,
            outputs,
            points,
            border: vec![0.0; inputs],
        }
    }

    /// Where the chunk that begins at a position ends: where it began when there is none left. Chunks are whole rows of tiles.
    pub fn chunk_end(&self, shape: MapShape, start: usize) -> usize {
        let tiles = Tiles::new(shape, self.side.results());
        // Transformed positions and products together fill half of a core's second-level cache.
        let fitting =
            cache::half_second_level_numbers() / (self.points.len() * (self.inputs + self.outputs));
        let rows = (fitting.max(CHUNK_TILES) / tiles.per_row).max(1);
        tiles.position(tiles.rows().min(tiles.row(start) + rows))
    }

    /// Computes the positions `range`, which ends at its [`TransformedFilter::chunk_end`].
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
        let tiles = Tiles::new(shape, self.side.results());
        let rows = tiles.row(range.start)..tiles.row(range.end);
        let tile_count = rows.len() * tiles.per_row;
        let layout = |channels: usize| Layout {
            channels,
            point_stride: count([tile_count, channels]) + PADDING,
        };
        let (before, after) = (layout(self.inputs), layout(self.outputs));
        let positions = fit(
            &mut scratch.positions,
            count([self.points.len(), before.point_stride]),
        );
        let products = fit(
            &mut scratch.products,
            count([self.points.len(), after.point_stride]),
        );
        let forward = Forward {
            map,
            tiles,
            rows: rows.clone(),
            border: &self.border,
            layout: before,
        };
        match self.side {
            TileSide::Two => transform::positions_2(self.capability, forward, positions),
            TileSide::Four => transform::positions_4(self.capability, forward, positions),
        }
        for (point, matrix) in self.points.iter().enumerate() {
            let left = &positions[point * before.point_stride..];
            let output = Output {
                data: &mut products[point * after.point_stride..],
                row_stride: self.outputs,
                accumulate: false,
            };
            multiply(
                Left::rows(left, tile_count, self.inputs),
                matrix,
                None,
                output,
            );
        }
        let backward = Backward {
            products,
            layout: after,
            tiles,
            rows,
            accumulate,
        };
        match self.side {
            TileSide::Two => transform::results_2(self.capability, backward, target),
            TileSide::Four => transform::results_4(self.capability, backward, target),
        }
    }
}

#[cfg(test)]
mod tests;
