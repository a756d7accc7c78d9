//! Elementary functions and sums in the form that the compiler vectorizes: no branches, no calls, independent partial sums.

use crate::capability::Arithmetic;
use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

/// `e^x` within 2e-7 relative on [-87, 88]; arguments outside are clamped, so the result is never zero, infinite or subnormal. NaN
/// stays NaN.
///
/// `x = n ln 2 + r` with `|r| <= ln(2) / 2`, where the Taylor polynomial of degree 7 is exact to 6e-9.
#[inline(always)]
pub(crate) fn exp<A: Arithmetic>(x: f32) -> f32 {
    /// 1.5 x 2^23: adding it rounds to an integer, which then stands in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts; the first has so few digits that `n * LN_2_HIGH` is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = (std::f64::consts::LN_2 - LN_2_HIGH as f64) as f32;

    let x = x.clamp(-87.0, 88.0);
    let rounded = x * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = A::mul_add(n, -LN_2_LOW, A::mul_add(n, -LN_2_HIGH, x));
    let mut sum = 1.0 / 5040.0;
    for coefficient in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = A::mul_add(sum, r, coefficient);
    }
    // The low bits of `rounded` are n (its constant part is shifted out); they go to the exponent.
    let power = f32::from_bits(sum.to_bits().wrapping_add(rounded.to_bits() << 23));
    // The low bits of a NaN are anything, and would move its exponent to that of a number.
    if x.is_nan() { x } else { power }
}

/// The standard normal distribution function and density, `(Phi(x), phi(x))`.
///
/// The smaller tail is computed directly, so both tails keep their relative accuracy (about 1e-6, from `e^(-x^2 / 2)`).
#[inline(always)]
pub(crate) fn normal<A: Arithmetic>(x: f32) -> (f32, f32) {
    /// `erfc(z) e^(z^2) / t` as a polynomial in `t = 1 / (1 + 0.3 z)`, lowest power first: a fit with weights adjusted until the
    /// relative error on z in [0, 9.5] was level, at most 3e-8.
    const COEFFICIENTS: [f32; 9] = [
        0.169_189_62,
        0.170_691_95,
        0.148_482_26,
        0.214_436_96,
        -0.093_632_9,
        0.546_397_45,
        -0.511_228_56,
        0.485_097_5,
        -0.129_434_3,
    ];
    const FRAC_1_SQRT_2PI: f32 = 0.398_942_3;

    let t = 1.0 / A::mul_add(0.3 * FRAC_1_SQRT_2, x.abs(), 1.0);
    let mut sum = COEFFICIENTS[8];
    for i in (0..8).rev() {
        sum = A::mul_add(sum, t, COEFFICIENTS[i]);
    }
    let gauss = exp::<A>(-0.5 * x * x);
    let tail = 0.5 * t * sum * gauss;
    let cumulative = if x < 0.0 { tail } else { 1.0 - tail };
    (cumulative, FRAC_1_SQRT_2PI * gauss)
}

/// Independent partial sums: four AVX-512 registers, which hides the latency of an addition.
const LANES: usize = 64;

/// Adds up the partial sums in a fixed tree.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], mut tail: f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for j in 0..half {
            lanes[j] += lanes[j + half];
        }
        half /= 2;
    }
    tail += lanes[0];
    tail
}

/// `sum_i f(x_i)`
#[inline(always)]
pub(crate) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for x in chunks {
        for j in 0..LANES {
            lanes[j] += f(x[j]);
        }
    }
    fold(lanes, tail.iter().map(|&x| f(x)).sum())
}

/// `sum_i f(x_i, y_i)`
#[inline(always)]
pub(crate) fn sum_pairs(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (x_chunks, x_tail) = x.as_chunks::<LANES>();
    let (y_chunks, y_tail) = y.as_chunks::<LANES>();
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        for j in 0..LANES {
            lanes[j] += f(x[j], y[j]);
        }
    }
    fold(
        lanes,
        x_tail.iter().zip(y_tail).map(|(&x, &y)| f(x, y)).sum(),
    )
}

/// The largest value, negative infinity for none; NaN is passed over.
#[inline(always)]
pub(crate) fn maximum(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; 32];
    let (chunks, tail) = x.as_chunks::<32>();
    for x in chunks {
        for j in 0..32 {
            lanes[j] = larger(lanes[j], x[j]);
        }
    }
    lanes
        .iter()
        .chain(tail)
        .fold(f32::NEG_INFINITY, |a, &b| larger(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::{Fused, Separate};

    fn check_exp<A: Arithmetic>() {
        let mut worst = 0.0f64;
        for i in -86_999..=87_999 {
            let x = i as f32 * 1e-3;
            let expected = f64::from(x).exp();
            worst = worst.max(((f64::from(exp::<A>(x)) - expected) / expected).abs());
        }
        assert!(worst < 3e-7, "relative error {worst:e}");
    }

    #[test]
    fn exp_is_accurate_to_f32() {
        check_exp::<Fused>();
        check_exp::<Separate>();
        assert!(exp::<Fused>(-1e9) < 1e-37);
        for nan in crate::reference::NANS {
            assert!(exp::<Fused>(nan).is_nan(), "{:#x}", nan.to_bits());
            assert!(exp::<Separate>(nan).is_nan(), "{:#x}", nan.to_bits());
        }
    }

    #[test]
    fn normal_keeps_relative_accuracy_in_both_tails() {
        for i in -800..=800 {
            let x = f64::from(i as f32 * 0.01);
            let (cumulative, density) = normal::<Fused>(x as f32);
            let expected = crate::reference::normal_cumulative(x);
            let error = (f64::from(cumulative) - expected).abs() / expected;
            assert!(error < 4e-6, "Phi({x}): relative error {error:e}");
            let expected = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
            assert!((f64::from(density) - expected).abs() < 4e-6 * expected);
        }
    }

    #[test]
    fn sums_take_every_element_once() {
        for len in [0, 1, 63, 64, 65, 200] {
            let x: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let expected: f32 = x.iter().sum();
            assert_eq!(sum(&x, |x| x), expected);
            assert_eq!(sum_pairs(&x, &x, |x, y| 0.5 * (x + y)), expected);
            assert_eq!(maximum(&x), x.last().copied().unwrap_or(f32::NEG_INFINITY));
        }
    }
}
