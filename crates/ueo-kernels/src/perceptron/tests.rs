use super::*;
use crate::reference::{self, Random, relative_error, wide};

const EPSILON: f32 = 1e-6;
const KIND: Activation = Activation::Gelu;

/// A layer with random values.
struct Layer {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    fn random(random: &mut Random, inputs: usize, outputs: usize) -> Self {
        Self {
            weight: random.values(inputs * outputs, (inputs as f64).powf(-0.5)),
            bias: random.values(outputs, 0.3),
        }
    }

    fn weights(&self) -> LinearWeights<'_> {
        LinearWeights {
            weight: &self.weight,
            bias: &self.bias,
        }
    }

    fn forward(&self, x: &[f64]) -> Vec<f64> {
        reference::linear(x, &self.weight, &self.bias)
    }

    fn backward(&self, dy: &[f64]) -> Vec<f64> {
        reference::linear_backward(dy, &self.weight, self.bias.len())
    }
}

/// Output and gradients in f64.
fn expected(
    [up, down]: [&Layer; 2],
    gate: Option<&Layer>,
    affine: PerceptronAffine<'_>,
    x: &[f32],
    dy: &[f32],
) -> [Vec<f64>; 4] {
    let normalized = reference::layer_norm(&wide(x), affine.weight, affine.bias, EPSILON);
    let u = up.forward(&normalized);
    let g = gate.map_or(vec![1.0; u.len()], |gate| gate.forward(&normalized));
    let pairs = || u.iter().zip(&g);
    let hidden: Vec<f64> = pairs()
        .map(|(&u, g)| reference::activation(KIND, u) * g)
        .collect();
    let y = down.forward(&hidden);
    let d_hidden = down.backward(&wide(dy));
    let d_u: Vec<f64> = pairs()
        .zip(&d_hidden)
        .map(|((&u, g), d)| d * g * reference::activation_derivative(KIND, u))
        .collect();
    let mut d_normalized = up.backward(&d_u);
    if let Some(gate) = gate {
        let d_gate: Vec<f64> = u
            .iter()
            .zip(&d_hidden)
            .map(|(&u, d)| d * reference::activation(KIND, u))
            .collect();
        let part = gate.backward(&d_gate);
        d_normalized
            .iter_mut()
            .zip(part)
            .for_each(|(sum, part)| *sum += part);
    }
    let (dx, d_weight, d_bias) =
        reference::layer_norm_backward(&wide(x), affine.weight, EPSILON, &d_normalized);
    [y, dx, d_weight, d_bias]
}

#[test]
fn values_and_gradients_agree_with_f64() {
    let mut random = Random::new(12);
    for (rows, width, hidden, outputs, is_gated) in [
        (1, 8, 32, 8, false),
        (5, 33, 20, 7, true),
        (ROWS + 3, 48, 96, 48, true),
        (2 * ROWS + 1, 40, 160, 40, false),
    ] {
        let up = Layer::random(&mut random, width, hidden);
        let gate = is_gated.then(|| Layer::random(&mut random, width, hidden));
        let down = Layer::random(&mut random, hidden, outputs);
        let (weight, bias) = (random.values(width, 1.0), random.values(width, 1.0));
        let affine = PerceptronAffine {
            weight: &weight,
            bias: &bias,
        };
        let x = random.values(rows * width, 1.0);
        let dy = random.values(rows * outputs, 1.0);
        let expected = expected([&up, &down], gate.as_ref(), affine, &x, &dy);
        let weights = PerceptronWeights {
            up: up.weights(),
            gate: gate.as_ref().map(Layer::weights),
            down: down.weights(),
        };
        for capability in Capability::available() {
            for (precision, tolerance) in [(Precision::F32, 2e-6), (Precision::Bf16, 2e-2)] {
                let perceptron =
                    NormedPerceptron::new(capability, precision, KIND, EPSILON, width, weights)
                        .unwrap();
                let (y, saved) = perceptron.forward_training(affine, x.clone());
                assert_eq!(y, perceptron.forward(affine, &x));
                let found = perceptron.backward(affine, &saved, &dy);
                let found = [y, found.x, found.weight, found.bias];
                for (what, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let error = relative_error(found, expected);
                    assert!(
                        error < tolerance,
                        "{capability:?} {precision:?} {what}: {error:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let mut random = Random::new(13);
    let [up, down] = [(4, 8), (8, 4)].map(|(a, b)| Layer::random(&mut random, a, b));
    let gate = Layer::random(&mut random, 4, 6);
    let weights = PerceptronWeights {
        up: up.weights(),
        gate: Some(gate.weights()),
        down: down.weights(),
    };
    let capability = Capability::detect();
    let refused =
        NormedPerceptron::new(capability, Precision::F32, KIND, EPSILON, 4, weights).err();
    assert_eq!(
        refused.map(|error| (error.expected, error.found)),
        Some((8, 6))
    );
}
