//! The records of a run as an event file, which TensorBoard shows.
//!
//! An event file is a series of `TFRecord`s, each an `Event` message of `tensorflow/core/util/event.proto`. The crates that
//! write them rest on protobuf libraries that are no longer maintained; two messages with five fields and a checksum are
//! less code than their generated types.

mod event;
mod file;

pub use event::Event;
pub(crate) use file::events_of;
pub use file::{EVENT_FILE, EventFile, encode_events, read_events};
