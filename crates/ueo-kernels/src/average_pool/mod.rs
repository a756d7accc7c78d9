//! Average pooling over windows of 2 x 2 that do not overlap: what takes the place of strides in CLIP's ResNet.
//!
//! A last row or column that fills no window is left out, as in PyTorch.

use crate::capability::{Arithmetic, multiversion};
use crate::convolution::MapShape;

/// The shape of the result.
pub(crate) fn output_shape(input: MapShape) -> MapShape {
    MapShape {
        height: input.height / 2,
        width: input.width / 2,
        ..input
    }
}

/// Calls `visit` with the start of each output position and the starts of the two lines of its window.
#[inline(always)]
fn windows(shape: MapShape, mut visit: impl FnMut(usize, usize, usize)) {
    let output = output_shape(shape);
    let line = shape.width * shape.channels;
    for row in 0..output.images * output.height {
        let (image, y) = (row / output.height, row % output.height);
        let top = (image * shape.height + 2 * y) * line;
        for x in 0..output.width {
            let target = (row * output.width + x) * shape.channels;
            let left = top + 2 * x * shape.channels;
            visit(target, left, left + line);
        }
    }
}

#[inline(always)]
fn forward_generic<A: Arithmetic>(x: &[f32], shape: MapShape, y: &mut [f32]) {
    let channels = shape.channels;
    windows(shape, |target, upper, lower| {
        let y = &mut y[target..][..channels];
        let (a, b) = x[upper..][..2 * channels].split_at(channels);
        let (c, d) = x[lower..][..2 * channels].split_at(channels);
        for i in 0..channels {
            y[i] = 0.25 * ((a[i] + b[i]) + (c[i] + d[i]));
        }
    });
}

multiversion! {
    /// `y` is the mean of each window of `x`.
    pub(crate) fn forward = forward_generic(x: &[f32], shape: MapShape, y: &mut [f32])
}

#[inline(always)]
fn backward_generic<A: Arithmetic>(dy: &[f32], shape: MapShape, dx: &mut [f32]) {
    let channels = shape.channels;
    if !shape.height.is_multiple_of(2) || !shape.width.is_multiple_of(2) {
        dx.fill(0.0);
    }
    windows(shape, |source, upper, lower| {
        let dy = &dy[source..][..channels];
        for line in [upper, lower] {
            let (a, b) = dx[line..][..2 * channels].split_at_mut(channels);
            for i in 0..channels {
                let part = 0.25 * dy[i];
                a[i] = part;
                b[i] = part;
            }
        }
    });
}

multiversion! {
    /// Every position of a window gets a quarter of its gradient. `shape` is that of `dx`.
    pub(crate) fn backward = backward_generic(dy: &[f32], shape: MapShape, dx: &mut [f32])
}

#[cfg(test)]
mod tests;
