//! Event files against those that TensorBoard's own classes write (tools/fixtures/event_file.py).

use std::fs;
use std::path::{Path, PathBuf};

use ueo_run::{TensorBoardEvent, encode_events, read_events};

/// A file that tools/fixtures/event_file.py made.
fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/event_file");
    folder.join(name)
}

const FILE: &str = "events.out.tfevents.fixture";

fn expected() -> Vec<TensorBoardEvent> {
    let facts =
        serde_json::from_slice::<serde_json::Value>(&fs::read(fixture("events.json")).unwrap())
            .unwrap();
    let events = facts.as_array().unwrap().iter();
    events
        .map(|event| TensorBoardEvent {
            wall_time: event["wall_time"].as_f64().unwrap(),
            step: event["step"].as_u64().unwrap(),
            file_version: event["file_version"].as_str().map(str::to_owned),
            scalars: event["scalars"]
                .as_array()
                .unwrap()
                .iter()
                .map(|scalar| {
                    let tag = scalar[0].as_str().unwrap().to_owned();
                    (tag, scalar[1].as_f64().unwrap() as f32)
                })
                .collect(),
        })
        .collect()
}

#[test]
fn events_are_read_as_tensorboard_wrote_them() {
    assert_eq!(read_events(&fixture(FILE)).unwrap(), expected());
}

#[test]
fn events_are_written_as_tensorboard_writes_them() {
    let written = encode_events(&expected());
    assert!(written == fs::read(fixture(FILE)).unwrap());
}
