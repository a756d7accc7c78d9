//! Finds a suite's images on disk, in the layouts in which the data sets are distributed.
//!
//! A suite names candidate places; the first that exists is used. Labels come from list files or from class folders, and
//! end as indices into the suite's classes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::BenchmarkError;
use super::suite::{Domain, Suite};
use ueo::data::{ClassList, Dataset, DatasetOptions, Sample, SourceKind};
use ueo::session::SkippedImage;

/// A suite's data on disk.
#[derive(Clone, Debug)]
pub struct SuiteData {
    /// Names of all classes, in the order that the index ranges mean.
    pub classes: Vec<String>,
    /// The selected domains, in the suite's order.
    pub domains: Vec<DomainFiles>,
    /// Where the numbers of images are not those of the publication.
    pub differences: Vec<CountDifference>,
    /// Inputs that cannot be used, under their domain's name.
    pub skipped: Vec<SkippedImage>,
}

/// The labelled images of a domain.
#[derive(Clone, Debug)]
pub struct DomainFiles {
    /// Name of the domain.
    pub name: String,
    /// Group of the domain.
    pub group: String,
    /// Images that may be trained on, and tested on if `test` is `None`.
    pub train: LabelledImages,
    /// Images that are tested on, where these are others.
    pub test: Option<LabelledImages>,
}

/// A data set and the class of each of its images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledImages {
    /// What to open.
    pub path: PathBuf,
    /// Folder that the paths of a list are relative to, if it is not the list's own.
    pub image_root: Option<PathBuf>,
    /// Index into the suite's classes, in the order of the opened data set.
    pub labels: Vec<usize>,
    /// SHA-256 over ids and labels.
    pub fingerprint: String,
}

/// A number of images that is not that of the publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountDifference {
    /// Name of the domain.
    pub domain: String,
    /// Where the images were found.
    pub path: PathBuf,
    /// Images of the publication.
    pub expected: usize,
    /// Images on disk.
    pub found: usize,
    /// Entries that cannot be used, such as files that a list names and that are not there.
    pub unusable: usize,
    /// What the number may mean.
    pub hint: Option<String>,
}

impl DomainFiles {
    /// The images that are tested on.
    pub fn tested(&self) -> &LabelledImages {
        self.test.as_ref().unwrap_or(&self.train)
    }
}

impl LabelledImages {
    /// Indices of the images whose class is among some.
    pub fn of_classes(&self, classes: &[usize]) -> Vec<usize> {
        (0..self.labels.len())
            .filter(|&image| classes.contains(&self.labels[image]))
            .collect()
    }
}

/// A data set before its labels are understood.
struct Opened {
    path: PathBuf,
    image_root: Option<PathBuf>,
    dataset: Dataset,
}

/// Finds the images of some domains below a data directory.
///
/// # Errors
///
/// [`BenchmarkError::NoData`], [`BenchmarkError::ClassCount`], [`BenchmarkError::Label`] and [`BenchmarkError::Data`].
/// Other numbers of images than those of the publication are no error; they are listed.
pub fn locate(
    suite: &Suite,
    data: &Path,
    domains: &[&Domain],
) -> Result<SuiteData, BenchmarkError> {
    let root = root(suite, data, domains)?;
    let mut opened = Vec::new();
    for domain in domains {
        let train = open(
            suite,
            data,
            &root,
            &domain.name,
            &domain.lists,
            &domain.folders,
        )?;
        let test = match domain.one_list() {
            true => None,
            false => Some(open(
                suite,
                data,
                &root,
                &domain.name,
                &domain.test_lists,
                &[],
            )?),
        };
        opened.push((*domain, train, test));
    }
    let sets: Vec<&Opened> = opened
        .iter()
        .flat_map(|(_, train, test)| [Some(train), test.as_ref()])
        .flatten()
        .collect();
    let classes = match &suite.class_file {
        Some(file) => ClassList::read(&root.join(file))?.names().to_vec(),
        None => class_names(&sets)?,
    };
    if classes.len() != suite.classes {
        return Err(BenchmarkError::ClassCount {
            suite: suite.name.clone(),
            expected: suite.classes,
            found: classes.len(),
            path: root,
            detail: listed(&classes),
        });
    }
    let mut found = SuiteData {
        classes,
        domains: Vec::new(),
        differences: Vec::new(),
        skipped: Vec::new(),
    };
    for (domain, train, test) in &opened {
        for set in [Some(train), test.as_ref()].into_iter().flatten() {
            found.skipped.extend(skipped(domain, set));
        }
        found
            .differences
            .extend(difference(domain, train, domain.images));
        if let Some(test) = test {
            found
                .differences
                .extend(difference(domain, test, domain.test_images));
        }
        found.domains.push(DomainFiles {
            name: domain.name.clone(),
            group: domain.group.clone(),
            train: labelled(train, &found.classes)?,
            test: test
                .as_ref()
                .map(|test| labelled(test, &found.classes))
                .transpose()?,
        });
    }
    Ok(found)
}

/// The first root in which any of the domains is.
fn root(suite: &Suite, data: &Path, domains: &[&Domain]) -> Result<PathBuf, BenchmarkError> {
    let holds = |root: &Path| {
        let mut places = domains
            .iter()
            .flat_map(|domain| domain.lists.iter().chain(&domain.folders));
        places.any(|place| root.join(place).exists())
    };
    let mut roots = suite.roots.iter().map(|root| data.join(root));
    roots.find(|root| holds(root)).ok_or_else(|| {
        let places = domains
            .iter()
            .flat_map(|domain| domain.lists.iter().chain(&domain.folders));
        missing(suite, data, "the images".to_owned(), places)
    })
}

fn missing<'a>(
    suite: &Suite,
    data: &Path,
    missing: String,
    places: impl Iterator<Item = &'a PathBuf>,
) -> BenchmarkError {
    let mut places: Vec<String> = places.map(|place| place.display().to_string()).collect();
    const NAMED: usize = 6;
    if places.len() > NAMED {
        places.truncate(NAMED);
        places.push("and so on".to_owned());
    }
    BenchmarkError::NoData {
        suite: suite.name.clone(),
        missing,
        data: data.to_owned(),
        searched: places.join(", "),
        obtain: suite.obtain.clone(),
    }
}

fn open(
    suite: &Suite,
    data: &Path,
    root: &Path,
    domain: &str,
    lists: &[PathBuf],
    folders: &[PathBuf],
) -> Result<Opened, BenchmarkError> {
    if let Some(list) = lists
        .iter()
        .map(|list| root.join(list))
        .find(|list| list.is_file())
    {
        // Paths of a list are relative to its own folder or to the data set's.
        let own = open_list(&list, None);
        return match own {
            Ok(opened) => Ok(opened),
            Err(first) => open_list(&list, Some(root.to_owned())).map_err(|_| first),
        };
    }
    let folder = folders
        .iter()
        .map(|folder| root.join(folder))
        .find(|folder| folder.is_dir());
    let path = folder.ok_or_else(|| {
        missing(
            suite,
            data,
            format!("the domain `{domain}`"),
            lists.iter().chain(folders),
        )
    })?;
    let dataset = Dataset::open(&path, &DatasetOptions::default())?;
    Ok(Opened {
        path,
        image_root: None,
        dataset,
    })
}

fn open_list(list: &Path, image_root: Option<PathBuf>) -> Result<Opened, BenchmarkError> {
    let options = DatasetOptions {
        image_root: image_root.clone(),
        ..DatasetOptions::default()
    };
    Ok(Opened {
        path: list.to_owned(),
        image_root,
        dataset: Dataset::open(list, &options)?,
    })
}

/// Class names from numbered lists (the folder of an image names the class of its number) or else from class folders in
/// byte order.
fn class_names(sets: &[&Opened]) -> Result<Vec<String>, BenchmarkError> {
    let mut numbered: BTreeMap<usize, &str> = BTreeMap::new();
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for set in sets {
        for sample in &set.dataset.samples {
            let wrong = |reason: String| BenchmarkError::Label {
                path: set.path.clone(),
                id: sample.id.to_owned(),
                reason,
            };
            let label = sample.label;
            let label = label.ok_or_else(|| wrong("has no label".to_owned()))?;
            match number(set, &sample) {
                Some(number) => {
                    let folder = class_folder(&sample).ok_or_else(|| {
                        wrong("has a number as its label but lies in no class folder".to_owned())
                    })?;
                    let before = *numbered.entry(number).or_insert(folder);
                    if before != folder {
                        return Err(wrong(format!(
                            "has label {number}, which is `{before}` elsewhere and `{folder}` here"
                        )));
                    }
                }
                None => {
                    named.insert(label);
                }
            }
        }
    }
    if numbered.is_empty() {
        return Ok(named.into_iter().map(str::to_owned).collect());
    }
    Ok(numbered.into_values().map(str::to_owned).collect())
}

fn number(set: &Opened, sample: &Sample<'_>) -> Option<usize> {
    match set.dataset.kind {
        SourceKind::Directory => None,
        _ => sample.label?.parse().ok(),
    }
}

fn class_folder<'a>(sample: &Sample<'a>) -> Option<&'a str> {
    sample.id.rsplit('/').nth(1)
}

fn labelled(set: &Opened, classes: &[String]) -> Result<LabelledImages, BenchmarkError> {
    let spaced = |name: &str| name.replace('_', " ");
    let mut positions: BTreeMap<String, usize> = BTreeMap::new();
    for (position, name) in classes.iter().enumerate() {
        positions.insert(spaced(name), position);
    }
    let mut labels = Vec::with_capacity(set.dataset.len());
    let mut hasher = Sha256::new();
    for sample in &set.dataset.samples {
        let label = match number(set, &sample) {
            Some(number) => Some(number).filter(|&number| number < classes.len()),
            None => sample
                .label
                .and_then(|label| positions.get(&spaced(label)).copied()),
        };
        let label = label.ok_or_else(|| BenchmarkError::Label {
            path: set.path.clone(),
            id: sample.id.to_owned(),
            reason: match &sample.label {
                Some(label) => {
                    format!("has the label `{label}`, which is none of the suite's classes")
                }
                None => "has no label".to_owned(),
            },
        })?;
        hasher.update(format!("{}\t{label}\n", sample.id));
        labels.push(label);
    }
    Ok(LabelledImages {
        path: set.path.clone(),
        image_root: set.image_root.clone(),
        labels,
        fingerprint: hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    })
}

fn skipped<'a>(domain: &Domain, set: &'a Opened) -> impl Iterator<Item = SkippedImage> + use<'a> {
    let name = domain.name.clone();
    let entries = set.dataset.skipped.iter();
    entries.map(move |entry| SkippedImage {
        id: format!("{name}: {}", entry.id),
        reason: entry.reason.to_string(),
    })
}

fn difference(domain: &Domain, set: &Opened, expected: Option<usize>) -> Option<CountDifference> {
    let (expected, found) = (expected?, set.dataset.len());
    let unusable = set.dataset.skipped.len();
    if expected == found {
        return None;
    }
    // What a list names says which list it is, whether the files are there or not.
    let total = found + unusable;
    let known = domain
        .other_counts
        .iter()
        .find(|count| count.images == total);
    Some(CountDifference {
        domain: domain.name.clone(),
        path: set.path.clone(),
        expected,
        found,
        unusable,
        hint: known.map(|count| count.hint.clone()),
    })
}

/// Up to a handful of names, to see what was taken for classes.
fn listed(names: &[String]) -> String {
    const LISTED: usize = 5;
    let shown = names
        .iter()
        .take(LISTED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let more = if names.len() > LISTED { ", ..." } else { "" };
    format!(": {shown}{more}")
}
