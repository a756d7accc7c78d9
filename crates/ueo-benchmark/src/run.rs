//! Runs the cells that are still to be run, some of them beside each other.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rayon::ThreadPoolBuilder;

use super::BenchmarkError;
use super::cell::{CELL_FORMAT_VERSION, Cell, CellImages, CellRequest, Timing};
use super::layout::{DomainFiles, LabelledImages};
use super::measurements::Measurements;
use super::opened::{OpenDomain, OpenImages, Part, rows_of};
use super::plan::{Plan, PlannedCell};
use ueo::adapt::{
    AdaptError, AdaptState, CallerError, Observer, Outcome, PixelSource, StepRecord,
    TrainedParameters,
};
use ueo::disk::Lock;
use ueo::evaluate::{Score, ScoreRule, Scores, predictions};
use ueo::session::{
    Classifier, EngineRecord, Event, ImageFeatures, Images, Model, Reporter, SessionError, Stage,
    Subset, adapt_in_memory, encode_images,
};

/// How cells are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Cells that run beside each other; at least 1.
    pub jobs: usize,
    /// Threads of all jobs together; every job has at least one.
    pub threads: usize,
    /// Memory for decoded images of each domain that is in use, in bytes.
    pub image_cache_bytes: u64,
}

/// Told how a benchmark proceeds, from several threads.
pub trait BenchmarkReporter: Sync {
    /// Some images have gone through the model; `done` of the work of [`Plan::work`] over all pending cells.
    fn progress(&self, done: usize, finished_cells: usize);

    /// A cell is done and written.
    fn finished(&self, cell: &Cell);

    /// Whether the user wants to stop; finished cells stay.
    fn interrupted(&self) -> bool;
}

/// How a benchmark ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// Cells that were run now.
    pub finished: usize,
    /// Whether the user stopped it.
    pub interrupted: bool,
}

/// Takes the right to write an output directory, which is made if need be; no other process has it while the lock lives.
///
/// # Errors
///
/// [`BenchmarkError::InUse`] when another process has it, [`BenchmarkError::Io`].
pub fn hold(output: &Path) -> Result<Lock, BenchmarkError> {
    ueo::disk::create_directories(output)
        .map_err(|source| BenchmarkError::io("create", output, source))?;
    Ok(Lock::acquire(output)?)
}

/// Runs the pending cells of a plan. A cell's result does not depend on the options.
///
/// # Errors
///
/// [`BenchmarkError`]; cells that were finished before stay. Training that ends in infinities is no error but the result
/// of its cell.
pub fn run(
    plan: &Plan,
    model: &Model,
    options: RunOptions,
    reporter: &dyn BenchmarkReporter,
) -> Result<RunSummary, BenchmarkError> {
    // A job without a cell would only cost threads.
    let jobs = options.jobs.min(plan.pending().count()).max(1);
    let threads = (options.threads / jobs).max(1);
    let runner = Runner {
        plan,
        model,
        options,
        threads,
        reporter,
        queue: Mutex::new(Queue::new(plan)),
        domains: plan.data.domains.iter().map(|_| Mutex::new(None)).collect(),
        stop: AtomicBool::new(false),
        done: AtomicUsize::new(0),
        finished: AtomicUsize::new(0),
    };
    let mut pools = Vec::with_capacity(jobs);
    for _ in 0..jobs {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        pools.push(pool.map_err(|source| BenchmarkError::Threads { threads, source })?);
    }
    let outcomes: Vec<Result<(), BenchmarkError>> = std::thread::scope(|scope| {
        let jobs: Vec<_> = pools
            .iter()
            .map(|pool| scope.spawn(|| pool.install(|| runner.work())))
            .collect();
        jobs.into_iter()
            .map(|job| {
                job.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    outcomes.into_iter().collect::<Result<(), _>>()?;
    Ok(RunSummary {
        finished: runner.finished.into_inner(),
        interrupted: reporter.interrupted(),
    })
}

/// Cells by domain. A job stays with its domain, so that few domains are in memory and jobs do not wait for each other.
struct Queue<'a> {
    by_domain: Vec<Vec<&'a PlannedCell>>,
    /// Jobs that work on a cell of a domain.
    active: Vec<usize>,
}

impl<'a> Queue<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut by_domain = vec![Vec::new(); plan.data.domains.len()];
        for cell in plan.pending() {
            by_domain[cell.domain].push(cell);
        }
        // Taken from the end.
        by_domain.iter_mut().for_each(|cells| cells.reverse());
        Self {
            active: vec![0; by_domain.len()],
            by_domain,
        }
    }

    /// The next cell for a job that worked on a domain before.
    fn next(&mut self, before: Option<usize>) -> Option<&'a PlannedCell> {
        let waiting = |domain: &usize| !self.by_domain[*domain].is_empty();
        let domains = 0..self.by_domain.len();
        let domain = before
            .filter(waiting)
            .or_else(|| {
                domains
                    .clone()
                    .find(|domain| waiting(domain) && self.active[*domain] == 0)
            })
            .or_else(|| domains.clone().find(waiting))?;
        self.active[domain] += 1;
        self.by_domain[domain].pop()
    }

    /// A cell of a domain is done; whether nobody needs the domain any more.
    fn leave(&mut self, domain: usize) -> bool {
        self.active[domain] -= 1;
        self.active[domain] == 0 && self.by_domain[domain].is_empty()
    }
}

struct Runner<'a> {
    plan: &'a Plan,
    model: &'a Model,
    options: RunOptions,
    /// Threads of a job.
    threads: usize,
    reporter: &'a dyn BenchmarkReporter,
    queue: Mutex<Queue<'a>>,
    domains: Vec<Mutex<Option<Arc<OpenDomain>>>>,
    /// Another job has failed.
    stop: AtomicBool,
    done: AtomicUsize,
    finished: AtomicUsize,
}

/// No panic leaves the values behind these locks half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.reporter.interrupted()
    }

    fn progress(&self, images: usize) {
        let done = self.done.fetch_add(images, Ordering::Relaxed) + images;
        self.reporter
            .progress(done, self.finished.load(Ordering::Relaxed));
    }

    /// What each job does.
    fn work(&self) -> Result<(), BenchmarkError> {
        let mut domain = None;
        while !self.stopped() {
            let Some(planned) = lock(&self.queue).next(domain) else {
                break;
            };
            domain = Some(planned.domain);
            let outcome = self.cell(planned);
            if lock(&self.queue).leave(planned.domain) {
                *lock(&self.domains[planned.domain]) = None;
            }
            match outcome {
                Ok(Some(cell)) => {
                    cell.write(&self.plan.output)?;
                    self.finished.fetch_add(1, Ordering::Relaxed);
                    self.reporter.finished(&cell);
                }
                Ok(None) | Err(BenchmarkError::Session(SessionError::Interrupted { .. })) => break,
                Err(error) => {
                    self.stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Runs a cell; `None` when it was interrupted.
    fn cell(&self, planned: &PlannedCell) -> Result<Option<Cell>, BenchmarkError> {
        let domain = self.domain(planned)?;
        let request = &planned.request;
        let mut cell = Cell {
            format_version: CELL_FORMAT_VERSION,
            ueo_version: env!("CARGO_PKG_VERSION").to_owned(),
            model: Some(self.plan.model_name.clone()),
            request: request.clone(),
            results: None,
            failure: None,
            images: CellImages::default(),
            timing: Timing {
                threads: self.threads,
                engine: Some(EngineRecord::of(&self.model.clip)?),
                ..Timing::default()
            },
        };
        let mut said = Vec::new();
        for part in domain.parts(request) {
            let started = Instant::now();
            let adapted = self.adapt(request, &domain, &part.adapted_to)?;
            cell.images.trained_on += part.adapted_to.len();
            let mut parameters = match adapted {
                Ok(Outcome::Finished(state)) => state.parameters,
                Ok(Outcome::Interrupted(_)) => return Ok(None),
                Err(error @ AdaptError::NotFinite { .. }) => {
                    cell.failure = Some(error.to_string());
                    return Ok(Some(cell));
                }
                Err(error) => return Err(SessionError::from(error).into()),
            };
            if request.method.centres() {
                self.centre(request, &domain, &part.adapted_to, &mut parameters)?;
            }
            cell.timing.adaptation_secs += started.elapsed().as_secs_f64();
            let started = Instant::now();
            match self.predict(request, &domain, &parameters, part) {
                Ok(part) => said.push(part),
                Err(BenchmarkError::Session(error @ SessionError::NotFinite { .. })) => {
                    cell.failure = Some(error.to_string());
                    return Ok(Some(cell));
                }
                Err(error) => return Err(error),
            }
            cell.timing.evaluation_secs += started.elapsed().as_secs_f64();
        }
        let started = Instant::now();
        cell.images = joined(said, cell.images.trained_on);
        cell.images.unreadable = domain.tested().zero_shot.failures.len();
        cell.results = Some(Measurements::of(&cell.images, &request.known)?);
        cell.timing.evaluation_secs += started.elapsed().as_secs_f64();
        Ok(Some(cell))
    }

    /// Trains on some rows of the training images' features.
    fn adapt(
        &self,
        request: &CellRequest,
        domain: &OpenDomain,
        rows: &[usize],
    ) -> Result<Result<Outcome, AdaptError>, BenchmarkError> {
        let (images, features) = (&domain.train, &domain.train.zero_shot);
        if rows.is_empty() {
            return Err(BenchmarkError::NothingToTrainOn {
                domain: request.domain.clone(),
                shift: request.shift.to_string(),
            });
        }
        let indices: Vec<usize> = rows.iter().map(|&row| features.indices[row]).collect();
        let model = &self.model.with_templates(&request.settings.templates)?;
        let prompts = model.prompts(&request.known_names())?;
        let mut pass = domain.pass(model, request)?.subset(rows);
        if request.settings.needs_labels() {
            let is_known = |&image: &usize| request.known.contains(&images.labels[image]);
            pass.known = Some(indices.iter().map(is_known).collect());
        }
        Ok(adapt_in_memory(
            model,
            &prompts,
            &Subset::new(&images.set, &indices),
            &pass,
            &request.settings,
            &mut Steps {
                runner: self,
                batch_size: request.settings.batch_size,
                images: indices.len(),
                seen: 0,
            },
        ))
    }

    /// The means to subtract, over the images that were adapted to.
    fn centre(
        &self,
        request: &CellRequest,
        domain: &OpenDomain,
        rows: &[usize],
        parameters: &mut TrainedParameters,
    ) -> Result<(), BenchmarkError> {
        let model = &self.model.with_templates(&request.settings.templates)?;
        let train = &domain.train;
        let mut encoded = rows_of(&train.zero_shot, rows);
        if request.method.trains() && request.settings.trained_part().affine() {
            let subset = Subset::new(&train.set, &encoded.indices);
            encoded = self.encode(&subset, parameters, Stage::Adapted)?;
        }
        let names = request.known_names();
        let classifier = Classifier::of_method(model, request.method, &names, parameters)?;
        parameters.centring = Some(encoded.centring(&model.clip, &classifier));
        Ok(())
    }

    /// What a model says about the test images of a part.
    fn predict(
        &self,
        request: &CellRequest,
        domain: &OpenDomain,
        parameters: &TrainedParameters,
        part: Part,
    ) -> Result<Said, BenchmarkError> {
        let model = &self.model.with_templates(&request.settings.templates)?;
        let test = domain.tested();
        let before = rows_of(&test.zero_shot, &part.tested);
        let moved = request.method.trains() && request.settings.trained_part().affine();
        let encoded = match moved {
            true => {
                let subset = Subset::new(&test.set, &before.indices);
                self.encode(&subset, parameters, Stage::Adapted)?
            }
            false => {
                self.progress(before.indices.len());
                before.clone()
            }
        };
        if let Some(failure) = encoded.failures.first() {
            let reason = failure.reason.clone();
            return Err(SessionError::ImageLost { reason }.into());
        }
        let names = request.known_names();
        let classifier = Classifier::of_method(model, request.method, &names, parameters)?;
        let scores = encoded.class_scores(&model.clip, &classifier);
        let scores = Scores {
            cosine_logits: &scores,
            classes: names.len(),
            logit_scale: model.clip.logit_scale(),
            logit_bias: None,
            negative_cosines: &[],
        };
        let plain = predictions(scores, ScoreRule::msp(1.0))?;
        let largest = predictions(scores, ScoreRule::new(Score::MaximumLogit, None))?;
        let labels: Vec<usize> = before
            .indices
            .iter()
            .map(|&image| test.labels[image])
            .collect();
        let class = |&class: &usize| request.known[class];
        Ok(Said {
            images: CellImages {
                predictions: plain.classes.iter().map(class).collect(),
                confidences: plain.confidences,
                scaled_confidences: plain.probabilities,
                maximum_cosines: largest.confidences,
                adapted_to: domain.adapted_to(request, &part, &labels),
                halves: part
                    .half
                    .map_or_else(Vec::new, |half| vec![half; labels.len()]),
                labels,
                ..CellImages::default()
            },
            indices: before.indices,
        })
    }

    /// The domain of a cell, opened by the first job that needs it.
    fn domain(&self, planned: &PlannedCell) -> Result<Arc<OpenDomain>, BenchmarkError> {
        let mut slot = lock(&self.domains[planned.domain]);
        if let Some(domain) = &*slot {
            return Ok(Arc::clone(domain));
        }
        let files: &DomainFiles = self.plan.files(planned);
        let train = self.open(&files.train)?;
        let test = files
            .test
            .as_ref()
            .map(|test| self.open(test))
            .transpose()?;
        let domain = Arc::new(OpenDomain::new(train, test));
        *slot = Some(Arc::clone(&domain));
        Ok(domain)
    }

    fn open(&self, images: &LabelledImages) -> Result<OpenImages, BenchmarkError> {
        let set = Images::open(
            &images.path,
            images.image_root.as_deref(),
            &self.model.preprocessing,
            self.options.image_cache_bytes,
        )?;
        let zero_shot = self.encode(&set, &self.model.parameters, Stage::ZeroShot)?;
        Ok(OpenImages {
            set,
            labels: images.labels.clone(),
            zero_shot,
        })
    }

    fn encode(
        &self,
        set: &dyn PixelSource,
        parameters: &TrainedParameters,
        stage: Stage,
    ) -> Result<ImageFeatures, SessionError> {
        let mut watch = Watch {
            runner: self,
            // The zero-shot pass serves all cells of a domain and belongs to none.
            counts: stage == Stage::Adapted,
            done: 0,
        };
        encode_images(&self.model.clip, &parameters.affine, set, stage, &mut watch)
    }
}

/// What a model says about some test images, and which ones these are.
struct Said {
    images: CellImages,
    indices: Vec<usize>,
}

/// Everything that was said, in the order of the images.
fn joined(said: Vec<Said>, trained_on: usize) -> CellImages {
    let mut all = CellImages {
        trained_on,
        ..CellImages::default()
    };
    let mut indices = Vec::new();
    for Said {
        images,
        indices: of,
    } in said
    {
        all.append(images);
        indices.extend(of);
    }
    all.in_order(&indices)
}

/// Counts training images, and stops the training when asked to.
struct Steps<'a, 'r> {
    runner: &'a Runner<'r>,
    batch_size: usize,
    /// Images of an epoch.
    images: usize,
    /// Images seen in this epoch.
    seen: usize,
}

impl Observer for Steps<'_, '_> {
    fn on_step(
        &mut self,
        _record: &StepRecord,
        _state: &AdaptState,
    ) -> Result<ControlFlow<()>, CallerError> {
        let batch = self.batch_size.min(self.images - self.seen);
        self.seen = (self.seen + batch) % self.images;
        self.runner.progress(batch);
        Ok(match self.runner.stopped() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    }
}

/// Counts encoded images.
struct Watch<'a, 'r> {
    runner: &'a Runner<'r>,
    counts: bool,
    done: usize,
}

impl Reporter for Watch<'_, '_> {
    fn report(&mut self, event: Event<'_>) {
        if let (true, Event::Encoding { done, .. }) = (self.counts, event) {
            self.runner.progress(done - self.done);
            self.done = done;
        }
    }

    fn interrupted(&self) -> bool {
        self.runner.stopped()
    }
}
