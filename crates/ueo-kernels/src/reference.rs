//! The same computations in f64, written as their definitions: what tests compare with. Its own derivatives are checked against
//! finite differences.

#[cfg(test)]
use crate::Precision;
use crate::{Activation, BlockAffine, BlockWeights, ReadToken, StackConfig};

/// Deterministic values in (-1, 1).
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn values(&mut self, len: usize, scale: f64) -> Vec<f32> {
        (0..len).map(|_| (self.next() * scale) as f32).collect()
    }
}

/// NaNs of both signs, quiet and signaling, with and without further digits: what files and computations hold.
pub(crate) const NANS: [f32; 5] = [
    f32::NAN,
    f32::from_bits(0x7f80_0001),
    f32::from_bits(0x7fc0_01ff),
    f32::from_bits(0x7fff_ffff),
    f32::from_bits(0xffff_ffff),
];

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// `|found - expected| / |expected|` in L2 norms.
pub(crate) fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |x: f64| x * x;
    let difference: f64 = found
        .iter()
        .zip(expected)
        .map(|(&found, expected)| square(f64::from(found) - expected))
        .sum();
    let size: f64 = expected.iter().copied().map(square).sum();
    if difference == 0.0 {
        0.0
    } else {
        (difference / size).sqrt()
    }
}

#[track_caller]
pub(crate) fn assert_close(what: &str, found: &[f32], expected: &[f64]) {
    let error = relative_error(found, expected);
    assert!(error < 5e-6, "{what}: relative error {error:e}");
}

/// `Phi(x)`: a series near zero, a continued fraction in the tails.
pub(crate) fn normal_cumulative(x: f64) -> f64 {
    let z = x.abs();
    let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let tail = if z < 3.0 {
        let mut term = z;
        let mut sum = z;
        for n in 1..100 {
            term *= z * z / f64::from(2 * n + 1);
            sum += term;
        }
        0.5 - density * sum
    } else {
        density
            / (1..200)
                .rev()
                .fold(z, |fraction, n| z + f64::from(n) / fraction)
    };
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// `sqrt(2 / pi) (u + 0.044715 u^3)` and its derivative.
fn tanh_argument(u: f64) -> (f64, f64) {
    let factor = (2.0 / std::f64::consts::PI).sqrt();
    (
        factor * (u + 0.044_715 * u.powi(3)),
        factor * (1.0 + 3.0 * 0.044_715 * u.powi(2)),
    )
}

pub(crate) fn activation(kind: Activation, u: f64) -> f64 {
    match kind {
        Activation::QuickGelu => u / (1.0 + (-f64::from(1.702f32) * u).exp()),
        Activation::Gelu => u * normal_cumulative(u),
        // (1 + tanh z) / 2 without the cancellation in the lower tail.
        Activation::GeluTanh => u / (1.0 + (-2.0 * tanh_argument(u).0).exp()),
    }
}

pub(crate) fn activation_derivative(kind: Activation, u: f64) -> f64 {
    match kind {
        Activation::QuickGelu => {
            let factor = f64::from(1.702f32);
            let sigmoid = 1.0 / (1.0 + (-factor * u).exp());
            sigmoid + u * factor * sigmoid * (1.0 - sigmoid)
        }
        Activation::Gelu => {
            normal_cumulative(u) + u * (-0.5 * u * u).exp() / (2.0 * std::f64::consts::PI).sqrt()
        }
        Activation::GeluTanh => {
            let (argument, slope) = tanh_argument(u);
            let sigmoid = 1.0 / (1.0 + (-2.0 * argument).exp());
            sigmoid * (1.0 + 2.0 * u * slope * (1.0 - sigmoid))
        }
    }
}

/// `x W^T + b`, `W` `[outputs, inputs]`
pub(crate) fn linear(x: &[f64], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let inputs = weight.len() / bias.len();
    let row = |x: &[f64], o: usize| -> f64 {
        let weight = &weight[o * inputs..][..inputs];
        f64::from(bias[o])
            + x.iter()
                .zip(weight)
                .map(|(x, &w)| x * f64::from(w))
                .sum::<f64>()
    };
    x.chunks_exact(inputs)
        .flat_map(|x| (0..bias.len()).map(move |o| row(x, o)))
        .collect()
}

/// `dy W`
pub(crate) fn linear_backward(dy: &[f64], weight: &[f32], outputs: usize) -> Vec<f64> {
    let inputs = weight.len() / outputs;
    let mut dx = vec![0.0; dy.len() / outputs * inputs];
    for (dy, dx) in dy.chunks_exact(outputs).zip(dx.chunks_exact_mut(inputs)) {
        for (dy, weight) in dy.iter().zip(weight.chunks_exact(inputs)) {
            dx.iter_mut()
                .zip(weight)
                .for_each(|(dx, &w)| *dx += dy * f64::from(w));
        }
    }
    dx
}

pub(crate) fn layer_norm(x: &[f64], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f64> {
    let width = weight.len();
    let mut y = Vec::with_capacity(x.len());
    for x in x.chunks_exact(width) {
        let mean = x.iter().sum::<f64>() / width as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        let deviation = (variance + f64::from(epsilon)).sqrt();
        y.extend(
            (0..width)
                .map(|i| (x[i] - mean) / deviation * f64::from(weight[i]) + f64::from(bias[i])),
        );
    }
    y
}

/// `(dx, d_weight, d_bias)`
pub(crate) fn layer_norm_backward(
    x: &[f64],
    weight: &[f32],
    epsilon: f32,
    dy: &[f64],
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let width = weight.len();
    let n = width as f64;
    let (mut dx, mut d_weight, mut d_bias) = (Vec::new(), vec![0.0; width], vec![0.0; width]);
    for (x, dy) in x.chunks_exact(width).zip(dy.chunks_exact(width)) {
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let deviation = (variance + f64::from(epsilon)).sqrt();
        let g: Vec<f64> = dy
            .iter()
            .zip(weight)
            .map(|(dy, &w)| dy * f64::from(w))
            .collect();
        let normalized: Vec<f64> = x.iter().map(|x| (x - mean) / deviation).collect();
        let g_mean = g.iter().sum::<f64>() / n;
        let g_along = g.iter().zip(&normalized).map(|(g, x)| g * x).sum::<f64>() / n;
        for i in 0..width {
            dx.push((g[i] - g_mean - normalized[i] * g_along) / deviation);
            d_weight[i] += dy[i] * normalized[i];
            d_bias[i] += dy[i];
        }
    }
    (dx, d_weight, d_bias)
}

/// Attention probabilities of one head, `[tokens, tokens]`.
fn probabilities(config: &StackConfig, qkv: &[f64], tokens: usize, head: usize) -> Vec<f64> {
    let (width, head_width) = (config.width, config.width / config.heads);
    let mut p = vec![0.0; tokens * tokens];
    for i in 0..tokens {
        let visible = if config.causal { i + 1 } else { tokens };
        let q = &qkv[i * 3 * width + head * head_width..][..head_width];
        let row = &mut p[i * tokens..][..visible];
        for (j, value) in row.iter_mut().enumerate() {
            let k = &qkv[j * 3 * width + width + head * head_width..][..head_width];
            let score: f64 = q.iter().zip(k).map(|(q, k)| q * k).sum();
            *value = (score / (head_width as f64).sqrt()).exp();
        }
        let total: f64 = row.iter().sum();
        row.iter_mut().for_each(|value| *value /= total);
    }
    p
}

pub(crate) fn attention(config: &StackConfig, qkv: &[f64], tokens: usize) -> Vec<f64> {
    let (width, head_width) = (config.width, config.width / config.heads);
    let mut y = vec![0.0; tokens * width];
    for head in 0..config.heads {
        let p = probabilities(config, qkv, tokens, head);
        for i in 0..tokens {
            for j in 0..tokens {
                for c in head * head_width..(head + 1) * head_width {
                    y[i * width + c] += p[i * tokens + j] * qkv[j * 3 * width + 2 * width + c];
                }
            }
        }
    }
    y
}

pub(crate) fn attention_backward(
    config: &StackConfig,
    qkv: &[f64],
    tokens: usize,
    dy: &[f64],
) -> Vec<f64> {
    let (width, head_width) = (config.width, config.width / config.heads);
    let scale = 1.0 / (head_width as f64).sqrt();
    let mut d = vec![0.0; qkv.len()];
    for head in 0..config.heads {
        let p = probabilities(config, qkv, tokens, head);
        let columns = head * head_width..(head + 1) * head_width;
        for i in 0..tokens {
            let dp: Vec<f64> = (0..tokens)
                .map(|j| {
                    columns
                        .clone()
                        .map(|c| dy[i * width + c] * qkv[j * 3 * width + 2 * width + c])
                        .sum()
                })
                .collect();
            let mean: f64 = (0..tokens).map(|j| p[i * tokens + j] * dp[j]).sum();
            for j in 0..tokens {
                let ds = p[i * tokens + j] * (dp[j] - mean) * scale;
                let (row_i, row_j) = (i * 3 * width, j * 3 * width);
                for c in columns.clone() {
                    d[row_i + c] += ds * qkv[row_j + width + c];
                    d[row_j + width + c] += ds * qkv[row_i + c];
                    d[row_j + 2 * width + c] += p[i * tokens + j] * dy[i * width + c];
                }
            }
        }
    }
    d
}

/// A stack's parameters in f32, as the kernels get them.
pub(crate) struct Parameters {
    pub config: StackConfig,
    /// Per block: qkv, out, fc, proj as (weight, bias).
    linear: Vec<[(Vec<f32>, Vec<f32>); 4]>,
    /// Per block: ln_1 weight, ln_1 bias, ln_2 weight, ln_2 bias.
    pub affine: Vec<[Vec<f32>; 4]>,
}

impl Parameters {
    pub fn random(config: StackConfig, blocks: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let StackConfig { width, hidden, .. } = config;
        let mut linear = |inputs: usize, outputs: usize| {
            (
                random.values(inputs * outputs, 1.7 / (inputs as f64).sqrt()),
                random.values(outputs, 0.3),
            )
        };
        let linear = (0..blocks)
            .map(|_| {
                [
                    linear(width, 3 * width),
                    linear(width, width),
                    linear(width, hidden),
                    linear(hidden, width),
                ]
            })
            .collect();
        let mut affine = || {
            let scale: Vec<f32> = random
                .values(width, 0.4)
                .iter()
                .map(|value| 1.0 + value)
                .collect();
            (scale, random.values(width, 0.3))
        };
        let affine = (0..blocks)
            .map(|_| {
                let ((w1, b1), (w2, b2)) = (affine(), affine());
                [w1, b1, w2, b2]
            })
            .collect();
        Self {
            config,
            linear,
            affine,
        }
    }

    pub fn weights(&self) -> impl Iterator<Item = BlockWeights<'_>> {
        self.linear.iter().map(|[qkv, out, fc, proj]| BlockWeights {
            qkv_weight: &qkv.0,
            qkv_bias: &qkv.1,
            out_weight: &out.0,
            out_bias: &out.1,
            fc_weight: &fc.0,
            fc_bias: &fc.1,
            proj_weight: &proj.0,
            proj_bias: &proj.1,
        })
    }

    pub fn block_affine(&self) -> Vec<BlockAffine<'_>> {
        self.affine
            .iter()
            .map(|[w1, b1, w2, b2]| BlockAffine {
                ln_1_weight: w1,
                ln_1_bias: b1,
                ln_2_weight: w2,
                ln_2_bias: b2,
            })
            .collect()
    }

    /// One sequence through all blocks; the inputs of each block and the output.
    pub fn forward(&self, x: &[f64], tokens: usize) -> Vec<Vec<f64>> {
        let mut stream = vec![x.to_vec()];
        for index in 0..self.linear.len() {
            let steps = self.block(index, &stream[index], tokens);
            stream.push(steps.y);
        }
        stream
    }

    fn block(&self, index: usize, x: &[f64], tokens: usize) -> Steps {
        let StackConfig {
            layer_norm_epsilon: epsilon,
            ..
        } = self.config;
        let [qkv, out, fc, proj] = &self.linear[index];
        let [w1, b1, w2, b2] = &self.affine[index];
        let plus =
            |x: &[f64], y: Vec<f64>| -> Vec<f64> { x.iter().zip(y).map(|(x, y)| x + y).collect() };
        let qkv = linear(&layer_norm(x, w1, b1, epsilon), &qkv.0, &qkv.1);
        let x_mid = plus(
            x,
            linear(&attention(&self.config, &qkv, tokens), &out.0, &out.1),
        );
        let u = linear(&layer_norm(&x_mid, w2, b2, epsilon), &fc.0, &fc.1);
        let hidden: Vec<f64> = u
            .iter()
            .map(|&u| activation(self.config.activation, u))
            .collect();
        let y = plus(&x_mid, linear(&hidden, &proj.0, &proj.1));
        Steps { qkv, x_mid, u, y }
    }

    /// `(dx, affine gradients per block)` of one sequence.
    pub fn backward(
        &self,
        stream: &[Vec<f64>],
        tokens: usize,
        dy: &[f64],
    ) -> (Vec<f64>, Vec<[Vec<f64>; 4]>) {
        let StackConfig {
            width,
            hidden,
            layer_norm_epsilon: epsilon,
            activation: kind,
            ..
        } = self.config;
        let mut d = dy.to_vec();
        let mut gradients = Vec::new();
        for index in (0..self.linear.len()).rev() {
            let steps = self.block(index, &stream[index], tokens);
            let [qkv, out, fc, proj] = &self.linear[index];
            let mut du = linear_backward(&d, &proj.0, width);
            du.iter_mut()
                .zip(&steps.u)
                .for_each(|(d, &u)| *d *= activation_derivative(kind, u));
            let dn = linear_backward(&du, &fc.0, hidden);
            let (dx, w2, b2) =
                layer_norm_backward(&steps.x_mid, &self.affine[index][2], epsilon, &dn);
            d.iter_mut().zip(dx).for_each(|(d, dx)| *d += dx);
            let d_attention = linear_backward(&d, &out.0, width);
            let d_qkv = attention_backward(&self.config, &steps.qkv, tokens, &d_attention);
            let dn = linear_backward(&d_qkv, &qkv.0, 3 * width);
            let (dx, w1, b1) =
                layer_norm_backward(&stream[index], &self.affine[index][0], epsilon, &dn);
            d.iter_mut().zip(dx).for_each(|(d, dx)| *d += dx);
            gradients.push([w1, b1, w2, b2]);
        }
        gradients.reverse();
        (d, gradients)
    }
}

struct Steps {
    qkv: Vec<f64>,
    x_mid: Vec<f64>,
    u: Vec<f64>,
    y: Vec<f64>,
}

#[test]
fn derivatives_agree_with_finite_differences() {
    const STEP: f64 = 1e-5;
    for (causal, activation) in [(false, Activation::QuickGelu), (true, Activation::Gelu)] {
        let config = StackConfig {
            width: 6,
            heads: 2,
            hidden: 10,
            causal,
            read: ReadToken::Last,
            activation,
            layer_norm_epsilon: 1e-5,
            precision: Precision::F32,
        };
        let mut parameters = Parameters::random(config, 2, 3);
        let tokens = 4;
        let mut random = Random::new(5);
        let (x, dy) = (
            wide(&random.values(tokens * 6, 1.0)),
            wide(&random.values(tokens * 6, 1.0)),
        );
        let loss = |parameters: &Parameters, x: &[f64]| -> f64 {
            parameters.forward(x, tokens)[2]
                .iter()
                .zip(&dy)
                .map(|(y, dy)| y * dy)
                .sum()
        };
        let (dx, affine) = parameters.backward(&parameters.forward(&x, tokens), tokens, &dy);
        for i in 0..x.len() {
            let mut moved = x.clone();
            moved[i] += STEP;
            let above = loss(&parameters, &moved);
            moved[i] -= 2.0 * STEP;
            let slope = (above - loss(&parameters, &moved)) / (2.0 * STEP);
            assert!(
                (slope - dx[i]).abs() < 1e-6,
                "input {i}: {slope} and {}",
                dx[i]
            );
        }
        for (block, gradients) in affine.iter().enumerate() {
            for (kind, gradient) in gradients.iter().enumerate() {
                for (i, &expected) in gradient.iter().enumerate() {
                    let value = parameters.affine[block][kind][i];
                    // Parameters are f32: the step is what is left after rounding.
                    parameters.affine[block][kind][i] = value + 1e-3;
                    let (above, high) = (
                        loss(&parameters, &x),
                        f64::from(parameters.affine[block][kind][i]),
                    );
                    parameters.affine[block][kind][i] = value - 1e-3;
                    let (below, low) = (
                        loss(&parameters, &x),
                        f64::from(parameters.affine[block][kind][i]),
                    );
                    parameters.affine[block][kind][i] = value;
                    let slope = (above - below) / (high - low);
                    assert!(
                        (slope - expected).abs() < 2e-4 * expected.abs().max(1.0),
                        "{block} {kind} {i}: {slope}, {expected}"
                    );
                }
            }
        }
    }
}
