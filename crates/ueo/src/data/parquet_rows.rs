//! Parquet files as a data set: a row is an image, as Hugging Face data sets have them.
//!
//! Of a file its table of contents and the column of labels are read; images are read row by row when they are needed
//! ([`ParquetFile`] says how). A file that is damaged, or compressed in a way that is not read, is left out with its reason.
//! One without a column of images is an error, because another column may be meant.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{CompressionCodec, Type};
use parquet::column::page::Page;
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::dataset::id_of;
use super::parquet_columns::{LabelColumn, WrongColumns, find};
use super::parquet_file::{Column, KeptPages, Source, in_words, needs_dictionary};
use super::parquet_pages::{Chunk, Codec, PageKind};
use super::samples::{NewSample, Store};
use super::{
    DataError, Dataset, LeftOutReason, ParquetColumns, ParquetFile, SkipReason, SourceKind,
};

/// What every file ends with, after the length of its table of contents.
const MAGIC: &[u8] = b"PAR1";
const ENCRYPTED_MAGIC: &[u8] = b"PARE";
/// Length of the table's length and the magic number, in bytes.
const TAIL_BYTES: u64 = 8;

/// Longest table of contents, in bytes. What it is unpacked to is at most some hundred times as long.
const MAX_CONTENTS_BYTES: u64 = 16 << 20;

/// Most rows of a file.
const MAX_ROWS: u64 = 16 << 20;

/// Most bytes of labels that are kept of a file.
const MAX_LABEL_BYTES: usize = 256 << 20;

/// Longest label, in characters; longer texts are captions or something else.
const MAX_LABEL_CHARS: usize = 300;

/// Values that are unpacked at once.
const VALUES_AT_ONCE: usize = 1 << 10;

/// A single file.
pub(super) fn open(file: &Path, columns: &ParquetColumns) -> Result<Dataset, DataError> {
    let root = file.parent().unwrap_or(Path::new(""));
    let dataset = Dataset::empty(root, SourceKind::Rows);
    open_all(dataset, vec![file.to_path_buf()], columns)
}

/// Adds the rows of all files to a data set without samples.
pub(super) fn open_all(
    mut dataset: Dataset,
    mut files: Vec<PathBuf>,
    columns: &ParquetColumns,
) -> Result<Dataset, DataError> {
    dataset.kind = SourceKind::Rows;
    files.sort();
    let kept = Arc::default();
    for (number, path) in files.iter().enumerate() {
        let id = id_of(path.strip_prefix(&dataset.root).unwrap_or(path));
        let source = Source::File(path.clone());
        add(&mut dataset, &id, (number, source), columns, &kept).map_err(|wrong| {
            DataError::Columns {
                path: path.clone(),
                expected: wrong.expected.clone(),
                found: wrong.listed(),
            }
        })?;
    }
    Ok(dataset)
}

/// The data set of one Parquet file's bytes, which are a file's in every other use; for tests with bytes that were made up.
///
/// # Errors
/// As [`Dataset::open`] has for a Parquet file.
pub fn index_parquet_bytes(bytes: &[u8], columns: &ParquetColumns) -> Result<Dataset, DataError> {
    let mut dataset = Dataset::empty(Path::new(""), SourceKind::Rows);
    let source = Source::Memory(bytes.into());
    let (id, kept) = ("memory.parquet", Arc::default());
    add(&mut dataset, id, (0, source), columns, &kept).map_err(|wrong| DataError::Columns {
        path: id.into(),
        expected: wrong.expected.clone(),
        found: wrong.listed(),
    })?;
    dataset.sort();
    Ok(dataset)
}

/// What a file holds.
struct Contents {
    images: Column,
    /// One per row, or none at all where there are no labels.
    labels: Vec<Option<Box<str>>>,
    /// Where there are none, a column that looks as if it were theirs, and what it holds.
    no_label: Option<(String, &'static str)>,
}

/// Why a file is not taken.
enum Refusal {
    Columns(WrongColumns),
    Damage(String),
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(reason: T) -> Self {
        Self::Damage(reason.into())
    }
}

/// Adds the rows of a file, or its name to what is skipped.
fn add(
    dataset: &mut Dataset,
    id: &str,
    (number, source): (usize, Source),
    columns: &ParquetColumns,
    kept: &Arc<KeptPages>,
) -> Result<(), WrongColumns> {
    // As in `ParquetFile::read`.
    let read = catch_unwind(AssertUnwindSafe(|| Contents::read(&source, columns)));
    let read = read.unwrap_or_else(|_| Err("a check inside the reader failed".into()));
    let contents = match read {
        Ok(contents) => contents,
        Err(Refusal::Columns(wrong)) => return Err(wrong),
        Err(Refusal::Damage(reason)) => {
            dataset.skip(id.to_owned(), SkipReason::DamagedTable { reason });
            return Ok(());
        }
    };
    if let Some((column, kind)) = contents.no_label {
        let reason = LeftOutReason::LabelColumn(column, kind);
        dataset.left_out.add(reason, id);
    }
    let chunks = &contents.images.chunks;
    let rows = chunks.last().map_or(0, |last| last.first_row + last.rows);
    let file = ParquetFile::new(number, source, contents.images, Arc::clone(kept));
    let store = dataset.samples.add_store(Store::Rows(Arc::new(file)));
    let mut labels = contents.labels.into_iter();
    for row in 0..rows {
        let label = labels.next().flatten();
        dataset.samples.push(&NewSample {
            // As many digits as a file may have rows, so that the order of names is that of rows.
            id: &format!("{id}/{row:08}"),
            label: label.as_deref(),
            store,
            offset: row,
            length: 0,
        });
    }
    Ok(())
}

impl Contents {
    fn read(source: &Source, columns: &ParquetColumns) -> Result<Self, Refusal> {
        let length = source.length().map_err(|error| error.to_string())?;
        let metadata = table_of_contents(source, length)?;
        let found = find(&metadata, columns).map_err(Refusal::Columns)?;
        let images = column(&metadata, found.image, length)?;
        refuse_empty_rows(&images)?;
        let labels = match &found.label {
            Some(label) => {
                let column = column(&metadata, label.position, length)?;
                read_labels(source, &column, label)?
            }
            None => Vec::new(),
        };
        Ok(Self {
            images,
            labels,
            no_label: found.no_label,
        })
    }
}

/// Reads what the file says about itself at its end.
fn table_of_contents(source: &Source, length: u64) -> Result<ParquetMetaData, String> {
    let in_file = |offset: u64, length: u64| {
        let bytes = source.read(offset, length);
        bytes.map_err(|error| error.to_string())
    };
    let tail = in_file(length.saturating_sub(TAIL_BYTES), TAIL_BYTES)?;
    let Some((stated, magic)) = tail.split_first_chunk::<4>() else {
        return Err("it is too short".into());
    };
    match magic {
        MAGIC => {}
        ENCRYPTED_MAGIC => return Err("it is encrypted".into()),
        _ => return Err("it does not end as one does (is it cut off?)".into()),
    }
    let stated = u64::from(u32::from_le_bytes(*stated));
    if stated > MAX_CONTENTS_BYTES {
        return Err(format!(
            "its table of contents has {stated} bytes, more than the limit of {MAX_CONTENTS_BYTES}"
        ));
    }
    let start = length.checked_sub(TAIL_BYTES + stated);
    let start = start.ok_or("its table of contents is longer than the file")?;
    let bytes = in_file(start, stated)?;
    ParquetMetaDataReader::decode_metadata(&bytes).map_err(in_words)
}

/// The parts of a column, checked against the file.
fn column(metadata: &ParquetMetaData, position: usize, length: u64) -> Result<Column, String> {
    let schema = metadata.file_metadata().schema_descr();
    let description = schema.column(position);
    let mut chunks = Vec::new();
    let mut first_row = 0;
    for group in metadata.row_groups() {
        let chunk = group.columns().get(position);
        let chunk = chunk.ok_or("a group of rows lacks a column")?;
        let codec = match chunk.compression_codec() {
            CompressionCodec::UNCOMPRESSED => Codec::None,
            CompressionCodec::SNAPPY => Codec::Snappy,
            CompressionCodec::GZIP => Codec::Gzip,
            other => {
                return Err(format!(
                    "its column {} is compressed by {other}, which is not read (snappy, gzip and none are)",
                    description.path().string()
                ));
            }
        };
        if chunk.file_path().is_some() {
            return Err("its columns are in other files".into());
        }
        let data = chunk.data_page_offset();
        let dictionary = chunk.dictionary_page_offset();
        let start = dictionary.filter(|start| (1..data).contains(start));
        let start = u64::try_from(start.unwrap_or(data));
        let packed = u64::try_from(chunk.compressed_size());
        let rows = u64::try_from(group.num_rows());
        let (Ok(start), Ok(packed), Ok(rows)) = (start, packed, rows) else {
            return Err("a group of rows has a negative size".into());
        };
        if start.checked_add(packed).is_none_or(|end| end > length) {
            return Err("a column goes on behind the end of the file".into());
        }
        chunks.push(Chunk {
            start,
            length: packed,
            codec,
            first_row,
            rows,
        });
        first_row += rows;
        if first_row > MAX_ROWS {
            return Err(format!("it has more than {MAX_ROWS} rows"));
        }
    }
    Ok(Column {
        description,
        chunks,
    })
}

/// Refuses groups with more rows than bytes: a row that is announced takes memory, and no image is so short.
fn refuse_empty_rows(images: &Column) -> Result<(), String> {
    match images.chunks.iter().find(|chunk| chunk.rows > chunk.length) {
        None => Ok(()),
        Some(Chunk { rows, length, .. }) => Err(format!(
            "its column {} has {length} bytes for {rows} rows (a path alone is not followed)",
            images.description.path().string()
        )),
    }
}

/// The labels of all rows.
fn read_labels(
    source: &Source,
    column: &Column,
    label: &LabelColumn,
) -> Result<Vec<Option<Box<str>>>, String> {
    let number = |value: i64| match usize::try_from(value) {
        // Hugging Face data sets have -1 where there is no label.
        Err(_) => None,
        Ok(position) => match label.names.get(position) {
            Some(name) if !name.is_empty() => Some(name.as_str().into()),
            _ => Some(value.to_string().into()),
        },
    };
    match column.description.physical_type() {
        Type::INT32 => values_of::<Int32Type>(source, column, |value| number(i64::from(*value))),
        Type::INT64 => values_of::<Int64Type>(source, column, |value| number(*value)),
        Type::FLOAT => values_of::<FloatType>(source, column, |value| {
            whole(f64::from(*value)).and_then(number)
        }),
        Type::DOUBLE => {
            values_of::<DoubleType>(source, column, |value| whole(*value).and_then(number))
        }
        _ => values_of::<ByteArrayType>(source, column, text_of),
    }
}

/// A number without decimal places; others, which are no classes, and those that are missing are no labels.
fn whole(value: f64) -> Option<i64> {
    // Larger ones are not exact.
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    (value.fract() == 0.0 && value.abs() <= LARGEST).then_some(value as i64)
}

fn text_of(value: &ByteArray) -> Option<Box<str>> {
    let text = std::str::from_utf8(value.data()).ok()?.trim();
    let is_label = !text.is_empty() && text.chars().count() <= MAX_LABEL_CHARS;
    is_label.then(|| text.into())
}

/// The values of all rows of a column.
fn values_of<T: DataType>(
    source: &Source,
    column: &Column,
    label: impl Fn(&T::T) -> Option<Box<str>>,
) -> Result<Vec<Option<Box<str>>>, String> {
    let mut labels = Vec::new();
    let mut bytes = 0;
    for chunk in &column.chunks {
        let mut dictionary: Option<Page> = None;
        for page in source.pages_of(chunk)? {
            let unpacked = source.unpack(&column.description, chunk, &page)?;
            if page.kind == PageKind::Dictionary {
                dictionary = Some(unpacked);
                continue;
            }
            let needed = dictionary.clone().filter(|_| needs_dictionary(&unpacked));
            let pages: VecDeque<Page> = needed.into_iter().chain([unpacked]).collect();
            let mut reader = column.reader::<T>(pages);
            let mut left = page.rows as usize;
            while left > 0 {
                let (mut levels, mut values) = (Vec::new(), Vec::new());
                let count = left.min(VALUES_AT_ONCE);
                let (read, ..) = reader
                    .read_records(count, Some(&mut levels), None, &mut values)
                    .map_err(in_words)?;
                if read == 0 {
                    return Err("a page of labels holds fewer rows than it announces".into());
                }
                left -= read;
                let deepest = column.description.max_def_level();
                let mut values = values.iter();
                for row in 0..read {
                    let is_there = levels.get(row).is_none_or(|level| *level == deepest);
                    let value = if is_there { values.next() } else { None };
                    let found = value.and_then(&label);
                    bytes += found.as_ref().map_or(0, |text| text.len());
                    labels.push(found);
                }
                if bytes > MAX_LABEL_BYTES {
                    return Err(format!("its labels take more than {MAX_LABEL_BYTES} bytes"));
                }
            }
        }
    }
    Ok(labels)
}
