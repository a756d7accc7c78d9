//! From the cells of an output directory to results: one for each suite, model and protocol in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::entry::entries;
use super::{BASE_VARIANT, CellFilter, DomainSummary, Results};
use crate::BenchmarkError;
use crate::cell::{Cell, CellFile, CellRequest, Slot};
use crate::conflict::{self, without_seed};
use crate::protocol::Protocol;
use crate::shift::Shift;
use crate::suite::Suite;

/// Reads all cells below an output directory: results of every suite, model and protocol, in this order.
///
/// What the embedded suites are is known. Cells name no file, so the description of any other suite stays unknown unless it is
/// `suite`, and its domains are in the order of their names.
///
/// # Errors
///
/// [`BenchmarkError::NoResults`], [`BenchmarkError::OtherSuite`] when no cell is of `suite`, [`BenchmarkError::TwoFiles`] and
/// [`BenchmarkError::Mixed`] when cells contradict each other, and as [`Cell::read_all`].
pub fn read_results(output: &Path, suite: Option<&Suite>) -> Result<Vec<Results>, BenchmarkError> {
    read_chosen_results(output, suite, &CellFilter::default())
}

/// [`read_results`] of some of the cells, as if there were no others.
///
/// # Errors
///
/// As [`read_results`], [`BenchmarkError::Unknown`] for a name that no cell has, and [`BenchmarkError::NothingChosen`].
pub fn read_chosen_results(
    output: &Path,
    suite: Option<&Suite>,
    filter: &CellFilter,
) -> Result<Vec<Results>, BenchmarkError> {
    refuse_two_files(output)?;
    let cells = Cell::read_all(output)?;
    if cells.is_empty() {
        return Err(BenchmarkError::NoResults {
            path: output.to_owned(),
        });
    }
    let found: BTreeSet<&str> = cells
        .iter()
        .map(|cell| cell.request.suite.as_str())
        .collect();
    if let Some(suite) = suite.filter(|suite| !found.contains(suite.name.as_str())) {
        let found: Vec<String> = found.iter().map(|name| format!("`{name}`")).collect();
        return Err(BenchmarkError::OtherSuite {
            path: output.to_owned(),
            expected: suite.name.clone(),
            found: found.join(", "),
        });
    }
    let mut suites: Vec<Suite> = Vec::new();
    for name in found {
        match suite {
            Some(suite) if suite.name == name => suites.push(suite.clone()),
            _ if Suite::embedded().any(|embedded| embedded == name) => {
                suites.push(Suite::open(name)?)
            }
            _ => {}
        }
    }
    Results::of_chosen_cells(cells, &suites, output, filter)
}

/// Two files about one cell would count it twice.
fn refuse_two_files(output: &Path) -> Result<(), BenchmarkError> {
    let mut slots: HashMap<Slot, _> = HashMap::new();
    for CellFile { path, request } in CellFile::list(output)? {
        if let Some(first) = slots.insert(request?.slot(), path.clone()) {
            return Err(BenchmarkError::TwoFiles {
                first,
                second: path,
            });
        }
    }
    Ok(())
}

/// Suite, digest of the model, number format and protocol: what results have in common.
type Setup = (String, String, String, Protocol);

impl Results {
    /// The results of some cells; `suites` are the suites that more is known about, `output` names the cells' directory in
    /// messages.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Mixed`] when the cells of a suite are about other classes, shifts or images.
    pub fn of_cells(
        cells: Vec<Cell>,
        suites: &[Suite],
        output: &Path,
    ) -> Result<Vec<Self>, BenchmarkError> {
        Self::of_chosen_cells(cells, suites, output, &CellFilter::default())
    }

    fn of_chosen_cells(
        mut cells: Vec<Cell>,
        suites: &[Suite],
        output: &Path,
        filter: &CellFilter,
    ) -> Result<Vec<Self>, BenchmarkError> {
        let requests: Vec<CellRequest> = cells.iter().map(|cell| cell.request.clone()).collect();
        let mut firsts: BTreeMap<(&str, &str, Shift), &CellRequest> = BTreeMap::new();
        for request in &requests {
            firsts
                .entry((&request.suite, &request.domain, request.shift))
                .or_insert(request);
        }
        let firsts: Vec<CellRequest> = firsts.into_values().cloned().collect();
        if let Err(BenchmarkError::OtherData {
            path,
            suite,
            differences,
        }) = conflict::check_data(&requests.iter().collect::<Vec<_>>(), &firsts, output)
        {
            return Err(BenchmarkError::Mixed {
                path,
                suite,
                differences,
            });
        }
        name_other_settings(&mut cells);
        let names = model_names(&cells);
        filter.choose(&mut cells)?;
        if cells.is_empty() {
            return Err(BenchmarkError::NothingChosen {
                path: output.to_owned(),
            });
        }
        let mut setups: BTreeMap<(usize, Setup), Vec<Cell>> = BTreeMap::new();
        for cell in cells {
            let request = &cell.request;
            let (model, precision) = (request.model_sha256.clone(), request.precision.to_string());
            let setup = (request.suite.clone(), model, precision, request.protocol);
            // Models in the order of their names, whatever their digests are.
            let place = names
                .values()
                .filter(|name| **name < names[&(setup.1.clone(), setup.2.clone())])
                .count();
            setups.entry((place, setup)).or_default().push(cell);
        }
        let mut all: Vec<Self> = Vec::new();
        for ((_, (suite, model, precision, _)), cells) in setups {
            let suite = suites.iter().find(|other| other.name == suite);
            all.push(Self::of_setup(
                &cells,
                suite,
                names[&(model, precision)].clone(),
            ));
        }
        let order: Vec<&str> = Suite::embedded().collect();
        let place = |results: &Self| order.iter().position(|name| *name == results.suite);
        all.sort_by_key(|results| (place(results).unwrap_or(order.len()), results.suite.clone()));
        Ok(all)
    }

    /// The results of cells of one suite, model and protocol.
    fn of_setup(cells: &[Cell], suite: Option<&Suite>, model: String) -> Self {
        let first = &cells[0].request;
        let mut domains: Vec<DomainSummary> = Vec::new();
        for cell in cells {
            let request = &cell.request;
            if !domains.iter().any(|domain| domain.name == request.domain) {
                domains.push(DomainSummary {
                    name: request.domain.clone(),
                    group: request.group.clone(),
                    images: request.test_images.count,
                });
            }
        }
        let place = |name: &str| {
            let domains = suite.iter().flat_map(|suite| &suite.domains);
            let mut names = domains.map(|domain| domain.name.as_str());
            names.position(|other| other == name).unwrap_or(usize::MAX)
        };
        domains.sort_by_key(|domain| (place(&domain.name), domain.name.clone()));
        let shifts: BTreeSet<Shift> = cells.iter().map(|cell| cell.request.shift).collect();
        let versions: BTreeSet<&String> = cells.iter().map(|cell| &cell.ueo_version).collect();
        let ordinary = cells
            .iter()
            .find(|cell| cell.request.shift != Shift::AllKnown);
        Self {
            suite: first.suite.clone(),
            about: suite.map(|suite| suite.about.clone()),
            model,
            model_sha256: first.model_sha256.clone(),
            precision: first.precision,
            protocol: first.protocol,
            versions: versions.into_iter().cloned().collect(),
            cells: cells.len(),
            failed: cells.iter().filter(|cell| cell.results.is_none()).count(),
            classes: first.classes.len(),
            known: ordinary.unwrap_or(&cells[0]).request.known.len(),
            of_suite: suite.map(|suite| {
                let mut domains: BTreeMap<String, usize> = BTreeMap::new();
                for domain in &suite.domains {
                    *domains.entry(domain.group.clone()).or_default() += 1;
                }
                (domains, suite.shifts.len())
            }),
            entries: entries(cells, &domains),
            domains,
            shifts: shifts.into_iter().collect(),
            variants: variants(cells),
        }
    }
}

/// The variants, the most complete ones first: by methods, domains and shifts, then by seeds.
fn variants(cells: &[Cell]) -> Vec<String> {
    let mut counts: BTreeMap<&str, (BTreeSet<_>, usize)> = BTreeMap::new();
    for cell in cells {
        let request = &cell.request;
        let (places, cells) = counts.entry(&request.variant).or_default();
        places.insert((request.method, &request.domain, request.shift));
        *cells += 1;
    }
    let mut variants: Vec<(&str, (usize, usize))> = counts
        .into_iter()
        .map(|(name, (places, cells))| (name, (places.len(), cells)))
        .collect();
    variants.sort_by_key(|&(name, counts)| (std::cmp::Reverse(counts), name != BASE_VARIANT));
    variants
        .into_iter()
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Renames the variant of cells whose settings are not those of most others: earlier versions replaced part of a variant's
/// cells when its settings changed, and a mean over both would mean nothing.
fn name_other_settings(cells: &mut [Cell]) {
    let place = |cell: &Cell| (cell.request.slot().folders, cell.request.method);
    let settings = |cell: &Cell| {
        let text = serde_json::Value::Object(without_seed(&cell.request.settings)).to_string();
        let digest = Sha256::digest(text.as_bytes());
        format!("{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2])
    };
    let mut counts: BTreeMap<_, BTreeMap<String, usize>> = BTreeMap::new();
    for cell in cells.iter() {
        *counts
            .entry(place(cell))
            .or_default()
            .entry(settings(cell))
            .or_default() += 1;
    }
    for cell in cells {
        let counts = &counts[&place(cell)];
        let (own, most) = (
            settings(cell),
            counts.iter().max_by_key(|(_, count)| **count),
        );
        if most.is_some_and(|(most, _)| *most != own) {
            cell.request.variant = format!("{}~{own}", cell.request.variant);
        }
    }
}

/// What each model is called, by digest and number format: the name of its latest cell, and more where names are equal.
fn model_names(cells: &[Cell]) -> HashMap<(String, String), String> {
    const DIGITS: usize = 8;
    let mut names: BTreeMap<(String, String), String> = BTreeMap::new();
    for cell in cells {
        let request = &cell.request;
        let key = (request.model_sha256.clone(), request.precision.to_string());
        let digits = &request.model_sha256[..request.model_sha256.len().min(DIGITS)];
        let name = names.entry(key).or_insert_with(|| digits.to_owned());
        if let Some(given) = &cell.model {
            name.clone_from(given);
        }
    }
    let alike = |name: &str| names.values().filter(|other| *other == name).count() > 1;
    let unique = names.iter().map(|((sha256, precision), name)| {
        let digits = &sha256[..sha256.len().min(DIGITS)];
        let own = match alike(name) {
            true => format!("{name} ({digits}, {precision})"),
            false => name.clone(),
        };
        ((sha256.clone(), precision.clone()), own)
    });
    unique.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cells::{cell, images, one, request};
    use crate::{Metric, Series};
    use ueo::method::Method;
    use ueo::model::Precision;

    fn made(method: Method, correct: usize, change: impl Fn(&mut CellRequest)) -> Cell {
        let mut request = request(3, &[0, 2]);
        request.method = method;
        change(&mut request);
        cell(request, images(correct, 0))
    }

    fn read(cells: Vec<Cell>) -> Vec<Results> {
        Results::of_cells(cells, &[], Path::new("out")).unwrap()
    }

    #[test]
    fn models_suites_and_protocols_are_kept_apart() {
        let named = |name: &str, mut cell: Cell| {
            cell.model = Some(name.to_owned());
            cell
        };
        let all = read(vec![
            named("b", made(Method::Ueo, 1, |_| ())),
            named(
                "a",
                made(Method::Ueo, 2, |request| {
                    request.model_sha256 = "1".to_owned()
                }),
            ),
            named(
                "b",
                made(Method::Ueo, 3, |request| {
                    request.precision = Precision::Bf16
                }),
            ),
            named(
                "b",
                made(Method::Ueo, 4, |request| {
                    request.protocol = Protocol::HeldOut
                }),
            ),
            named(
                "b",
                made(Method::Ueo, 0, |request| {
                    request.suite = "another".to_owned()
                }),
            ),
        ]);
        let names: Vec<String> = all.iter().map(Results::name).collect();
        assert_eq!(
            names,
            [
                "another, b (0, f32), published protocol",
                "made-up, a, published protocol",
                "made-up, b (0, bf16), published protocol",
                "made-up, b (0, f32), published protocol",
                "made-up, b (0, f32), held-out protocol",
            ]
        );
        let series = Series::new("suite", Method::Ueo);
        let accuracy = |results: &Results| {
            let summary = results.summary(&series, &[(0, Shift::Closed)]).unwrap();
            summary.values[&Metric::Accuracy].mean
        };
        let accuracies: Vec<f64> = all.iter().map(accuracy).collect();
        assert_eq!(accuracies, [0.0, 0.5, 0.75, 0.25, 1.0]);
    }

    #[test]
    fn other_settings_under_one_name_are_no_part_of_its_means() {
        let results = one(vec![
            made(Method::Ueo, 4, |request| request.settings.epochs = 3.into()),
            made(Method::Ueo, 1, |request| request.domain = "b".to_owned()),
            made(Method::Ueo, 1, |request| request.domain = "c".to_owned()),
        ]);
        assert_eq!(results.variants.len(), 2, "{:?}", results.variants);
        assert!(
            results.variants[1].starts_with("suite~"),
            "{:?}",
            results.variants
        );
        let pairs: Vec<_> = results.group("domains").pairs().collect();
        let series = Series::new("suite", Method::Ueo);
        let summary = results.summary(&series, &pairs).unwrap();
        assert_eq!(summary.values[&Metric::Accuracy].mean, 0.25);
        assert!(summary.values[&Metric::Accuracy].partial);
    }

    #[test]
    fn the_main_variant_has_the_most_cells() {
        let variant = |name: &'static str, domain: &'static str| {
            made(Method::Ueo, 1, move |request| {
                request.variant = name.to_owned();
                request.domain = domain.to_owned();
            })
        };
        let results = one(vec![
            variant("a", "x"),
            variant("z", "x"),
            variant("z", "y"),
        ]);
        assert_eq!(results.main_variant(), "z");
        let results = one(vec![variant("a", "x"), variant("suite", "x")]);
        assert_eq!(results.main_variant(), "suite");
    }

    #[test]
    fn cells_of_other_images_are_refused() {
        let other = made(Method::Pouf, 1, |request| {
            request.variant = "later".to_owned();
            request.test_images.count = 9;
        });
        let error = Results::of_cells(
            vec![made(Method::Ueo, 1, |_| ()), other],
            &[],
            Path::new("out"),
        );
        let error = error.unwrap_err().to_string();
        assert!(error.contains("images of drawings: 0, now 9"), "{error}");
    }
}
