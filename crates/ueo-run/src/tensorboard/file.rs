//! The event file of a run directory.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;
use ueo::disk::DiskFile;

use super::Event;
use crate::RunError;
use crate::frame::{frame, split_frame};

/// Name of the event file; TensorBoard looks for `tfevents` in it.
pub const EVENT_FILE: &str = "events.out.tfevents.ueo";

/// Fields that say where in the run a record stands; they become the step of its event.
const POSITIONS: [&str; 2] = ["step", "epoch"];

/// Appends the records of a run to its event file.
#[derive(Debug)]
pub struct EventFile {
    file: BufWriter<DiskFile>,
    path: PathBuf,
}

impl EventFile {
    /// Opens the file of a run directory for appending, and makes it if need be.
    ///
    /// Kept are the whole, undamaged events up to the first that `keep` refuses; what follows is cut off in place, so that a
    /// TensorBoard that has the file open goes on reading it.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn open(directory: &Path, keep: impl FnMut(&Event) -> bool) -> Result<Self, RunError> {
        let path = directory.join(EVENT_FILE);
        let (events, kept) = match fs::read(&path) {
            Ok(bytes) => kept_prefix(&bytes, keep),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (0, 0),
            Err(source) => return Err(RunError::io("read", &path, source)),
        };
        let file = DiskFile::open(&path)
            .and_then(|mut file| {
                file.truncate(kept)?;
                Ok(BufWriter::new(file))
            })
            .map_err(|source| RunError::io("open", &path, source))?;
        let mut file = Self { file, path };
        if events == 0 {
            file.begin()?;
        }
        Ok(file)
    }

    /// The same file without events.
    pub(crate) fn emptied(mut self) -> Result<Self, RunError> {
        self.file
            .flush()
            .and_then(|()| self.file.get_mut().truncate(0))
            .map_err(|source| RunError::io("write", &self.path, source))?;
        self.begin()?;
        Ok(self)
    }

    fn begin(&mut self) -> Result<(), RunError> {
        self.write(&Event::version(now()))?;
        self.file
            .flush()
            .map_err(|source| RunError::io("write", &self.path, source))
    }

    /// Appends all numbers of a record under tags `prefix/FIELD`, nested objects as `prefix/FIELD/INNER`.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn append(
        &mut self,
        prefix: &str,
        step: usize,
        record: &impl Serialize,
    ) -> Result<(), RunError> {
        let value = serde_json::to_value(record)
            .map_err(|error| RunError::io("write", &self.path, error.into()))?;
        let mut scalars = Vec::new();
        collect(prefix, &value, &mut scalars);
        self.write(&Event {
            wall_time: now(),
            step: step as u64,
            file_version: None,
            scalars,
        })
    }

    /// Returns when all events are on the disk.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn sync(&mut self) -> Result<(), RunError> {
        self.file
            .flush()
            .and_then(|()| self.file.get_mut().sync())
            .map_err(|source| RunError::io("write", &self.path, source))
    }

    fn write(&mut self, event: &Event) -> Result<(), RunError> {
        self.file
            .write_all(&encode_events(std::slice::from_ref(event)))
            .map_err(|source| RunError::io("write", &self.path, source))
    }
}

/// All events of an event file, up to its end or the first damage.
///
/// # Errors
///
/// [`RunError::Io`].
pub fn read_events(path: &Path) -> Result<Vec<Event>, RunError> {
    let bytes = fs::read(path).map_err(|source| RunError::io("read", path, source))?;
    Ok(events_of(&bytes))
}

/// As [`read_events`], from memory.
pub(crate) fn events_of(bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    kept_prefix(bytes, |event| {
        events.push(event.clone());
        true
    });
    events
}

/// The bytes of a file of these events.
pub fn encode_events(events: &[Event]) -> Vec<u8> {
    let frames = events.iter().map(|event| frame(&event.encode()));
    frames.flatten().collect()
}

/// Number and bytes of the leading events that `keep` accepts.
fn kept_prefix(bytes: &[u8], mut keep: impl FnMut(&Event) -> bool) -> (usize, u64) {
    let (mut events, mut rest) = (0, bytes);
    while let Some((data, after)) = split_frame(rest) {
        match Event::decode(data) {
            Some(event) if keep(&event) => events += 1,
            _ => break,
        }
        rest = after;
    }
    (events, (bytes.len() - rest.len()) as u64)
}

fn collect(tag: &str, value: &Value, scalars: &mut Vec<(String, f32)>) {
    match value {
        Value::Number(number) => {
            if let Some(number) = number.as_f64() {
                scalars.push((tag.to_owned(), number as f32));
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                if !POSITIONS.contains(&name.as_str()) {
                    collect(&format!("{tag}/{name}"), value, scalars);
                }
            }
        }
        _ => {}
    }
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Record {
        step: usize,
        loss: f64,
        terms: Terms,
        view: &'static str,
        score: Option<f64>,
    }

    #[derive(Serialize)]
    struct Terms {
        distance: f64,
    }

    fn record(step: usize) -> Record {
        Record {
            step,
            loss: 0.5 * step as f64,
            terms: Terms { distance: 2.0 },
            view: "test",
            score: None,
        }
    }

    #[test]
    fn numbers_become_scalars_and_an_interrupted_file_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(EVENT_FILE);
        let mut file = EventFile::open(directory.path(), |_| true).unwrap();
        for step in 1..=3 {
            file.append("step", step, &record(step)).unwrap();
        }
        file.sync().unwrap();
        // The last event was cut off by a crash, and the state on disk knows of one step only.
        let length = fs::metadata(&path).unwrap().len();
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(length - 3)
            .unwrap();
        assert_eq!(
            read_events(&path).unwrap().len(),
            3,
            "version and two steps"
        );
        let mut file = EventFile::open(directory.path(), |event| event.step <= 1).unwrap();
        file.append("step", 2, &record(2)).unwrap();
        file.sync().unwrap();

        let events = read_events(&path).unwrap();
        let steps: Vec<u64> = events.iter().map(|event| event.step).collect();
        assert_eq!(steps, [0, 1, 2]);
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        let expected = [("step/loss", 1.0), ("step/terms/distance", 2.0)];
        let expected = expected.map(|(tag, value)| (tag.to_owned(), value));
        assert_eq!(events[2].scalars, expected);
        assert!(events[2].wall_time > 1e9);
    }
}
