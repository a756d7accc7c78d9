//! Tables that users write: cells between commas, semicolons or tabs, perhaps in quotation marks, perhaps with a first
//! line of column names.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::DataError;
use super::class_name::fold;
use super::text_file::MAX_LINE_BYTES;

/// Bytes of a row for which there is room at first.
const ROW_BYTES: usize = 1 << 10;
/// Columns for which there is room at first.
const COLUMNS: usize = 16;

/// The rows of a table with their line numbers.
pub(super) struct Rows<'a> {
    reader: Reader,
    text: Cow<'a, str>,
    /// Bytes of the text that have been read.
    read: usize,
    /// Cells of the first row, and so of every row.
    width: Option<usize>,
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
        Ok(Self {
            reader: ReaderBuilder::new().delimiter(delimiter).build(),
            text,
            read: 0,
            width: None,
            path: path.to_path_buf(),
        })
    }

    /// The cells of the next row without the blanks around them; `None` at the end.
    fn record(&mut self) -> Option<Vec<String>> {
        let mut bytes = vec![0; ROW_BYTES];
        let mut ends = vec![0; COLUMNS];
        let (mut length, mut cells) = (0, 0);
        loop {
            let input = &self.text.as_bytes()[self.read..];
            let (result, read, written, ended) =
                self.reader
                    .read_record(input, &mut bytes[length..], &mut ends[cells..]);
            self.read += read;
            length += written;
            cells += ended;
            match result {
                ReadRecordResult::OutputFull => bytes.resize(2 * bytes.len().max(1), 0),
                ReadRecordResult::OutputEndsFull => ends.resize(2 * ends.len(), 0),
                // All of the text was there: what is asked for now is the end.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return None,
            }
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let cell = |(start, end): (usize, &usize)| {
            // Separators and quotation marks are ASCII, so that a cell of a text is a text.
            let cell = String::from_utf8_lossy(&bytes[start..*end]);
            cell.trim().to_owned()
        };
        Some(starts.zip(&ends[..cells]).map(cell).collect())
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<(usize, Vec<String>), DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.reader.line() as usize;
        let cells = self.record()?;
        let width = *self.width.get_or_insert(cells.len());
        Some(if cells.len() == width {
            Ok((line, cells))
        } else {
            Err(DataError::Format {
                path: self.path.clone(),
                expected: "a table with as many cells in each line",
                found: format!("{} in line {line} and {width} in the first", cells.len()),
                fix: "put cells that contain the separator or a line's end in quotation marks",
            })
        })
    }
}

/// The column with the first of these names, which are in the order of their precedence; never one of `taken`.
pub(super) fn column(cells: &[String], names: &[&str], taken: &[usize]) -> Option<usize> {
    let folded: Vec<String> = cells.iter().map(|cell| fold(cell)).collect();
    names.iter().find_map(|name| {
        (0..folded.len()).find(|column| folded[*column] == *name && !taken.contains(column))
    })
}
