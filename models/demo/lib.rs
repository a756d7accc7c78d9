//! The inputs of `ueo demo`: drawings in a style that the shipped models have not seen, under fog, and the names of the
//! known classes. README.md says where they come from.

#![forbid(unsafe_code)]

/// The drawings, a WebDataset shard with labels.
pub const IMAGES: &[u8] = include_bytes!("images.tar");

/// The names of the known classes, one per line; some of the drawings show other things.
pub const CLASSES: &[u8] = include_bytes!("classes.txt");
