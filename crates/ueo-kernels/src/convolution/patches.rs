//! Gathers the neighborhoods of positions, so that a convolution becomes a matrix product.

use super::MapShape;
use std::ops::Range;

/// Writes one row `[kernel, kernel, channels]` per output position of `range`; what lies outside of the map is zero.
///
/// Output position `(y, x)` sees input positions `(stride y - kernel / 2 ..)` by `(stride x - kernel / 2 ..)`.
pub(super) fn gather(
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
