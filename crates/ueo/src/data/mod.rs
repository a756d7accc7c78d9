//! What the user gives: images from a directory, a list file or tar shards, and the list of known classes.

use std::path::PathBuf;

/// One image of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Path relative to the images' root, with `/` on every platform (`shard.tar/key.jpg` inside a shard).
    pub id: String,
    /// Where the encoded bytes are.
    pub location: Location,
    /// The label as the data set spells it (first folder level, list entry, or shard entry), if it has one.
    pub label: Option<String>,
}

/// Where the encoded bytes of an image are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file of its own.
    File(PathBuf),
    /// A member of an uncompressed tar archive.
    TarMember {
        /// The archive.
        archive: PathBuf,
        /// Offset of the member's bytes.
        offset: u64,
        /// Length of the member in bytes.
        length: u64,
    },
}
