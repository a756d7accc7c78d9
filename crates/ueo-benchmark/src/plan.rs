//! Which cells there are, and which of them are done.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::BenchmarkError;
use super::cell::{Cell, CellFile, CellRequest, ImagesId, Slot};
use super::conflict;
use super::layout::{DomainFiles, LabelledImages, SuiteData};
use super::profile::{Overrides, Profile};
use super::protocol::Protocol;
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
    /// Which images are adapted to and tested.
    pub protocol: Protocol,
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
    /// What the model is called in tables.
    pub model_name: String,
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
    /// The file cannot be read as a cell; it will be replaced.
    Damaged,
    /// The file answers this request.
    Done,
}

/// The model that cells are run with.
#[derive(Clone, Debug)]
pub struct ModelId {
    /// What it is called in tables.
    pub name: String,
    /// SHA-256 of the checkpoint.
    pub sha256: String,
    /// Number format of its frozen matrices.
    pub precision: Precision,
}

impl Plan {
    /// The cells of a selection over data that were found, compared with what `output` holds.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Unknown`], [`BenchmarkError::Override`] and [`BenchmarkError::Setting`];
    /// [`BenchmarkError::OtherSettings`] and [`BenchmarkError::OtherData`] when a cell would contradict results that are there;
    /// [`BenchmarkError::Cell`] for a file that no cell of this plan replaces and that cannot be read.
    pub fn new(
        suite: &Suite,
        data: SuiteData,
        model: &ModelId,
        selection: &Selection,
        output: &Path,
    ) -> Result<Self, BenchmarkError> {
        let requests = requests(suite, &data, model, selection)?;
        let found = Found::read(output, &requests)?;
        let planned: Vec<&CellRequest> = requests.iter().map(|(_, request)| request).collect();
        conflict::check(&planned, &found.requests, output)?;
        let mut cells = Vec::with_capacity(requests.len());
        for (domain, request) in requests {
            cells.push(PlannedCell {
                state: found.state(&request, output)?,
                domain,
                request,
            });
        }
        Ok(Self {
            output: output.to_owned(),
            model_name: model.name.clone(),
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
                let images = files.train.of_classes(&cell.request.present).len();
                images * cell.request.settings.epoch_count(images)
            }
            false => 0,
        };
        trained + files.tested().labels.len()
    }
}

/// Without what was said before: a cell is run once however often it is asked for.
fn first_of_each<T: Copy + PartialEq>(given: &[T]) -> Vec<T> {
    let mut kept = Vec::with_capacity(given.len());
    for &one in given {
        if !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

/// What a selection asks for, each request with the position of its domain.
fn requests(
    suite: &Suite,
    data: &SuiteData,
    model: &ModelId,
    selection: &Selection,
) -> Result<Vec<(usize, CellRequest)>, BenchmarkError> {
    let shifts = match selection.shifts.as_slice() {
        [] => suite.shifts.keys().copied().collect(),
        given => first_of_each(given),
    };
    let or = |given: &Vec<_>, default: &Vec<_>| match given.is_empty() {
        true => default.clone(),
        false => given.clone(),
    };
    let methods = first_of_each(&or(&selection.methods, &suite.methods));
    let all_seeds = first_of_each(match selection.seeds.is_empty() {
        true => &suite.seeds,
        false => &selection.seeds,
    });
    selection.overrides.check(&methods)?;
    let profile = selection.profile.of(suite);
    let named = selection.variant.as_deref();
    let variant = named.unwrap_or(selection.profile.name());
    let mut requests = Vec::new();
    for (position, domain) in data.domains.iter().enumerate() {
        for &shift in &shifts {
            let (known, present) = (suite.known(shift), suite.present(shift)?);
            for &method in &methods {
                let seeds: Vec<Option<u64>> = match method.trains() {
                    true => all_seeds.iter().copied().map(Some).collect(),
                    false => vec![None],
                };
                for seed in seeds {
                    let request = CellRequest {
                        suite: suite.name.clone(),
                        protocol: selection.protocol,
                        variant: variant.to_owned(),
                        domain: domain.name.clone(),
                        group: domain.group.clone(),
                        shift,
                        method,
                        seed,
                        settings: profile.settings(method, seed, &selection.overrides)?,
                        model_sha256: model.sha256.clone(),
                        precision: model.precision,
                        classes: data.classes.clone(),
                        known: known.clone(),
                        present: present.clone(),
                        train_images: ImagesId::of(&domain.train),
                        test_images: ImagesId::of(domain.tested()),
                    };
                    requests.push((position, request));
                }
            }
        }
    }
    Ok(requests)
}

/// The cells that an output directory holds.
struct Found {
    requests: Vec<CellRequest>,
    paths: HashMap<Slot, PathBuf>,
}

impl Found {
    /// Looks at all files; those that cannot be read must be at the place of a cell that is asked for, which replaces them.
    fn read(output: &Path, planned: &[(usize, CellRequest)]) -> Result<Self, BenchmarkError> {
        let mut found = Self {
            requests: Vec::new(),
            paths: HashMap::new(),
        };
        for file in CellFile::list(output)? {
            match file.request {
                Ok(request) => {
                    found.paths.insert(request.slot(), file.path);
                    found.requests.push(request);
                }
                Err(error) => {
                    let here =
                        |(_, request): &(usize, CellRequest)| request.path(output) == file.path;
                    if !planned.iter().any(here) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(found)
    }

    fn state(&self, request: &CellRequest, output: &Path) -> Result<CellState, BenchmarkError> {
        let Some(path) = self.paths.get(&request.slot()) else {
            let path = request.path(output);
            // A file of a later version is no damage, and another cell may lie here where case means nothing.
            return match Cell::read(&path) {
                Ok(_) => Err(BenchmarkError::Occupied { path }),
                Err(BenchmarkError::Io { .. }) if !path.exists() => Ok(CellState::Missing),
                Err(error @ BenchmarkError::CellVersion { .. }) => Err(error),
                Err(_) => Ok(CellState::Damaged),
            };
        };
        match Cell::read(path) {
            Ok(_) => Ok(CellState::Done),
            Err(_) if *path == request.path(output) => Ok(CellState::Damaged),
            Err(error) => Err(error),
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
