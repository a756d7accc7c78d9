//! A place with images and class names for whole jobs.

// Each test binary uses its own part of this module.
#![allow(dead_code)]

pub mod faults;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
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
        let place = Self(faults::temporary_directory());
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
        settings.epochs = 2.into();
        settings.batch_size = 12;
        settings.context_learning_rate = 0.05;
        settings.affine_learning_rate = 0.02;
        AdaptRequest {
            model: model(),
            images: self.path("images"),
            image_root: None,
            columns: ueo::data::ParquetColumns::default(),
            classes: ["cat", "dog", "red_fox"].map(str::to_owned).to_vec(),
            class_ids: None,
            labels: Default::default(),
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
        epochs: None,
    }
}

/// The same command with `--resume`.
pub fn resume_as(request: &AdaptRequest) -> Start {
    Start::Resume {
        request: Some(Box::new(request.clone())),
        base: None,
        epochs: None,
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
