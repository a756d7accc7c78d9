//! The directory of a discovery: `discovered.json` with all numbers, and beside it a table, a class list and a page.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use ueo::csv_cell;
use ueo::data::ParquetColumns;
use ueo::disk::{create_directories, remove_file};
use ueo::evaluate::ScoreRule;
use ueo::image::ExifOrientation;
use ueo::session::{BaseRecord, CutBasis, SimilarName, SkippedImage, VocabularyUse};

use super::RunError;
use super::directory::{RunDirectory, write_whole};
use super::discovering::adapted_sha256;

/// Version of the layout of `discovered.json`; readers refuse all others.
pub const DISCOVERY_FORMAT_VERSION: u32 = 1;

const RECORD: &str = "discovered.json";
const GROUPS: &str = "groups.csv";
const CLASSES: &str = "classes.txt";
const PAGE: &str = "discovered.html";
/// Where a discovery about the images of a run goes, in the directory of the run.
const IN_RUN: &str = "discovered";

/// The content of `discovered.json`: what the rejected images show, and all that it follows from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiscoveryRecord {
    /// [`DISCOVERY_FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Version of `ueo` that wrote it.
    pub ueo_version: String,
    /// The checkpoint or run directory that looked, as an absolute path.
    pub model: PathBuf,
    /// SHA-256 of the run's `adapted.safetensors`; `None` for a plain checkpoint.
    pub adapted_sha256: Option<String>,
    /// The checkpoint.
    pub base: BaseRecord,
    /// The images, as an absolute path.
    pub images: PathBuf,
    /// Folder to which the paths of a list file are relative.
    pub image_root: Option<PathBuf>,
    /// Columns of Parquet files, where they are not the usual ones.
    #[serde(default, skip_serializing_if = "ParquetColumns::is_default")]
    pub columns: ParquetColumns,
    /// Whether the camera's orientation of an image counts.
    pub exif_orientation: ExifOrientation,
    /// What the confidence is.
    pub score: ScoreRule,
    /// Images below this confidence were rejected.
    pub threshold: f64,
    /// Images that could be read.
    pub looked_at: usize,
    /// Inputs that were left out.
    pub skipped: Vec<SkippedImage>,
    /// Mean cosine distance within which groups were joined.
    pub cut: f64,
    /// What the cut was chosen from.
    pub cut_basis: CutBasis,
    /// What became of the vocabulary.
    pub vocabulary: VocabularyUse,
    /// Images that a group has at least for a name of it to be proposed.
    pub smallest: usize,
    /// Names of the known classes.
    pub known_classes: Vec<String>,
    /// Groups of two images or more, the largest first.
    pub groups: Vec<DiscoveredGroup>,
    /// Rejected images that nothing is near to.
    pub alone: Vec<DiscoveredImage>,
}

/// Images that are like each other, with names for what they show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiscoveredGroup {
    /// Names of the vocabulary, nearest first.
    pub names: Vec<SimilarName>,
    /// The nearest of the known classes.
    pub nearest_known: SimilarName,
    /// The name to add to the class list.
    pub proposal: Option<String>,
    /// The images, most similar to the group first.
    pub images: Vec<DiscoveredImage>,
}

impl DiscoveredGroup {
    /// Mean confidence of the images.
    pub fn mean_confidence(&self) -> f64 {
        let sum: f64 = self.images.iter().map(|image| image.confidence).sum();
        sum / self.images.len().max(1) as f64
    }
}

/// A rejected image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiscoveredImage {
    /// Path relative to the images' root.
    pub path: String,
    /// By the score.
    pub confidence: f64,
    /// The most similar of the known classes.
    pub predicted: String,
    /// Cosine to the group's mean, of centred features; `None` for an image alone.
    pub similarity: Option<f64>,
    /// What it shows, when the images have labels. Nothing is chosen by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub true_label: Option<String>,
}

impl DiscoveryRecord {
    /// Images that were rejected as unknown.
    pub fn rejected(&self) -> usize {
        let in_groups: usize = self.groups.iter().map(|group| group.images.len()).sum();
        in_groups + self.alone.len()
    }

    /// Names to add to the class list, those of the largest groups first.
    pub fn proposals(&self) -> impl Iterator<Item = &str> {
        self.groups
            .iter()
            .filter_map(|group| group.proposal.as_deref())
    }

    /// The extended class list, one name per line.
    fn class_lines(&self) -> String {
        let known = self.known_classes.iter().map(String::as_str);
        known
            .chain(self.proposals())
            .flat_map(|name| [name, "\n"])
            .collect()
    }

    /// A line per rejected image: its path, the number of its group from 1 (empty for an image alone), its confidence, its
    /// similarity to the group, and the name that is proposed for the group.
    fn table(&self) -> Result<Vec<u8>, csv::Error> {
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(["path", "group", "confidence", "similarity", "proposed"])?;
        let mut write = |image: &DiscoveredImage, group: &str, proposed: &str| {
            table.write_record([
                csv_cell(&image.path).as_ref(),
                group,
                &image.confidence.to_string(),
                &image
                    .similarity
                    .map_or_else(String::new, |value| value.to_string()),
                csv_cell(proposed).as_ref(),
            ])
        };
        for (number, group) in self.groups.iter().enumerate() {
            for image in &group.images {
                let proposed = group.proposal.as_deref().unwrap_or_default();
                write(image, &(number + 1).to_string(), proposed)?;
            }
        }
        for image in &self.alone {
            write(image, "", "")?;
        }
        table
            .into_inner()
            .map_err(|error| error.into_error().into())
    }
}

/// The directory of a discovery.
#[derive(Clone, Debug)]
pub struct DiscoveryDirectory {
    path: PathBuf,
    /// Whether this process made it.
    made: bool,
}

impl DiscoveryDirectory {
    /// Where a discovery by a model goes if nothing else is said.
    pub fn default_path(model: &Path) -> PathBuf {
        match RunDirectory::recognizes(model) {
            true => model.join(IN_RUN),
            false => PathBuf::from(IN_RUN),
        }
    }

    /// A directory to write a discovery into, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// [`RunError::OutputExists`] when there is something in it, unless that is a discovery and `overwrite` is set;
    /// [`RunError::Io`] when it cannot be made.
    pub fn create(path: &Path, overwrite: bool) -> Result<Self, RunError> {
        let directory = Self {
            path: path.to_owned(),
            made: !path.exists(),
        };
        let is_discovery = OURS.iter().any(|name| directory.file(name).is_file());
        let occupied = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => path.exists(),
        };
        if occupied && !(is_discovery && overwrite) {
            return Err(RunError::DiscoveryExists {
                path: path.to_owned(),
                is_discovery,
            });
        }
        create_directories(path).map_err(|source| RunError::io("make", path, source))?;
        Ok(directory)
    }

    /// Reads the discovery in the directory of a run; `None` where there is none, or where it is about another result than the
    /// run has now.
    ///
    /// # Errors
    ///
    /// [`RunError::Record`] when `discovered.json` is not what this version writes.
    pub fn of_run(run: &Path) -> Result<Option<DiscoveryRecord>, RunError> {
        let path = run.join(IN_RUN).join(RECORD);
        if !path.is_file() {
            return Ok(None);
        }
        let record = read(&path)?;
        let same = record.adapted_sha256 == adapted_sha256(run)?;
        Ok(same.then_some(record))
    }

    /// Removes the directory when nothing was written: it was made and is still empty.
    pub fn abandon(self) {
        if self.made {
            // Whoever put something into it meanwhile keeps it.
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Where the page goes.
    pub fn page_path(&self) -> PathBuf {
        self.file(PAGE)
    }

    /// Where the extended class list goes.
    pub fn classes_path(&self) -> PathBuf {
        self.file(CLASSES)
    }

    /// Writes all files but the page, which `page` writes. The record comes last: where it is, everything is.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`], or what `page` fails with.
    pub fn write<E: From<RunError>>(
        &self,
        record: &DiscoveryRecord,
        page: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.file(RECORD);
        remove_file(&path).map_err(|source| RunError::io("replace", &path, source))?;
        let groups = self.file(GROUPS);
        let table = record.table().map_err(|error| {
            let source = std::io::Error::other(error);
            RunError::io("write", &groups, source)
        })?;
        write_whole(&groups, &table)?;
        write_whole(&self.classes_path(), record.class_lines().as_bytes())?;
        page(&self.page_path())?;
        let json = serde_json::to_vec_pretty(record)
            .map_err(|error| RunError::record(&path, error.to_string()))?;
        Ok(write_whole(&path, &json)?)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// All files of a discovery.
const OURS: [&str; 4] = [RECORD, GROUPS, CLASSES, PAGE];

fn read(path: &Path) -> Result<DiscoveryRecord, RunError> {
    let bytes = fs::read(path).map_err(|source| RunError::io("read", path, source))?;
    let invalid = |reason: String| RunError::record(path, reason);
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    let version = value
        .get("format_version")
        .and_then(serde_json::Value::as_u64);
    if version != Some(u64::from(DISCOVERY_FORMAT_VERSION)) {
        let found = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
        return Err(invalid(format!(
            "expected format version {DISCOVERY_FORMAT_VERSION}, found {found}"
        )));
    }
    serde_json::from_value(value).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_put_into_a_directory_is_not_replaced() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("found");
        DiscoveryDirectory::create(&path, false).unwrap();
        DiscoveryDirectory::create(&path, false).unwrap();
        fs::write(path.join("thesis.txt"), "mine").unwrap();
        for overwrite in [false, true] {
            let refused = DiscoveryDirectory::create(&path, overwrite);
            assert!(matches!(
                refused,
                Err(RunError::DiscoveryExists {
                    is_discovery: false,
                    ..
                })
            ));
        }
        fs::write(path.join(CLASSES), "cat\n").unwrap();
        let refused = DiscoveryDirectory::create(&path, false);
        assert!(matches!(
            refused,
            Err(RunError::DiscoveryExists {
                is_discovery: true,
                ..
            })
        ));
        DiscoveryDirectory::create(&path, true).unwrap();
    }
}
