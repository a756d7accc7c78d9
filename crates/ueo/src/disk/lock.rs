//! One process at a time writes an output directory.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::DiskFile;

/// Name of the file that is locked. It stays when the lock goes: to remove it would let two processes lock two files.
pub const LOCK: &str = ".ueo-lock";

/// The right to write a directory. The operating system takes it back when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    /// Closing the file gives the lock back.
    _file: DiskFile,
}

/// Why a directory is not locked.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by {}", path.display(), process_name(*process))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process's number, where the operating system lets others know.
        process: Option<u32>,
    },
    /// The file that is locked cannot be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A process in words.
pub fn process_name(number: Option<u32>) -> String {
    match number {
        Some(number) => format!("process {number}"),
        None => "another process".to_owned(),
    }
}

impl Lock {
    /// Locks a directory.
    ///
    /// # Errors
    ///
    /// [`LockError`].
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join(LOCK);
        let io = |action| {
            let path = path.clone();
            move |source| LockError::Io {
                action,
                path,
                source,
            }
        };
        let mut file = DiskFile::open(&path).map_err(io("open"))?;
        match file.file().try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::InUse {
                    path: directory.to_owned(),
                    process: process_of(file.file()),
                });
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(io("lock")(error)),
        }
        file.truncate(0)
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()))
            .map_err(io("write"))?;
        Ok(Self { _file: file })
    }
}

/// The number that the process with the lock has written, where the system lets others read it.
fn process_of(mut file: &File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_and_names_the_process() {
        let place = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(place.path()).unwrap();
        let error = Lock::acquire(place.path()).unwrap_err();
        let process = format!("process {}", std::process::id());
        assert!(error.to_string().contains(&process), "{error}");
        drop(lock);
        Lock::acquire(place.path()).unwrap();
    }
}
