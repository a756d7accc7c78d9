use super::*;
use crate::Capability;
use crate::reference;

const KINDS: [Activation; 3] = [
    Activation::QuickGelu,
    Activation::Gelu,
    Activation::GeluTanh,
];

/// How far a value may be from f64, relative to it. In its lower tail the approximation by a hyperbolic tangent is the exponential
/// of a cubic, whose argument reaches 66 and is rounded in f32.
fn tolerance(kind: Activation) -> f64 {
    match kind {
        Activation::GeluTanh => 4e-5,
        _ => 6e-6,
    }
}

#[test]
fn values_and_derivatives_agree_with_f64_everywhere() {
    let u: Vec<f32> = (-900..=900).map(|i| i as f32 * 0.01).collect();
    for kind in KINDS {
        for capability in Capability::available() {
            let mut y = vec![0.0; u.len()];
            forward(capability, kind, &u, OperandMut::F32(&mut y));
            let mut gradient = vec![2.0; u.len()];
            backward(capability, kind, &u, &mut gradient);
            for ((&u, y), gradient) in u.iter().zip(y).zip(gradient) {
                let wide = f64::from(u);
                // Relative in both tails.
                let expected = reference::activation(kind, wide);
                assert!(
                    (f64::from(y) - expected).abs() <= tolerance(kind) * expected.abs(),
                    "{capability:?} {kind:?}({u}) = {y}, not {expected}"
                );
                // The derivative crosses zero, so relative to its terms.
                let expected = 2.0 * reference::activation_derivative(kind, wide);
                let scale =
                    (expected.abs() + expected.abs() * wide.abs()).max(2e-2 * (-wide.abs()).exp());
                assert!(
                    (f64::from(gradient) - expected).abs() <= 1e-5 * scale,
                    "{capability:?} {kind:?}'({u}) = {gradient}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn extremes_stay_finite() {
    for kind in KINDS {
        for capability in Capability::available() {
            let u = [-1e4, 1e4, 0.0];
            let mut y = [f32::NAN; 3];
            forward(capability, kind, &u, OperandMut::F32(&mut y));
            assert!(
                y[0].abs() < 1e-30 && y[1] == 1e4 && y[2] == 0.0,
                "{capability:?} {kind:?}: {y:?}"
            );
            let mut gradient = [1.0; 3];
            backward(capability, kind, &u, &mut gradient);
            assert!(
                gradient[0].abs() < 1e-30 && gradient[1] == 1.0 && (gradient[2] - 0.5).abs() < 1e-6,
                "{gradient:?}"
            );
        }
    }
}

#[test]
fn rounded_results_are_the_rounded_f32_results() {
    let u: Vec<f32> = (-200..=200).map(|i| i as f32 * 0.03).collect();
    let gradient: Vec<f32> = u.iter().map(|u| 0.7 - 0.1 * u).collect();
    for kind in KINDS {
        for capability in Capability::available() {
            let (mut y, mut g) = (vec![0.0; u.len()], gradient.clone());
            let mut rounded = vec![Bf16::default(); u.len()];
            forward(capability, kind, &u, OperandMut::F32(&mut y));
            forward(capability, kind, &u, OperandMut::Bf16(&mut rounded));
            let expected: Vec<Bf16> = y.iter().map(|&y| Bf16::round(y)).collect();
            assert_eq!(rounded, expected, "{capability:?} {kind:?}");
            backward(capability, kind, &u, &mut g);
            backward_rounded(capability, kind, &u, &gradient, &mut rounded);
            let expected: Vec<Bf16> = g.iter().map(|&g| Bf16::round(g)).collect();
            assert_eq!(rounded, expected, "{capability:?} {kind:?}");
        }
    }
}

#[test]
fn a_nan_stays_a_nan() {
    for (kind, nan) in KINDS
        .into_iter()
        .flat_map(|kind| reference::NANS.map(|nan| (kind, nan)))
    {
        for capability in Capability::available() {
            // In a whole vector and behind the last.
            let mut u = vec![0.5; 37];
            (u[3], u[36]) = (nan, nan);
            let mut y = vec![0.0; u.len()];
            forward(capability, kind, &u, OperandMut::F32(&mut y));
            let mut rounded = vec![Bf16::default(); u.len()];
            forward(capability, kind, &u, OperandMut::Bf16(&mut rounded));
            let mut gradient = vec![1.0; u.len()];
            backward(capability, kind, &u, &mut gradient);
            for (i, u) in u.iter().enumerate() {
                let found = [y[i], rounded[i].to_f32(), gradient[i]];
                assert_eq!(
                    found.map(f32::is_nan),
                    [u.is_nan(); 3],
                    "{capability:?} {kind:?} {i}: {found:?}"
                );
            }
        }
    }
}
