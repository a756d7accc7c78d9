//! The table of predictions as a Parquet file. Rows are held until there are enough for a group; a file that was not completed
//! has no table of contents and cannot be read.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use ueo::session::ImagePrediction;

use crate::prediction_table::{decision, runners_up, verdict};

/// Rows of a group.
const ROWS_OF_A_GROUP: usize = 16 << 10;

/// A file that is being written.
pub struct ParquetRows<W: Write + Send> {
    state: State<W>,
    rows: Vec<ImagePrediction>,
}

enum State<W: Write + Send> {
    /// Before the first row, which says how many classes there are per row.
    Begun(W),
    Writing(Box<SerializedFileWriter<W>>),
    Failed,
}

impl<W: Write + Send> ParquetRows<W> {
    /// A file without rows.
    pub fn new(output: W) -> Self {
        Self {
            state: State::Begun(output),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    ///
    /// As the writer.
    pub fn write(&mut self, image: &ImagePrediction) -> io::Result<()> {
        self.rows.push(image.clone());
        match self.rows.len() < ROWS_OF_A_GROUP {
            true => Ok(()),
            false => self.write_group(),
        }
    }

    /// Writes what is left, and the table of contents.
    ///
    /// # Errors
    ///
    /// As the writer.
    pub fn finish(mut self) -> io::Result<()> {
        if !self.rows.is_empty() {
            self.write_group()?;
        }
        match self.state {
            State::Writing(writer) => {
                let mut output = writer.into_inner().map_err(io_error)?;
                output.flush()
            }
            State::Begun(_) | State::Failed => Ok(()),
        }
    }

    fn write_group(&mut self) -> io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let top_k = rows.first().map_or(0, |row| row.top.len());
        let mut writer = match std::mem::replace(&mut self.state, State::Failed) {
            State::Begun(output) => Box::new(begin(output, top_k).map_err(io_error)?),
            State::Writing(writer) => writer,
            State::Failed => return Err(io::Error::other("an earlier group was not written")),
        };
        let written = write_columns(&mut writer, &rows, top_k);
        written.map_err(io_error)?;
        self.state = State::Writing(writer);
        Ok(())
    }
}

fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => *source,
            Err(source) => io::Error::other(source),
        },
        other => io::Error::other(other),
    }
}

fn begin<W: Write + Send>(
    output: W,
    top_k: usize,
) -> Result<SerializedFileWriter<W>, ParquetError> {
    let text = |name: &str, repetition| {
        let of = Type::primitive_type_builder(name, Physical::BYTE_ARRAY);
        let of = of.with_logical_type(Some(LogicalType::String));
        of.with_repetition(repetition).build().map(Arc::new)
    };
    let number = |name: &str| {
        let of = Type::primitive_type_builder(name, Physical::DOUBLE);
        of.with_repetition(Repetition::REQUIRED)
            .build()
            .map(Arc::new)
    };
    let required = Repetition::REQUIRED;
    let mut columns = vec![
        text("path", required)?,
        text("predicted", required)?,
        number("confidence")?,
        text("decision", required)?,
        text("verdict", required)?,
        number("probability")?,
    ];
    for (position, name) in runners_up(top_k).enumerate() {
        columns.push(match position % 2 {
            0 => text(&name, required)?,
            _ => number(&name)?,
        });
    }
    columns.push(text("true_label", Repetition::OPTIONAL)?);
    columns.push(text("true_decision", Repetition::OPTIONAL)?);
    let schema = Type::group_type_builder("predictions");
    let schema = Arc::new(schema.with_fields(columns).build()?);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("ueo ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    SerializedFileWriter::new(output, schema, Arc::new(properties))
}

fn write_columns<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    rows: &[ImagePrediction],
    top_k: usize,
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    texts(&mut group, rows.iter().map(|row| row.path.as_str()))?;
    texts(&mut group, rows.iter().map(|row| row.label.as_str()))?;
    numbers(&mut group, rows.iter().map(|row| row.confidence))?;
    texts(&mut group, rows.iter().map(|row| decision(row.known)))?;
    texts(&mut group, rows.iter().map(|row| verdict(row.verdict)))?;
    for rank in 0..top_k {
        if rank > 0 {
            texts(&mut group, rows.iter().map(|row| row.top[rank].0.as_str()))?;
        }
        numbers(&mut group, rows.iter().map(|row| row.top[rank].1))?;
    }
    let labels = || rows.iter().map(|row| row.true_label.as_ref());
    optional(&mut group, labels().map(|label| Some(label?.name.as_str())))?;
    optional(
        &mut group,
        labels().map(|label| Some(decision(label?.class.is_some()))),
    )?;
    group.close()?;
    Ok(())
}

fn texts<'a, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: impl Iterator<Item = &'a str>,
) -> Result<(), ParquetError> {
    let values: Vec<ByteArray> = values.map(ByteArray::from).collect();
    write_column::<ByteArrayType, W>(group, &values, None)
}

fn numbers<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: impl Iterator<Item = f64>,
) -> Result<(), ParquetError> {
    let values: Vec<f64> = values.collect();
    write_column::<DoubleType, W>(group, &values, None)
}

fn optional<'a, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: impl Iterator<Item = Option<&'a str>> + Clone,
) -> Result<(), ParquetError> {
    let levels: Vec<i16> = values.clone().map(|value| value.is_some().into()).collect();
    let values: Vec<ByteArray> = values.flatten().map(ByteArray::from).collect();
    write_column::<ByteArrayType, W>(group, &values, Some(&levels))
}

fn write_column<T: parquet::data_type::DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let column = group.next_column()?;
    let mut column = column.ok_or_else(|| ParquetError::General("too many columns".into()))?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}
