//! Which cells there are, and which of them are done.

use std::path::{Path, PathBuf};

use super::BenchmarkError;
use super::cell::{Cell, CellRequest, ImagesId};
use super::layout::{DomainFiles, LabelledImages, SuiteData};
use super::profile::{Overrides, Profile};
use super::shift::Shift;
use super::suite::Suite;
use ueo::method::Method;
use ueo::model::Precision;

/// What is to be run of a suite. Empty lists stand for what the suite says.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Category shifts.
    pub shifts: Vec<Shift>,
    /// Methods.
    pub methods: Vec<Method>,
    /// Seeds of the methods that train.
    pub seeds: Vec<u64>,
    /// Which settings of the suite.
    pub profile: ProfileName,
    /// Further settings, which win.
    pub overrides: Overrides,
    /// Name under which the results are kept; that of the profile if there is none.
    pub variant: Option<String>,
}

/// The two ways to set a suite's methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProfileName {
    /// Settings chosen for the suite.
    #[default]
    Suite,
    /// Settings of the publication.
    Published,
}

impl ProfileName {
    /// The name on the command line and of the variant.
    pub fn name(self) -> &'static str {
        match self {
            Self::Suite => "suite",
            Self::Published => "published",
        }
    }

    fn of(self, suite: &Suite) -> &Profile {
        match self {
            Self::Suite => &suite.settings,
            Self::Published => &suite.published,
        }
    }
}

/// All cells of a selection, in the order in which they are run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the results are kept.
    pub output: PathBuf,
    /// The images.
    pub data: SuiteData,
    /// The cells, those of a domain together.
    pub cells: Vec<PlannedCell>,
}

/// A cell and what is known about it.
#[derive(Clone, Debug)]
pub struct PlannedCell {
    /// What is asked for.
    pub request: CellRequest,
    /// Position of the domain in the plan's data.
    pub domain: usize,
    /// Whether it has been run.
    pub state: CellState,
}

/// Whether a cell has been run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellState {
    /// There is no file.
    Missing,
    /// The file answers another request, or none; it will be replaced.
    Outdated,
    /// The file answers this request.
    Done,
}

impl Plan {
    /// The cells of a selection over data that were found, compared with what `output` holds.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Unknown`], [`BenchmarkError::Override`] and [`BenchmarkError::Setting`].
    pub fn new(
        suite: &Suite,
        data: SuiteData,
        model_sha256: &str,
        precision: Precision,
        selection: &Selection,
        output: &Path,
    ) -> Result<Self, BenchmarkError> {
        let or = |given: &[Shift], default: Vec<Shift>| match given {
            [] => default,
            given => given.to_vec(),
        };
        let shifts = or(&selection.shifts, suite.shifts.keys().copied().collect());
        let methods = if selection.methods.is_empty() {
            &suite.methods
        } else {
            &selection.methods
        };
        let seeds = if selection.seeds.is_empty() {
            &suite.seeds
        } else {
            &selection.seeds
        };
        let profile = selection.profile.of(suite);
        let variant = selection
            .variant
            .as_deref()
            .unwrap_or(selection.profile.name());
        let mut cells = Vec::new();
        for (position, domain) in data.domains.iter().enumerate() {
            for &shift in &shifts {
                let (known, present) = (suite.known(shift), suite.present(shift)?);
                for &method in methods {
                    let seeds: Vec<Option<u64>> = match method.trains() {
                        true => seeds.iter().copied().map(Some).collect(),
                        false => vec![None],
                    };
                    for seed in seeds {
                        let request = CellRequest {
                            suite: suite.name.clone(),
                            variant: variant.to_owned(),
                            domain: domain.name.clone(),
                            group: domain.group.clone(),
                            shift,
                            method,
                            seed,
                            settings: profile.settings(method, seed, &selection.overrides)?,
                            model_sha256: model_sha256.to_owned(),
                            precision,
                            classes: data.classes.clone(),
                            known: known.clone(),
                            present: present.clone(),
                            train_images: ImagesId::of(&domain.train),
                            test_images: ImagesId::of(domain.tested()),
                        };
                        cells.push(PlannedCell {
                            state: CellState::of(&request, output),
                            domain: position,
                            request,
                        });
                    }
                }
            }
        }
        Ok(Self {
            output: output.to_owned(),
            data,
            cells,
        })
    }

    /// The cells that are still to be run.
    pub fn pending(&self) -> impl Iterator<Item = &PlannedCell> {
        self.cells
            .iter()
            .filter(|cell| cell.state != CellState::Done)
    }

    /// The images of a cell's domain.
    pub fn files(&self, cell: &PlannedCell) -> &DomainFiles {
        &self.data.domains[cell.domain]
    }

    /// Images that go through the model for a cell, each epoch counted: what progress is measured in.
    pub fn work(&self, cell: &PlannedCell) -> usize {
        let files = self.files(cell);
        let trained = match cell.request.method.trains() {
            true => {
                files.train.of_classes(&cell.request.present).len() * cell.request.settings.epochs
            }
            false => 0,
        };
        trained + files.tested().labels.len()
    }
}

impl CellState {
    fn of(request: &CellRequest, output: &Path) -> Self {
        let path = request.path(output);
        match Cell::read(&path) {
            Ok(cell) if cell.request == *request => Self::Done,
            Ok(_) => Self::Outdated,
            Err(_) if path.exists() => Self::Outdated,
            Err(_) => Self::Missing,
        }
    }
}

impl ImagesId {
    fn of(images: &LabelledImages) -> Self {
        Self {
            count: images.labels.len(),
            fingerprint: images.fingerprint.clone(),
        }
    }
}
