//! All cells of an output directory, and what can be said about some of them together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;

use super::BenchmarkError;
use super::bootstrap::ReplicatedMeasurements;
use super::cell::Cell;
use super::measurements::{Measurements, Metric};
use super::shift::Shift;
use super::suite::Suite;
use ueo::adapt::Settings;
use ueo::evaluate::{Interval, Replicated};
use ueo::method::Method;
use ueo::model::Precision;

/// The cells of one suite and one model.
#[derive(Clone, Debug)]
pub struct Results {
    /// Name of the suite.
    pub suite: String,
    /// What the suite is, in a sentence; `None` where only its name is known.
    pub about: Option<String>,
    /// SHA-256 of the checkpoint.
    pub model_sha256: String,
    /// Number format of its frozen matrices.
    pub precision: Precision,
    /// Versions of the program that ran the cells.
    pub versions: Vec<String>,
    /// Number of cells.
    pub cells: usize,
    /// Cells whose training failed.
    pub failed: usize,
    /// Number of classes.
    pub classes: usize,
    /// Number of listed classes, but for the all-known shift.
    pub known: usize,
    /// The domains that there are cells of, in the suite's order.
    pub domains: Vec<DomainSummary>,
    /// The shifts that there are cells of.
    pub shifts: Vec<Shift>,
    /// The variants that there are cells of, the suite's own settings first.
    pub variants: Vec<String>,
    entries: BTreeMap<(Series, usize, Shift), Entry>,
}

/// A domain as the cells describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainSummary {
    /// Name of the domain.
    pub name: String,
    /// Group of the domain.
    pub group: String,
    /// Test images, unreadable ones included.
    pub images: usize,
}

/// A method with the settings of a variant: a row of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// Name of the variant.
    pub variant: String,
    /// The method.
    pub method: Method,
}

/// Pairs of domains (by position) and shifts that are averaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Positions in [`Results::domains`].
    pub domains: Vec<usize>,
    /// Category shifts.
    pub shifts: Vec<Shift>,
}

/// One method on one domain under one shift: all seeds.
#[derive(Clone, Debug)]
struct Entry {
    settings: Settings,
    trained_on: usize,
    seeds: BTreeMap<Option<u64>, Measurements>,
    failed: usize,
    /// Of the mean over the seeds; `None` where there is none, or they are not of the same images.
    replicated: Option<ReplicatedMeasurements>,
    secs: f64,
}

/// A series over a scope.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Pairs of domain and shift that have results.
    pub pairs: usize,
    /// Seeds that all of these pairs have.
    pub seeds: usize,
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
}

/// How much one series is above another on the pairs that both have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Pairs of domain and shift.
    pub pairs: usize,
    /// Difference of [`Metric::Accuracy`].
    pub accuracy: Option<Interval>,
    /// Difference of [`Metric::Auroc`].
    pub auroc: Option<Interval>,
    /// Difference of [`Metric::AurocScaled`].
    pub auroc_scaled: Option<Interval>,
}

/// The variant with which others are compared.
pub const BASE_VARIANT: &str = "suite";

impl Series {
    /// A method in a variant.
    pub fn new(variant: &str, method: Method) -> Self {
        Self {
            variant: variant.to_owned(),
            method,
        }
    }
}

impl Results {
    /// Reads the cells below an output directory.
    ///
    /// Without `suite`, it is the embedded one that the cells name. Cells name no file, so the description of any other suite
    /// stays unknown, and its domains are in the order of their names.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::NoResults`], [`BenchmarkError::OtherSuite`] when the cells are of another suite than `suite`, and as
    /// [`Self::new`], [`Cell::read_all`] and [`Suite::open`].
    pub fn read(output: &Path, suite: Option<&Suite>) -> Result<Self, BenchmarkError> {
        let cells = Cell::read_all(output)?;
        if cells.is_empty() {
            return Err(BenchmarkError::NoResults {
                path: output.to_owned(),
            });
        }
        let found = suite_name(&cells, output)?;
        let embedded;
        let suite = match suite {
            Some(suite) if suite.name != found => {
                return Err(BenchmarkError::OtherSuite {
                    path: output.to_owned(),
                    expected: suite.name.clone(),
                    found: found.to_owned(),
                });
            }
            Some(suite) => Some(suite),
            None if Suite::embedded().any(|name| name == found) => {
                embedded = Suite::open(found)?;
                Some(&embedded)
            }
            None => None,
        };
        let domains = suite.iter().flat_map(|suite| &suite.domains);
        let order: Vec<String> = domains.map(|domain| domain.name.clone()).collect();
        Ok(Self {
            about: suite.map(|suite| suite.about.clone()),
            ..Self::new(&cells, &order, output)?
        })
    }

    /// The results of some cells; `order` gives the suite's order of domains, `output` names the cells' directory in messages.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Mixed`] when the cells are not of one suite, one model and the same test images.
    pub fn new(cells: &[Cell], order: &[String], output: &Path) -> Result<Self, BenchmarkError> {
        let mixed = |what: &'static str| BenchmarkError::Mixed {
            path: output.to_owned(),
            what,
        };
        let suite = suite_name(cells, output)?;
        let first = &cells[0].request;
        if cells
            .iter()
            .any(|cell| cell.request.model_sha256 != first.model_sha256)
        {
            return Err(mixed("several models"));
        }
        if cells
            .iter()
            .any(|cell| cell.request.precision != first.precision)
        {
            return Err(mixed("several precisions"));
        }
        if cells
            .iter()
            .any(|cell| cell.request.classes != first.classes)
        {
            return Err(mixed("several lists of classes"));
        }
        let mut images = BTreeMap::new();
        for cell in cells {
            let test = &cell.request.test_images;
            if *images.entry(&cell.request.domain).or_insert(test) != test {
                return Err(mixed("several sets of test images of one domain"));
            }
        }
        let mut domains: Vec<DomainSummary> = Vec::new();
        for cell in cells {
            if !domains
                .iter()
                .any(|domain| domain.name == cell.request.domain)
            {
                domains.push(DomainSummary {
                    name: cell.request.domain.clone(),
                    group: cell.request.group.clone(),
                    images: cell.request.test_images.count,
                });
            }
        }
        let place = |name: &String| order.iter().position(|other| other == name);
        domains.sort_by_key(|domain| {
            (
                place(&domain.name).unwrap_or(usize::MAX),
                domain.name.clone(),
            )
        });
        let shifts: BTreeSet<Shift> = cells.iter().map(|cell| cell.request.shift).collect();
        let versions: BTreeSet<&String> = cells.iter().map(|cell| &cell.ueo_version).collect();
        let mut variants: Vec<String> = cells
            .iter()
            .map(|cell| cell.request.variant.clone())
            .collect();
        variants.sort_by_key(|name| (name != BASE_VARIANT, name.clone()));
        variants.dedup();
        let ordinary = cells
            .iter()
            .find(|cell| cell.request.shift != Shift::AllKnown);
        Ok(Self {
            suite: suite.to_owned(),
            about: None,
            model_sha256: first.model_sha256.clone(),
            precision: first.precision,
            versions: versions.into_iter().cloned().collect(),
            cells: cells.len(),
            failed: cells.iter().filter(|cell| cell.results.is_none()).count(),
            classes: first.classes.len(),
            known: ordinary.unwrap_or(&cells[0]).request.known.len(),
            entries: entries(cells, &domains),
            domains,
            shifts: shifts.into_iter().collect(),
            variants,
        })
    }

    /// The suite's own settings, or the first that there are.
    pub fn main_variant(&self) -> &str {
        self.variants.first().map_or(BASE_VARIANT, String::as_str)
    }

    /// The groups of domains, in the suite's order.
    pub fn groups(&self) -> Vec<&str> {
        let mut groups = Vec::new();
        for domain in &self.domains {
            if !groups.contains(&domain.group.as_str()) {
                groups.push(domain.group.as_str());
            }
        }
        groups
    }

    /// All domains of a group under all ordinary shifts: with every class known there is nothing to separate, so that
    /// shift is no part of an average.
    pub fn group(&self, group: &str) -> Scope {
        let of_group = |&position: &usize| self.domains[position].group == group;
        Scope {
            domains: (0..self.domains.len()).filter(of_group).collect(),
            shifts: self.ordinary_shifts(),
        }
    }

    /// The shifts that are averaged.
    pub fn ordinary_shifts(&self) -> Vec<Shift> {
        self.shifts
            .iter()
            .copied()
            .filter(|&shift| shift != Shift::AllKnown)
            .collect()
    }

    /// The methods that a variant has cells of, in the order of [`Method::ALL`].
    pub fn methods(&self, variant: &str) -> Vec<Method> {
        let has = |method: &&Method| {
            self.entries
                .keys()
                .any(|(series, ..)| series.variant == variant && series.method == **method)
        };
        Method::ALL.iter().filter(has).copied().collect()
    }

    /// The settings of a series, those of its first cell.
    pub fn settings(&self, series: &Series) -> Option<&Settings> {
        let mut entries = self
            .entries
            .iter()
            .filter(|((other, ..), _)| other == series);
        entries.next().map(|(_, entry)| &entry.settings)
    }

    /// Whether true labels were used in the training of a series.
    pub fn sees_labels(&self, series: &Series) -> bool {
        self.settings(series).is_some_and(Settings::needs_labels)
    }

    /// The scope restricted to the pairs that a series has cells of: the same pairs for another series.
    pub fn pairs(&self, series: &Series, scope: &Scope) -> Vec<(usize, Shift)> {
        scope
            .pairs()
            .filter(|&(domain, shift)| self.entry(series, domain, shift).is_some())
            .collect()
    }

    /// Images that a series was trained on in a domain under a shift.
    pub fn trained_on(&self, series: &Series, domain: usize, shift: Shift) -> Option<usize> {
        Some(self.entry(series, domain, shift)?.trained_on)
    }

    /// A method that does not train is the same in all variants, so the one that has it answers for all.
    fn entry(&self, series: &Series, domain: usize, shift: Shift) -> Option<&Entry> {
        let own = self.entries.get(&(series.clone(), domain, shift));
        if own.is_some() || series.method.trains() {
            return own;
        }
        self.variants.iter().find_map(|variant| {
            self.entries
                .get(&(Series::new(variant, series.method), domain, shift))
        })
    }

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
        let mut seeds: BTreeSet<Option<u64>> = measured.first()?.seeds.keys().copied().collect();
        for entry in &measured {
            seeds.retain(|seed| entry.seeds.contains_key(seed));
        }
        let mut values = BTreeMap::new();
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
                };
                values.insert(metric, value);
            }
        }
        Some(Summary {
            pairs: measured.len(),
            seeds: seeds.len(),
            failed,
            mean_secs: mean(measured.iter().map(|entry| entry.secs)).unwrap_or(0.0),
            values,
        })
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
        Some(Comparison {
            pairs: both.len(),
            accuracy: interval(|m| &m.accuracy),
            auroc: interval(|m| &m.auroc),
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

impl Scope {
    /// Every domain under every shift.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, Shift)> {
        let shifts = &self.shifts;
        self.domains
            .iter()
            .flat_map(move |&domain| shifts.iter().map(move |&shift| (domain, shift)))
    }
}

/// The suite that all cells are of.
fn suite_name<'a>(cells: &'a [Cell], output: &Path) -> Result<&'a str, BenchmarkError> {
    let mixed = |what: &'static str| BenchmarkError::Mixed {
        path: output.to_owned(),
        what,
    };
    let first = &cells.first().ok_or_else(|| mixed("no results"))?.request;
    if cells.iter().any(|cell| cell.request.suite != first.suite) {
        return Err(mixed("several suites"));
    }
    Ok(&first.suite)
}

/// Cells with the same series, domain and shift together, with the replicates of their mean.
fn entries(cells: &[Cell], domains: &[DomainSummary]) -> BTreeMap<(Series, usize, Shift), Entry> {
    let mut grouped: BTreeMap<(Series, usize, Shift), Vec<&Cell>> = BTreeMap::new();
    for cell in cells {
        let request = &cell.request;
        let series = Series::new(&request.variant, request.method);
        let domain = domains
            .iter()
            .position(|domain| domain.name == request.domain);
        // Every cell's domain is listed.
        let key = (series, domain.unwrap_or(domains.len()), request.shift);
        grouped.entry(key).or_default().push(cell);
    }
    let grouped: Vec<_> = grouped.into_iter().collect();
    let entries = grouped
        .into_par_iter()
        .map(|(key, cells)| (key, Entry::new(&cells)));
    entries.collect::<Vec<_>>().into_iter().collect()
}

impl Entry {
    fn new(cells: &[&Cell]) -> Self {
        let measured = cells.iter().copied();
        let measured: Vec<&Cell> = measured.filter(|cell| cell.results.is_some()).collect();
        let secs = |cell: &&Cell| cell.timing.adaptation_secs + cell.timing.evaluation_secs;
        Self {
            settings: cells[0].request.settings.clone(),
            trained_on: cells[0].images.trained_on,
            seeds: measured
                .iter()
                .filter_map(|cell| Some((cell.request.seed, cell.results?)))
                .collect(),
            failed: cells.len() - measured.len(),
            replicated: ReplicatedMeasurements::of_seeds(&measured).ok(),
            secs: mean(cells.iter().map(secs)).unwrap_or(0.0),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// With the divisor n - 1.
fn sample_deviation(values: impl ExactSizeIterator<Item = f64>, mean: f64) -> Option<f64> {
    let freedom = values.len().checked_sub(1).filter(|&freedom| freedom > 0)?;
    let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
    Some((squares / freedom as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cells::{cell, images, request};
    use ueo::model::Precision;

    /// A cell with the images of [`images`]: accuracy `correct` / 4, AUROC 1 - `lost` / 4.
    fn made(method: Method, domain: &str, seed: Option<u64>, correct: usize, lost: usize) -> Cell {
        let mut request = request(3, &[0, 2]);
        request.method = method;
        request.domain = domain.to_owned();
        request.seed = seed;
        cell(request, images(correct, lost))
    }

    fn results(cells: &[Cell]) -> Results {
        Results::new(cells, &["b".to_owned(), "a".to_owned()], Path::new("out")).unwrap()
    }

    #[test]
    fn means_and_deviations_equal_numbers_by_hand() {
        let results = results(&[
            made(Method::Ueo, "a", Some(1), 2, 1),
            made(Method::Ueo, "a", Some(2), 3, 2),
            made(Method::Ueo, "b", Some(1), 4, 0),
            made(Method::Ueo, "b", Some(2), 3, 0),
            made(Method::ZeroShot, "a", None, 1, 1),
            made(Method::ZeroShot, "b", None, 4, 2),
        ]);
        let names: Vec<&str> = results
            .domains
            .iter()
            .map(|domain| domain.name.as_str())
            .collect();
        assert_eq!(names, ["b", "a"], "the suite's order");
        let scope = results.group("domains");
        let pairs: Vec<_> = scope.pairs().collect();
        let ueo = Series::new("suite", Method::Ueo);
        let summary = results.summary(&ueo, &pairs).unwrap();
        assert_eq!((summary.pairs, summary.seeds, summary.failed), (2, 2, 0));
        // Seed 1: (2/4 + 4/4) / 2 = 0.75; seed 2: (3/4 + 3/4) / 2 = 0.75.
        let accuracy = &summary.values[&Metric::Accuracy];
        assert_eq!((accuracy.mean, accuracy.deviation), (0.75, Some(0.0)));
        // Seed 1: (3/4 + 1) / 2 = 0.875; seed 2: (2/4 + 1) / 2 = 0.75; deviation 0.125 / sqrt(2).
        let auroc = &summary.values[&Metric::Auroc];
        assert_eq!(auroc.mean, 0.8125);
        let by_seed = BTreeMap::from([(Some(1), 0.875), (Some(2), 0.75)]);
        assert_eq!(auroc.by_seed, by_seed);
        assert!((auroc.deviation.unwrap() - 0.125 / 2_f64.sqrt()).abs() < 1e-12);

        let zero_shot = Series::new("suite", Method::ZeroShot);
        let summary = results.summary(&zero_shot, &pairs).unwrap();
        assert_eq!(summary.values[&Metric::Accuracy].deviation, None);
        let comparison = results.compare(&ueo, &zero_shot, &pairs).unwrap();
        assert_eq!(comparison.pairs, 2);
        // 0.75 - (1/4 + 4/4) / 2 and 0.8125 - (3/4 + 2/4) / 2; one class of each kind has images, so nothing varies.
        let accuracy = comparison.accuracy.unwrap();
        assert_eq!(
            (accuracy.estimate, accuracy.lower, accuracy.upper),
            (0.125, 0.125, 0.125)
        );
        assert_eq!(comparison.auroc.unwrap().estimate, 0.1875);
    }

    #[test]
    fn a_method_that_does_not_train_serves_every_variant() {
        let mut sharp = made(Method::Ueo, "a", Some(1), 4, 0);
        sharp.request.variant = "sharp".to_owned();
        let results = results(&[sharp, made(Method::ZeroShot, "a", None, 1, 0)]);
        assert_eq!(results.variants, ["suite", "sharp"]);
        let pairs = [(0, Shift::Closed)];
        let series = |variant, method| Series::new(variant, method);
        let zero_shot = series("sharp", Method::ZeroShot);
        let compared = results
            .compare(&series("sharp", Method::Ueo), &zero_shot, &pairs)
            .unwrap();
        assert_eq!(compared.accuracy.unwrap().estimate, 0.75);
        assert!(
            results
                .summary(&series("suite", Method::Ueo), &pairs)
                .is_none()
        );
        assert_eq!(results.methods("sharp"), [Method::Ueo]);
    }

    #[test]
    fn failed_training_is_counted_and_not_averaged() {
        let mut failed = made(Method::Ueo, "a", Some(2), 0, 0);
        failed.results = None;
        failed.images = Default::default();
        failed.failure = Some("the loss is NaN".to_owned());
        let results = results(&[made(Method::Ueo, "a", Some(1), 2, 0), failed]);
        let series = Series::new("suite", Method::Ueo);
        let summary = results.summary(&series, &[(0, Shift::Closed)]).unwrap();
        assert_eq!((summary.seeds, summary.failed), (1, 1));
        assert_eq!(summary.values[&Metric::Accuracy].mean, 0.5);
    }

    #[test]
    fn cells_of_several_models_or_precisions_are_refused() {
        let mut other = made(Method::Ueo, "b", Some(1), 4, 0);
        let refused = |other: Cell, why: &str| {
            let cells = [made(Method::Ueo, "a", Some(1), 4, 0), other];
            let error = Results::new(&cells, &[], Path::new("out"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{error}");
        };
        let mut rounded = other.clone();
        rounded.request.precision = Precision::Bf16;
        refused(rounded, "several precisions");
        other.request.model_sha256 = "1".to_owned();
        refused(other, "several models");
    }
}
