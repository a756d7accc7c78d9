//! One process at a time writes a run directory.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use ueo::disk::DiskFile;

use super::RunError;

/// Name of the file that is locked. It stays when the lock goes: to remove it would let two processes lock two files.
pub(crate) const LOCK: &str = ".ueo-lock";

/// The right to write a run directory. The operating system takes it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Closing the file gives the lock back.
    _file: DiskFile,
}

impl Lock {
    /// Locks a directory.
    ///
    /// # Errors
    ///
    /// [`RunError::InUse`] when another process has it, [`RunError::Io`].
    pub fn acquire(directory: &Path) -> Result<Self, RunError> {
        let path = directory.join(LOCK);
        let io = |action| {
            let path = path.clone();
            move |source| RunError::io(action, &path, source)
        };
        let mut file = DiskFile::open(&path).map_err(io("open"))?;
        match file.file().try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RunError::InUse {
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
