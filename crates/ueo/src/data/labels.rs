//! Which class each image is labelled with, as far as the user meant labels at all.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display, Formatter};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::class_name::{fold, joined, nearest};
use super::format::FileKind;
use super::{ClassList, DataError, Dataset, SourceKind};

/// Folder levels that are looked at for classes.
const MAX_LEVELS: usize = 8;

/// Labels that the nearest class is looked for; the work is bounded, and nobody reads more.
const MAX_SUGGESTIONS: usize = 20;

/// Where labels come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum LabelChoice {
    /// The labels of a list or of shards; otherwise the folders, if they are classes.
    #[default]
    Auto,
    /// The folders, whatever they are called: those that are no known class are unknown classes.
    Folders,
    /// The labels of a list or of shards, whatever they are.
    List,
    /// Nowhere: all images count as unlabelled.
    None,
}

/// What is known of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageLabel {
    /// It shows the known class with this index.
    Known(usize),
    /// It shows a class that is not in the list: the one with this index into [`Labelling::unmatched`].
    Unknown(usize),
    /// Nothing, and why.
    Unlabelled(Unlabelled),
}

/// Why an image has no label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unlabelled {
    /// It lies beside the class folders, in none of them.
    NoFolder,
    /// Its line of the list has no label.
    NoListLabel,
    /// Its shard has no label entry for it.
    NoLabelEntry,
    /// Its row of a Parquet file has no label.
    NoLabelCell,
    /// Most folders are no known classes, so that they seem to mean something else.
    FoldersAreNoClasses,
    /// No label is a known class, so that they seem to mean something else.
    LabelsAreNoClasses,
    /// A program named it, without a label.
    NoneGiven,
    /// Labels were not asked for.
    NotAsked,
}

/// What labels were taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelBasis {
    /// Folders of this level, from 0 for the first below the images' root.
    Folders {
        /// The level.
        level: usize,
    },
    /// Names in a list or in shards.
    Names,
    /// Numbers in a list or in shards: positions in the class list, from 0.
    Positions,
    /// Nothing.
    Nothing,
}

/// A label that is no known class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmatchedLabel {
    /// The label, as the data set first spells it.
    pub label: String,
    /// Images that have it.
    pub images: usize,
    /// The known class whose name is a slip of the keyboard away, among the labels with the most images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

/// What the labels of a data set mean with respect to a class list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelling {
    /// What is known of each image, in the order of the data set.
    pub images: Vec<ImageLabel>,
    /// Labels that are no known class, in the order in which images have them.
    pub unmatched: Vec<UnmatchedLabel>,
    /// Where the labels come from.
    pub basis: LabelBasis,
    /// Whether positions seem to count from 1: 0 never appears, every other one does, and one that is the number of classes.
    pub counts_from_one: bool,
}

impl Labelling {
    /// Reads what the labels of a data set mean.
    ///
    /// A label is the class whose name, or id, it equals; case, Unicode's form and the separators between words make no
    /// difference. Labels of lists and shards may also be positions in the class list, from 0: they are if none of them is
    /// a class and the list has no ids. Other numbers and words among positions (`-1`, `unknown`) are unknown classes.
    ///
    /// Folders are the outermost level that has known classes for at least half of its folders, or folders for at least
    /// half of the known classes. If there is none, [`LabelChoice::Auto`] takes the images for unlabelled, and
    /// [`LabelChoice::Folders`] all folders of the first level for unknown classes. Auto takes the labels of a list or of
    /// shards for labels if one of them is a class.
    ///
    /// # Errors
    /// [`DataError::NoListLabels`] when the labels of a list are asked for and there is none.
    pub fn of(
        dataset: &Dataset,
        classes: &ClassList,
        choice: LabelChoice,
    ) -> Result<Self, DataError> {
        let matcher = Matcher::new(classes);
        let has_labels = || labels_of(dataset).any(|label| label.is_some());
        match (choice, dataset.kind) {
            (LabelChoice::None, _) => Ok(Self::nothing(dataset, Unlabelled::NotAsked)),
            (LabelChoice::List, SourceKind::Directory) => Err(DataError::NoListLabels),
            (LabelChoice::Auto | LabelChoice::List, SourceKind::Given) => {
                Ok(Self::nothing(dataset, Unlabelled::NoneGiven))
            }
            (LabelChoice::List, _) | (LabelChoice::Auto, SourceKind::List | SourceKind::Rows) => {
                Ok(Self::of_entries(dataset, &matcher, choice))
            }
            (LabelChoice::Auto, SourceKind::Shards) if has_labels() => {
                Ok(Self::of_entries(dataset, &matcher, choice))
            }
            (LabelChoice::Auto | LabelChoice::Folders, _) => {
                Ok(Self::of_folders(dataset, &matcher, choice))
            }
        }
    }

    /// Number of images that have a label, known or unknown.
    pub fn labelled(&self) -> usize {
        let is_labelled = |label: &&ImageLabel| !matches!(label, ImageLabel::Unlabelled(_));
        self.images.iter().filter(is_labelled).count()
    }

    /// Number of images without a label, by reason.
    pub fn unlabelled(&self) -> Vec<(Unlabelled, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for label in &self.images {
            if let ImageLabel::Unlabelled(reason) = label {
                *counts.entry(*reason).or_default() += 1;
            }
        }
        counts.into_iter().collect()
    }

    fn nothing(dataset: &Dataset, reason: Unlabelled) -> Self {
        Self {
            images: vec![ImageLabel::Unlabelled(reason); dataset.len()],
            unmatched: Vec::new(),
            basis: LabelBasis::Nothing,
            counts_from_one: false,
        }
    }

    /// From the labels of a list or of shards.
    fn of_entries(dataset: &Dataset, matcher: &Matcher, choice: LabelChoice) -> Self {
        let labels = || labels_of(dataset);
        let missing = match dataset.kind {
            SourceKind::Shards => Unlabelled::NoLabelEntry,
            SourceKind::Rows => Unlabelled::NoLabelCell,
            SourceKind::List | SourceKind::Directory | SourceKind::Given => Unlabelled::NoListLabel,
        };
        let distinct: HashSet<&str> = labels().flatten().collect();
        let any_class = distinct.iter().any(|label| matcher.class(label).is_some());
        let are_positions = !any_class
            && matcher.ids.is_empty()
            && distinct.iter().any(|label| position(label).is_some());
        let class = |label: &str| match are_positions {
            true => position(label).filter(|&at| at < matcher.folded.len()),
            false => matcher.class(label),
        };
        let basis = match are_positions {
            true => LabelBasis::Positions,
            false => LabelBasis::Names,
        };
        let mut labelling = Self::resolve(labels(), missing, basis, class, matcher);
        labelling.counts_from_one =
            are_positions && counts_from_one(&distinct, matcher.folded.len());
        let any_known = labelling
            .images
            .iter()
            .any(|label| matches!(label, ImageLabel::Known(_)));
        if !any_known && choice == LabelChoice::Auto {
            labelling.discard(Unlabelled::LabelsAreNoClasses);
        }
        labelling
    }

    /// From the folders of the images.
    fn of_folders(dataset: &Dataset, matcher: &Matcher, choice: LabelChoice) -> Self {
        let folders = |level: usize| {
            let ids = (0..dataset.len()).map(|index| dataset.samples.id(index));
            ids.map(move |id| folders_of(id, dataset.kind).nth(level))
        };
        let level = (0..MAX_LEVELS).find(|&level| are_classes(folders(level), matcher));
        let labels = folders(level.unwrap_or(0));
        let basis = LabelBasis::Folders {
            level: level.unwrap_or(0),
        };
        let class = |label: &str| matcher.class(label);
        let mut labelling = Self::resolve(labels, Unlabelled::NoFolder, basis, class, matcher);
        if level.is_none() && choice == LabelChoice::Auto {
            labelling.discard(Unlabelled::FoldersAreNoClasses);
        }
        labelling
    }

    fn resolve<'a>(
        labels: impl ExactSizeIterator<Item = Option<&'a str>>,
        missing: Unlabelled,
        basis: LabelBasis,
        class: impl Fn(&str) -> Option<usize>,
        matcher: &Matcher,
    ) -> Self {
        let mut unmatched: Vec<UnmatchedLabel> = Vec::new();
        // What each spelling means, and the unknown class of each folded one.
        let mut meanings: HashMap<&str, ImageLabel> = HashMap::new();
        let mut unknown: HashMap<String, usize> = HashMap::new();
        let mut images = Vec::with_capacity(labels.len());
        for label in labels {
            let Some(label) = label else {
                images.push(ImageLabel::Unlabelled(missing));
                continue;
            };
            let meaning = *meanings.entry(label).or_insert_with(|| match class(label) {
                Some(class) => ImageLabel::Known(class),
                None => ImageLabel::Unknown(*unknown.entry(fold(label)).or_insert_with(|| {
                    unmatched.push(UnmatchedLabel {
                        label: label.to_owned(),
                        images: 0,
                        nearest: None,
                    });
                    unmatched.len() - 1
                })),
            });
            if let ImageLabel::Unknown(index) = meaning {
                unmatched[index].images += 1;
            }
            images.push(meaning);
        }
        if basis != LabelBasis::Positions {
            suggest(&mut unmatched, matcher);
        }
        Self {
            images,
            unmatched,
            basis,
            counts_from_one: false,
        }
    }

    /// Takes labels for something else. The unmatched ones stay, so that they can be shown.
    fn discard(&mut self, reason: Unlabelled) {
        self.basis = LabelBasis::Nothing;
        for label in &mut self.images {
            if !matches!(label, ImageLabel::Unlabelled(_)) {
                *label = ImageLabel::Unlabelled(reason);
            }
        }
    }
}

/// The labels of all images, as the data set spells them.
fn labels_of(dataset: &Dataset) -> impl ExactSizeIterator<Item = Option<&str>> {
    (0..dataset.len()).map(|index| dataset.samples.label(index))
}

/// Finds classes by their spellings.
struct Matcher<'a> {
    classes: &'a ClassList,
    exact: HashMap<&'a str, usize>,
    by_fold: HashMap<String, usize>,
    /// Names without separators; `None` where two classes agree in it.
    by_joined: HashMap<String, Option<usize>>,
    ids: HashMap<String, usize>,
    folded: Vec<String>,
}

impl<'a> Matcher<'a> {
    fn new(classes: &'a ClassList) -> Self {
        let folded: Vec<String> = classes.names().iter().map(|name| fold(name)).collect();
        let mut by_joined = HashMap::new();
        for (index, name) in folded.iter().enumerate() {
            by_joined
                .entry(joined(name))
                .and_modify(|class| *class = None)
                .or_insert(Some(index));
        }
        let ids = classes.ids().unwrap_or_default();
        Self {
            classes,
            exact: (0..)
                .zip(classes.names())
                .map(|(index, name)| (name.as_str(), index))
                .collect(),
            by_fold: (0..)
                .zip(&folded)
                .map(|(index, name)| (name.clone(), index))
                .collect(),
            by_joined,
            ids: (0..)
                .zip(ids)
                .map(|(index, id)| (id_key(id), index))
                .collect(),
            folded,
        }
    }

    fn class(&self, label: &str) -> Option<usize> {
        if let Some(&class) = self.exact.get(label) {
            return Some(class);
        }
        let folded = fold(label);
        let by_name = self.by_fold.get(&folded).copied();
        by_name
            .or_else(|| self.ids.get(&id_key(label)).copied())
            .or_else(|| self.by_joined.get(&joined(&folded)).copied().flatten())
    }
}

/// An id as it is compared: numbers without leading zeros and decimal places, others folded.
fn id_key(id: &str) -> String {
    position(id).map_or_else(|| fold(id), |number| number.to_string())
}

/// A label that is a number of no sign: `7`, or `7.0` as spreadsheets write it.
fn position(label: &str) -> Option<usize> {
    let digits = match label.split_once('.') {
        Some((digits, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => {
            digits
        }
        Some(_) => return None,
        None => label,
    };
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(())?;
    digits.parse().ok()
}

fn counts_from_one(labels: &HashSet<&str>, classes: usize) -> bool {
    let positions: HashSet<usize> = labels.iter().filter_map(|label| position(label)).collect();
    classes > 0 && !positions.contains(&0) && (1..=classes).all(|at| positions.contains(&at))
}

/// The folders that an image lies in, from the outermost; inside a shard, those of the shard.
fn folders_of(id: &str, kind: SourceKind) -> impl Iterator<Item = &str> {
    let folders = id.rsplit_once('/').map(|(folders, _)| folders);
    let is_shard = |part: &str| FileKind::of(Path::new(part)) == FileKind::Shard;
    let inside = match (folders, kind) {
        (Some(folders), SourceKind::Shards) => {
            let mut end = 0;
            let found = folders.split('/').any(|part| {
                end += part.len() + 1;
                is_shard(part)
            });
            match found {
                true => folders.get(end..),
                false => Some(folders),
            }
        }
        (folders, _) => folders,
    };
    inside.into_iter().flat_map(|folders| folders.split('/'))
}

/// Whether the folders of a level are classes.
fn are_classes<'a>(folders: impl Iterator<Item = Option<&'a str>>, matcher: &Matcher) -> bool {
    let names: HashSet<&str> = folders.flatten().collect();
    let matched: Vec<usize> = names
        .iter()
        .filter_map(|name| matcher.class(name))
        .collect();
    let classes: HashSet<&usize> = matched.iter().collect();
    !matched.is_empty()
        && (2 * matched.len() >= names.len() || 2 * classes.len() >= matcher.folded.len())
}

/// Names the nearest class of the labels with the most images.
fn suggest(unmatched: &mut [UnmatchedLabel], matcher: &Matcher) {
    let mut order: Vec<usize> = (0..unmatched.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(unmatched[index].images), index));
    for index in order.into_iter().take(MAX_SUGGESTIONS) {
        let class = nearest(&fold(&unmatched[index].label), &matcher.folded);
        unmatched[index].nearest = class.map(|class| matcher.classes.names()[class].clone());
    }
}

impl LabelChoice {
    /// Whether nothing was chosen, which files leave out.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

impl Display for Unlabelled {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoFolder => "beside the class folders, in none of them",
            Self::NoListLabel => "without a label in the list",
            Self::NoLabelEntry => "without a label entry in their shard",
            Self::NoLabelCell => "without a label in their row",
            Self::FoldersAreNoClasses => "in folders that are mostly no known classes",
            Self::LabelsAreNoClasses => "with labels of which none is a known class",
            Self::NoneGiven => "named by a program, without labels",
            Self::NotAsked => "labels were not asked for",
        })
    }
}
