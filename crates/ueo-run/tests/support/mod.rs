//! A place with images and class names for whole jobs, and a disk that fails when a test wants it to.

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
use ueo::session::{Event, Reporter};
use ueo::{Device, Settings};
use ueo_run::{AdaptReport, AdaptRequest, RunError, Start};

/// Runs and images of version 0.1.0 (tools/fixtures/version_0_1_0.py).
pub fn fixture(relative: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-0.1.0");
    folder.join(relative)
}

/// A tiny vision transformer in Hugging Face's layout.
pub fn model() -> PathBuf {
    let checkpoints = "../ueo/tests/fixtures/checkpoints";
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::canonicalize(crates.join(checkpoints).join("hf-vit/model")).unwrap()
}

/// Copies a directory.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
}

/// A directory with images.
pub struct Place(TempDir);

impl Place {
    /// With some copies of the fixture's nine images.
    pub fn new(copies: usize) -> Self {
        // In memory where there is such a place: these tests write much, and simulate what a real disk does.
        let memory = Path::new("/dev/shm");
        let temporary = match memory.is_dir() {
            true => TempDir::with_prefix_in("ueo-test-", memory),
            false => TempDir::with_prefix("ueo-test-"),
        };
        let place = Self(temporary.unwrap());
        for folder in ["cat", "dog", "submarine"] {
            let target = place.path("images").join(folder);
            fs::create_dir_all(&target).unwrap();
            for number in 0..3 {
                let image = fixture(&format!("images/{folder}/{number}.png"));
                for copy in 0..copies {
                    fs::copy(&image, target.join(format!("{number}-{copy}.png"))).unwrap();
                }
            }
        }
        place
    }

    /// A path in it.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        // Temporary directories may lie behind links, on which nothing here depends.
        fs::canonicalize(self.0.path()).unwrap().join(relative)
    }

    /// A short adaptation with visible effect.
    pub fn request(&self) -> AdaptRequest {
        let mut settings = Settings::default();
        settings.epochs = 2;
        settings.batch_size = 12;
        settings.context_learning_rate = 0.05;
        settings.affine_learning_rate = 0.02;
        AdaptRequest {
            model: model(),
            images: self.path("images"),
            image_root: None,
            classes: ["cat", "dog", "red_fox"].map(str::to_owned).to_vec(),
            oracle_labels: None,
            settings,
            score: Default::default(),
            score_temperature: 1.0,
            threshold_method: Default::default(),
            threshold_images: None,
            tensorboard: true,
            standalone: true,
            checkpoint_every: 2,
            image_cache_bytes: 0,
            strict: false,
            threads: 1,
            device: "cpu".to_owned(),
            precision: Default::default(),
            activation: None,
            exif_orientation: ueo::image::ExifOrientation::default(),
        }
    }
}

/// A new run.
pub fn begin(request: &AdaptRequest, overwrite: bool) -> Start {
    Start::New {
        request: Box::new(request.clone()),
        overwrite,
    }
}

/// The run that is there, whatever it was asked to do.
pub fn resume() -> Start {
    Start::Resume {
        request: None,
        base: None,
    }
}

/// The same command with `--resume`.
pub fn resume_as(request: &AdaptRequest) -> Start {
    Start::Resume {
        request: Some(Box::new(request.clone())),
        base: None,
    }
}

pub fn adapt(start: Start, output: &Path) -> Result<AdaptReport, RunError> {
    ueo_run::adapt(start, output, &Device::cpu(), &mut ())
}

/// Asks to stop when some events have passed.
pub struct StopAfter {
    pub steps: usize,
    pub batches: usize,
    /// Images that were encoded in this session, unreadable ones included.
    pub encoded: usize,
}

impl StopAfter {
    pub fn steps(steps: usize) -> Self {
        Self {
            steps,
            batches: usize::MAX,
            encoded: 0,
        }
    }

    pub fn batches(batches: usize) -> Self {
        Self {
            steps: usize::MAX,
            batches,
            encoded: 0,
        }
    }
}

impl Reporter for StopAfter {
    fn report(&mut self, event: Event<'_>) {
        match event {
            Event::Step { .. } => self.steps = self.steps.saturating_sub(1),
            Event::Encoding { done, .. } => {
                self.batches = self.batches.saturating_sub(1);
                self.encoded = done;
            }
            _ => {}
        }
    }

    fn interrupted(&self) -> bool {
        self.steps == 0 || self.batches == 0
    }
}

/// The files of a run that have to be the same, by their path in the directory. What depends on the clock is left out.
pub fn content(run: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    collect(run, run, &mut files);
    files
}

fn collect(run: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(run).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            collect(run, &path, files);
        } else if name != ".ueo-lock" {
            let bytes = fs::read(&path).unwrap();
            files.insert(name.clone(), lasting(&name, &path, &bytes));
        }
    }
}

fn lasting(name: &str, path: &Path, bytes: &[u8]) -> String {
    // What was cut off is compared as it is.
    let without = |text: &str, field: &str| match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(mut fields)) => {
            fields.remove(field);
            serde_json::to_string(&fields).unwrap() + "\n"
        }
        _ => text.to_owned(),
    };
    match name {
        "run.json" => without(std::str::from_utf8(bytes).unwrap(), "adaptation_secs"),
        "metrics.jsonl" => {
            let lines = std::str::from_utf8(bytes).unwrap().lines();
            lines.map(|line| without(line, "images_per_sec")).collect()
        }
        ueo_run::EVENT_FILE => {
            let events = ueo_run::read_events(path).unwrap().into_iter();
            let lasting = events.map(|event| {
                let scalars = event.scalars.into_iter();
                let scalars = scalars.filter(|(tag, _)| tag != "step/images_per_sec");
                format!("{} {:?}\n", event.step, scalars.collect::<Vec<_>>())
            });
            lasting.collect()
        }
        _ => format!("{bytes:?}"),
    }
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
