//! Class files that are JSON.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::quote;

use super::class_file::{ClassEntry, FIX, check_count, is_number, is_wordnet_id, refused};
use super::format::has_extension;
use super::json_pairs::Pairs;
use super::{DataError, Place};

/// A model's configuration in Hugging Face's form.
#[derive(Deserialize)]
struct Configuration {
    id2label: Pairs<String>,
}

/// The entries of a JSON file in one of the known forms; `None` if it is no JSON and does not look like it.
pub(super) fn parse(text: &str, path: &Path) -> Result<Option<Vec<ClassEntry>>, DataError> {
    let text = text.trim();
    let is_named = has_extension(path, &["json"]);
    if !is_named && !text.starts_with(['[', '{']) {
        return Ok(None);
    }
    if text.is_empty() {
        return Ok(Some(Vec::new()));
    }
    if let Some(entries) = known_form(text, path)? {
        return Ok(Some(entries));
    }
    // A list of names may begin with a bracket; one that ends with another, or has it alone in a line, is a program's.
    let first_line = text.lines().next().unwrap_or_default().trim();
    let is_structured = text.ends_with([']', '}']) || matches!(first_line, "[" | "{");
    if is_named || is_structured {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        let found = if is_json {
            format!(
                "JSON of another form, which begins {}",
                quote::quotation(text)
            )
        } else {
            format!(
                "a program's text or damaged JSON, which begins {}",
                quote::quotation(text)
            )
        };
        return Err(refused(path, found, FIX));
    }
    Ok(None)
}

fn known_form(text: &str, path: &Path) -> Result<Option<Vec<ClassEntry>>, DataError> {
    // Each form has a type of its own, so that reading one takes no more memory than its names, and stops at the first
    // value of another form.
    if let Ok(names) = serde_json::from_str::<Vec<String>>(text) {
        return entries(names.into_iter().map(|name| (None, name)), path).map(Some);
    }
    if let Ok(Pairs(numbers)) = serde_json::from_str::<Pairs<u64>>(text) {
        let named = numbers
            .into_iter()
            .map(|(name, id)| (Some(id.to_string()), name));
        return entries(named, path).map(Some);
    }
    if let Ok(Pairs(names)) = serde_json::from_str::<Pairs<String>>(text) {
        return named_by_id(names, path).map(Some);
    }
    if let Ok(Pairs(index)) = serde_json::from_str::<Pairs<(String, String)>>(text) {
        // ImageNet's class index: {"0": ["n01440764", "tench"], ...}.
        let are_numbers = index.iter().all(|(number, _)| is_number(number));
        if are_numbers && index.iter().all(|(_, (id, _))| is_wordnet_id(id)) {
            let mut index = index;
            index.sort_by_key(|(number, _)| number.parse::<u64>().unwrap_or(u64::MAX));
            let named = index.into_iter().map(|(_, (id, name))| (Some(id), name));
            return entries(named, path).map(Some);
        }
        return Ok(None);
    }
    if let Ok(Pairs(splits)) = serde_json::from_str::<Pairs<Vec<(String, u64, String)>>>(text) {
        let images = splits.into_iter().flat_map(|(_, split)| split);
        return of_splits(images.map(|(_, number, name)| (number, name)), path).map(Some);
    }
    if let Ok(configuration) = serde_json::from_str::<Configuration>(text) {
        return named_by_id(configuration.id2label.0, path).map(Some);
    }
    Ok(None)
}

/// `{"0": "cat"}` or `{"n02084071": "dog"}`.
fn named_by_id(names: Vec<(String, String)>, path: &Path) -> Result<Vec<ClassEntry>, DataError> {
    let are_ids =
        names.iter().all(|(id, _)| is_number(id)) || names.iter().all(|(id, _)| is_wordnet_id(id));
    if !are_ids {
        let first = names.first().map_or_else(String::new, |(id, name)| {
            format!("{}: {}", quote::quotation(id), quote::quotation(name))
        });
        return Err(refused(
            path,
            format!("JSON that may name its classes on either side, as in {first}"),
            FIX,
        ));
    }
    entries(names.into_iter().map(|(id, name)| (Some(id), name)), path)
}

/// The classes of CoOp's splits, which name the class of every image.
fn of_splits(
    images: impl Iterator<Item = (u64, String)>,
    path: &Path,
) -> Result<Vec<ClassEntry>, DataError> {
    let mut names: BTreeMap<u64, String> = BTreeMap::new();
    for (number, name) in images {
        let first = names.entry(number).or_insert_with(|| name.clone());
        if *first != name {
            return Err(refused(
                path,
                format!(
                    "class {number} with two names, {} and {}",
                    quote::quotation(first),
                    quote::quotation(&name)
                ),
                FIX,
            ));
        }
    }
    let named = names
        .into_iter()
        .map(|(number, name)| (Some(number.to_string()), name));
    entries(named, path)
}

fn entries(
    named: impl ExactSizeIterator<Item = (Option<String>, String)>,
    path: &Path,
) -> Result<Vec<ClassEntry>, DataError> {
    check_count(named.len(), path)?;
    let entries = named.enumerate().map(|(index, (id, name))| ClassEntry {
        place: Place::Entry(index + 1),
        id,
        name: name.trim().to_owned(),
    });
    Ok(entries.collect())
}
