//! What can be wrong with a whole data set or a class file. What is wrong with one image is a [`SkipReason`].
//!
//! Messages quote at most about a line of a file, and nothing that would steer a terminal.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use thiserror::Error;

use crate::image_format::ImageFormat;
use crate::quote;

use super::LeftOutCount;

/// Reasons that a message lists.
const LISTED: usize = 3;

/// Where an entry of a class file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line, from 1.
    Line(usize),
    /// An entry of a JSON file, from 1.
    Entry(usize),
}

impl Display for Place {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(formatter, "line {line}"),
            Self::Entry(entry) => write!(formatter, "entry {entry}"),
        }
    }
}

/// Why a data set cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DataError {
    /// The path does not exist or cannot be opened.
    #[error(
        "expected a folder, a list file, a .tar shard, a .parquet file or an image at {}, but it cannot be opened: {reason}",
        quote::path(path)
    )]
    Open {
        /// The path as given.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// A text file does not exist or cannot be opened.
    #[error(
        "expected {expected} at {}, but it cannot be opened: {reason}",
        quote::path(path)
    )]
    OpenText {
        /// The path as given.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What the operating system said.
        reason: String,
    },
    /// Nothing to work on.
    #[error("expected images in {}, found none ({skipped} skipped{}){}", quote::path(path), summed(left_out),
        first_skipped.as_ref().map_or(String::new(), |first| format!("; first skipped: {}: {}", quote::whole(&first.0), first.1)))]
    NoImages {
        /// The path as given.
        path: PathBuf,
        /// Images that were skipped.
        skipped: usize,
        /// Files that were not taken, by reason.
        left_out: Vec<LeftOutCount>,
        /// The first skipped image with its reason.
        first_skipped: Option<Box<(String, SkipReason)>>,
    },
    /// A picture of a format that is not read.
    #[error(
        "expected an image at {}, found the extension of {format}, a format that is not read",
        quote::path(path)
    )]
    UnreadFormat {
        /// The picture.
        path: PathBuf,
        /// The format's name.
        format: &'static str,
    },
    /// A line of a list file cannot be understood.
    #[error(
        "{}:{line}: expected `path` or `path label`, found {}",
        quote::path(path),
        quote::quotation(found)
    )]
    ListLine {
        /// The list file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The line.
        found: String,
    },
    /// The same image twice in a list.
    #[error(
        "{}:{line}: expected every image once, found {} again (first on line {first_line})",
        quote::path(path),
        quote::quotation(id)
    )]
    DuplicateImage {
        /// The list file.
        path: PathBuf,
        /// Line number, from 1; the entry's number in JSON.
        line: usize,
        /// Line of the first mention.
        first_line: usize,
        /// The image.
        id: String,
    },
    /// A list or class file in a form that cannot be read with certainty.
    #[error("expected {expected} in {}, found {found}", quote::path(path))]
    Format {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What it seems to be, with a quotation at most.
        found: String,
        /// What to write instead.
        fix: &'static str,
    },
    /// A text file that is not UTF-8.
    #[error(
        "{}:{line}: expected UTF-8 text, found {found} at byte {byte} of the file",
        quote::path(path)
    )]
    Encoding {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Offset in the file, from 0.
        byte: u64,
        /// What is there.
        found: String,
    },
    /// More than this program takes from one file.
    #[error("{}{}: expected at most {limit} {what}, found more", quote::path(path), line.map_or(String::new(), |line| format!(":{line}")))]
    Limit {
        /// The file.
        path: PathBuf,
        /// Line number, from 1, where it is about a line.
        line: Option<usize>,
        /// The limit.
        limit: u64,
        /// What is counted.
        what: &'static str,
    },
    /// A shard that is no tar archive.
    #[error(
        "expected a tar archive at {}, plain or compressed by gzip, found {found}",
        quote::path(path)
    )]
    Shard {
        /// The shard.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// A Parquet file without a column that is needed.
    #[error(
        "expected {} in {}, found the columns {}",
        quote::line(expected),
        quote::path(path),
        quote::line(found)
    )]
    Columns {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: String,
        /// The columns that are there, with their types.
        found: String,
    },
    /// A compressed shard cannot be unpacked.
    #[error(
        "the images of {} cannot be unpacked into a temporary file in {}: {reason}",
        quote::path(path),
        quote::path(folder)
    )]
    Unpack {
        /// The shard.
        path: PathBuf,
        /// The folder for temporary files.
        folder: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// Labels of a list were asked for where there is no list.
    #[error("expected a list or shards with labels, found a folder of images")]
    NoListLabels,
    /// A class file without a name in some place.
    #[error("{}: expected a class name, found {}", at(path, *place), match place { Place::Line(_) => "a blank line", Place::Entry(_) => "an empty name" })]
    BlankClass {
        /// The class file.
        path: PathBuf,
        /// Where.
        place: Place,
    },
    /// A class name that cannot be one.
    #[error("{}: expected a class name, found {found} in {}", at(path, *place), quote::quotation(name))]
    ClassName {
        /// The class file.
        path: PathBuf,
        /// Where.
        place: Place,
        /// What is wrong.
        found: &'static str,
        /// The name.
        name: String,
    },
    /// A class name twice.
    #[error("{}: expected every class once, found {} again (first on {first})", at(path, *place), quote::quotation(name))]
    DuplicateClass {
        /// The class file.
        path: PathBuf,
        /// Where.
        place: Place,
        /// Where the first one is.
        first: Place,
        /// The name.
        name: String,
    },
    /// Two class names that mean the same.
    #[error("{}: expected classes that differ, found {}, which is the same as {} on {first} \
        (case, underscores, hyphens, spaces and Unicode's form make no difference)", at(path, *place), quote::quotation(name), quote::quotation(first_name))]
    SameWords {
        /// The class file.
        path: PathBuf,
        /// Where.
        place: Place,
        /// The name.
        name: String,
        /// Where the first one is.
        first: Place,
        /// The first one.
        first_name: String,
    },
    /// An id of two classes.
    #[error("{}: expected every id once, found {} again (first on {first})", at(path, *place), quote::quotation(id))]
    DuplicateId {
        /// The file.
        path: PathBuf,
        /// Where.
        place: Place,
        /// Where the first one is.
        first: Place,
        /// The id.
        id: String,
    },
    /// A class that a file of names says nothing about.
    #[error(
        "expected a name for each of the classes in {}, found none for {} ({missing} of {classes} are missing)",
        quote::path(path),
        quote::quotation(first)
    )]
    NoClassName {
        /// The file of names.
        path: PathBuf,
        /// The first class without a name.
        first: String,
        /// Number of classes without a name.
        missing: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A class file without names.
    #[error(
        "expected one class name per line in {}, found an empty file",
        quote::path(path)
    )]
    NoClasses {
        /// The class file.
        path: PathBuf,
    },
}

/// A place of a file as compilers write it.
fn at(path: &std::path::Path, place: Place) -> String {
    match place {
        Place::Line(line) => format!("{}:{line}", quote::path(path)),
        Place::Entry(_) => format!("{}, {place}", quote::path(path)),
    }
}

fn summed(left_out: &[LeftOutCount]) -> String {
    let files: usize = left_out.iter().map(|count| count.files).sum();
    let mut text = format!(", {files} left out");
    for (number, count) in left_out.iter().take(LISTED).enumerate() {
        let start = if number == 0 { ": " } else { ", " };
        text += &format!("{start}{} x {}", count.files, quote::whole(&count.reason));
    }
    if left_out.len() > LISTED {
        text += " and so on";
    }
    text
}

/// Why one image of a data set was left out. The run goes on without it; the caller counts and lists these.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SkipReason {
    /// A folder or file that cannot be read.
    #[error("expected to be able to read it, but {reason}")]
    Unreadable {
        /// What the operating system said.
        reason: String,
    },
    /// A symbolic link to a folder that contains it.
    #[error(
        "expected a folder tree, found a symbolic link back to {}",
        quote::whole(target)
    )]
    SymlinkLoop {
        /// The folder above that the link leads to.
        target: String,
    },
    /// A list names a file that is not there.
    #[error("expected a file, found nothing at {}", quote::whole(path))]
    Missing {
        /// Where it was looked for.
        path: String,
    },
    /// Neither a file nor a folder.
    #[error("expected a regular file, found another kind of entry")]
    NotAFile,
    /// A picture of a format that is not read, by its extension.
    #[error(
        "expected {}, found {format}, which is not read",
        ImageFormat::read_names()
    )]
    UnreadFormat {
        /// The format's name.
        format: &'static str,
    },
    /// A file without a byte.
    #[error("expected an image, found an empty file")]
    Empty,
    /// A file that is too long to be an image.
    #[error(
        "expected an image of at most {} bytes, found {length}",
        super::MAX_ENCODED_BYTES
    )]
    TooLarge {
        /// Length in bytes.
        length: u64,
    },
    /// A tar member whose bytes are not all there.
    #[error("expected {expected} bytes in the archive, found its end after {found}")]
    TruncatedMember {
        /// Length that the header states.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A tar member with a name that came before.
    #[error("expected every name once in the archive, found it again")]
    DuplicateMember,
    /// A tar member that is stored with holes.
    #[error("expected an image in one piece, found a sparse entry")]
    SparseMember,
    /// A tar member with a name that leads out of the archive.
    #[error("expected a name inside the archive, found one with `..`")]
    OutsideArchive,
    /// A Parquet file that cannot be read.
    #[error("expected a Parquet file, but {}", quote::line(reason))]
    DamagedTable {
        /// What is wrong.
        reason: String,
    },
    /// The rest of an archive cannot be read.
    #[error("expected another archive entry or the archive's end, but {reason}")]
    DamagedArchive {
        /// What is wrong.
        reason: String,
    },
}
