//! Lists of images that are tables or CoOp's JSON.

use std::io::BufRead;
use std::path::Path;

use crate::quote;

use super::format::{FileKind, has_extension};
use super::json_pairs::Pairs;
use super::list::{Entry, MAX_LIST_IMAGES, too_many};
use super::text_file::{decode_utf8, read_limited};
use super::{DataError, table};

/// Longest JSON list, in bytes.
const MAX_JSON_BYTES: u64 = 32 << 20;

/// Longest table, in bytes.
const MAX_TABLE_BYTES: u64 = 64 << 20;

/// Column names that mean the image's path, in the order of their precedence, folded.
const PATH_COLUMNS: [&str; 12] = [
    "path",
    "filepath",
    "file path",
    "image path",
    "filename",
    "file name",
    "file",
    "image",
    "img",
    "image id",
    "id",
    "name",
];

/// Column names that mean the label.
const LABEL_COLUMNS: [&str; 9] = [
    "label",
    "class",
    "class name",
    "classname",
    "category",
    "target",
    "label name",
    "class id",
    "y",
];

/// What a table or JSON file has to be.
const EXPECTED: &str = "a list of images";

/// A split of CoOp's JSON: path, class number and class name of each image.
type Split = Vec<(String, i64, String)>;

/// Reads `{"train": [["a.jpg", 0, "cat"], ...]}`. With several splits it is not certain which of them is meant.
pub(super) fn visit_json(
    text: impl BufRead,
    path: &Path,
    mut visit: impl FnMut(Entry<'_>),
) -> Result<(), DataError> {
    let refused = |found: String, fix: &'static str| DataError::Format {
        path: path.to_path_buf(),
        expected: EXPECTED,
        found,
        fix,
    };
    let bytes = read_limited(text, path, MAX_JSON_BYTES, "bytes in a JSON list")?;
    let text = decode_utf8(&bytes, path)?;
    let splits: Pairs<Split> = serde_json::from_str(text).map_err(|_| {
        refused(
            format!("JSON or a program's text of another form, which begins {}", quote::quotation(text)),
            "write one `path label` per line, or a table with the extension .csv and the first line `path,label`",
        )
    })?;
    let mut filled = splits.0.into_iter().filter(|(_, split)| !split.is_empty());
    let Some((_, split)) = filled.next() else {
        return Err(refused(
            "no images".into(),
            "check that this is the file you meant",
        ));
    };
    let others: Vec<String> = filled
        .map(|(name, _)| quote::quotation(&name))
        .take(3)
        .collect();
    if !others.is_empty() {
        return Err(refused(
            format!(
                "several splits in one file, {} among them",
                others.join(", ")
            ),
            r#"write the split you mean as a list: jq -r '.test[] | "\(.[0])\t\(.[2])"' split.json > test.txt"#,
        ));
    }
    if split.len() > MAX_LIST_IMAGES {
        return Err(too_many(path));
    }
    for (line, (path, number, name)) in (1..).zip(split) {
        let number = number.to_string();
        let label = if name.is_empty() { number } else { name };
        visit(Entry {
            line,
            path: &path,
            label: Some(&label),
        });
    }
    Ok(())
}

/// Reads a table with a column of paths and perhaps one of labels, told by the first line or, without one, by the images'
/// extensions.
pub(super) fn visit_table(
    text: impl BufRead,
    path: &Path,
    mut visit: impl FnMut(Entry<'_>),
) -> Result<(), DataError> {
    let refused = |found: String| DataError::Format {
        path: path.to_path_buf(),
        expected: EXPECTED,
        found,
        fix: "give the table a first line that names its columns, such as `path,label`",
    };
    let bytes = read_limited(text, path, MAX_TABLE_BYTES, "bytes in a table")?;
    let tab = has_extension(path, &["tsv"]);
    let rows = table::Rows::new(decode_utf8(&bytes, path)?, path, tab)?;
    let mut columns: Option<(usize, Option<usize>)> = None;
    let mut entries = 0;
    for row in rows {
        let (line, cells) = row?;
        let (path_column, label_column) = match columns {
            Some(columns) => columns,
            None => match table_columns(&cells) {
                Some((found, is_header)) => {
                    columns = Some(found);
                    if is_header {
                        continue;
                    }
                    found
                }
                None => {
                    return Err(refused(format!(
                        "a table whose first line, {}, does not say where the paths are",
                        quote::quotation(&cells.join(","))
                    )));
                }
            },
        };
        if entries == MAX_LIST_IMAGES {
            return Err(too_many(path));
        }
        let cell = |column: usize| cells.get(column).map_or("", |cell| cell.trim());
        if cell(path_column).is_empty() {
            return Err(DataError::ListLine {
                path: path.to_path_buf(),
                line,
                found: cells.join(","),
            });
        }
        entries += 1;
        visit(Entry {
            line,
            path: cell(path_column),
            label: label_column.map(cell).filter(|label| !label.is_empty()),
        });
    }
    Ok(())
}

/// The columns of path and label, and whether this first row only names them.
fn table_columns(cells: &[String]) -> Option<((usize, Option<usize>), bool)> {
    let is_picture = |cell: &String| FileKind::of(Path::new(cell.trim())).is_picture();
    if let Some(path) = cells.iter().position(is_picture) {
        return match cells.len() {
            1 => Some(((path, None), false)),
            2 => Some(((path, Some(1 - path)), false)),
            _ => None,
        };
    }
    let path = table::column(cells, &PATH_COLUMNS, &[])?;
    Some(((path, table::column(cells, &LABEL_COLUMNS, &[path])), true))
}
