//! A list file as a data set: one `path` or `path label` per line.
//!
//! Blank lines and lines that begin with `#` are comments. Paths may contain spaces: the label is what follows the last
//! image extension of the line, or, when the path has no known extension, the last field. A tab always separates.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::dataset::{IMAGE_EXTENSIONS, has_extension, id_of};
use super::text_file::read_utf8;
use super::{DataError, Dataset, Location, Sample, SkipReason, Skipped, SourceKind};

pub(super) fn open(list: &Path, image_root: Option<&Path>) -> Result<Dataset, DataError> {
    let text = read_utf8(list)?;
    let root = match (image_root, list.parent()) {
        (Some(root), _) => root.to_path_buf(),
        (None, Some(folder)) => folder.to_path_buf(),
        (None, None) => PathBuf::new(),
    };
    let mut dataset = Dataset {
        root,
        kind: SourceKind::List,
        samples: Vec::new(),
        skipped: Vec::new(),
        ignored: BTreeMap::new(),
    };
    let mut first_lines: HashMap<String, usize> = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (written, label) = split(line, &dataset.root).ok_or_else(|| DataError::ListLine {
            path: list.to_path_buf(),
            line: number,
            found: line.to_string(),
        })?;
        let path = dataset.root.join(written);
        let id = id_within(&path, &dataset.root);
        if let Some(&first_line) = first_lines.get(&id) {
            return Err(DataError::DuplicateImage {
                path: list.to_path_buf(),
                line: number,
                first_line,
                id,
            });
        }
        first_lines.insert(id.clone(), number);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => dataset.samples.push(Sample {
                id,
                location: Location::File(path),
                label: label.map(str::to_string),
            }),
            Ok(_) => dataset.skipped.push(Skipped {
                id,
                reason: SkipReason::NotAFile,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                dataset.skipped.push(Skipped {
                    id,
                    reason: SkipReason::Missing {
                        path: path.display().to_string(),
                    },
                })
            }
            Err(error) => dataset.skipped.push(Skipped {
                id,
                reason: SkipReason::Unreadable {
                    reason: error.to_string(),
                },
            }),
        }
    }
    Ok(dataset)
}

/// Splits a line into path and label; `None` when neither reading makes sense.
fn split<'a>(line: &'a str, root: &Path) -> Option<(&'a str, Option<&'a str>)> {
    let is_image = |path: &str| has_extension(Path::new(path), &IMAGE_EXTENSIONS);
    if let Some((path, label)) = line.rsplit_once('\t') {
        return Some((
            path.trim_end(),
            Some(label.trim_start()).filter(|label| !label.is_empty()),
        ));
    }
    if is_image(line) {
        return Some((line, None));
    }
    let fields = || {
        line.match_indices(char::is_whitespace)
            .map(|(at, _)| (line[..at].trim_end(), line[at..].trim_start()))
    };
    if let Some((path, label)) = fields().rfind(|(path, _)| is_image(path)) {
        return Some((path, Some(label)));
    }
    // No known extension anywhere: believe the file system.
    if root.join(line).is_file() {
        return Some((line, None));
    }
    let (path, label) = fields().next_back()?;
    root.join(path).is_file().then_some((path, Some(label)))
}

/// The path below the root without `.` parts, or the whole path when it is elsewhere.
fn id_within(path: &Path, root: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    id_of(
        &inside
            .components()
            .filter(|part| !matches!(part, std::path::Component::CurDir))
            .collect::<PathBuf>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_at_the_image_extension() {
        let nowhere = Path::new("/no/such/folder");
        let cases = [
            (
                "clipart/aircraft_carrier/x.jpg 0",
                Some(("clipart/aircraft_carrier/x.jpg", Some("0"))),
            ),
            (
                "my pictures/a b.JPG sports car",
                Some(("my pictures/a b.JPG", Some("sports car"))),
            ),
            ("my pictures/a b.png", Some(("my pictures/a b.png", None))),
            ("a.b.jpg\tlabel", Some(("a.b.jpg", Some("label")))),
            ("odd name\t7", Some(("odd name", Some("7")))),
            ("no extension here", None),
        ];
        for (line, expected) in cases {
            assert_eq!(split(line, nowhere), expected, "{line}");
        }
    }
}
