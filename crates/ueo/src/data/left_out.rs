//! What was not taken and why, counted: nothing is left out without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::quote;

use super::format::FileKind;

/// Names that are kept of each reason.
const EXAMPLES: usize = 5;

/// Longest extension that is a reason of its own, in characters.
const MAX_EXTENSION_CHARS: usize = 16;

/// Why a file that does not claim to be an image was not taken. Images that cannot be used, those of a format that is not
/// read among them, are [`Skipped`](super::Skipped) instead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOutReason {
    /// The labels of a Parquet file, whose rows were taken: the name of their column, and what it holds.
    LabelColumn(String, &'static str),
    /// A shard in a folder that has pictures too.
    ShardBesidePictures,
    /// A Parquet file in a folder that has pictures or shards too.
    TableBesidePictures,
    /// An archive of a kind that is not read, with the kind's name.
    UnreadArchive(&'static str),
    /// A link inside an archive.
    ArchiveLink,
    /// A device, pipe or another special entry inside an archive.
    ArchiveSpecial,
    /// A label inside an archive that labels no image, cannot be read, or comes second.
    UnusedLabel,
    /// A hidden file.
    HiddenFile,
    /// A file inside a hidden folder.
    HiddenFolder,
    /// Any other file, with its extension in lower case; empty when it has none.
    OtherExtension(String),
}

/// How many files were not taken for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutCount {
    /// The reason in words; [`LeftOutReason`]'s.
    pub reason: String,
    /// Number of files.
    pub files: usize,
    /// The first names in byte order, a handful at most, exactly as they are: escape them to show them.
    pub examples: Vec<String>,
    /// Whether only the labels of these files were not taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub labels_only: bool,
}

/// Counts of the files that were not taken, by reason. The same for every order in which files are found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    reasons: BTreeMap<LeftOutReason, (usize, BTreeSet<String>)>,
}

impl LeftOut {
    /// Counts a file.
    pub(super) fn add(&mut self, reason: LeftOutReason, id: &str) {
        let (files, examples) = self.reasons.entry(reason).or_default();
        *files += 1;
        let is_among_first =
            examples.len() < EXAMPLES || examples.last().is_some_and(|last| id < last.as_str());
        if is_among_first && examples.insert(id.to_owned()) && examples.len() > EXAMPLES {
            examples.pop_last();
        }
    }

    /// Number of files.
    pub fn total(&self) -> usize {
        self.reasons.values().map(|(files, _)| files).sum()
    }

    /// Whether every file was taken.
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Number of files that were not taken for a reason.
    pub fn files(&self, reason: &LeftOutReason) -> usize {
        self.reasons.get(reason).map_or(0, |(files, _)| *files)
    }

    /// The counts, what a user may miss first.
    pub fn counts(&self) -> Vec<LeftOutCount> {
        self.reasons
            .iter()
            .map(|(reason, (files, examples))| LeftOutCount {
                reason: reason.to_string(),
                files: *files,
                examples: examples.iter().cloned().collect(),
                labels_only: matches!(reason, LeftOutReason::LabelColumn(..)),
            })
            .collect()
    }
}

impl LeftOutReason {
    /// [`Self::of`] for a member of an archive; archives inside archives are not read.
    pub(super) fn of_member(path: &Path, kind: FileKind) -> Self {
        match kind {
            FileKind::Shard => Self::UnreadArchive("nested tar"),
            FileKind::Rows => Self::UnreadArchive("nested Parquet"),
            kind => Self::of(path, kind),
        }
    }

    /// Why a file with this name, which is no image, is not taken.
    pub(super) fn of(path: &Path, kind: FileKind) -> Self {
        match kind {
            FileKind::UnreadArchive(name) => Self::UnreadArchive(name),
            FileKind::Shard => Self::ShardBesidePictures,
            FileKind::Rows => Self::TableBesidePictures,
            FileKind::Image | FileKind::UnreadImage(_) | FileKind::Other => {
                let extension = path.extension().unwrap_or_default().to_string_lossy();
                let is_extension = extension.chars().count() <= MAX_EXTENSION_CHARS
                    && extension.chars().all(char::is_alphanumeric);
                Self::OtherExtension(if is_extension {
                    extension.to_lowercase()
                } else {
                    String::new()
                })
            }
        }
    }
}

impl Display for LeftOutReason {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::LabelColumn(column, kind) => write!(
                formatter,
                "Parquet file whose column `{}` holds {kind}, expected whole numbers or texts",
                quote::whole(column)
            ),
            Self::ShardBesidePictures => formatter.write_str("shard beside pictures"),
            Self::TableBesidePictures => {
                formatter.write_str("Parquet file beside pictures or shards")
            }
            Self::UnreadArchive(name) => write!(formatter, "{name} archive, which is not read"),
            Self::ArchiveLink => formatter.write_str("link inside an archive"),
            Self::ArchiveSpecial => formatter.write_str("special entry of an archive"),
            Self::UnusedLabel => formatter.write_str("label of no image"),
            Self::HiddenFile => formatter.write_str("hidden file"),
            Self::HiddenFolder => formatter.write_str("file in a hidden folder"),
            Self::OtherExtension(extension) if extension.is_empty() => {
                formatter.write_str("file without a known extension")
            }
            Self::OtherExtension(extension) => {
                write!(formatter, "file with the extension .{extension}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_examples_do_not_depend_on_the_order() {
        let reason = || LeftOutReason::OtherExtension("txt".into());
        let names: Vec<String> = (0..9).map(|number| format!("{number}.txt")).collect();
        let (mut forwards, mut backwards) = (LeftOut::default(), LeftOut::default());
        names.iter().for_each(|name| forwards.add(reason(), name));
        names
            .iter()
            .rev()
            .for_each(|name| backwards.add(reason(), name));
        assert_eq!(forwards, backwards);
        assert_eq!(forwards.files(&reason()), 9);
        assert_eq!(forwards.counts()[0].examples, names[..EXAMPLES]);
    }
}
