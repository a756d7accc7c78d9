//! Layer normalization over the last axis: `y = (x - mean) rstd * weight + bias`, `rstd = 1 / sqrt(variance + epsilon)`.

use crate::capability::{Arithmetic, multiversion};
use crate::elementary::{sum, sum_pairs};
use crate::precision::{Element, OperandMut};

/// Mean and reciprocal standard deviation of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Statistics {
    pub mean: f32,
    pub rstd: f32,
}

/// Operands of [`forward`]; `x` and `y` are `[rows, width]` with `width` that of `weight`.
pub(crate) struct Forward<'a> {
    pub x: &'a [f32],
    pub weight: &'a [f32],
    pub bias: &'a [f32],
    pub epsilon: f32,
    pub statistics: &'a mut [Statistics],
    pub y: OperandMut<'a>,
}

#[inline(always)]
fn forward_generic<A: Arithmetic>(operands: Forward<'_>) {
    let Forward {
        x,
        weight,
        bias,
        epsilon,
        statistics,
        y,
    } = operands;
    match y {
        OperandMut::F32(y) => forward_rows::<A, _>(x, weight, bias, epsilon, statistics, y),
        OperandMut::Bf16(y) => forward_rows::<A, _>(x, weight, bias, epsilon, statistics, y),
    }
}

#[inline(always)]
fn forward_rows<A: Arithmetic, E: Element>(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    epsilon: f32,
    statistics: &mut [Statistics],
    y: &mut [E],
) {
    let width = weight.len();
    let bias = &bias[..width];
    for ((x, y), statistics) in x
        .chunks_exact(width)
        .zip(y.chunks_exact_mut(width))
        .zip(statistics)
    {
        let mean = sum(x, |x| x) / width as f32;
        let variance = sum(x, |x| (x - mean) * (x - mean)) / width as f32;
        let rstd = 1.0 / (variance + epsilon).sqrt();
        *statistics = Statistics { mean, rstd };
        for i in 0..width {
            y[i] = E::from_f32(A::mul_add((x[i] - mean) * rstd, weight[i], bias[i]));
        }
    }
}

multiversion! {
    /// Normalizes every row and keeps its statistics.
    pub(crate) fn forward = forward_generic(operands: Forward<'_>)
}

/// Operands of [`backward`]; `x`, `dy`, `dx` are `[rows, width]`.
pub(crate) struct Backward<'a> {
    pub x: &'a [f32],
    pub statistics: &'a [Statistics],
    pub weight: &'a [f32],
    pub dy: &'a [f32],
    /// The input's gradient is added here (the residual connection's gradient is there already).
    pub dx: &'a mut [f32],
    /// The affine parameters' sums `(d_weight, d_bias)` are added here.
    pub affine: Option<(&'a mut [f32], &'a mut [f32])>,
}

#[inline(always)]
fn backward_generic<A: Arithmetic>(operands: Backward<'_>) {
    let Backward {
        x,
        statistics,
        weight,
        dy,
        dx,
        affine,
    } = operands;
    let width = weight.len();
    let rows = x
        .chunks_exact(width)
        .zip(dy.chunks_exact(width))
        .zip(statistics);
    for (((x, dy), &Statistics { mean, rstd }), dx) in rows.clone().zip(dx.chunks_exact_mut(width))
    {
        let mean_g = sum_pairs(dy, weight, |dy, weight| dy * weight) / width as f32;
        let centered = {
            // sum g (x - mean) as sum g x' without another buffer: two sums over pairs need g, so it is formed twice.
            let mut lanes = [0.0f32; 64];
            let (x_chunks, x_tail) = x.as_chunks::<64>();
            let (dy_chunks, dy_tail) = dy.as_chunks::<64>();
            let (weight_chunks, weight_tail) = weight.as_chunks::<64>();
            for ((x, dy), weight) in x_chunks.iter().zip(dy_chunks).zip(weight_chunks) {
                for j in 0..64 {
                    lanes[j] = A::mul_add(dy[j] * weight[j], x[j] - mean, lanes[j]);
                }
            }
            let tail: f32 = x_tail
                .iter()
                .zip(dy_tail)
                .zip(weight_tail)
                .map(|((x, dy), weight)| dy * weight * (x - mean))
                .sum();
            sum(&lanes, |lane| lane) + tail
        };
        let mean_gx = centered * rstd / width as f32;
        for i in 0..width {
            let normalized = (x[i] - mean) * rstd;
            dx[i] += rstd * (dy[i] * weight[i] - mean_g - normalized * mean_gx);
        }
    }
    if let Some((d_weight, d_bias)) = affine {
        let (d_weight, d_bias) = (&mut d_weight[..width], &mut d_bias[..width]);
        for ((x, dy), &Statistics { mean, rstd }) in rows {
            for i in 0..width {
                d_weight[i] = A::mul_add(dy[i], (x[i] - mean) * rstd, d_weight[i]);
                d_bias[i] += dy[i];
            }
        }
    }
}

multiversion! {
    /// Gradient to the input and to the affine parameters:
    /// `dx += rstd (g - mean(g) - x' mean(g x'))` with `g = dy * weight` and `x'` the normalized input.
    pub(crate) fn backward = backward_generic(operands: Backward<'_>)
}

#[cfg(test)]
mod tests;
