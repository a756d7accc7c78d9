//! Two Gaussians on a line, fitted by expectation maximization.

use serde::{Deserialize, Serialize};

/// Stops when the mean log-likelihood gains less than this per iteration.
const TOLERANCE: f64 = 1e-10;
/// EM converges linearly, and strongly overlapping components need thousands of iterations.
const MAX_ITERATIONS: usize = 5_000;
/// More values than this are represented by as many evenly spaced quantiles, which bounds a fit to about a third of a second.
const MOST_VALUES: usize = 2_000;
/// Added to every variance so that no component collapses onto repeated values (scikit-learn's `reg_covar`).
const VARIANCE_FLOOR: f64 = 1e-6;

/// A mixture of two Gaussians, the component with the lower mean first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GaussianMixture {
    /// Shares of the components, summing to 1.
    pub weights: [f64; 2],
    /// Means, in standard deviations of the data from its mean.
    pub means: [f64; 2],
    /// Standard deviations, in standard deviations of the data.
    pub deviations: [f64; 2],
}

impl GaussianMixture {
    /// Fits sorted values, beginning with those below `split` against the rest. Deterministic.
    ///
    /// Also returns the gain in log-likelihood per value over a single Gaussian.
    pub(super) fn fit(sorted: &[f64], split: f64) -> (Self, f64) {
        let count = sorted.len().min(MOST_VALUES);
        let sorted: Vec<f64> = (0..count)
            .map(|index| sorted[(2 * index + 1) * sorted.len() / (2 * count)])
            .collect();
        let mut upper: Vec<f64> = sorted
            .iter()
            .map(|value| f64::from(u8::from(*value >= split)))
            .collect();
        let mut mixture = Self::maximize(&sorted, &upper);
        let mut previous = f64::NEG_INFINITY;
        for _ in 0..MAX_ITERATIONS {
            let mut log_likelihood = 0.0;
            for (value, share) in sorted.iter().zip(&mut upper) {
                let [low, high] = mixture.log_densities(*value);
                let largest = low.max(high);
                let evidence = largest + ((low - largest).exp() + (high - largest).exp()).ln();
                log_likelihood += evidence;
                *share = (high - evidence).exp();
            }
            log_likelihood /= count as f64;
            mixture = Self::maximize(&sorted, &upper);
            let gain = log_likelihood - previous;
            previous = log_likelihood;
            if gain < TOLERANCE {
                break;
            }
        }
        (mixture.ordered(), previous - single_log_likelihood(&sorted))
    }

    /// Weights, means and deviations given each value's share in the second component.
    fn maximize(values: &[f64], upper: &[f64]) -> Self {
        let mut mixture = Self {
            weights: [0.0; 2],
            means: [0.0; 2],
            deviations: [0.0; 2],
        };
        for component in 0..2 {
            let share = |value: f64| if component == 0 { 1.0 - value } else { value };
            // The smallest number keeps an empty component from dividing by zero.
            let total = upper
                .iter()
                .map(|u| share(*u))
                .sum::<f64>()
                .max(f64::MIN_POSITIVE);
            let mean = values
                .iter()
                .zip(upper)
                .map(|(x, u)| share(*u) * x)
                .sum::<f64>()
                / total;
            let squares = values
                .iter()
                .zip(upper)
                .map(|(x, u)| share(*u) * (x - mean).powi(2));
            mixture.weights[component] = total / values.len() as f64;
            mixture.means[component] = mean;
            mixture.deviations[component] = (squares.sum::<f64>() / total + VARIANCE_FLOOR).sqrt();
        }
        mixture
    }

    /// Logarithms of weight times density of both components.
    fn log_densities(&self, value: f64) -> [f64; 2] {
        std::array::from_fn(|component| {
            let deviation = self.deviations[component];
            let distance = (value - self.means[component]) / deviation;
            self.weights[component].ln()
                - deviation.ln()
                - 0.5 * (distance.powi(2) + std::f64::consts::TAU.ln())
        })
    }

    /// Distance of the means in units of the components' deviation, `|m1 - m0| / sqrt((s0^2 + s1^2) / 2)` (Ashman's D). Above 2
    /// a mixture of equal shares has two peaks.
    pub fn separation(&self) -> f64 {
        let [low, high] = self.deviations.map(|deviation| deviation.powi(2));
        (self.means[1] - self.means[0]) / (0.5 * (low + high)).sqrt()
    }

    fn ordered(self) -> Self {
        if self.means[0] <= self.means[1] {
            return self;
        }
        let swap = |[a, b]: [f64; 2]| [b, a];
        Self {
            weights: swap(self.weights),
            means: swap(self.means),
            deviations: swap(self.deviations),
        }
    }

    /// The value between the two means at which both components are equally probable.
    ///
    /// `None` if one component is the more probable one along the whole way, so that nothing crosses.
    pub(super) fn crossing(&self) -> Option<f64> {
        let upper_wins = |value: f64| {
            let [low, high] = self.log_densities(value);
            high > low
        };
        let [mut below, mut above] = self.means;
        if upper_wins(below) || !upper_wins(above) {
            return None;
        }
        // The difference of the log densities is a parabola: with opposite signs at the ends it has one root between.
        // 64 halvings exhaust the digits of an f64.
        for _ in 0..64 {
            let middle = 0.5 * (below + above);
            if upper_wins(middle) {
                above = middle;
            } else {
                below = middle;
            }
        }
        Some(0.5 * (below + above))
    }
}

/// Log-likelihood per value under the Gaussian that fits all values best.
fn single_log_likelihood(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count + VARIANCE_FLOOR;
    -0.5 * (1.0 + (std::f64::consts::TAU * variance).ln())
}
