//! BatchNorm with stored statistics, the residual connection and ReLU, in one pass over a map `[positions, channels]`.
//!
//! With `r = 1 / sqrt(variance + epsilon)`: `y = (z - mean) r weight + bias`, which is `z scale + shift` with `scale = weight r` and
//! `shift = bias - mean scale`.

use crate::capability::{Arithmetic, multiversion};

/// Numbers that are handled at once: four vectors with AVX-512, eight with AVX2.
const BLOCK: usize = 64;
/// Periods whose gradients are summed before they join the total, so that sums over large maps keep their digits.
const PERIODS: usize = 64;

/// Stored statistics of one layer.
pub(crate) struct FrozenStatistics {
    pub mean: Vec<f32>,
    /// `1 / sqrt(variance + epsilon)`
    pub rstd: Vec<f32>,
}

/// Scale and shift of one layer for the present affine parameters. Channel vectors are repeated until their length is a multiple of
/// [`BLOCK`], so that narrow layers fill whole vectors.
pub(crate) struct ScaleShift {
    scale: Vec<f32>,
    shift: Vec<f32>,
    mean: Vec<f32>,
}

impl ScaleShift {
    pub fn new(statistics: &FrozenStatistics, weight: &[f32], bias: &[f32]) -> Self {
        let channels = statistics.mean.len();
        assert_eq!(weight.len(), channels, "one weight per channel");
        assert_eq!(bias.len(), channels, "one bias per channel");
        let scale: Vec<f32> = weight
            .iter()
            .zip(&statistics.rstd)
            .map(|(weight, rstd)| weight * rstd)
            .collect();
        let shift: Vec<f32> = bias
            .iter()
            .zip(&statistics.mean)
            .zip(&scale)
            .map(|((bias, mean), scale)| bias - mean * scale)
            .collect();
        let repeats = BLOCK / greatest_common_divisor(channels, BLOCK);
        Self {
            scale: scale.repeat(repeats),
            shift: shift.repeat(repeats),
            mean: statistics.mean.repeat(repeats),
        }
    }

    fn period(&self) -> usize {
        self.scale.len()
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// Sums of a layer's gradient over positions, one per number of a period.
#[derive(Clone, Default)]
pub(crate) struct PeriodSums {
    /// Sums of `g (z - mean)`.
    weight: Vec<f32>,
    /// Sums of `g`.
    bias: Vec<f32>,
}

impl PeriodSums {
    pub fn new(layer: &ScaleShift) -> Self {
        Self {
            weight: vec![0.0; layer.period()],
            bias: vec![0.0; layer.period()],
        }
    }

    /// Adds the sums per channel to the gradients of weight and bias.
    pub fn add_to(&self, statistics: &FrozenStatistics, d_weight: &mut [f32], d_bias: &mut [f32]) {
        let channels = statistics.mean.len();
        for (weight, bias) in self
            .weight
            .chunks_exact(channels)
            .zip(self.bias.chunks_exact(channels))
        {
            for i in 0..channels {
                d_weight[i] += weight[i] * statistics.rstd[i];
                d_bias[i] += bias[i];
            }
        }
    }
}

/// Operands of [`forward`]; the maps begin with the first channel of a position.
pub(crate) struct Forward<'a> {
    pub layer: &'a ScaleShift,
    pub z: &'a [f32],
    /// The result; with `residual`, what it holds is added before ReLU.
    pub y: &'a mut [f32],
    pub residual: bool,
    pub relu: bool,
    /// Where ReLU lets the gradient through, a NaN included: 1, elsewhere 0. Empty when it is not wanted.
    pub mask: &'a mut [u8],
}

#[inline(always)]
fn forward_generic<A: Arithmetic>(operands: Forward<'_>) {
    let Forward {
        layer,
        z,
        y,
        residual,
        relu,
        mask,
    } = operands;
    assert_eq!(z.len(), y.len(), "both maps have one shape");
    match (residual, relu) {
        (false, false) => affine::<A, false, false>(layer, z, y),
        (false, true) => affine::<A, false, true>(layer, z, y),
        (true, false) => affine::<A, true, false>(layer, z, y),
        (true, true) => affine::<A, true, true>(layer, z, y),
    }
    for (mask, &y) in mask.iter_mut().zip(&*y) {
        // As the comparison of ReLU: open for a NaN.
        *mask = if y <= 0.0 { 0 } else { 1 };
    }
}

#[inline(always)]
fn affine<A: Arithmetic, const RESIDUAL: bool, const RELU: bool>(
    layer: &ScaleShift,
    z: &[f32],
    y: &mut [f32],
) {
    let period = layer.period();
    for (z, y) in z.chunks(period).zip(y.chunks_mut(period)) {
        let (scale, shift) = (&layer.scale[..z.len()], &layer.shift[..z.len()]);
        for i in 0..z.len().min(y.len()) {
            let mut value = A::mul_add(z[i], scale[i], shift[i]);
            if RESIDUAL {
                value += y[i];
            }
            // Not `max`, which would turn a NaN into zero.
            y[i] = if RELU && value <= 0.0 { 0.0 } else { value };
        }
    }
}

multiversion! {
    /// `y = [relu](z scale + shift [+ y])`
    pub(crate) fn forward = forward_generic(operands: Forward<'_>)
}

/// Operands of [`backward`]; all maps have one shape.
pub(crate) struct Backward<'a> {
    pub layer: &'a ScaleShift,
    /// The layer's input in the forward pass; empty where neither ReLU nor sums need it.
    pub z: &'a [f32],
    /// Whether ReLU followed at once.
    pub relu: bool,
    pub dy: &'a [f32],
    pub dz: &'a mut [f32],
    /// The affine parameters' sums are added here.
    pub sums: Option<&'a mut PeriodSums>,
}

#[inline(always)]
fn backward_generic<A: Arithmetic>(operands: Backward<'_>) {
    let Backward {
        layer,
        z,
        relu,
        dy,
        dz,
        sums,
    } = operands;
    assert_eq!(dy.len(), dz.len(), "both gradients have one shape");
    match (relu, sums) {
        (false, None) => scaled(layer, dy, dz),
        (true, None) => gradient::<A, true>(layer, z, dy, dz, &mut PeriodSums::new(layer)),
        (false, Some(sums)) => gradient::<A, false>(layer, z, dy, dz, sums),
        (true, Some(sums)) => gradient::<A, true>(layer, z, dy, dz, sums),
    }
}

#[inline(always)]
fn scaled(layer: &ScaleShift, dy: &[f32], dz: &mut [f32]) {
    let period = layer.period();
    for (dy, dz) in dy.chunks(period).zip(dz.chunks_mut(period)) {
        for ((dz, dy), scale) in dz.iter_mut().zip(dy).zip(&layer.scale) {
            *dz = dy * scale;
        }
    }
}

#[inline(always)]
fn gradient<A: Arithmetic, const RELU: bool>(
    layer: &ScaleShift,
    z: &[f32],
    dy: &[f32],
    dz: &mut [f32],
    sums: &mut PeriodSums,
) {
    assert_eq!(
        z.len(),
        dy.len(),
        "the forward pass's map has the same shape"
    );
    let period = layer.period();
    let segment = PERIODS * period;
    for start in (0..z.len()).step_by(segment) {
        let end = z.len().min(start + segment);
        let (z, dy, dz) = (&z[start..end], &dy[start..end], &mut dz[start..end]);
        for first in (0..period).step_by(BLOCK) {
            block::<A, RELU>(layer, first, z, dy, dz, sums);
        }
    }
}

/// One block of each period of a segment: its sums stay in registers.
#[inline(always)]
fn block<A: Arithmetic, const RELU: bool>(
    layer: &ScaleShift,
    first: usize,
    z: &[f32],
    dy: &[f32],
    dz: &mut [f32],
    sums: &mut PeriodSums,
) {
    let part = |values: &[f32]| -> [f32; BLOCK] { std::array::from_fn(|i| values[first + i]) };
    let (scale, shift, mean) = (part(&layer.scale), part(&layer.shift), part(&layer.mean));
    let (mut weight, mut bias) = ([0.0f32; BLOCK], [0.0f32; BLOCK]);
    let step = |i: usize, z: f32, dy: f32, weight: &mut f32, bias: &mut f32| -> f32 {
        // The same expression as in the forward pass, so that the sign is the same too.
        let closed = RELU && A::mul_add(z, scale[i], shift[i]) <= 0.0;
        let g = if closed { 0.0 } else { dy };
        *weight = A::mul_add(g, z - mean[i], *weight);
        *bias += g;
        g * scale[i]
    };
    let mut at = first;
    while at < z.len() {
        let (z, dy, dz) = (&z[at..], &dy[at..], &mut dz[at..]);
        if let (Some(z), Some(dy), Some(dz)) = (
            z.first_chunk::<BLOCK>(),
            dy.first_chunk::<BLOCK>(),
            dz.first_chunk_mut::<BLOCK>(),
        ) {
            for i in 0..BLOCK {
                dz[i] = step(i, z[i], dy[i], &mut weight[i], &mut bias[i]);
            }
        } else {
            for i in 0..z.len() {
                dz[i] = step(i, z[i], dy[i], &mut weight[i], &mut bias[i]);
            }
        }
        at += layer.period();
    }
    for i in 0..BLOCK {
        sums.weight[first + i] += weight[i];
        sums.bias[first + i] += bias[i];
    }
}

multiversion! {
    /// With `g` the output's gradient where ReLU was open: `dz = g scale`, sums of `g (z - mean)` and of `g`.
    pub(crate) fn backward = backward_generic(operands: Backward<'_>)
}

#[inline(always)]
fn close_generic<A: Arithmetic>(gradient: &mut [f32], mask: &[u8]) {
    assert_eq!(gradient.len(), mask.len(), "one mark per number");
    for (gradient, &mask) in gradient.iter_mut().zip(mask) {
        *gradient = if mask == 0 { 0.0 } else { *gradient };
    }
}

multiversion! {
    /// Sets the gradient to zero where ReLU was closed.
    pub(crate) fn close = close_generic(gradient: &mut [f32], mask: &[u8])
}

#[cfg(test)]
mod tests;
