//! A repository in the cache, in the layout of the Python client:
//!
//! ```text
//! .locks/models--OWNER--NAME/DIGEST.lock      held by who fetches that file
//! models--OWNER--NAME/blobs/DIGEST            content
//! models--OWNER--NAME/blobs/DIGEST.incomplete content of which the rest is to be fetched
//! models--OWNER--NAME/refs/REVISION           commit of a branch or tag
//! models--OWNER--NAME/snapshots/COMMIT/PATH   relative link into blobs/
//! models--OWNER--NAME/.no_exist/COMMIT/PATH   empty: the repository has no such file
//! models--OWNER--NAME/trees/COMMIT.json       files of the repository
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::HubError;
use crate::listing::{self, Files};
use crate::name::{ModelName, is_commit};

/// Tells backup programs that all of it can be had again (<https://bford.info/cachedir/>).
const CACHE_TAG: (&str, &str) = (
    "CACHEDIR.TAG",
    "Signature: 8a477f597d28d172789f06886806bc55\n",
);

/// The place of one repository.
#[derive(Debug)]
pub(crate) struct Repository {
    /// `models--OWNER--NAME`.
    root: PathBuf,
    locks: PathBuf,
    cache: PathBuf,
}

impl Repository {
    pub fn new(cache: &Path, model: &ModelName) -> Self {
        Self {
            root: cache.join(model.folder()),
            locks: cache.join(".locks").join(model.folder()),
            cache: cache.to_owned(),
        }
    }

    /// The commit that a revision stood for when it was last asked for.
    pub fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        let commit = commit.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Where a file of a commit is, if it is there.
    pub fn file(&self, commit: &str, name: &str) -> Option<PathBuf> {
        let path = self.snapshot(commit).join(name);
        path.is_file().then_some(path)
    }

    pub fn blob(&self, digest: &str) -> PathBuf {
        self.root.join("blobs").join(digest)
    }

    /// The files of a commit, if they are remembered.
    pub fn remembered(&self, commit: &str) -> Option<Files> {
        listing::parse_remembered(&fs::read(self.tree(commit)).ok()?)
    }

    fn tree(&self, commit: &str) -> PathBuf {
        self.root.join("trees").join(format!("{commit}.json"))
    }

    /// Makes the directories that everything else goes into.
    pub fn prepare(&self, commit: &str) -> Result<(), HubError> {
        for directory in [
            &self.root.join("blobs"),
            &self.root.join("trees"),
            &self.snapshot(commit),
            &self.locks,
        ] {
            fs::create_dir_all(directory).map_err(HubError::write(directory))?;
        }
        let tag = self.cache.join(CACHE_TAG.0);
        if !tag.exists() {
            fs::write(&tag, CACHE_TAG.1).map_err(HubError::write(&tag))?;
        }
        Ok(())
    }

    /// Remembers what a revision stands for, and which files there are and are not.
    pub fn remember<'a>(
        &self,
        revision: &str,
        commit: &str,
        files: &Files,
        asked_for: impl Iterator<Item = &'a str>,
    ) -> Result<(), HubError> {
        self.prepare(commit)?;
        if revision != commit && self.commit_of(revision).as_deref() != Some(commit) {
            replace(&self.root.join("refs").join(revision), commit.as_bytes())?;
        }
        if self.remembered(commit).as_ref() != Some(files) {
            replace(&self.tree(commit), &listing::remembered(files))?;
        }
        let absent = self.root.join(".no_exist").join(commit);
        fs::create_dir_all(&absent).map_err(HubError::write(&absent))?;
        for name in asked_for.filter(|name| !files.contains_key(*name)) {
            let path = absent.join(name);
            if !path.exists() {
                File::create(&path).map_err(HubError::write(&path))?;
            }
        }
        Ok(())
    }

    /// The lock of a file's content, which the Python client takes too.
    pub fn lock(&self, digest: &str) -> Result<Lock, HubError> {
        let path = self.locks.join(format!("{digest}.lock"));
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(HubError::write(&path))?;
        Ok(Lock { file, path })
    }

    /// Puts content that is there into the snapshot.
    pub fn link(&self, commit: &str, name: &str, digest: &str) -> Result<(), HubError> {
        let link = self.snapshot(commit).join(name);
        if link.is_file() {
            return Ok(());
        }
        match fs::remove_file(&link) {
            // A link that leads nowhere.
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(HubError::write(&link)(error)),
        }
        // From snapshots/COMMIT/; names of files that are fetched have no folders.
        let target = Path::new("../../blobs").join(digest);
        match make_link(&target, &link) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(_) if cfg!(windows) => {
                // Links are a privilege there. As in Python, the snapshot then holds the file itself.
                fs::rename(self.blob(digest), &link).map_err(HubError::write(&link))
            }
            Err(error) => Err(HubError::write(&link)(error)),
        }
    }
}

#[cfg(unix)]
fn make_link(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn make_link(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

/// Writes a small file whole or not at all.
fn replace(path: &Path, content: &[u8]) -> Result<(), HubError> {
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory).map_err(HubError::write(directory))?;
    // Two processes may write it at once: each its own.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    fs::write(&temporary, content)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(HubError::write(path))
}

/// The lock of one content, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes it if nobody has it. A file system without locks gives it to everybody: content is checked before it gets
    /// its name.
    pub fn take(&self) -> Result<bool, HubError> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(true)
            }
            Err(fs::TryLockError::Error(error)) => Err(HubError::write(&self.path)(error)),
        }
    }
}
