//! All cells of one suite, model and protocol, and what can be said about some of them together.

mod entry;
mod filter;
mod read;
mod summary;

use std::collections::BTreeMap;

use super::shift::Shift;
use ueo::adapt::Settings;
use ueo::method::Method;
use ueo::model::Precision;

use super::protocol::Protocol;
use entry::Entry;

pub use filter::CellFilter;
pub use read::{read_chosen_results, read_results};
pub use summary::{Comparison, Summary, Value};

/// A number and the thing that is counted.
pub(crate) fn counted(number: usize, one: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {one}{ending}")
}

/// The cells of one suite, one model and one protocol.
#[derive(Clone, Debug)]
pub struct Results {
    /// Name of the suite.
    pub suite: String,
    /// What the suite is, in a sentence; `None` where only its name is known.
    pub about: Option<String>,
    /// What the model is called; another one of the same tables is called differently.
    pub model: String,
    /// SHA-256 of the checkpoint.
    pub model_sha256: String,
    /// Number format of its frozen matrices.
    pub precision: Precision,
    /// Which images were adapted to and tested.
    pub protocol: Protocol,
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
    /// The variants that there are cells of, the most complete one first.
    pub variants: Vec<String>,
    /// Domains of each group, and category shifts, that the suite has, where that is known.
    of_suite: Option<(BTreeMap<String, usize>, usize)>,
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

/// The name of the variant with the suite's own settings.
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
    /// The variant that the tables begin with: the one with the most cells, the suite's own settings among equals.
    pub fn main_variant(&self) -> &str {
        self.variants.first().map_or(BASE_VARIANT, String::as_str)
    }

    /// Suite, model and protocol, as a heading.
    pub fn name(&self) -> String {
        format!("{}, {}, {} protocol", self.suite, self.model, self.protocol)
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

    /// A group of domains in words.
    pub fn group_title(group: &str) -> String {
        match group {
            "domains" => group.to_owned(),
            _ => format!("{group} domains"),
        }
    }

    /// How many domains and shifts are averaged, and of how many: `3 of 6 domains and 4 category shifts`.
    pub fn averaged(&self, group: &str) -> String {
        let scope = self.group(group);
        let (domains, shifts) = (scope.domains.len(), scope.shifts.len());
        let of = |count: usize, all: Option<usize>, name: &str| match all {
            Some(all) if all > count => format!("{count} of {all} {name}s"),
            _ => counted(count, name),
        };
        let all = self.of_suite.as_ref();
        format!(
            "{} and {}",
            of(
                domains,
                all.and_then(|(domains, _)| domains.get(group).copied()),
                "domain"
            ),
            of(shifts, all.map(|(_, shifts)| *shifts), "category shift")
        )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;
    use crate::measurements::Metric;
    use crate::test_cells::{cell, images, one, request};

    /// A cell with the images of [`images`]: accuracy `correct` / 4, AUROC 1 - `lost` / 4.
    fn made(method: Method, domain: &str, seed: Option<u64>, correct: usize, lost: usize) -> Cell {
        let mut request = request(3, &[0, 2]);
        request.method = method;
        request.domain = domain.to_owned();
        request.seed = seed;
        cell(request, images(correct, lost))
    }

    fn results(cells: &[Cell]) -> Results {
        one(cells.to_vec())
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
        assert!(summary.values[&Metric::Accuracy].partial);
        assert_eq!(summary.values[&Metric::Accuracy].mean, 0.5);
    }

    #[test]
    fn means_that_lack_cells_say_so() {
        let zero_shot = [
            made(Method::ZeroShot, "a", None, 1, 0),
            made(Method::ZeroShot, "b", None, 1, 0),
        ];
        let partial = |ueo: &[Cell]| {
            let results = results(&[&zero_shot, ueo].concat());
            let pairs: Vec<_> = results.group("domains").pairs().collect();
            let [ueo, zero_shot] =
                [Method::Ueo, Method::ZeroShot].map(|method| Series::new("suite", method));
            let summary = results.summary(&ueo, &pairs).unwrap();
            let comparison = results.compare(&ueo, &zero_shot, &pairs).unwrap();
            assert_eq!(summary.partial(), summary.values[&Metric::Accuracy].partial);
            assert_eq!(summary.partial(), comparison.partial);
            summary.partial()
        };
        let ueo = |domain, seed| made(Method::Ueo, domain, Some(seed), 2, 0);
        assert!(!partial(&[ueo("a", 1), ueo("b", 1)]));
        assert!(partial(&[ueo("a", 1)]), "a domain");
        assert!(partial(&[ueo("a", 1), ueo("b", 1), ueo("b", 2)]), "a seed");
    }
}
