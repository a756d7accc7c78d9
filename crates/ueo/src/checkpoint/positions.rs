//! Position embeddings of another input size, resampled as open_clip does when it loads weights (`resize_pos_embed` and
//! `resize_text_pos_embed` in its `model.py`).

use crate::tensor::HostTensor;

use super::assemble::{Parameter, Recipe};
use super::store::TensorStore;
use super::{ClipConfig, VisionConfig};

const IMAGE_POSITIONS: &str = "visual.positional_embedding";
const TEXT_POSITIONS: &str = "positional_embedding";
/// Positions that are resampled to at most; a side of 128 patches, or 16,384 tokens.
const MAX_POSITIONS: usize = 1 << 14;
/// PyTorch's constant of the cubic convolution where it is antialiased.
const CUBIC: f64 = -0.5;

/// Lets parameters be resampled whose table in the file has another number of positions; says so, one sentence each.
///
/// Only the widths must agree, and the file's image positions must be one and a square. What cannot be resampled is left
/// as it is, and reported as a tensor of the wrong shape.
pub(super) fn resize(
    placed: &mut [Parameter],
    store: &TensorStore,
    config: &ClipConfig,
) -> Vec<String> {
    let mut decisions = Vec::new();
    for parameter in placed {
        let (Recipe::Copy(source), &[positions, width]) = (&parameter.recipe, &parameter.shape[..])
        else {
            continue;
        };
        let Some(&[found, found_width]) = store.tensors.get(source).map(|t| &t.shape[..]) else {
            continue;
        };
        if found == positions || found_width != width || found < 2 || positions > MAX_POSITIONS {
            continue;
        }
        match (parameter.name.as_str(), &config.vision) {
            (IMAGE_POSITIONS, VisionConfig::Vit(_) | VisionConfig::ModularVit(_)) => {
                let (from, to) = ((found - 1).isqrt(), (positions - 1).isqrt());
                if from * from + 1 != found {
                    continue;
                }
                decisions.push(format!(
                    "position embeddings: resampled from {from} x {from} to {to} x {to} patches, as open_clip does, \
                     because the configuration names another image size than the weights were trained with"
                ));
                parameter.recipe = Recipe::Grid(source.clone(), vec![found, width]);
            }
            (TEXT_POSITIONS, _) => {
                decisions.push(format!(
                    "position embeddings of the text: resampled from {found} to {positions} tokens, as open_clip does, \
                     because the configuration names another context length than the weights were trained with"
                ));
                parameter.recipe = Recipe::Line(source.clone(), vec![found, width]);
            }
            _ => {}
        }
    }
    decisions
}

/// The class token's embedding as it is, and a square grid resampled to another: bicubic, antialiased.
///
/// # Shapes
///
/// `table` is `[1 + old * old, width]`; the result `[1 + new * new, width]`.
pub(super) fn grid(table: &HostTensor, positions: usize) -> Vec<f32> {
    let (old, width) = ((table.shape[0] - 1).isqrt(), table.shape[1]);
    let new = (positions - 1).isqrt();
    let (class_token, patches) = table.data.split_at(width);
    let taps: Vec<_> = (0..new).map(|index| cubic_taps(index, old, new)).collect();
    // Along rows, then along columns; each sum in f64 and rounded once per pass.
    let mut rows = vec![0.0; old * new * width];
    for row in 0..old {
        for (column, taps) in taps.iter().enumerate() {
            let to = &mut rows[(row * new + column) * width..][..width];
            blend(taps, to, |from| {
                &patches[(row * old + from) * width..][..width]
            });
        }
    }
    let mut out = class_token.to_vec();
    out.resize(positions * width, 0.0);
    for (row, taps) in taps.iter().enumerate() {
        for column in 0..new {
            let to = &mut out[(1 + row * new + column) * width..][..width];
            blend(taps, to, |from| {
                &rows[(from * new + column) * width..][..width]
            });
        }
    }
    out
}

/// Rows resampled to another number: linear, not antialiased, as in `F.interpolate(align_corners=False)`.
///
/// # Shapes
///
/// `table` is `[old, width]`; the result `[positions, width]`.
pub(super) fn line(table: &HostTensor, positions: usize) -> Vec<f32> {
    let (old, width) = (table.shape[0], table.shape[1]);
    let scale = old as f64 / positions as f64;
    let mut out = vec![0.0; positions * width];
    for (index, to) in out.chunks_exact_mut(width).enumerate() {
        let place = (scale * (index as f64 + 0.5) - 0.5).max(0.0);
        let first = (place as usize).min(old - 1);
        let share = place - first as f64;
        let second = (first + 1).min(old - 1);
        let taps = [(first, 1.0 - share), (second, share)];
        blend(&taps, to, |from| &table.data[from * width..][..width]);
    }
    out
}

fn blend<'a>(taps: &[(usize, f64)], to: &mut [f32], row: impl Fn(usize) -> &'a [f32]) {
    for (channel, to) in to.iter_mut().enumerate() {
        let sum: f64 = taps
            .iter()
            .map(|&(from, weight)| weight * f64::from(row(from)[channel]))
            .sum();
        *to = sum as f32;
    }
}

/// Source positions and weights of one target position, as PyTorch's antialiased bicubic kernel computes them.
fn cubic_taps(index: usize, old: usize, new: usize) -> Vec<(usize, f64)> {
    let scale = old as f64 / new as f64;
    let stretch = scale.max(1.0);
    let centre = scale * (index as f64 + 0.5);
    let reach = 2.0 * stretch;
    let first = (centre - reach + 0.5).max(0.0) as usize;
    let end = ((centre + reach + 0.5) as usize).min(old);
    let mut taps: Vec<(usize, f64)> = (first..end)
        .map(|from| (from, cubic((from as f64 - centre + 0.5) / stretch)))
        .collect();
    let total: f64 = taps.iter().map(|tap| tap.1).sum();
    for tap in &mut taps {
        tap.1 /= total;
    }
    taps
}

fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((CUBIC + 2.0) * x - (CUBIC + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * CUBIC
    } else {
        0.0
    }
}
