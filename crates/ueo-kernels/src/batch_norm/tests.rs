use super::*;
use crate::Capability;
use crate::reference::{NANS, Random, assert_close};

/// A layer, its maps and what f64 says about them.
struct Case {
    statistics: FrozenStatistics,
    weight: Vec<f32>,
    bias: Vec<f32>,
    z: Vec<f32>,
    residual: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn random(positions: usize, channels: usize) -> Self {
        let mut random = Random::new(channels as u64);
        let spread = random.values(channels, 0.5);
        Self {
            statistics: FrozenStatistics {
                mean: random.values(channels, 0.5),
                rstd: spread.iter().map(|x| 1.0 + x).collect(),
            },
            weight: random.values(channels, 1.0),
            bias: random.values(channels, 0.5),
            z: random.values(positions * channels, 2.0),
            residual: random.values(positions * channels, 1.0),
            dy: random.values(positions * channels, 1.0),
        }
    }

    /// `(y, dz, d_weight, d_bias)` with ReLU after `z` and, where wanted, the residual.
    fn expected(&self, residual: bool, relu: bool) -> [Vec<f64>; 4] {
        let channels = self.weight.len();
        let (mut y, mut dz) = (Vec::new(), Vec::new());
        let (mut d_weight, mut d_bias) = (vec![0.0; channels], vec![0.0; channels]);
        for (i, &z) in self.z.iter().enumerate() {
            let c = i % channels;
            let [weight, bias, mean, rstd] = [
                self.weight[c],
                self.bias[c],
                self.statistics.mean[c],
                self.statistics.rstd[c],
            ]
            .map(f64::from);
            let normalized = (f64::from(z) - mean) * rstd;
            let mut value = normalized * weight + bias;
            if residual {
                value += f64::from(self.residual[i]);
            }
            let g = if relu && value <= 0.0 {
                0.0
            } else {
                f64::from(self.dy[i])
            };
            y.push(if relu { value.max(0.0) } else { value });
            dz.push(g * weight * rstd);
            d_weight[c] += g * normalized;
            d_bias[c] += g;
        }
        [y, dz, d_weight, d_bias]
    }
}

#[test]
fn norms_agree_with_f64_in_values_and_gradients() {
    for (positions, channels) in [
        (1, 1),
        (1, 5),
        (7, 12),
        (200, 24),
        (5000, 3),
        (70, 64),
        (9, 130),
    ] {
        let case = Case::random(positions, channels);
        for capability in Capability::available() {
            let layer = ScaleShift::new(&case.statistics, &case.weight, &case.bias);
            for (residual, relu) in [(false, false), (false, true), (true, true)] {
                let what = format!(
                    "{capability:?} {positions} x {channels}, residual {residual}, ReLU {relu}"
                );
                let [y, dz, d_weight, d_bias] = case.expected(residual, relu);
                let mut found = case.residual.clone();
                let mut mask = vec![7; found.len()];
                forward(
                    capability,
                    Forward {
                        layer: &layer,
                        z: &case.z,
                        y: &mut found,
                        residual,
                        relu,
                        mask: &mut mask,
                    },
                );
                assert_close(&format!("{what}: y"), &found, &y);

                // ReLU behind a residual connection goes through the mask, as in the tower.
                let mut dy = case.dy.clone();
                if residual {
                    close(capability, &mut dy, &mask);
                }
                let mut sums = PeriodSums::new(&layer);
                let mut found = vec![f32::NAN; dy.len()];
                backward(
                    capability,
                    Backward {
                        layer: &layer,
                        z: &case.z,
                        relu: relu && !residual,
                        dy: &dy,
                        dz: &mut found,
                        sums: Some(&mut sums),
                    },
                );
                assert_close(&format!("{what}: dz"), &found, &dz);
                let (mut weight, mut bias) = (vec![0.0; channels], vec![0.0; channels]);
                sums.add_to(&case.statistics, &mut weight, &mut bias);
                assert_close(&format!("{what}: d_weight"), &weight, &d_weight);
                assert_close(&format!("{what}: d_bias"), &bias, &d_bias);

                let mut again = vec![f32::NAN; dy.len()];
                backward(
                    capability,
                    Backward {
                        layer: &layer,
                        z: &case.z,
                        relu: relu && !residual,
                        dy: &dy,
                        dz: &mut again,
                        sums: None,
                    },
                );
                assert_eq!(again, found, "{what}: dz without sums");
            }
        }
    }
}

#[test]
fn a_nan_stays_a_nan_and_its_relu_open() {
    let (positions, channels) = (40, 24);
    let case = Case::random(positions, channels);
    let layer = ScaleShift::new(&case.statistics, &case.weight, &case.bias);
    for capability in Capability::available() {
        for (residual, relu) in [(false, false), (false, true), (true, true)] {
            // One in a whole block of numbers and one behind the last, in either map.
            for at in [5, positions * channels - 1] {
                for (nan, in_residual) in NANS.iter().flat_map(|nan| [(nan, false), (nan, true)]) {
                    let (mut z, mut y) = (case.z.clone(), case.residual.clone());
                    if in_residual && residual {
                        y[at] = *nan;
                    } else {
                        z[at] = *nan;
                    }
                    let mut mask = vec![7; z.len()];
                    let operands = Forward {
                        layer: &layer,
                        z: &z,
                        y: &mut y,
                        residual,
                        relu,
                        mask: &mut mask,
                    };
                    forward(capability, operands);
                    let what = format!("{capability:?} residual {residual}, ReLU {relu}, {at}");
                    assert!(y[at].is_nan(), "{what}: {}", y[at]);
                    assert_eq!(mask[at], 1, "{what}");
                    assert_eq!(y.iter().filter(|y| y.is_nan()).count(), 1, "{what}");
                }
            }
        }
    }
}
