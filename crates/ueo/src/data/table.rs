//! Tables that users write: cells between commas, semicolons or tabs, perhaps in quotation marks, perhaps with a first
//! line of column names.

use std::borrow::Cow;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecordsIntoIter, Trim};

use super::DataError;
use super::class_name::fold;
use super::text_file::MAX_LINE_BYTES;

/// The rows of a table with their line numbers.
pub(super) struct Rows<'a> {
    records: StringRecordsIntoIter<Cursor<Cow<'a, [u8]>>>,
    path: PathBuf,
}

impl<'a> Rows<'a> {
    /// Cells are separated by tabs if `tab`, else by the first of comma and semicolon that the first line has.
    ///
    /// # Errors
    /// [`DataError::Limit`] for a line that is too long, so that no row takes much more memory than its text.
    pub(super) fn new(text: &'a str, path: &Path, tab: bool) -> Result<Self, DataError> {
        let mut lines = text.split(['\n', '\r']);
        if lines.any(|line| line.len() > MAX_LINE_BYTES) {
            return Err(DataError::Limit {
                path: path.to_path_buf(),
                line: None,
                limit: MAX_LINE_BYTES as u64,
                what: "bytes in a line",
            });
        }
        // The parser takes a carriage return for the end of a line, but does not count it.
        let text = match text.contains('\r') {
            true => Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")),
            false => Cow::Borrowed(text),
        };
        let first_line = text.lines().next().unwrap_or_default();
        let delimiter = match tab {
            true => b'\t',
            false if !first_line.contains(',') && first_line.contains(';') => b';',
            false if !first_line.contains(',') && first_line.contains('\t') => b'\t',
            false => b',',
        };
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .delimiter(delimiter)
            .trim(Trim::All)
            .from_reader(Cursor::new(match text {
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            }));
        Ok(Self {
            records: reader.into_records(),
            path: path.to_path_buf(),
        })
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<(usize, Vec<String>), DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match self.records.next()? {
            Ok(record) => record,
            Err(error) => {
                return Some(Err(DataError::Format {
                    path: self.path.clone(),
                    expected: "a table with as many cells in each line",
                    found: error.to_string(),
                    fix: "put cells that contain the separator or a line's end in quotation marks",
                }));
            }
        };
        let line = record
            .position()
            .map_or(0, |position| position.line() as usize);
        Some(Ok((line, record.iter().map(str::to_owned).collect())))
    }
}

/// The column with the first of these names, which are in the order of their precedence; never one of `taken`.
pub(super) fn column(cells: &[String], names: &[&str], taken: &[usize]) -> Option<usize> {
    let folded: Vec<String> = cells.iter().map(|cell| fold(cell)).collect();
    names.iter().find_map(|name| {
        (0..folded.len()).find(|column| folded[*column] == *name && !taken.contains(column))
    })
}
