//! What a new cell and the results of a directory must agree on, so that no table mixes what does not belong together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::BenchmarkError;
use super::cell::{CellRequest, ImagesId};
use ueo::adapt::Settings;

/// Differences that a message names.
const NAMED: usize = 6;

/// Refuses requests that contradict what was asked for before in the same output directory.
///
/// All cells of a suite have the same classes, listed and present classes per shift, and images per domain, whatever the model.
/// All cells of a variant have the same settings of each method but for the seed.
///
/// # Errors
///
/// [`BenchmarkError::OtherSettings`] and [`BenchmarkError::OtherData`] name what differs.
pub fn check(
    planned: &[&CellRequest],
    before: &[CellRequest],
    output: &Path,
) -> Result<(), BenchmarkError> {
    check_data(planned, before, output)?;
    let mut differences = BTreeSet::new();
    for old in before {
        let alike = |new: &&&CellRequest| same_variant(old, new) && old.method == new.method;
        for new in planned.iter().filter(alike) {
            differences.extend(settings_differences(old, new));
        }
    }
    match planned.first().filter(|_| !differences.is_empty()) {
        Some(first) => Err(BenchmarkError::OtherSettings {
            path: first.variant_folder(output),
            variant: first.variant.clone(),
            differences: named(differences),
        }),
        None => Ok(()),
    }
}

/// The part of [`check`] that does not look at settings.
///
/// # Errors
///
/// [`BenchmarkError::OtherData`].
pub fn check_data(
    planned: &[&CellRequest],
    before: &[CellRequest],
    output: &Path,
) -> Result<(), BenchmarkError> {
    let mut differences: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for old in before {
        for new in planned.iter().filter(|new| new.suite == old.suite) {
            let of_suite = differences.entry(&new.suite).or_default();
            of_suite.extend(data_differences(old, new));
        }
    }
    match differences
        .into_iter()
        .find(|(_, differences)| !differences.is_empty())
    {
        Some((suite, differences)) => Err(BenchmarkError::OtherData {
            path: output.to_owned(),
            suite: suite.to_owned(),
            differences: named(differences),
        }),
        None => Ok(()),
    }
}

/// A few of some differences in words.
fn named(differences: BTreeSet<String>) -> String {
    let more = differences.len().saturating_sub(NAMED);
    let mut named: Vec<String> = differences.into_iter().take(NAMED).collect();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named.join("; ")
}

/// Whether two cells stand under one name.
fn same_variant(a: &CellRequest, b: &CellRequest) -> bool {
    let model = |request: &CellRequest| (request.precision, request.protocol);
    a.suite == b.suite
        && a.variant == b.variant
        && a.model_sha256 == b.model_sha256
        && model(a) == model(b)
}

fn data_differences(old: &CellRequest, new: &CellRequest) -> Vec<String> {
    let mut differences = Vec::new();
    if old.classes != new.classes {
        let first = old
            .classes
            .iter()
            .zip(&new.classes)
            .position(|(old, new)| old != new);
        differences.push(match first {
            Some(class) => format!(
                "class {class}: {:?}, now {:?}",
                old.classes[class], new.classes[class]
            ),
            None => format!("{} classes, now {}", old.classes.len(), new.classes.len()),
        });
    }
    if old.shift == new.shift {
        let parts = [
            ("listed", &old.known, &new.known),
            ("present", &old.present, &new.present),
        ];
        for (name, old_classes, new_classes) in parts {
            if old_classes != new_classes {
                differences.push(format!(
                    "{name} classes under the {} shift: {}, now {}",
                    new.shift,
                    ranges(old_classes),
                    ranges(new_classes)
                ));
            }
        }
    }
    if old.domain == new.domain {
        if old.group != new.group {
            differences.push(format!(
                "group of {}: {}, now {}",
                new.domain, old.group, new.group
            ));
        }
        let parts = [
            ("images", &old.test_images, &new.test_images),
            ("training images", &old.train_images, &new.train_images),
        ];
        for (name, old_images, new_images) in parts {
            if old_images != new_images {
                let images = images_difference(old_images, new_images);
                differences.push(format!("{name} of {}: {images}", new.domain));
            }
        }
    }
    differences
}

fn images_difference(old: &ImagesId, new: &ImagesId) -> String {
    match old.count == new.count {
        true => format!("{} others or with other labels", new.count),
        false => format!("{}, now {}", old.count, new.count),
    }
}

/// Indices as inclusive ranges.
fn ranges(indices: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &index in indices {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => ranges.push((index, index)),
        }
    }
    let written = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    written.collect::<Vec<_>>().join(", ")
}

fn settings_differences(old: &CellRequest, new: &CellRequest) -> Vec<String> {
    let mut seeded = old.settings.clone();
    seeded.seed = new.settings.seed;
    if seeded == new.settings {
        return Vec::new();
    }
    let (was, now) = (without_seed(&old.settings), without_seed(&new.settings));
    let changed = now
        .iter()
        .filter(|(key, value)| was.get(*key) != Some(value));
    changed
        .map(|(key, value)| {
            let before = was
                .get(key)
                .map_or_else(|| "none".to_owned(), Value::to_string);
            format!(
                "{}: {} {before}, now {value}",
                new.method,
                key.replace('_', "-")
            )
        })
        .collect()
}

/// The settings by name, but for the seed.
pub fn without_seed(settings: &Settings) -> serde_json::Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(mut object)) => {
            object.remove("seed");
            object
        }
        _ => serde_json::Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cells::request;
    use ueo::method::Method;

    fn refused(old: &CellRequest, new: &CellRequest) -> Option<String> {
        check(&[new], std::slice::from_ref(old), Path::new("out"))
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn other_settings_of_a_variant_are_refused_and_named() {
        let old = request(3, &[0, 2]);
        let mut new = old.clone();
        new.seed = Some(7);
        new.settings.seed = 7;
        assert_eq!(refused(&old, &new), None, "a seed is no setting");
        new.settings.epochs = 3.into();
        let error = refused(&old, &new).unwrap();
        assert!(error.contains("ueo: epochs 50, now 3"), "{error}");
        for change in [
            |new: &mut CellRequest| new.variant = "long".to_owned(),
            |new: &mut CellRequest| new.method = Method::Pouf,
            |new: &mut CellRequest| new.model_sha256 = "1".to_owned(),
            |new: &mut CellRequest| new.suite = "other".to_owned(),
            |new: &mut CellRequest| new.protocol = crate::Protocol::HeldOut,
        ] {
            let mut apart = new.clone();
            change(&mut apart);
            assert_eq!(refused(&old, &apart), None, "{apart:?}");
        }
    }

    #[test]
    fn other_data_of_a_suite_are_refused_whatever_the_model() {
        let old = request(5, &[0, 2]);
        type Change = fn(&mut CellRequest);
        let changes: [(Change, &str); 4] = [
            (
                |new| new.present = vec![0, 1, 2],
                "present classes under the closed shift: 0, 2, now 0-2",
            ),
            (
                |new| new.known = vec![4],
                "listed classes under the closed shift: 0, 2, now 4",
            ),
            (
                |new| new.test_images.count = 9,
                "images of drawings: 0, now 9",
            ),
            (
                |new| new.classes[1] = "fish".to_owned(),
                "class 1: \"class 1\", now \"fish\"",
            ),
        ];
        for (change, expected) in changes {
            let mut new = old.clone();
            new.model_sha256 = "1".to_owned();
            new.variant = "another".to_owned();
            change(&mut new);
            let error = refused(&old, &new).unwrap();
            assert!(error.contains(expected), "{error}");
        }
    }
}
