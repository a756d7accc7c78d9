//! What the user gives: images from a directory, a list file or tar shards, and the list of known classes.
//!
//! Everything is sorted by path, so no result depends on the order in which a file system lists its entries. Labels
//! are read but never needed: adapting works without them.

mod classes;
mod dataset;
mod directory;
mod error;
mod list;
mod shard;
mod text_file;

pub use classes::{ClassList, ClassMatch, resolve_labels};
pub use dataset::{
    Dataset, DatasetOptions, IMAGE_EXTENSIONS, Location, MAX_ENCODED_BYTES, Sample, Skipped,
    SourceKind,
};
pub use error::{DataError, SkipReason};
pub use text_file::read_utf8;
