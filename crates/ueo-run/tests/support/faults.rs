//! A disk that fails when a test wants it to.

// Each test binary uses its own part of this module.
#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tempfile::TempDir;
use ueo::disk::{Change, Watcher};

/// A directory in memory where there is such a place: tests of crashes write much, and simulate what a real disk does.
pub fn temporary_directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let temporary = match memory.is_dir() {
        true => TempDir::with_prefix_in("ueo-test-", memory),
        false => TempDir::with_prefix("ueo-test-"),
    };
    temporary.unwrap()
}

/// How a process ends in the middle of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is killed: what it has done stays, and a write is done by half.
    Killed,
    /// The power fails: nothing stays that was not synced, in files and in directories.
    PowerLoss,
}

/// Lets the process die at a change of the disk: all changes after it fail.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<FaultState>>);

#[derive(Default)]
struct FaultState {
    end: Option<End>,
    at: usize,
    changes: usize,
    synced: SyncedDisk,
}

impl Faults {
    /// Watches this process's changes from now on. Only once per process.
    pub fn install() -> Self {
        let faults = Self::default();
        ueo::disk::watch(Box::new(faults.clone()));
        faults
    }

    fn state(&self) -> MutexGuard<'_, FaultState> {
        self.0.lock().unwrap()
    }

    /// The changes that a job makes in a directory, when the first ones up to `at` are made and the process then dies;
    /// whether it died.
    pub fn during<T>(
        &self,
        end: End,
        at: usize,
        root: &Path,
        job: impl FnOnce() -> T,
    ) -> (T, bool) {
        *self.state() = FaultState {
            end: Some(end),
            at,
            changes: 0,
            synced: SyncedDisk::of(root),
        };
        let result = job();
        let mut state = self.state();
        let died = state.changes > state.at;
        if died && end == End::PowerLoss {
            state.synced.restore();
        }
        state.end = None;
        (result, died)
    }
}

impl Watcher for Faults {
    fn before(&self, change: Change<'_>) -> io::Result<()> {
        let mut state = self.state();
        let Some(end) = state.end else {
            return Ok(());
        };
        state.changes += 1;
        if state.changes <= state.at {
            state.synced.apply(change);
            return Ok(());
        }
        if let (Change::Write(path, bytes), End::Killed) = (change, end)
            && state.changes == state.at + 1
        {
            let mut file = fs::OpenOptions::new().append(true).open(path)?;
            file.write_all(&bytes[..bytes.len() / 2])?;
        }
        Err(io::Error::other("the process has died"))
    }
}

/// What of a directory is on the disk for certain.
#[derive(Default)]
struct SyncedDisk {
    root: PathBuf,
    /// Directories by number, as they look, and as they are on the disk; the root is number 0.
    seen: HashMap<usize, BTreeMap<OsString, usize>>,
    synced: HashMap<usize, BTreeMap<OsString, usize>>,
    /// Contents of files by number, on the disk.
    contents: HashMap<usize, Vec<u8>>,
    numbers: usize,
}

impl SyncedDisk {
    /// All that is there now is on the disk.
    fn of(root: &Path) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            numbers: 1,
            ..Self::default()
        };
        disk.add_folder(0, root);
        disk.synced = disk.seen.clone();
        disk
    }

    fn add_folder(&mut self, number: usize, folder: &Path) {
        self.seen.insert(number, BTreeMap::new());
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let child = self.number();
            let names = self.seen.get_mut(&number).unwrap();
            names.insert(entry.file_name(), child);
            match entry.file_type().unwrap().is_dir() {
                true => self.add_folder(child, &entry.path()),
                false => {
                    self.contents.insert(child, fs::read(entry.path()).unwrap());
                }
            }
        }
    }

    fn number(&mut self) -> usize {
        self.numbers += 1;
        self.numbers - 1
    }

    /// The number of a path; `None` when it is outside or not there.
    fn find(&self, path: &Path) -> Option<usize> {
        let inside = path.strip_prefix(&self.root).ok()?;
        inside
            .iter()
            .try_fold(0, |folder, name| self.seen.get(&folder)?.get(name).copied())
    }

    /// The directory of a path, and its name there.
    fn place(&mut self, path: &Path) -> Option<(&mut BTreeMap<OsString, usize>, OsString)> {
        let folder = self.find(path.parent()?)?;
        Some((self.seen.get_mut(&folder)?, path.file_name()?.to_owned()))
    }

    fn apply(&mut self, change: Change<'_>) {
        match change {
            Change::CreateDirectory(path) => {
                let number = self.number();
                let Some((names, name)) = self.place(path) else {
                    return;
                };
                names.insert(name, number);
                self.seen.insert(number, BTreeMap::new());
                self.synced.insert(number, BTreeMap::new());
            }
            Change::Open(path) if self.find(path).is_none() => {
                let number = self.number();
                if let Some((names, name)) = self.place(path) {
                    names.insert(name, number);
                    self.contents.insert(number, Vec::new());
                }
            }
            Change::Open(_) | Change::Write(..) | Change::Truncate(..) => {}
            Change::Sync(path) => {
                if let Some(number) = self.find(path) {
                    self.contents.insert(number, fs::read(path).unwrap());
                }
            }
            Change::Rename(from, to) => {
                let number = self.find(from).unwrap();
                if let Some((names, name)) = self.place(from) {
                    names.remove(&name);
                }
                if let Some((names, name)) = self.place(to) {
                    names.insert(name, number);
                }
            }
            Change::Remove(path) => {
                if let Some((names, name)) = self.place(path) {
                    names.remove(&name);
                }
            }
            Change::SyncDirectory(path) => {
                if let Some(number) = self.find(path) {
                    self.synced.insert(number, self.seen[&number].clone());
                }
            }
        }
    }

    /// Leaves in the directory what is on the disk.
    fn restore(&self) {
        fs::remove_dir_all(&self.root).unwrap();
        self.restore_folder(0, &self.root);
    }

    fn restore_folder(&self, number: usize, folder: &Path) {
        fs::create_dir(folder).unwrap();
        for (name, child) in &self.synced[&number] {
            let path = folder.join(name);
            match self.contents.get(child) {
                Some(content) => fs::write(path, content).unwrap(),
                None => self.restore_folder(*child, &path),
            }
        }
    }
}
