//! Class files that are tables: a column of names and perhaps one of ids.

use std::path::Path;

use crate::quote;

use super::class_file::{
    ClassEntry, FIX, all_differ, are_positions, check_count, is_number, is_wordnet_id, refused,
};
use super::format::has_extension;
use super::{DataError, Place, table};

/// Column names that mean the class's name, in the order of their precedence, folded.
const NAME_COLUMNS: [&str; 13] = [
    "name",
    "class name",
    "classname",
    "label name",
    "category name",
    "readable name",
    "words",
    "description",
    "class",
    "category",
    "classes",
    "label",
    "labels",
];

/// Column names that mean the class's id, folded.
const ID_COLUMNS: [&str; 16] = [
    "id",
    "class id",
    "label id",
    "category id",
    "index",
    "idx",
    "class index",
    "number",
    "wnid",
    "synset",
    "synset id",
    "code",
    "folder",
    "key",
    "label",
    "class",
];

/// A file whose extension says that it is a table.
pub(super) fn parse_named(text: &str, path: &Path) -> Result<Vec<ClassEntry>, DataError> {
    let mut rows = Vec::new();
    for row in table::Rows::new(text, path, has_extension(path, &["tsv"]))? {
        rows.push(row?);
        check_count(rows.len(), path)?;
    }
    let Some((_, first)) = rows.first() else {
        return Ok(Vec::new());
    };
    if let Some((name, id)) = header(first) {
        return Ok(entries(&rows[1..], name, id));
    }
    match columns_by_content(&rows) {
        Some((name, id)) => Ok(entries(&rows, name, id)),
        None => Err(refused(
            path,
            format!(
                "a table whose first line, {}, does not say where the names are",
                quote::quotation(&first.join(","))
            ),
            "give the table a first line that names its columns: `id,name`",
        )),
    }
}

/// A file that is a table although its extension does not say so: a first line of known column names, ids of all classes
/// before a comma or behind it, or tabs in every line.
pub(super) fn parse_certain(
    text: &str,
    lines: &[(usize, String)],
    path: &Path,
) -> Result<Option<Vec<ClassEntry>>, DataError> {
    let Some((_, first)) = lines.first() else {
        return Ok(None);
    };
    let has = |separator: char| {
        let mut filled = lines.iter().filter(|(_, line)| !line.is_empty()).peekable();
        filled.peek().is_some() && filled.all(|(_, line)| line.contains(separator))
    };
    let (has_tabs, has_commas) = (has('\t'), has(','));
    if !has_tabs && !has_commas {
        return Ok(None);
    }
    let separator = if has_tabs { '\t' } else { ',' };
    let cells: Vec<String> = first
        .split(separator)
        .map(|cell| cell.trim().to_owned())
        .collect();
    if header(&cells).is_some_and(|(_, id)| id.is_some()) {
        return parse_named(text, path).map(Some);
    }
    // A name may contain commas (`tench, Tinca tinca`), so only the outer one separates an id.
    let rows =
        |split: fn(&str, char) -> Option<(&str, &str)>| -> Option<Vec<(usize, Vec<String>)>> {
            let cells = |line: &str| {
                let (first, second) = split(line, separator)?;
                Some(vec![unquoted(first), unquoted(second)])
            };
            let row = |(number, line): &(usize, String)| Some((*number, cells(line)?));
            lines.iter().map(row).collect()
        };
    for rows in [
        rows(|line, at| line.split_once(at)),
        rows(|line, at| line.rsplit_once(at)),
    ] {
        let columns = rows.as_ref().and_then(|rows| columns_by_content(rows));
        if let (Some(rows), Some((name, id))) = (rows, columns) {
            return Ok(Some(entries(&rows, name, id)));
        }
    }
    if has_tabs {
        return Err(refused(
            path,
            format!("a table with tabs, as in {}", quote::quotation(first)),
            FIX,
        ));
    }
    Ok(None)
}

/// The columns of name and id that a first line names.
fn header(cells: &[String]) -> Option<(usize, Option<usize>)> {
    let name = table::column(cells, &NAME_COLUMNS, &[])?;
    Some((name, table::column(cells, &ID_COLUMNS, &[name])))
}

/// The columns of name and id of a table without a header: a single column is names; of two, one has ids that differ.
/// Numbers behind the names must be those of positions.
fn columns_by_content(rows: &[(usize, Vec<String>)]) -> Option<(usize, Option<usize>)> {
    let is_wide = |columns: usize| rows.iter().all(|(_, cells)| cells.len() == columns);
    if is_wide(1) {
        return Some((0, None));
    }
    if !is_wide(2) || rows.is_empty() {
        return None;
    }
    let column =
        |at: usize| -> Vec<&str> { rows.iter().map(|(_, cells)| cells[at].as_str()).collect() };
    let are_ids = |ids: &[&str]| {
        all_differ(ids)
            && (ids.iter().all(|id| is_number(id)) || ids.iter().all(|id| is_wordnet_id(id)))
    };
    let (first, second) = (column(0), column(1));
    match (are_ids(&first), are_ids(&second)) {
        (true, false) => Some((1, Some(0))),
        (false, true) if is_wordnet_id(second[0]) || are_positions(&second) => Some((0, Some(1))),
        _ => None,
    }
}

fn entries(rows: &[(usize, Vec<String>)], name: usize, id: Option<usize>) -> Vec<ClassEntry> {
    let cell = |cells: &[String], column: usize| {
        cells
            .get(column)
            .map_or(String::new(), |cell| cell.trim().to_owned())
    };
    rows.iter()
        .map(|(line, cells)| ClassEntry {
            place: Place::Line(*line),
            id: id
                .map(|column| cell(cells, column))
                .filter(|id| !id.is_empty()),
            name: cell(cells, name),
        })
        .collect()
}

fn unquoted(cell: &str) -> String {
    let cell = cell.trim();
    let inner = cell
        .strip_prefix('"')
        .and_then(|cell| cell.strip_suffix('"'));
    inner.map_or_else(|| cell.to_owned(), |inner| inner.replace("\"\"", "\""))
}
