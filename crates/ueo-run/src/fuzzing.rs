//! The readers of a run directory's files on bytes in memory, for fuzz targets and seeded tests: whatever the bytes are, they
//! return.

use std::path::Path;

use ueo::adapt::StepRecord;
use ueo::guard::EpochRecord;
use ueo::model::Clip;

use super::directory::{EPOCH_NUMBERS, STEPS};
use super::features::read_frames;
use super::predictions;
use super::record::RunRecord;
use super::records::records_of;
use super::state::decode_state;
use super::tensorboard::events_of;

/// A run's record; whether it was accepted. What is accepted can be written and read again.
pub fn record(bytes: &[u8]) -> bool {
    let Ok(record) = RunRecord::parse(bytes) else {
        return false;
    };
    let written = serde_json::to_vec(&record).unwrap_or_default();
    let again = RunRecord::parse(&written);
    assert!(again.is_ok(), "{again:?}");
    true
}

/// The records of steps and of epochs; whether one of them was accepted.
pub fn records(bytes: &[u8]) -> bool {
    let path = Path::new("records.jsonl");
    let steps = records_of::<StepRecord>(bytes, path, STEPS);
    let epochs = records_of::<EpochRecord>(bytes, path, EPOCH_NUMBERS);
    let some = |found: Option<usize>| found.is_some_and(|found| found > 0);
    some(steps.ok().map(|steps| steps.len())) || some(epochs.ok().map(|epochs| epochs.len()))
}

/// A table of predictions; whether it was accepted. What is accepted can be written and comes back.
pub fn predictions(bytes: &[u8], classes: &[String]) -> bool {
    let Ok(images) = predictions::read(bytes, classes) else {
        return false;
    };
    let mut written = Vec::new();
    let thresholds = predictions::Thresholds::default();
    let wrote = predictions::write(&mut written, &images, classes, thresholds);
    assert!(wrote.is_ok(), "{wrote:?}");
    let again = predictions::read(&written, classes);
    assert!(again.as_ref() == Ok(&images), "{again:?}, {images:?}");
    true
}

/// The state of an adaptation of a model; whether it was accepted.
pub fn state(bytes: &[u8], clip: &Clip) -> bool {
    decode_state(bytes, clip).is_ok()
}

/// The frames of an event file and of a pass in progress; whether there was one.
pub fn frames(bytes: &[u8]) -> bool {
    let batches = read_frames(bytes, usize::MAX, 2);
    !events_of(bytes).is_empty() || batches > 0
}
