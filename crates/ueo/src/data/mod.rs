//! What the user gives: images from a directory, a list file, tar shards or Parquet files, and the list of known classes.
//!
//! Everything is sorted by path, so no result depends on the order in which a file system lists its entries. Labels
//! are read but never needed: adapting works without them. What is not taken is counted by reason, and no file makes this
//! module take memory or time without a bound.

mod class_file;
mod class_json;
mod class_name;
mod class_names;
mod class_table;
mod classes;
mod dataset;
mod directory;
mod error;
mod format;
mod interner;
mod json_pairs;
mod labels;
mod left_out;
mod list;
mod list_table;
mod parquet_columns;
mod parquet_file;
mod parquet_pages;
mod parquet_rows;
mod samples;
mod shard;
mod spool;
mod table;
mod tar_reader;
mod text_file;

pub(crate) use class_name::fold;
pub use class_names::ClassNameMap;
pub use classes::ClassList;
pub use dataset::{
    Dataset, DatasetOptions, Location, MAX_ENCODED_BYTES, Sample, Skipped, SourceKind,
};
pub use error::{DataError, Place, SkipReason};
pub use labels::{ImageLabel, LabelBasis, LabelChoice, Labelling, Unlabelled, UnmatchedLabel};
pub use left_out::{LeftOut, LeftOutCount, LeftOutReason};
pub use list::{ListEntry, read_list};
pub use parquet_columns::ParquetColumns;
pub use parquet_file::ParquetFile;
pub use parquet_rows::index_parquet_bytes;
pub use samples::{Iter as SampleIter, Samples};
pub use shard::index_shard_bytes;
pub use spool::Spool;
pub use text_file::read_utf8;
