//! What can be wrong with a whole data set or a class file. What is wrong with one entry is a [`SkipReason`].

use std::path::PathBuf;

use thiserror::Error;

/// Why a data set cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DataError {
    /// The path does not exist or cannot be opened.
    #[error("expected a folder, a list file or a .tar shard at {}, but it cannot be opened: {reason}", path.display())]
    Open {
        /// The path as given.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// Nothing to work on.
    #[error("expected images in {}, found none ({skipped} skipped, {ignored} files with other extensions){}",
        path.display(), first_skipped.as_ref().map_or(String::new(), |first| format!("; first skipped: {first}")))]
    NoImages {
        /// The path as given.
        path: PathBuf,
        /// Entries that were skipped.
        skipped: usize,
        /// Files that were ignored because of their extension.
        ignored: usize,
        /// The first skipped entry with its reason.
        first_skipped: Option<String>,
    },
    /// A line of a list file cannot be understood.
    #[error("{}:{line}: expected `path` or `path label`, found {found:?}", path.display())]
    ListLine {
        /// The list file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The line.
        found: String,
    },
    /// The same image twice in a list.
    #[error("{}:{line}: expected every image once, found {id:?} again (first on line {first_line})", path.display())]
    DuplicateImage {
        /// The list file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Line of the first mention.
        first_line: usize,
        /// The image.
        id: String,
    },
    /// A text file that is not UTF-8.
    #[error("{}:{line}: expected UTF-8 text, found {found} at byte {byte} of the file", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Offset in the file, from 0.
        byte: usize,
        /// What is there.
        found: String,
    },
    /// A shard that is no uncompressed tar archive.
    #[error("expected an uncompressed tar archive at {}, found {found}", path.display())]
    Shard {
        /// The shard.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// A class file without a name on some line.
    #[error("{}:{line}: expected a class name, found a blank line", path.display())]
    BlankClass {
        /// The class file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
    },
    /// A class name twice.
    #[error("{}:{line}: expected every class once, found {name:?} again (first on line {first_line})", path.display())]
    DuplicateClass {
        /// The class file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Line of the first mention.
        first_line: usize,
        /// The name.
        name: String,
    },
    /// Two class names that CLIP reads as the same words.
    #[error("{}:{line}: expected classes that differ, found {name:?}, which CLIP reads like {first_name:?} on line {first_line} \
        (it takes underscores as spaces and ignores case)", path.display())]
    SameWords {
        /// The class file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The name.
        name: String,
        /// Line of the first one.
        first_line: usize,
        /// The first one.
        first_name: String,
    },
    /// A class file without names.
    #[error("expected one class name per line in {}, found an empty file", path.display())]
    NoClasses {
        /// The class file.
        path: PathBuf,
    },
}

impl DataError {
    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Open { .. } => "check the spelling of the path and that you may read it",
            Self::NoImages { .. } => {
                "images are found by extension: jpg, jpeg, png, webp, gif, bmp, tif, tiff; paths of a list are relative to --image-root or to the list's folder"
            }
            Self::ListLine { .. } => {
                "write the image's path first, then at most one label; `#` begins a comment line"
            }
            Self::DuplicateImage { .. } => "remove one of the two lines",
            Self::Encoding { .. } => "save the file as UTF-8, for instance with `iconv -t UTF-8`",
            Self::Shard { .. } => {
                "unpack compressed archives first: shards are read in place, so they must be plain .tar files"
            }
            Self::BlankClass { .. } => {
                "remove the line; the line number is the class's position, so blank lines are not skipped silently"
            }
            Self::DuplicateClass { .. } => "remove one of the two lines",
            Self::SameWords { .. } => {
                "rename one of the two so that the words differ, for instance `crane bird` and `crane machine`"
            }
            Self::NoClasses { .. } => {
                "write one name per line, in the order the classes should have"
            }
        }
    }
}

/// Why one entry of a data set was left out. The run goes on without it; the caller counts and lists these.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SkipReason {
    /// A folder or file that cannot be read.
    #[error("expected to be able to read it, but {reason}")]
    Unreadable {
        /// What the operating system said.
        reason: String,
    },
    /// A symbolic link to a folder that contains it.
    #[error("expected a folder tree, found a symbolic link back to {target}")]
    SymlinkLoop {
        /// The folder above that the link leads to.
        target: String,
    },
    /// A list names a file that is not there.
    #[error("expected a file, found nothing at {path}")]
    Missing {
        /// Where it was looked for.
        path: String,
    },
    /// Neither a file nor a folder.
    #[error("expected a regular file, found another kind of entry")]
    NotAFile,
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
    /// The rest of an archive cannot be read.
    #[error("expected another archive entry or the archive's end, but {reason}")]
    DamagedArchive {
        /// What the archive reader said.
        reason: String,
    },
}
