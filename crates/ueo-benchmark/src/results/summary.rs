//! Means over domains, shifts and seeds, and differences; all say whether they lack cells that they should be taken over.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Results, Series};
use crate::bootstrap::ReplicatedMeasurements;
use crate::measurements::Metric;
use crate::shift::Shift;
use ueo::evaluate::{Interval, Replicated};

/// A series over a scope.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Pairs of domain and shift that have results.
    pub pairs: usize,
    /// Pairs that were asked for.
    pub asked: usize,
    /// Seeds that all of these pairs have, over which the means are taken.
    pub seeds: usize,
    /// Seeds that any of these pairs has.
    pub any_seeds: usize,
    /// Cells whose training failed.
    pub failed: usize,
    /// Mean wall-clock time of a cell in seconds, whatever ran beside it.
    pub mean_secs: f64,
    /// Mean and deviation of each metric.
    pub values: BTreeMap<Metric, Value>,
}

/// Mean over domains, shifts and seeds, and sample standard deviation over seeds of the mean over domains and shifts.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Mean.
    pub mean: f64,
    /// Mean over domains and shifts of each seed.
    pub by_seed: BTreeMap<Option<u64>, f64>,
    /// Deviation, `None` with fewer than two seeds.
    pub deviation: Option<f64>,
    /// Whether cells are missing that the mean should be taken over.
    pub partial: bool,
}

/// How much one series is above another on the pairs that both have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Pairs of domain and shift.
    pub pairs: usize,
    /// Whether pairs are missing that were asked for.
    pub partial: bool,
    /// Difference of [`Metric::Accuracy`].
    pub accuracy: Option<Interval>,
    /// Difference of [`Metric::Auroc`].
    pub auroc: Option<Interval>,
    /// Difference of [`Metric::AurocMatched`].
    pub auroc_matched: Option<Interval>,
    /// Difference of [`Metric::AurocScaled`].
    pub auroc_scaled: Option<Interval>,
}

impl Summary {
    /// Whether cells are missing that the means should be taken over.
    pub fn partial(&self) -> bool {
        self.pairs < self.asked || self.seeds < self.any_seeds || self.failed > 0
    }
}

impl Results {
    /// A series over some pairs; `None` where it has no measurements.
    pub fn summary(&self, series: &Series, pairs: &[(usize, Shift)]) -> Option<Summary> {
        let entries: Vec<&Entry> = pairs
            .iter()
            .filter_map(|&(domain, shift)| self.entry(series, domain, shift))
            .collect();
        let failed = entries.iter().map(|entry| entry.failed).sum();
        let measured: Vec<&&Entry> = entries
            .iter()
            .filter(|entry| !entry.seeds.is_empty())
            .collect();
        let seeds_of =
            |entry: &&&Entry| -> BTreeSet<Option<u64>> { entry.seeds.keys().copied().collect() };
        let any: BTreeSet<Option<u64>> = measured.iter().flat_map(seeds_of).collect();
        let mut seeds = seeds_of(measured.first()?);
        for entry in &measured {
            seeds.retain(|seed| entry.seeds.contains_key(seed));
        }
        let mut summary = Summary {
            pairs: measured.len(),
            asked: pairs.len(),
            seeds: seeds.len(),
            any_seeds: any.len(),
            failed,
            mean_secs: mean(measured.iter().map(|entry| entry.secs)).unwrap_or(0.0),
            values: BTreeMap::new(),
        };
        for metric in Metric::ALL {
            let of_seed = |seed: &Option<u64>| {
                let of_entry = |entry: &&&Entry| metric.of(&entry.seeds[seed]);
                Some((*seed, mean(measured.iter().filter_map(of_entry))?))
            };
            let by_seed: BTreeMap<Option<u64>, f64> = seeds.iter().filter_map(of_seed).collect();
            if let Some(mean) = mean(by_seed.values().copied()) {
                let value = Value {
                    mean,
                    deviation: sample_deviation(by_seed.values().copied(), mean),
                    by_seed,
                    partial: summary.partial(),
                };
                summary.values.insert(metric, value);
            }
        }
        Some(summary)
    }

    /// How much `series` is above `reference` on those of some pairs that both have measurements of.
    pub fn compare(
        &self,
        series: &Series,
        reference: &Series,
        pairs: &[(usize, Shift)],
    ) -> Option<Comparison> {
        let both: Vec<(&ReplicatedMeasurements, &ReplicatedMeasurements)> = pairs
            .iter()
            .filter_map(|&(domain, shift)| {
                let replicated = |series| self.entry(series, domain, shift)?.replicated.as_ref();
                Some((replicated(series)?, replicated(reference)?))
            })
            .collect();
        if both.is_empty() {
            return None;
        }
        let interval = |metric: fn(&ReplicatedMeasurements) -> &Replicated| {
            let of_series: Vec<&Replicated> = both.iter().map(|(a, _)| metric(a)).collect();
            let of_reference: Vec<&Replicated> = both.iter().map(|(_, b)| metric(b)).collect();
            Replicated::mean(&of_series)?
                .minus(&Replicated::mean(&of_reference)?)
                .interval()
        };
        let lacks_seeds = |series| {
            let summary = self.summary(series, pairs);
            summary.is_some_and(|summary| summary.partial())
        };
        Some(Comparison {
            pairs: both.len(),
            partial: both.len() < pairs.len() || lacks_seeds(series) || lacks_seeds(reference),
            accuracy: interval(|m| &m.accuracy),
            auroc: interval(|m| &m.auroc),
            auroc_matched: interval(|m| &m.auroc_matched),
            auroc_scaled: interval(|m| &m.auroc_scaled),
        })
    }
}

impl Comparison {
    /// The difference of a metric that classes are resampled for.
    pub fn of(&self, metric: Metric) -> Option<Interval> {
        match metric {
            Metric::Accuracy => self.accuracy,
            Metric::Auroc => self.auroc,
            Metric::AurocMatched => self.auroc_matched,
            Metric::AurocScaled => self.auroc_scaled,
            Metric::OverallAccuracy
            | Metric::HarmonicMean
            | Metric::HScore
            | Metric::FprAt95Tpr
            | Metric::AurocMaximumLogit
            | Metric::CalibrationError => None,
        }
    }
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// With the divisor n - 1.
fn sample_deviation(values: impl ExactSizeIterator<Item = f64>, mean: f64) -> Option<f64> {
    let freedom = values.len().checked_sub(1).filter(|&freedom| freedom > 0)?;
    let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
    Some((squares / freedom as f64).sqrt())
}
