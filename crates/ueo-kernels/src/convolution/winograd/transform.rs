//! The three linear maps of F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3).
//!
//! In one dimension, a product of polynomials is found from its values at some points and at infinity. In two dimensions each map is
//! applied to columns and then to rows.

use super::MapShape;
use crate::capability::{Arithmetic, multiversion};
use std::ops::Range;

/// Channels that are transformed together: a vector of AVX-512. The one-dimensional maps are loops over these lanes, which the compiler
/// turns into vectors; written as operations on whole vectors, they came out as shuffles.
const LANES: usize = 16;
type Vector = [f32; LANES];

/// How the tiles of all images of a map follow each other: row after row, image after image.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    shape: MapShape,
    /// Results on a side of a tile.
    side: usize,
    /// Tiles in a row.
    pub per_row: usize,
    /// Rows of tiles in an image.
    per_image: usize,
}

impl Tiles {
    pub fn new(shape: MapShape, side: usize) -> Self {
        Self {
            shape,
            side,
            per_row: shape.width.div_ceil(side),
            per_image: shape.height.div_ceil(side),
        }
    }

    /// Rows of tiles of all images.
    pub fn rows(self) -> usize {
        self.shape.images * self.per_image
    }

    /// The first line of a row of tiles, counted over all images.
    fn line(self, row: usize) -> usize {
        row / self.per_image * self.shape.height + row % self.per_image * self.side
    }

    /// The first position of a row of tiles.
    pub fn position(self, row: usize) -> usize {
        self.line(row) * self.shape.width
    }

    /// The row of tiles that begins at a position.
    pub fn row(self, position: usize) -> usize {
        let line = position / self.shape.width;
        line / self.shape.height * self.per_image + line % self.shape.height / self.side
    }
}

/// Where transformed tiles lie: `[points, tiles, channels]` with `point_stride` numbers from one point to the next.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub channels: usize,
    pub point_stride: usize,
}

/// The maps of one dimension, for tiles of `TILE` results that see `SIDE = TILE + 2` positions.
pub(super) trait Filtering<const TILE: usize, const SIDE: usize> {
    /// `G g`: the values of a filter at the points, over the denominators that the other two maps leave out.
    fn filter(taps: [f64; 3]) -> [f64; SIDE];

    /// `B^T d`: what positions become.
    fn forward<A: Arithmetic>(positions: &[Vector; SIDE]) -> [Vector; SIDE];

    /// `A^T m`: the results of products.
    fn backward<A: Arithmetic>(products: &[Vector; SIDE]) -> [Vector; TILE];
}

/// F(2, 3) at the points 0, 1, -1 and infinity.
pub(super) enum Two {}

/// F(4, 3) at the points 0, 5/8, 3/2, their negatives and infinity. All coefficients are exact in f32, and rounding errors come out half
/// as large as at the usual 0, +-1, +-2 and infinity (an L2 error of 1.4e-6 against 3.2e-6 of the result at 256 channels).
pub(super) enum Four {}

impl Filtering<2, 4> for Two {
    fn filter(g: [f64; 3]) -> [f64; 4] {
        let even = g[0] + g[2];
        [g[0], 0.5 * (even + g[1]), 0.5 * (even - g[1]), g[2]]
    }

    #[inline(always)]
    fn forward<A: Arithmetic>(d: &[Vector; 4]) -> [Vector; 4] {
        let mut values = [[0.0; LANES]; 4];
        for i in 0..LANES {
            values[0][i] = d[0][i] - d[2][i];
            values[1][i] = d[2][i] + d[1][i];
            values[2][i] = d[2][i] - d[1][i];
            values[3][i] = d[3][i] - d[1][i];
        }
        values
    }

    #[inline(always)]
    fn backward<A: Arithmetic>(m: &[Vector; 4]) -> [Vector; 2] {
        let mut results = [[0.0; LANES]; 2];
        for i in 0..LANES {
            results[0][i] = m[0][i] + (m[1][i] + m[2][i]);
            results[1][i] = m[3][i] + (m[1][i] - m[2][i]);
        }
        results
    }
}

/// The smaller and the larger point of F(4, 3), their squares and cubes.
const P: f32 = 0.625;
const Q: f32 = 1.5;
const P2: f32 = P * P;
const Q2: f32 = Q * Q;
const P3: f32 = P2 * P;
const Q3: f32 = Q2 * Q;

impl Filtering<4, 6> for Four {
    fn filter(g: [f64; 3]) -> [f64; 6] {
        let [p, q] = [f64::from(P), f64::from(Q)];
        let (p2, q2) = (p * p, q * q);
        let even = |x2: f64| g[0] + x2 * g[2];
        let odd = |x: f64| x * g[1];
        // The derivative at a point of the product of all (x - point).
        let at_p = 2.0 * p2 * (p2 - q2);
        let at_q = 2.0 * q2 * (q2 - p2);
        [
            g[0] / (p2 * q2),
            (even(p2) + odd(p)) / at_p,
            (even(p2) - odd(p)) / at_p,
            (even(q2) + odd(q)) / at_q,
            (even(q2) - odd(q)) / at_q,
            g[2],
        ]
    }

    #[inline(always)]
    fn forward<A: Arithmetic>(d: &[Vector; 6]) -> [Vector; 6] {
        let mut values = [[0.0; LANES]; 6];
        for i in 0..LANES {
            // Coefficients of x (x^2 - p^2)(x^2 - q^2) without the root at a point: even and odd powers.
            let even_p = A::mul_add(-Q2, d[2][i], d[4][i]);
            let odd_p = A::mul_add(-Q2, d[1][i], d[3][i]);
            let even_q = A::mul_add(-P2, d[2][i], d[4][i]);
            let odd_q = A::mul_add(-P2, d[1][i], d[3][i]);
            let zero = A::mul_add(P2 * Q2, d[0][i], d[4][i]);
            let infinity = A::mul_add(P2 * Q2, d[1][i], d[5][i]);
            values[0][i] = A::mul_add(-(P2 + Q2), d[2][i], zero);
            values[1][i] = A::mul_add(P, odd_p, even_p);
            values[2][i] = A::mul_add(-P, odd_p, even_p);
            values[3][i] = A::mul_add(Q, odd_q, even_q);
            values[4][i] = A::mul_add(-Q, odd_q, even_q);
            values[5][i] = A::mul_add(-(P2 + Q2), d[3][i], infinity);
        }
        values
    }

    #[inline(always)]
    fn backward<A: Arithmetic>(m: &[Vector; 6]) -> [Vector; 4] {
        let mut results = [[0.0; LANES]; 4];
        for i in 0..LANES {
            let (even_p, odd_p) = (m[1][i] + m[2][i], m[1][i] - m[2][i]);
            let (even_q, odd_q) = (m[3][i] + m[4][i], m[3][i] - m[4][i]);
            results[0][i] = m[0][i] + (even_p + even_q);
            results[1][i] = A::mul_add(P, odd_p, Q * odd_q);
            results[2][i] = A::mul_add(P2, even_p, Q2 * even_q);
            results[3][i] = A::mul_add(P3, odd_p, A::mul_add(Q3, odd_q, m[5][i]));
        }
        results
    }
}

/// `G g G^T` for the taps `[3, 3]`, computed in f64; `points` are `[SIDE, SIDE]`.
pub(super) fn filter<F: Filtering<TILE, SIDE>, const TILE: usize, const SIDE: usize>(
    taps: [f32; 9],
    points: &mut [f32],
) {
    let taps = taps.map(f64::from);
    let columns: [[f64; SIDE]; 3] =
        std::array::from_fn(|column| F::filter([taps[column], taps[3 + column], taps[6 + column]]));
    for (line, target) in points.chunks_exact_mut(SIDE).enumerate() {
        let row = F::filter([columns[0][line], columns[1][line], columns[2][line]]);
        for (target, value) in target.iter_mut().zip(row) {
            *target = value as f32;
        }
    }
}

/// The vector that begins at a channel; what is missing of it is zero.
#[inline(always)]
fn load<const FULL: bool>(values: &[f32]) -> Vector {
    if FULL {
        *values.first_chunk().expect("a whole vector")
    } else {
        let mut vector = [0.0; LANES];
        vector[..values.len()].copy_from_slice(values);
        vector
    }
}

#[inline(always)]
fn store<const FULL: bool>(target: &mut [f32], vector: &Vector) {
    if FULL {
        *target.first_chunk_mut().expect("a whole vector") = *vector;
    } else {
        target.copy_from_slice(&vector[..target.len()]);
    }
}

/// Operands of [`positions_2`] and [`positions_4`].
pub(super) struct Forward<'a> {
    /// As the shape of `tiles`.
    pub map: &'a [f32],
    pub tiles: Tiles,
    /// Rows of tiles.
    pub rows: Range<usize>,
    /// What the positions outside of the map hold, `[channels]`.
    pub border: &'a [f32],
    pub layout: Layout,
}

#[inline(always)]
fn positions<A: Arithmetic, F: Filtering<TILE, SIDE>, const TILE: usize, const SIDE: usize>(
    forward: Forward<'_>,
    target: &mut [f32],
) {
    let Forward {
        map,
        tiles,
        rows,
        border,
        layout,
    } = forward;
    let MapShape {
        height,
        width,
        channels,
        ..
    } = tiles.shape;
    assert_eq!(border.len(), channels, "a zero per channel");
    let whole = channels / LANES * LANES;
    let area = height * width * channels;
    // Outside of the loops, because it would be filled with zeros each time.
    let mut columns = [[[0.0; LANES]; SIDE]; SIDE];
    for (row_index, row) in rows.enumerate() {
        let image = &map[row / tiles.per_image * area..][..area];
        let top = row % tiles.per_image * TILE;
        for column in 0..tiles.per_row {
            let left = column * TILE;
            let mut window = [[border; SIDE]; SIDE];
            for (line, window) in window.iter_mut().enumerate() {
                for (place, values) in window.iter_mut().enumerate() {
                    // Counted from the border of one zero.
                    let (y, x) = (top + line, left + place);
                    if (1..=height).contains(&y) && (1..=width).contains(&x) {
                        let position = (y - 1) * width + x - 1;
                        *values = &image[position * channels..][..channels];
                    }
                }
            }
            let tile = (row_index * tiles.per_row + column) * channels;
            let mut first = 0;
            while first < whole {
                transform_window::<A, F, true, TILE, SIDE>(
                    &window,
                    first..first + LANES,
                    layout.point_stride,
                    &mut columns,
                    &mut target[tile..],
                );
                first += LANES;
            }
            if whole < channels {
                transform_window::<A, F, false, TILE, SIDE>(
                    &window,
                    whole..channels,
                    layout.point_stride,
                    &mut columns,
                    &mut target[tile..],
                );
            }
        }
    }
}

/// Transforms up to a vector of channels of one window; `columns` is memory. The target begins with the tile's first channel.
#[inline(always)]
fn transform_window<
    A: Arithmetic,
    F: Filtering<TILE, SIDE>,
    const FULL: bool,
    const TILE: usize,
    const SIDE: usize,
>(
    window: &[[&[f32]; SIDE]; SIDE],
    channels: Range<usize>,
    point_stride: usize,
    columns: &mut [[Vector; SIDE]; SIDE],
    target: &mut [f32],
) {
    for (column, transformed) in columns.iter_mut().enumerate() {
        let mut values = [[0.0; LANES]; SIDE];
        for (value, line) in values.iter_mut().zip(window) {
            *value = load::<FULL>(&line[column][channels.clone()]);
        }
        *transformed = F::forward::<A>(&values);
    }
    for line in 0..SIDE {
        let mut values = [[0.0; LANES]; SIDE];
        for (value, column) in values.iter_mut().zip(&*columns) {
            *value = column[line];
        }
        for (place, value) in F::forward::<A>(&values).iter().enumerate() {
            let at = (line * SIDE + place) * point_stride;
            store::<FULL>(&mut target[at + channels.start..at + channels.end], value);
        }
    }
}

#[inline(always)]
fn positions_2_generic<A: Arithmetic>(forward: Forward<'_>, target: &mut [f32]) {
    positions::<A, Two, 2, 4>(forward, target);
}

#[inline(always)]
fn positions_4_generic<A: Arithmetic>(forward: Forward<'_>, target: &mut [f32]) {
    positions::<A, Four, 4, 6>(forward, target);
}

multiversion! {
    /// Transforms what tiles of 2 x 2 results see; the target is as `layout` says.
    pub(super) fn positions_2 = positions_2_generic(forward: Forward<'_>, target: &mut [f32])
}

multiversion! {
    /// Transforms what tiles of 4 x 4 results see; the target is as `layout` says.
    pub(super) fn positions_4 = positions_4_generic(forward: Forward<'_>, target: &mut [f32])
}

/// Operands of [`results_2`] and [`results_4`].
pub(super) struct Backward<'a> {
    pub products: &'a [f32],
    pub layout: Layout,
    /// The tiles of the result; the channels of their shape are not looked at.
    pub tiles: Tiles,
    /// Rows of tiles.
    pub rows: Range<usize>,
    /// Adds to what the target holds.
    pub accumulate: bool,
}

/// Where a tile's results go: the lines and places that the map has.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    lines: usize,
    places: usize,
    line_stride: usize,
    channels: usize,
    accumulate: bool,
}

#[inline(always)]
fn results<A: Arithmetic, F: Filtering<TILE, SIDE>, const TILE: usize, const SIDE: usize>(
    backward: Backward<'_>,
    target: &mut [f32],
) {
    let Backward {
        products,
        layout,
        tiles,
        rows,
        accumulate,
    } = backward;
    let MapShape { height, width, .. } = tiles.shape;
    let channels = layout.channels;
    let whole = channels / LANES * LANES;
    let first_line = tiles.line(rows.start);
    // Outside of the loops, because it would be filled with zeros each time.
    let mut columns = [[[0.0; LANES]; TILE]; SIDE];
    for (row_index, row) in rows.enumerate() {
        for column in 0..tiles.per_row {
            let place = Place {
                start: ((tiles.line(row) - first_line) * width + column * TILE) * channels,
                lines: TILE.min(height - row % tiles.per_image * TILE),
                places: TILE.min(width - column * TILE),
                line_stride: width * channels,
                channels,
                accumulate,
            };
            let products = &products[(row_index * tiles.per_row + column) * channels..];
            let mut first = 0;
            while first < whole {
                transform_products::<A, F, true, TILE, SIDE>(
                    products,
                    layout.point_stride,
                    first..first + LANES,
                    &mut columns,
                    place,
                    target,
                );
                first += LANES;
            }
            if whole < channels {
                transform_products::<A, F, false, TILE, SIDE>(
                    products,
                    layout.point_stride,
                    whole..channels,
                    &mut columns,
                    place,
                    target,
                );
            }
        }
    }
}

/// Transforms up to a vector of channels of one tile, whose first channel the products begin with; `columns` is memory.
#[inline(always)]
fn transform_products<
    A: Arithmetic,
    F: Filtering<TILE, SIDE>,
    const FULL: bool,
    const TILE: usize,
    const SIDE: usize,
>(
    products: &[f32],
    point_stride: usize,
    channels: Range<usize>,
    columns: &mut [[Vector; TILE]; SIDE],
    place: Place,
    target: &mut [f32],
) {
    for (column, transformed) in columns.iter_mut().enumerate() {
        let mut values = [[0.0; LANES]; SIDE];
        for (line, value) in values.iter_mut().enumerate() {
            let at = (line * SIDE + column) * point_stride;
            *value = load::<FULL>(&products[at + channels.start..at + channels.end]);
        }
        *transformed = F::backward::<A>(&values);
    }
    for line in 0..place.lines {
        let mut values = [[0.0; LANES]; SIDE];
        for (value, column) in values.iter_mut().zip(&*columns) {
            *value = column[line];
        }
        let results = F::backward::<A>(&values);
        for (index, result) in results.iter().enumerate().take(place.places) {
            let at = place.start + line * place.line_stride + index * place.channels;
            let target = &mut target[at + channels.start..at + channels.end];
            if place.accumulate {
                for (target, value) in target.iter_mut().zip(result) {
                    *target += value;
                }
            } else {
                store::<FULL>(target, result);
            }
        }
    }
}

#[inline(always)]
fn results_2_generic<A: Arithmetic>(backward: Backward<'_>, target: &mut [f32]) {
    results::<A, Two, 2, 4>(backward, target);
}

#[inline(always)]
fn results_4_generic<A: Arithmetic>(backward: Backward<'_>, target: &mut [f32]) {
    results::<A, Four, 4, 6>(backward, target);
}

multiversion! {
    /// Results of tiles of 2 x 2; the target is `[positions, channels]` with the positions of the rows.
    pub(super) fn results_2 = results_2_generic(backward: Backward<'_>, target: &mut [f32])
}

multiversion! {
    /// Results of tiles of 4 x 4; the target is `[positions, channels]` with the positions of the rows.
    pub(super) fn results_4 = results_4_generic(backward: Backward<'_>, target: &mut [f32])
}
