//! WebDataset shards as a data set: images and labels of uncompressed tar archives, indexed once and read in place.
//!
//! Members with the same name up to the first dot of the file name belong together: `0001.jpg` is labelled by
//! `0001.cls` (its text) or by `label`, `class` or `cls` of `0001.json`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};

use super::dataset::{IMAGE_EXTENSIONS, has_extension, id_of, open_error};
use super::{DataError, Dataset, Location, Sample, SkipReason, Skipped, SourceKind};

/// Longest label entry that is read, in bytes.
const MAX_LABEL_BYTES: u64 = 1 << 20;

/// Length of a tar block, in bytes.
const BLOCK_BYTES: usize = 512;

pub(super) fn open(archive: &Path) -> Result<Dataset, DataError> {
    let dataset = Dataset {
        root: archive.parent().unwrap_or(Path::new("")).to_path_buf(),
        kind: SourceKind::Shards,
        samples: Vec::new(),
        skipped: Vec::new(),
        ignored: BTreeMap::new(),
    };
    open_all(dataset, vec![archive.to_path_buf()])
}

/// Adds the members of all archives to a data set without samples.
pub(super) fn open_all(
    mut dataset: Dataset,
    mut archives: Vec<PathBuf>,
) -> Result<Dataset, DataError> {
    dataset.kind = SourceKind::Shards;
    archives.sort();
    for archive in &archives {
        index_archive(&mut dataset, archive)?;
    }
    Ok(dataset)
}

fn index_archive(dataset: &mut Dataset, path: &Path) -> Result<(), DataError> {
    let mut file = File::open(path).map_err(|error| open_error(path, &error))?;
    let archive_length = file
        .metadata()
        .map_err(|error| open_error(path, &error))?
        .len();
    refuse_other_formats(&mut file, path)?;
    let file = File::open(path).map_err(|error| open_error(path, &error))?;

    let archive_id = id_of(path.strip_prefix(&dataset.root).unwrap_or(path));
    let mut archive = Archive::new(file);
    let entries = archive
        .entries_with_seek()
        .map_err(|error| open_error(path, &error))?;
    let mut seen = HashSet::new();
    let mut labels = HashMap::new();
    let first_sample = dataset.samples.len();
    for entry in entries {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                dataset.skipped.push(Skipped {
                    id: archive_id.clone(),
                    reason: SkipReason::DamagedArchive {
                        reason: error.to_string(),
                    },
                });
                break;
            }
        };
        if !matches!(
            entry.header().entry_type(),
            EntryType::Regular | EntryType::Continuous
        ) {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes())
            .trim_start_matches("./")
            .to_string();
        let Some((key, extension)) = split_key(&name) else {
            continue;
        };
        let length = entry.size();
        if extension == "cls" || extension == "json" {
            let mut text = String::new();
            let read = entry
                .by_ref()
                .take(MAX_LABEL_BYTES)
                .read_to_string(&mut text);
            let label = read.ok().and_then(|_| match extension.as_str() {
                "cls" => Some(text.trim().to_string()).filter(|label| !label.is_empty()),
                _ => json_label(&text),
            });
            if let Some(label) = label {
                labels.insert(key.to_string(), label);
            }
            continue;
        }
        if !has_extension(Path::new(&name), &IMAGE_EXTENSIONS) {
            *dataset.ignored.entry(extension).or_default() += 1;
            continue;
        }
        let id = format!("{archive_id}/{name}");
        let offset = entry.raw_file_position();
        let available = archive_length.saturating_sub(offset);
        let skip = if !seen.insert(name.clone()) {
            Some(SkipReason::DuplicateMember)
        } else if available < length {
            Some(SkipReason::TruncatedMember {
                expected: length,
                found: available,
            })
        } else {
            None
        };
        match skip {
            Some(reason) => dataset.skipped.push(Skipped { id, reason }),
            None => dataset.samples.push(Sample {
                id,
                location: Location::TarMember {
                    archive: path.to_path_buf(),
                    offset,
                    length,
                },
                label: None,
            }),
        }
    }
    // Labels may come after their images, so they are joined at the end.
    for sample in &mut dataset.samples[first_sample..] {
        let name = &sample.id[archive_id.len() + 1..];
        sample.label = split_key(name).and_then(|(key, _)| labels.get(key).cloned());
    }
    Ok(())
}

/// A first look, because a compressed archive or any other file would only appear as an empty or damaged tar.
fn refuse_other_formats(file: &mut File, path: &Path) -> Result<(), DataError> {
    let mut start = Vec::with_capacity(BLOCK_BYTES);
    file.take(BLOCK_BYTES as u64)
        .read_to_end(&mut start)
        .map_err(|error| open_error(path, &error))?;
    let found = match start.as_slice() {
        [] => "an empty file",
        [0x1F, 0x8B, ..] => "gzip-compressed data",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "zstd-compressed data",
        [b'B', b'Z', b'h', ..] => "bzip2-compressed data",
        [0xFD, b'7', b'z', b'X', b'Z', ..] => "xz-compressed data",
        start if start.len() < BLOCK_BYTES => "a file shorter than one tar block",
        _ => return Ok(()),
    };
    Err(DataError::Shard {
        path: path.to_path_buf(),
        found: found.into(),
    })
}

/// Key (with its folder) and lower-case extension: the file name is split at its first dot.
fn split_key(name: &str) -> Option<(&str, String)> {
    let file_start = name.rfind('/').map_or(0, |at| at + 1);
    let dot = file_start + name[file_start..].find('.')?;
    (dot > file_start).then(|| (&name[..dot], name[dot + 1..].to_lowercase()))
}

fn json_label(text: &str) -> Option<String> {
    let object: serde_json::Value = serde_json::from_str(text).ok()?;
    ["label", "class", "cls"]
        .iter()
        .find_map(|key| match object.get(key)? {
            serde_json::Value::String(label) => Some(label.clone()),
            serde_json::Value::Number(label) => Some(label.to_string()),
            _ => None,
        })
}
