//! Changes of files and directories. Whatever has to survive a crash is written through here, so that a test can let
//! every single change be the last one before the process dies.
//!
//! Nothing here follows a symbolic link at the end of a path: files are replaced by renaming, and what is opened for
//! writing is refused when it is a link.

mod lock;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub use lock::{LOCK, Lock, LockError, process_name};

/// What the names of hidden files begin with that belong to this program: temporary ones, and what a run directory holds
/// while it is worked on.
pub const HIDDEN_PREFIX: &str = ".ueo-";

/// A change that is about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A directory is made.
    CreateDirectory(&'a Path),
    /// A file is opened for writing, and made if it is not there.
    Open(&'a Path),
    /// Bytes are written at the end of a file.
    Write(&'a Path, &'a [u8]),
    /// A file is cut to a length in bytes.
    Truncate(&'a Path, u64),
    /// A file's content goes to the disk.
    Sync(&'a Path),
    /// A file or a directory gets another name; a file of that name is replaced.
    Rename(&'a Path, &'a Path),
    /// A file, a symbolic link or an empty directory goes.
    Remove(&'a Path),
    /// The names in a directory go to the disk.
    SyncDirectory(&'a Path),
}

/// Sees every change before it is made. Tests use it to let changes fail.
pub trait Watcher: Send + Sync {
    /// With an error, the change is not made and the caller gets the error.
    ///
    /// # Errors
    ///
    /// Whatever the watcher wants to happen.
    fn before(&self, change: Change<'_>) -> io::Result<()>;
}

static WATCHER: OnceLock<Box<dyn Watcher>> = OnceLock::new();

/// Lets a watcher see all changes of this process from now on; the first one stays.
#[doc(hidden)]
pub fn watch(watcher: Box<dyn Watcher>) {
    let _ = WATCHER.set(watcher);
}

fn before(change: Change<'_>) -> io::Result<()> {
    match WATCHER.get() {
        None => Ok(()),
        Some(watcher) => watcher.before(change),
    }
}

/// A file that is written to at its end.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    path: PathBuf,
}

impl DiskFile {
    /// Opens a file for reading and writing, and makes it if it is not there; its name is then on the disk.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`io::ErrorKind::InvalidInput`] when the path is a symbolic link.
    pub fn open(path: &Path) -> io::Result<Self> {
        refuse_link(path)?;
        let is_new = !path.exists();
        before(Change::Open(path))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // A link that appeared since the look above is not followed either.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW);
        let file = options.open(path)?;
        if is_new {
            sync_directory(directory_of(path))?;
        }
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Makes a file of a new name in a directory.
    fn temporary(directory: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{HIDDEN_PREFIX}{}-{number}", std::process::id());
            let path = directory.join(name);
            before(Change::Open(&path))?;
            let opened = OpenOptions::new().write(true).create_new(true).open(&path);
            match opened {
                Ok(file) => return Ok(Self { file, path }),
                // Left by a process with the same number, perhaps on another machine.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file for reading, and for locks.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Cuts the file to a length in bytes and goes on writing there.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn truncate(&mut self, length: u64) -> io::Result<()> {
        if self.file.metadata()?.len() != length {
            before(Change::Truncate(&self.path, length))?;
            self.file.set_len(length)?;
        }
        self.file.seek(SeekFrom::Start(length))?;
        Ok(())
    }

    /// Returns when the content is on the disk.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn sync(&mut self) -> io::Result<()> {
        before(Change::Sync(&self.path))?;
        self.file.sync_all()
    }
}

impl Read for DiskFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        before(Change::Write(&self.path, bytes))?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a file through a temporary one in the same directory, which takes its place once it is complete and on disk.
///
/// A crash, a full disk or a power loss leaves the old content or the new one, never a part. A symbolic link of that name is
/// replaced, and what it points to stays as it is.
///
/// # Errors
///
/// What the operating system says.
pub fn write_atomically(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<DiskFile>) -> io::Result<()>,
) -> io::Result<()> {
    let directory = directory_of(path);
    let temporary = DiskFile::temporary(directory)?;
    let name = temporary.path.clone();
    let written = fill(temporary, content).and_then(|()| rename(&name, path));
    if written.is_err() {
        // What went wrong with the content is what the user should hear about.
        let _ = remove_file(&name);
    }
    written?;
    sync_directory(directory)
}

fn fill(
    file: DiskFile,
    content: impl FnOnce(&mut BufWriter<DiskFile>) -> io::Result<()>,
) -> io::Result<()> {
    let mut writer = BufWriter::new(file);
    content(&mut writer)?;
    let mut file = writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync()
}

/// Makes a directory with all above it that are missing.
///
/// # Errors
///
/// What the operating system says.
pub fn create_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = directory_of(path);
    if parent != path {
        create_directories(parent)?;
    }
    before(Change::CreateDirectory(path))?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.and_then(|()| sync_directory(parent)),
    }
}

/// Gives a file or a directory another name; a file of that name is replaced.
///
/// # Errors
///
/// What the operating system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    before(Change::Rename(from, to))?;
    fs::rename(from, to)
}

/// Removes a file or a symbolic link, if it is there.
///
/// # Errors
///
/// What the operating system says.
pub fn remove_file(path: &Path) -> io::Result<()> {
    if is_missing(path)? {
        return Ok(());
    }
    before(Change::Remove(path))?;
    fs::remove_file(path)
}

/// Removes a file, or a directory with all that is in it, if it is there. Symbolic links are removed, not followed.
///
/// # Errors
///
/// What the operating system says.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    if is_missing(path)? {
        return Ok(());
    }
    if !fs::symlink_metadata(path)?.is_dir() {
        return remove_file(path);
    }
    for entry in fs::read_dir(path)? {
        remove_tree(&entry?.path())?;
    }
    before(Change::Remove(path))?;
    fs::remove_dir(path)
}

/// Returns when the names in a directory are on the disk, so that a new or renamed file stays after a power loss.
///
/// # Errors
///
/// What the operating system says, unless it has no such operation.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    before(Change::SyncDirectory(path))?;
    if !cfg!(unix) {
        // Windows opens no directories, and its file systems keep the order of such changes by themselves.
        return Ok(());
    }
    match File::open(path).and_then(|directory| directory.sync_all()) {
        // Some network file systems do not know it; a directory may be writable and not readable.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput
                    | io::ErrorKind::Unsupported
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// Refuses a symbolic link where something is to be written.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] when the path is a symbolic link.
pub fn refuse_link(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a symbolic link, which is not followed when writing",
        )),
        _ => Ok(()),
    }
}

/// The directory that holds a file, the current one for a bare name.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

fn is_missing(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_whose_content_fails_stays_as_it_was_and_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        write_atomically(&path, |file| file.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(place.path()), ["file"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_replaced_or_refused_and_never_followed() {
        use std::os::unix::fs::symlink;

        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "precious").unwrap();
        let link = place.path().join("link");
        symlink(outside.join("precious"), &link).unwrap();

        let error = DiskFile::open(&link).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        write_atomically(&link, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&link).unwrap(), b"new");

        let tree = place.path().join("tree");
        create_directories(&tree.join("inner")).unwrap();
        symlink(&outside, tree.join("inner/link")).unwrap();
        remove_tree(&tree).unwrap();
        remove_tree(&tree).unwrap();
        assert_eq!(names(place.path()), ["link", "outside"]);
        assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");
    }

    #[test]
    fn a_file_is_written_at_its_end_after_a_cut() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        DiskFile::open(&path).unwrap().write_all(b"12345").unwrap();
        let mut file = DiskFile::open(&path).unwrap();
        file.truncate(2).unwrap();
        file.write_all(b"3").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"123");
    }
}
