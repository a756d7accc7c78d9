//! Files of one JSON object per line, which grow with a run: `metrics.jsonl` and `epochs.jsonl`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ueo::disk::DiskFile;

use super::RunError;

/// Longest record, in bytes. Ours have some hundreds.
const LONGEST_RECORD: u64 = 1 << 20;

/// How the records of a file count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbering {
    /// The field of the number.
    pub field: &'static str,
    /// The number of the first record; each one after it has the next.
    pub first: usize,
}

impl Numbering {
    /// Checks that a line is the record that belongs in this place, from 0.
    fn check(self, place: usize, line: &str) -> Result<(), String> {
        let Self { field, first } = self;
        let expected = first + place;
        let found = serde_json::from_str::<Value>(line.trim_end())
            .map_err(|error| error.to_string())
            .and_then(|record| match record.get(field).and_then(Value::as_u64) {
                Some(number) => Ok(number),
                None => Err(format!("it has no number `{field}`")),
            });
        let line = place + 1;
        match found {
            Ok(number) if number == expected as u64 => Ok(()),
            Ok(number) => Err(format!(
                "line {line}: expected the record of {field} {expected}, found that of {field} {number}"
            )),
            Err(reason) => Err(format!(
                "line {line}: expected the record of {field} {expected}: {reason}"
            )),
        }
    }
}

/// Appends records to a file, one JSON object per line.
#[derive(Debug)]
pub struct RecordWriter {
    file: BufWriter<DiskFile>,
}

impl RecordWriter {
    /// Opens a file that is to hold exactly this many records; what follows them came after the state and is cut off.
    ///
    /// # Errors
    ///
    /// [`RunError::Record`] when there are fewer, or others; [`RunError::Io`].
    pub(crate) fn open(
        path: &Path,
        numbering: Numbering,
        records: usize,
    ) -> Result<Self, RunError> {
        let io = |action| move |source| RunError::io(action, path, source);
        if records > 0 && !path.exists() {
            return Err(too_few(path, records, 0));
        }
        let mut file = DiskFile::open(path).map_err(io("open"))?;
        let mut kept = 0;
        let mut lines = BufReader::new(file.file());
        let mut line = String::new();
        for place in 0..records {
            let read = read_line(&mut lines, &mut line, path, place)?;
            if !line.ends_with('\n') {
                return Err(too_few(path, records, place));
            }
            numbering
                .check(place, &line)
                .map_err(|reason| RunError::record(path, reason))?;
            kept += read as u64;
        }
        file.truncate(kept).map_err(io("write"))?;
        Ok(Self {
            file: BufWriter::new(file),
        })
    }

    /// Appends a record. It reaches the disk no later than the next [`Self::sync`].
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn append(&mut self, record: &impl Serialize) -> Result<(), RunError> {
        serde_json::to_writer(&mut self.file, record)
            .map_err(io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(|source| RunError::io("write", &self.path(), source))
    }

    /// Returns when all records are on the disk.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn sync(&mut self) -> Result<(), RunError> {
        self.file
            .flush()
            .and_then(|()| self.file.get_mut().sync())
            .map_err(|source| RunError::io("write", &self.path(), source))
    }

    fn path(&self) -> PathBuf {
        self.file.get_ref().path().to_owned()
    }
}

/// All whole records of a file. A last line without its end was being written when the process died, and is left out.
///
/// # Errors
///
/// [`RunError::Io`], and [`RunError::Record`] when a record is missing or in another place.
pub(crate) fn read_records<T: DeserializeOwned>(
    path: &Path,
    numbering: Numbering,
) -> Result<Vec<T>, RunError> {
    let file = File::open(path).map_err(|source| RunError::io("read", path, source))?;
    records_of(BufReader::new(file), path, numbering)
}

/// As [`read_records`], from a file or from memory; `path` is for messages.
pub(crate) fn records_of<T: DeserializeOwned>(
    mut lines: impl BufRead,
    path: &Path,
    numbering: Numbering,
) -> Result<Vec<T>, RunError> {
    let (mut records, mut line) = (Vec::new(), String::new());
    loop {
        read_line(&mut lines, &mut line, path, records.len())?;
        if !line.ends_with('\n') {
            return Ok(records);
        }
        let record = numbering.check(records.len(), &line).and_then(|()| {
            serde_json::from_str(&line)
                .map_err(|error| format!("line {}: {error}", records.len() + 1))
        });
        records.push(record.map_err(|reason| RunError::record(path, reason))?);
    }
}

/// Reads the line in a place, from 0, with its end; the number of its bytes.
fn read_line(
    lines: &mut impl BufRead,
    line: &mut String,
    path: &Path,
    place: usize,
) -> Result<usize, RunError> {
    line.clear();
    let read = lines
        .take(LONGEST_RECORD)
        .read_line(line)
        .map_err(|source| RunError::io("read", path, source))?;
    if read as u64 == LONGEST_RECORD && !line.ends_with('\n') {
        let line = place + 1;
        let reason = format!("line {line}: expected at most {LONGEST_RECORD} bytes");
        return Err(RunError::record(path, reason));
    }
    Ok(read)
}

fn too_few(path: &Path, expected: usize, found: usize) -> RunError {
    RunError::record(path, format!("expected {expected} records, found {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: Numbering = Numbering {
        field: "step",
        first: 1,
    };

    fn file(content: &str) -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("metrics.jsonl");
        std::fs::write(&path, content).unwrap();
        (place, path)
    }

    #[test]
    fn what_came_after_the_state_is_cut_off() {
        let (_place, path) = file("{\"step\":1}\n{\"step\":2}\n{\"st");
        let mut writer = RecordWriter::open(&path, STEPS, 1).unwrap();
        writer
            .append(&serde_json::json!({"step": 2, "loss": 0.5}))
            .unwrap();
        writer.sync().unwrap();
        let content = std::fs::read_to_string(&path).unwrap();
        assert_eq!(content, "{\"step\":1}\n{\"step\":2,\"loss\":0.5}\n");
    }

    #[test]
    fn fewer_or_other_records_than_the_state_counts_are_refused_and_kept() {
        for (content, expected) in [
            ("{\"step\":1}\n", "expected 2 records, found 1"),
            ("{\"step\":1}\n{\"step\":2}", "expected 2 records, found 1"),
            (
                "{\"step\":2}\n{\"step\":1}\n",
                "line 1: expected the record of step 1, found that of step 2",
            ),
            (
                "{\"step\":1}\n{\"st\n",
                "line 2: expected the record of step 2: ",
            ),
            ("{\"step\":1}\n{}\n", "it has no number `step`"),
        ] {
            let (_place, path) = file(content);
            let error = RecordWriter::open(&path, STEPS, 2).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        let (_place, path) = file("");
        std::fs::remove_file(&path).unwrap();
        RecordWriter::open(&path, STEPS, 1).unwrap_err();
        assert!(!path.exists());
    }

    #[test]
    fn readers_leave_out_a_line_that_was_being_written() {
        let (_place, path) = file("{\"step\":1}\n{\"st");
        assert_eq!(read_records::<Value>(&path, STEPS).unwrap().len(), 1);
        let (_place, path) = file("{\"step\":2}\n");
        read_records::<Value>(&path, STEPS).unwrap_err();
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let (_place, path) = file("");
        let endless = File::options().write(true).open(&path).unwrap();
        // Holes take no room on the disk.
        endless.set_len(1 << 40).unwrap();
        for error in [
            read_records::<Value>(&path, STEPS).unwrap_err(),
            RecordWriter::open(&path, STEPS, 1).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains("line 1: expected at most"), "{error}");
        }
    }
}
