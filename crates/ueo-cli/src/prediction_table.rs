//! The table of predictions in its three formats, written row by row.
//!
//! A table in a file is written beside its place, under a name that ends in `.partial`, and takes its place when it is complete.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Map, Value};
use ueo::evaluate::Verdict;
use ueo::session::ImagePrediction;
use ueo::{csv_cell, disk};

use crate::output::is_stdout;
use crate::prediction_parquet::ParquetRows;
use crate::target::directory_of;

/// What follows the name of a table that is being written.
const PARTIAL: &str = ".partial";

/// Formats of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A header and a line per image
    Csv,
    /// A JSON object per image
    Jsonl,
    /// A Parquet file, of which rows are written by the thousand
    Parquet,
}

impl Format {
    /// The format that a name asks for.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl") => Self::Jsonl,
            Some("parquet") => Self::Parquet,
            _ => Self::Csv,
        }
    }
}

/// A table that is being written.
pub struct PredictionTable {
    rows: Rows,
    place: Place,
}

enum Rows {
    Csv {
        table: Box<csv::Writer<Output>>,
        has_header: bool,
    },
    Jsonl(Output),
    Parquet(Box<ParquetRows<Output>>),
}

type Output = BufWriter<Box<dyn Write + Send>>;

/// Where the table is to be in the end.
enum Place {
    /// Where it is written.
    Here,
    /// Beside, until it is complete.
    Beside { partial: PathBuf, path: PathBuf },
}

impl PredictionTable {
    /// Begins a table, or begins one anew that was not completed. `-` is stdout.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn create(path: &Path, format: Format) -> io::Result<Self> {
        let is_regular = || std::fs::metadata(path).map_or(true, |metadata| metadata.is_file());
        let (output, place): (Box<dyn Write + Send>, Place) = if is_stdout(path) {
            (Box::new(io::stdout()), Place::Here)
        } else if is_regular() {
            let mut partial = path.as_os_str().to_owned();
            partial.push(PARTIAL);
            let partial = PathBuf::from(partial);
            let mut file = disk::DiskFile::open(&partial)?;
            file.truncate(0)?;
            let path = path.to_owned();
            (Box::new(file), Place::Beside { partial, path })
        } else {
            // A pipe or a device is written to, not replaced.
            let file = File::options().write(true).open(path)?;
            (Box::new(file), Place::Here)
        };
        let output = BufWriter::new(output);
        let rows = match format {
            Format::Csv => Rows::Csv {
                table: Box::new(csv::Writer::from_writer(output)),
                has_header: false,
            },
            Format::Jsonl => Rows::Jsonl(output),
            Format::Parquet => Rows::Parquet(Box::new(ParquetRows::new(output))),
        };
        Ok(Self { rows, place })
    }

    /// Writes a row. All rows have as many classes as the first.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn write(&mut self, image: &ImagePrediction) -> io::Result<()> {
        match &mut self.rows {
            Rows::Csv { table, has_header } => {
                if !std::mem::replace(has_header, true) {
                    write_header(table, image.top.len())?;
                }
                write_csv(table, image)
            }
            Rows::Jsonl(output) => writeln!(output, "{}", Value::Object(json(image))),
            Rows::Parquet(rows) => rows.write(image),
        }
    }

    /// Hands on what was written so far, as far as the format allows.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.rows {
            Rows::Csv { table, .. } => table.flush(),
            Rows::Jsonl(output) => output.flush(),
            Rows::Parquet(_) => Ok(()),
        }
    }

    /// Completes the table and puts it in its place.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn finish(mut self) -> io::Result<()> {
        match self.rows {
            Rows::Parquet(rows) => rows.finish()?,
            Rows::Csv { .. } | Rows::Jsonl(_) => self.flush()?,
        }
        if let Place::Beside { partial, path } = &self.place {
            File::open(partial)?.sync_all()?;
            disk::rename(partial, path)?;
            disk::sync_directory(directory_of(path))?;
        }
        Ok(())
    }
}

/// Column names of the classes after the first, each with its probability.
pub fn runners_up(top_k: usize) -> impl Iterator<Item = String> {
    (2..=top_k).flat_map(|rank| [format!("predicted_{rank}"), format!("probability_{rank}")])
}

/// The word for a decision, and for what the right one would be.
pub fn decision(known: bool) -> &'static str {
    if known { "known" } else { "unknown" }
}

/// The word for what to do with an image.
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Review => "review",
        Verdict::Reject => "reject",
    }
}

fn write_header(table: &mut csv::Writer<Output>, top_k: usize) -> io::Result<()> {
    let first = [
        "path",
        "predicted",
        "confidence",
        "decision",
        "verdict",
        "probability",
    ];
    let last = ["true_label", "true_decision"].map(str::to_owned);
    let header = first.map(str::to_owned).into_iter();
    Ok(table.write_record(header.chain(runners_up(top_k)).chain(last))?)
}

/// A number as in the lines of a .jsonl and in a run's predictions.csv: a small one has an exponent.
fn number(value: f64) -> String {
    Value::from(value).to_string()
}

fn write_csv(table: &mut csv::Writer<Output>, image: &ImagePrediction) -> io::Result<()> {
    let (label, truth) = match &image.true_label {
        Some(label) => (label.name.clone(), decision(label.class.is_some())),
        None => (String::new(), ""),
    };
    let first = [
        csv_cell(&image.path).into_owned(),
        csv_cell(&image.label).into_owned(),
        number(image.confidence),
        decision(image.known).to_owned(),
        verdict(image.verdict).to_owned(),
    ];
    // The name of the first is there already; its probability follows the verdict.
    let probable = image
        .top
        .iter()
        .flat_map(|(label, probability)| [csv_cell(label).into_owned(), number(*probability)])
        .skip(1);
    let last = [csv_cell(&label).into_owned(), truth.to_owned()];
    Ok(table.write_record(first.into_iter().chain(probable).chain(last))?)
}

fn json(image: &ImagePrediction) -> Map<String, Value> {
    let mut line = Map::new();
    let mut put = |name: &str, value: Value| {
        line.insert(name.to_owned(), value);
    };
    put("path", image.path.as_str().into());
    put("predicted", image.label.as_str().into());
    put("confidence", image.confidence.into());
    put("decision", decision(image.known).into());
    put("verdict", verdict(image.verdict).into());
    let mut probable = image
        .top
        .iter()
        .flat_map(|(label, probability)| [Value::from(label.as_str()), Value::from(*probability)])
        .skip(1);
    put("probability", probable.next().unwrap_or_default());
    for (name, value) in runners_up(image.top.len()).zip(probable) {
        put(&name, value);
    }
    let label = image.true_label.as_ref();
    let truth = label.map(|label| decision(label.class.is_some()));
    put("true_label", label.map(|label| label.name.as_str()).into());
    put("true_decision", truth.into());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_in_the_predictions_of_a_run() {
        for value in [2.0468742123967473e-7, 1.5e-5, 0.25, 1.0, -3.5, 0.0, 4096.5] {
            let mut table = csv::Writer::from_writer(Vec::new());
            table.serialize([value]).unwrap();
            let line = String::from_utf8(table.into_inner().unwrap()).unwrap();
            assert_eq!(number(value), line.trim_end());
        }
    }
}
