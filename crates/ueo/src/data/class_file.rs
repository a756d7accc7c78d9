//! The forms of class files: which of them a file has, as far as that is certain, and what stands in it.
//!
//! A plain list of names is the rule. Everything else needs a mark that a list of names has not: JSON's brackets, a table's
//! first line, or an id at the start of every line. What looks like something else, and is none of these, is refused.

use std::path::Path;

use crate::quote;

use super::format::{FileKind, has_extension};
use super::text_file::{Lines, decode_utf8};
use super::{DataError, Place, class_json, class_table};

/// A class as its file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClassEntry {
    /// Where it stands.
    pub place: Place,
    /// Its id: a number, a WordNet id, or another key.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
}

/// Most classes. ImageNet-21k has 21,841.
const MAX_CLASSES: usize = 100_000;

/// What a class file has to be.
pub(super) const EXPECTED: &str = "class names";

/// What to write where nothing is certain.
pub(super) const FIX: &str = "write one name per line, or a table with the extension .csv and the first line `id,name` or `name`";

/// The entries of a class file. Names are trimmed and may be empty; places are those of the file. Entries whose ids are
/// all numbers are in the order of these.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Vec<ClassEntry>, DataError> {
    let text = decode_utf8(bytes, path)?;
    let mut entries = match class_json::parse(text, path)? {
        Some(entries) => entries,
        None if has_extension(path, &["csv", "tsv"]) => class_table::parse_named(text, path)?,
        None => parse_lines(bytes, text, path)?,
    };
    let numbers: Option<Vec<u64>> = entries
        .iter()
        .map(|entry| entry.id.as_ref()?.parse().ok())
        .collect();
    if let Some(numbers) = numbers {
        let mut ordered: Vec<(u64, ClassEntry)> = numbers.into_iter().zip(entries).collect();
        ordered.sort_by_key(|(number, _)| *number);
        entries = ordered.into_iter().map(|(_, entry)| entry).collect();
    }
    Ok(entries)
}

fn parse_lines(bytes: &[u8], text: &str, path: &Path) -> Result<Vec<ClassEntry>, DataError> {
    let mut reader = Lines::new(bytes, path, bytes.len() as u64, "bytes in a class file");
    let mut lines = Vec::new();
    while let Some((number, line)) = reader.next_line()? {
        lines.push((number, line.trim().to_owned()));
        check_count(lines.len(), path)?;
    }
    if let Some(entries) = class_table::parse_certain(text, &lines, path)? {
        return Ok(entries);
    }
    if let Some(entries) = with_leading_ids(&lines, path)? {
        return Ok(entries);
    }
    if let Some(found) = joined_names(&lines) {
        return Err(refused(path, found, "write one name per line"));
    }
    if let Some((found, fix)) = something_else(&lines) {
        return Err(refused(
            path,
            format!("{found}, as in {}", quote::quotation(&lines[0].1)),
            fix,
        ));
    }
    Ok(lines
        .into_iter()
        .map(|(number, name)| ClassEntry {
            place: Place::Line(number),
            id: None,
            name,
        })
        .collect())
}

/// Refuses a file with too many classes, before more of it is kept.
pub(super) fn check_count(classes: usize, path: &Path) -> Result<(), DataError> {
    if classes <= MAX_CLASSES {
        return Ok(());
    }
    Err(DataError::Limit {
        path: path.to_path_buf(),
        line: None,
        limit: MAX_CLASSES as u64,
        what: "classes",
    })
}

pub(super) fn refused(path: &Path, found: String, fix: &'static str) -> DataError {
    DataError::Format {
        path: path.to_path_buf(),
        expected: EXPECTED,
        found,
        fix,
    }
}

/// Lines such as `0 cat`, `0: cat` or `n02084071 dog`. Numbers must be those of positions, from 0 or from 1: a list of
/// names may begin with numbers as well (`7 up`, `3 musketeers`), and is refused where it cannot be told.
fn with_leading_ids(
    lines: &[(usize, String)],
    path: &Path,
) -> Result<Option<Vec<ClassEntry>>, DataError> {
    let split = |line: &str| -> Option<(String, String)> {
        let (id, name) = line.split_once(char::is_whitespace)?;
        let id = id.strip_suffix(':').unwrap_or(id);
        (is_number(id) || is_wordnet_id(id)).then(|| (id.to_owned(), name.trim().to_owned()))
    };
    let filled: Vec<&(usize, String)> = lines.iter().filter(|(_, line)| !line.is_empty()).collect();
    let parts: Option<Vec<(String, String)>> = filled.iter().map(|(_, line)| split(line)).collect();
    let Some(parts) = parts else {
        return Ok(None);
    };
    let ids: Vec<&str> = parts.iter().map(|(id, _)| id.as_str()).collect();
    let are_wordnet = !ids.is_empty() && ids.iter().all(|id| is_wordnet_id(id));
    if !are_wordnet {
        if ids.len() < 2 || !all_differ(&ids) {
            return Ok(None);
        }
        if !are_positions(&ids) {
            return Err(refused(
                path,
                format!(
                    "a number at the start of every line, as in {}, that may be an id or part of the name",
                    quote::quotation(&filled[0].1)
                ),
                "give the file the extension .csv and the first line `id,name` (with a comma behind the id) or `name`",
            ));
        }
    }
    let mut parts = parts.into_iter();
    Ok(Some(
        lines
            .iter()
            .map(|(number, line)| {
                let (id, name) = match line.is_empty() {
                    // A blank line is refused by its number, like one in a plain list.
                    true => None,
                    false => parts.next(),
                }
                .map_or((None, String::new()), |(id, name)| (Some(id), name));
                ClassEntry {
                    place: Place::Line(*number),
                    id,
                    name,
                }
            })
            .collect(),
    ))
}

/// Several names in a single line: what is found. One comma may be part of a name.
fn joined_names(lines: &[(usize, String)]) -> Option<String> {
    let mut filled = lines.iter().filter(|(_, line)| !line.is_empty());
    let (Some((_, line)), None) = (filled.next(), filled.next()) else {
        return None;
    };
    let (separators, names) = [(',', "commas"), (';', "semicolons")]
        .into_iter()
        .find(|(separator, _)| line.matches(*separator).count() > 1)
        .map(|(separator, name)| (name, line.split(separator).filter(|n| !n.trim().is_empty())))?;
    Some(format!(
        "a single line with {} names between {separators}, {}",
        names.count(),
        quote::quotation(line)
    ))
}

/// Forms that are certainly no list of names, with what to do.
fn something_else(lines: &[(usize, String)]) -> Option<(&'static str, &'static str)> {
    let all = |is_so: &dyn Fn(&str) -> bool| {
        let mut filled = lines.iter().filter(|(_, line)| !line.is_empty()).peekable();
        filled.peek().is_some() && filled.all(|(_, line)| is_so(line))
    };
    let is_picture = |line: &str| {
        let first = line.split_whitespace().next().unwrap_or_default();
        [line, first]
            .iter()
            .any(|path| FileKind::of(Path::new(path)).is_picture())
    };
    let is_item = |line: &str| line.starts_with("- ");
    let is_quoted = |line: &str| {
        let line = line.strip_suffix(',').unwrap_or(line);
        line.len() > 1
            && ['"', '\'']
                .iter()
                .any(|mark| line.starts_with(*mark) && line.ends_with(*mark))
    };
    if all(&is_picture) {
        Some((
            "a list of images",
            "give the names of the classes here, and the list as the images",
        ))
    } else if all(&is_item) {
        Some((
            "a list with a dash at the start of every line",
            "remove the dashes",
        ))
    } else if all(&is_quoted) {
        Some((
            "quotation marks around every name",
            "remove the quotation marks and commas at the ends of lines",
        ))
    } else {
        None
    }
}

pub(super) fn is_number(id: &str) -> bool {
    (1..=9).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// WordNet's ids of nouns, as ImageNet's folders have them.
pub(super) fn is_wordnet_id(id: &str) -> bool {
    id.len() == 9 && id.starts_with('n') && id[1..].bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn all_differ(ids: &[&str]) -> bool {
    let mut seen = std::collections::HashSet::with_capacity(ids.len());
    ids.iter().all(|id| seen.insert(*id))
}

/// Whether numbers that differ count from 0, or from 1, without a gap.
pub(super) fn are_positions(ids: &[&str]) -> bool {
    let numbers: Option<Vec<usize>> = ids.iter().map(|id| id.parse().ok()).collect();
    let Some(mut numbers) = numbers else {
        return false;
    };
    numbers.sort_unstable();
    let first = numbers.first().copied().unwrap_or_default();
    first <= 1
        && numbers
            .iter()
            .enumerate()
            .all(|(at, number)| *number == at + first)
}
