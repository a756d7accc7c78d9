//! The main job: from a checkpoint, class names and a folder of images to an adapted model in a run directory.
//!
//! ```text
//! open -> prepare (the zero-shot pass, or what the directory holds) -> train -> judge -> write
//! ```

use std::path::{Path, PathBuf};
use std::time::Instant;

use ueo::Device;
use ueo::adapt::{AdaptState, Adaptation, Outcome};
use ueo::checkpoint;
use ueo::guard::{EpochRecord, WatchedView, warnings};
use ueo::method::Method;
use ueo::model::Prompts;
use ueo::session::{
    Classifier, Event, Images, Judge, Labels, Model, OracleLabels, Reporter, SessionError, Stage,
    Subset, encode_readable,
};
use ueo::text::DEFAULT_CONTEXT;

use super::RunError;
use super::directory::RunDirectory;
use super::judging::{Job, Measured, fingerprint, judge_images, measure, true_label};
use super::opening::{OpenedModel, open_base};
use super::predictions::ImageResult;
use super::record::{AdaptRequest, FORMAT_VERSION, ImagesRecord, RunRecord, RunStatus};
use super::recorder::Recorder;

/// Whether to begin or to go on.
#[derive(Clone, Debug)]
pub enum Start {
    /// A new run.
    New {
        /// What to do.
        request: Box<AdaptRequest>,
        /// Whether an older run in the same place may be replaced.
        overwrite: bool,
    },
    /// Continue the run that is there, with the settings it was started with.
    Resume {
        /// Where the checkpoint is now, if it has moved.
        base: Option<PathBuf>,
    },
}

/// How a call of [`adapt`] ended.
#[derive(Clone, Debug)]
pub struct AdaptReport {
    /// The content of `run.json`.
    pub record: RunRecord,
    /// Steps done; fewer than `record.total_steps` when the run was interrupted.
    pub steps_done: usize,
}

/// The directory with the model and the request that belong to it.
struct Opened {
    directory: RunDirectory,
    model: Model,
    request: AdaptRequest,
    /// The record of the run that is continued.
    resumed: Option<RunRecord>,
}

/// What is known before the first step.
struct Prepared {
    record: RunRecord,
    state: AdaptState,
    /// Images that take part, ascending.
    used: Vec<usize>,
    /// What the checkpoint says about each of them.
    results: Vec<ImageResult>,
    /// The records of the epochs so far, that of the zero-shot model first.
    epochs: Vec<EpochRecord>,
}

/// Adapts a model to a folder of images and leaves the result in the run directory `output`.
///
/// # Errors
///
/// [`RunError`]; what was done until then stays in the directory and can be resumed.
pub fn adapt(
    start: Start,
    output: &Path,
    device: &Device,
    reporter: &mut dyn Reporter,
) -> Result<AdaptReport, RunError> {
    let opened = open(start, output, device)?;
    let Opened {
        directory,
        model,
        request,
        ..
    } = &opened;
    reporter.report(Event::Model(&model.base));
    let images = Images::open_keeping(
        request.settings.cache_content(model.preprocessing.crop)?,
        &request.images,
        request.image_root.as_deref(),
        &model.preprocessing,
        request.image_cache_bytes,
    )?;
    let labels = images.labels(&request.classes);
    let prompts = model.prompts(&request.classes)?;
    let job = Job::new(request, model)?;
    let objective = request.settings.objective();
    let adaptation = objective.as_deref().map(|objective| Adaptation {
        clip: &model.clip,
        prompts: &prompts,
        objective,
        settings: &request.settings,
        scoring: job.scoring(),
    });
    let task = Task {
        job: &job,
        prompts: &prompts,
        adaptation: adaptation.as_ref(),
        images: &images,
        labels: labels.as_ref(),
    };
    let prepared = match task.continued(&opened)? {
        Some(prepared) => prepared,
        None => task.begun(directory, reporter)?,
    };
    task.finish(directory, prepared, reporter)
}

/// Opens or creates the run directory, and the model that the run is about.
fn open(start: Start, output: &Path, device: &Device) -> Result<Opened, RunError> {
    match start {
        Start::New { request, overwrite } => {
            request.settings.validate()?;
            let opened = OpenedModel::open(&request.model, None, device, Some(request.precision))?;
            if opened.run.is_some() {
                return Err(RunError::AlreadyAdapted {
                    path: request.model.clone(),
                });
            }
            Ok(Opened {
                directory: RunDirectory::create(output, overwrite)?,
                model: opened.model,
                request: *request,
                resumed: None,
            })
        }
        Start::Resume { base } => {
            let directory = RunDirectory::open(output)?;
            let record = directory.read_record()?;
            let precision = record.request.precision;
            Ok(Opened {
                model: open_base(&record.base, base.as_deref(), device, precision)?,
                directory,
                request: record.request.clone(),
                resumed: Some(record),
            })
        }
    }
}

/// An adaptation with everything that it reads.
struct Task<'a> {
    job: &'a Job<'a>,
    prompts: &'a Prompts,
    /// `None` for a method without training.
    adaptation: Option<&'a Adaptation<'a>>,
    images: &'a Images,
    labels: Option<&'a Labels>,
}

impl Task<'_> {
    /// What the directory holds of the run that is continued; `None` when there is no state yet.
    fn continued(&self, opened: &Opened) -> Result<Option<Prepared>, RunError> {
        let (directory, request) = (&opened.directory, &opened.request);
        let Some(record) = &opened.resumed else {
            return Ok(None);
        };
        let Some(state) = directory.read_state(&opened.model.clip)? else {
            return Ok(None);
        };
        let used = self.images.without(&record.images.skipped);
        if fingerprint(self.images, &used) != record.images.fingerprint {
            return Err(RunError::ImagesChanged {
                path: request.images.clone(),
                expected: record.images.used,
                found: used.len(),
            });
        }
        Ok(Some(Prepared {
            epochs: directory.read_epochs_until(state.watch.epochs)?,
            results: directory.read_predictions(&request.classes)?,
            record: record.clone(),
            state,
            used,
        }))
    }

    /// A new run up to its first step, on disk.
    fn begun(
        &self,
        directory: &RunDirectory,
        reporter: &mut dyn Reporter,
    ) -> Result<Prepared, RunError> {
        let prepared = self.prepare(reporter)?;
        directory.write_record(&prepared.record)?;
        directory.write_predictions(&prepared.results, &self.job.request.classes)?;
        let mut epochs = directory.epochs(0)?;
        epochs.append(&prepared.epochs[0])?;
        epochs.flush()?;
        directory.write_state(&prepared.state)?;
        Ok(prepared)
    }

    /// The zero-shot pass: which images can be read, how confident the model is, what it scores.
    fn prepare(&self, reporter: &mut dyn Reporter) -> Result<Prepared, RunError> {
        let Job {
            request,
            model,
            scorer,
        } = self.job;
        let images = self.images;
        let affine = &model.parameters.affine;
        let (encoded, skipped) = encode_readable(
            model,
            affine,
            images,
            request.strict,
            Stage::ZeroShot,
            reporter,
        )?;
        let cache_use = images.cache_use();
        if cache_use.images_left_out > 0 && self.adaptation.is_some() {
            reporter.report(Event::CacheTooSmall(cache_use));
        }
        let classifier = Classifier::new(&model.clip, self.prompts, &model.parameters);
        let mut pass = encoded.zero_shot(&model.clip, &classifier);
        if request.settings.needs_labels() {
            let labels = OracleLabels {
                path: request.oracle_labels.as_ref().unwrap_or(&request.images),
                image_root: request.image_root.as_deref(),
            };
            pass.known = Some(images.oracle(labels, &request.classes, &encoded.indices)?);
        }
        let labels = self.labels.map(|labels| labels.of(&encoded.indices));
        let judge = Judge {
            scorer,
            classifier: &classifier,
            method: Method::ZeroShot,
            parameters: &model.parameters,
        };
        let table = judge.table(&encoded)?;
        // Against itself nothing has changed.
        let classes = scorer.predictions(&table)?.classes;
        let watching = self.job.scoring();
        let Measured {
            verdicts,
            signs,
            threshold,
            evaluation,
        } = judge_images(
            &judge,
            &table,
            &watching,
            labels.as_ref(),
            &classes,
            reporter,
        )?;
        let results = encoded.indices.iter().zip(verdicts).enumerate();
        let results = results
            .map(|(row, (&index, zero_shot))| ImageResult {
                path: images.id(index).to_owned(),
                label: labels.as_ref().map(|labels| {
                    true_label(images, index, labels.classes()[row], &request.classes)
                }),
                zero_shot,
                adapted: None,
            })
            .collect();
        let parameters = model.parameters.clone();
        let (state, total_steps, trained_parameters) = match self.adaptation {
            Some(adaptation) => {
                let trained = parameters.trained_len(request.settings.trained_part());
                let state = adaptation.begin(parameters, &pass)?;
                let total_steps = adaptation.total_steps(&state.memory, pass.images());
                (state, total_steps, trained)
            }
            None => (AdaptState::untrained(parameters), 0, 0),
        };
        let epoch = EpochRecord {
            epoch: 0,
            step: 0,
            view: WatchedView::Test,
            signs,
            criterion: state.watch.best.as_ref().map(|best| best.value),
        };
        let record = RunRecord {
            format_version: FORMAT_VERSION,
            ueo_version: env!("CARGO_PKG_VERSION").to_owned(),
            status: RunStatus::Incomplete,
            request: (*request).clone(),
            base: model.base.clone(),
            context_template: DEFAULT_CONTEXT.to_owned(),
            images: ImagesRecord {
                used: encoded.indices.len(),
                skipped,
                fingerprint: fingerprint(images, &encoded.indices),
            },
            total_steps,
            trained_parameters,
            zero_shot_threshold: Some(threshold),
            threshold: None,
            kept_epoch: None,
            zero_shot_signs: Some(signs),
            adapted_signs: None,
            warnings: Vec::new(),
            zero_shot: evaluation,
            adapted: None,
            adaptation_secs: 0.0,
        };
        Ok(Prepared {
            record,
            state,
            used: encoded.indices,
            results,
            epochs: vec![epoch],
        })
    }

    /// From the state to the end: train, judge, write.
    fn finish(
        &self,
        directory: &RunDirectory,
        prepared: Prepared,
        reporter: &mut dyn Reporter,
    ) -> Result<AdaptReport, RunError> {
        let request = self.job.request;
        let Prepared {
            mut record,
            state,
            used,
            mut results,
            epochs,
        } = prepared;
        let subset = Subset::new(self.images, &used);
        let mut recorder = Recorder::open(directory, request, &record, &state, epochs, reporter)?;
        let started = Instant::now();
        let outcome = match self.adaptation {
            Some(adaptation) => adaptation.run(state, &subset, &mut recorder),
            None => Ok(Outcome::Finished(state)),
        };
        // Whatever ended the loop, the last good step is kept.
        recorder.save()?;
        record.adaptation_secs += started.elapsed().as_secs_f64();
        directory.write_record(&record)?;
        let last = match outcome? {
            Outcome::Finished(state) => state,
            Outcome::Interrupted(state) => return Ok(interrupted(record, &state)),
        };

        let classes: Vec<usize> = results.iter().map(|r| r.zero_shot.class).collect();
        let labels = self.labels.map(|labels| labels.of(&used));
        let (epochs, reporter) = recorder.finish();
        let measured = measure(
            self.job,
            &last.parameters,
            &subset,
            labels.as_ref(),
            &classes,
            reporter,
        );
        let measured = match measured {
            Err(RunError::Session(SessionError::Interrupted { .. })) => {
                return Ok(interrupted(record, &last));
            }
            measured => measured?,
        };
        for (result, verdict) in results.iter_mut().zip(measured.verdicts) {
            result.adapted = Some(verdict);
        }
        directory.write_predictions(&results, &request.classes)?;
        directory.write_adapted(&last.parameters)?;
        if request.standalone {
            let mut full = checkpoint::load(&self.job.model.base.path)?;
            last.parameters.to_adapted().merge_into(&mut full.tensors)?;
            checkpoint::save(&directory.standalone_path(), &full)?;
        }
        record.status = RunStatus::Finished;
        record.threshold = Some(measured.threshold);
        record.adapted = measured.evaluation;
        record.kept_epoch = Some(last.kept_epoch());
        record.adapted_signs = Some(measured.signs);
        record.warnings = warnings(&epochs, Some(&measured.signs));
        directory.write_record(&record)?;
        Ok(AdaptReport {
            record,
            steps_done: last.step,
        })
    }
}

fn interrupted(record: RunRecord, state: &AdaptState) -> AdaptReport {
    AdaptReport {
        record,
        steps_done: state.step,
    }
}
