//! How far a measurement depends on which classes happen to be in a test: the percentile bootstrap over classes.
//!
//! The images of a class resemble each other, so resampling images would make intervals too narrow. Here whole classes
//! are drawn with replacement, known and unknown ones apart, and two methods are compared on the same draws (Efron and
//! Tibshirani 1993, chapters 8 and 13). Test sets that share their classes, as the domains of a suite do, are measured
//! with the same draws and averaged after that.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{ClassDraw, ClassMeasure, ClassStatistics, EvaluateError};

/// How many draws, and what part of them an interval covers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapSettings {
    /// Draws of classes.
    pub draws: usize,
    /// Share of the draws inside the interval, between 0 and 1.
    pub level: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for BootstrapSettings {
    fn default() -> Self {
        Self {
            draws: 2_000,
            level: 0.95,
            seed: 2024,
        }
    }
}

/// A measurement with its bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The measurement on the classes as they are.
    pub estimate: f64,
    /// Lower end: the (1 - level) / 2 quantile of the draws.
    pub lower: f64,
    /// Upper end: the (1 + level) / 2 quantile of the draws.
    pub upper: f64,
}

impl Interval {
    /// Whether the whole interval lies above zero, which for a difference means that the choice of classes does not
    /// explain it.
    pub fn rises(&self) -> bool {
        self.lower > 0.0
    }

    /// Whether the whole interval lies below zero.
    pub fn falls(&self) -> bool {
        self.upper < 0.0
    }
}

/// A measurement of the classes as they are and of every draw; `None` where it is undefined.
#[derive(Clone, Debug, PartialEq)]
pub struct Replicated {
    /// With every class counted once.
    pub estimate: Option<f64>,
    /// With the classes of each draw.
    pub replicates: Vec<Option<f64>>,
    /// Share of the replicates inside the interval.
    level: f64,
}

impl Replicated {
    /// A measure of one test set. Sets with equal numbers of classes have the same draws.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::Setting`] if a setting is out of range.
    pub fn new(
        statistics: &ClassStatistics,
        measure: ClassMeasure,
        settings: BootstrapSettings,
    ) -> Result<Self, EvaluateError> {
        let BootstrapSettings { draws, level, seed } = settings;
        let invalid = |name, expected, value| EvaluateError::Setting {
            name,
            expected,
            value,
        };
        if draws == 0 {
            return Err(invalid("number of bootstrap draws", "at least 1", 0.0));
        }
        if !(level > 0.0 && level < 1.0) {
            return Err(invalid("bootstrap level", "between 0 and 1", level));
        }
        let [known, unknown] = statistics.classes();
        let of_draw =
            |index| statistics.measure(measure, &ClassDraw::random(known, unknown, seed, index));
        Ok(Self {
            estimate: statistics.measure(measure, &ClassDraw::once(known, unknown)),
            replicates: (0..draws).into_par_iter().map(of_draw).collect(),
            level,
        })
    }

    /// The mean over test sets replicated with the same settings, in each replicate of those where it is defined: a set
    /// none of whose classes are drawn says nothing. `None` if there are no sets.
    pub fn mean(sets: &[&Self]) -> Option<Self> {
        let first = sets.first()?;
        let mean = |of: &dyn Fn(&Self) -> Option<f64>| {
            let values = sets.iter().filter_map(|set| of(set));
            let (sum, count) =
                values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
            (count > 0).then(|| sum / f64::from(count))
        };
        let replicates = 0..first.replicates.len();
        Some(Self {
            estimate: mean(&|set| set.estimate),
            replicates: replicates
                .map(|draw| mean(&|set| *set.replicates.get(draw)?))
                .collect(),
            level: first.level,
        })
    }

    /// How much larger this is than another measurement of the same images, replicate by replicate: what makes a class
    /// hard for both cancels.
    pub fn minus(&self, other: &Self) -> Self {
        let pairs = self.replicates.iter().zip(&other.replicates);
        Self {
            estimate: difference(self.estimate, other.estimate),
            replicates: pairs.map(|(a, b)| difference(*a, *b)).collect(),
            level: self.level,
        }
    }

    /// The measurement and the middle of its replicates; `None` where it is undefined.
    pub fn interval(&self) -> Option<Interval> {
        let estimate = self.estimate?;
        let mut sorted: Vec<f64> = self.replicates.iter().copied().flatten().collect();
        sorted.sort_by(f64::total_cmp);
        (!sorted.is_empty()).then(|| Interval {
            estimate,
            lower: quantile(&sorted, (1.0 - self.level) / 2.0),
            upper: quantile(&sorted, (1.0 + self.level) / 2.0),
        })
    }
}

fn difference(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? - b?)
}

/// Quantile of sorted values, interpolated between neighbors (numpy's default).
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy.quantile([1, 2, 4, 8], [0.025, 0.5, 0.975])
        let values = [1.0, 2.0, 4.0, 8.0];
        let quantiles = [0.025, 0.5, 0.975].map(|share| quantile(&values, share));
        let close = |(a, b): (&f64, f64)| (a - b).abs() < 1e-12;
        assert!(
            quantiles.iter().zip([1.075, 3.0, 7.7]).all(close),
            "{quantiles:?}"
        );
    }

    #[test]
    fn a_mean_leaves_out_what_is_undefined() {
        let set = |estimate, replicates: [Option<f64>; 2]| Replicated {
            estimate,
            replicates: replicates.to_vec(),
            level: 0.95,
        };
        let (a, b) = (
            set(Some(1.0), [Some(1.0), None]),
            set(Some(3.0), [Some(5.0), Some(2.0)]),
        );
        let mean = Replicated::mean(&[&a, &b]);
        assert_eq!(mean, Some(set(Some(2.0), [Some(3.0), Some(2.0)])));
        let undefined = Replicated::mean(&[&set(None, [None; 2])]).unwrap();
        assert_eq!(undefined.interval(), None);
    }
}
