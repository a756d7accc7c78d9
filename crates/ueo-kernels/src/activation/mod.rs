//! The activation function of the multilayer perceptron and its derivative.

use crate::capability::{Arithmetic, multiversion};
use crate::elementary::{exp, normal};
use crate::precision::{Bf16, Element, OperandMut};

/// Which activation function a checkpoint was trained with; a wrong choice loses accuracy silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `u sigmoid(1.702 u)`: OpenAI's weights.
    QuickGelu,
    /// `u Phi(u)` with the exact normal distribution function: most weights of open_clip.
    Gelu,
    /// `u sigmoid(2 sqrt(2 / pi) (u + 0.044715 u^3))`, the approximation of GELU by a hyperbolic tangent: SigLIP's weights.
    GeluTanh,
}

/// The factor in QuickGELU.
const QUICK_FACTOR: f32 = 1.702;

/// `2 sqrt(2 / pi)`, the slope of the logistic function's argument at zero.
const TANH_SLOPE: f32 = 1.595_769;
/// `0.044715 * 2 sqrt(2 / pi)`, its cubic part.
const TANH_CUBE: f32 = 0.071_354_81;
/// Beyond this the logistic function is 0 or 1 to the last bit that counts, and a cube cannot overflow.
const TANH_REACH: f32 = 10.0;

#[inline(always)]
fn quick_gelu<A: Arithmetic>(u: f32) -> f32 {
    u / (1.0 + exp::<A>(-QUICK_FACTOR * u))
}

#[inline(always)]
fn quick_gelu_derivative<A: Arithmetic>(u: f32) -> f32 {
    let sigmoid = 1.0 / (1.0 + exp::<A>(-QUICK_FACTOR * u));
    sigmoid * A::mul_add(QUICK_FACTOR * u, 1.0 - sigmoid, 1.0)
}

#[inline(always)]
fn gelu<A: Arithmetic>(u: f32) -> f32 {
    u * normal::<A>(u).0
}

#[inline(always)]
fn gelu_derivative<A: Arithmetic>(u: f32) -> f32 {
    let (cumulative, density) = normal::<A>(u);
    A::mul_add(u, density, cumulative)
}

/// The logistic function in the approximation by a hyperbolic tangent, and `u^2`.
#[inline(always)]
fn tanh_parts<A: Arithmetic>(u: f32) -> (f32, f32) {
    let square = u * u;
    let slope = A::mul_add(TANH_CUBE, square, TANH_SLOPE);
    (1.0 / (1.0 + exp::<A>(-u * slope)), square)
}

#[inline(always)]
fn gelu_tanh<A: Arithmetic>(u: f32) -> f32 {
    u * tanh_parts::<A>(u.clamp(-TANH_REACH, TANH_REACH)).0
}

#[inline(always)]
fn gelu_tanh_derivative<A: Arithmetic>(u: f32) -> f32 {
    let u = u.clamp(-TANH_REACH, TANH_REACH);
    let (sigmoid, square) = tanh_parts::<A>(u);
    let slope = A::mul_add(3.0 * TANH_CUBE, square, TANH_SLOPE);
    sigmoid * A::mul_add(u * slope, 1.0 - sigmoid, 1.0)
}

#[inline(always)]
fn forward_generic<A: Arithmetic>(activation: Activation, u: &[f32], y: OperandMut<'_>) {
    match y {
        OperandMut::F32(y) => forward_values::<A, _>(activation, u, y),
        OperandMut::Bf16(y) => forward_values::<A, _>(activation, u, y),
    }
}

#[inline(always)]
fn forward_values<A: Arithmetic, E: Element>(activation: Activation, u: &[f32], y: &mut [E]) {
    let pairs = u.iter().zip(y);
    match activation {
        Activation::QuickGelu => {
            pairs.for_each(|(&u, y)| *y = E::from_f32(quick_gelu::<A>(u)));
        }
        Activation::Gelu => pairs.for_each(|(&u, y)| *y = E::from_f32(gelu::<A>(u))),
        Activation::GeluTanh => pairs.for_each(|(&u, y)| *y = E::from_f32(gelu_tanh::<A>(u))),
    }
}

multiversion! {
    /// `y = activation(u)`
    pub(crate) fn forward = forward_generic(activation: Activation, u: &[f32], y: OperandMut<'_>)
}

#[inline(always)]
fn backward_generic<A: Arithmetic>(activation: Activation, u: &[f32], gradient: &mut [f32]) {
    let pairs = u.iter().zip(gradient);
    match activation {
        Activation::QuickGelu => pairs.for_each(|(&u, g)| *g *= quick_gelu_derivative::<A>(u)),
        Activation::Gelu => pairs.for_each(|(&u, g)| *g *= gelu_derivative::<A>(u)),
        Activation::GeluTanh => pairs.for_each(|(&u, g)| *g *= gelu_tanh_derivative::<A>(u)),
    }
}

multiversion! {
    /// `gradient *= activation'(u)`
    pub(crate) fn backward = backward_generic(activation: Activation, u: &[f32], gradient: &mut [f32])
}

#[inline(always)]
fn backward_rounded_generic<A: Arithmetic>(
    activation: Activation,
    u: &[f32],
    gradient: &[f32],
    y: &mut [Bf16],
) {
    let triples = u.iter().zip(gradient).zip(y);
    match activation {
        Activation::QuickGelu => {
            triples.for_each(|((&u, g), y)| *y = Bf16::round(g * quick_gelu_derivative::<A>(u)));
        }
        Activation::Gelu => {
            triples.for_each(|((&u, g), y)| *y = Bf16::round(g * gelu_derivative::<A>(u)));
        }
        Activation::GeluTanh => {
            triples.for_each(|((&u, g), y)| *y = Bf16::round(g * gelu_tanh_derivative::<A>(u)));
        }
    }
}

multiversion! {
    /// `y = gradient * activation'(u)`, rounded.
    pub(crate) fn backward_rounded = backward_rounded_generic(activation: Activation, u: &[f32], gradient: &[f32], y: &mut [Bf16])
}

#[cfg(test)]
mod tests;
