//! Event files against those that TensorBoard's own classes write (tools/fixtures/event_file.py).

mod fixtures;

use std::fs;

use ueo::run::{TensorBoardEvent, encode_events, read_events};

const FILE: &str = "event_file/events.out.tfevents.fixture";

fn expected() -> Vec<TensorBoardEvent> {
    let facts = fixtures::json("event_file/events.json");
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
    assert_eq!(read_events(&fixtures::path(FILE)).unwrap(), expected());
}

#[test]
fn events_are_written_as_tensorboard_writes_them() {
    let written = encode_events(&expected());
    assert!(written == fs::read(fixtures::path(FILE)).unwrap());
}
