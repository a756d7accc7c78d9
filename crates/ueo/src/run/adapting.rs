//! The main job: from a checkpoint, class names and a folder of images to an adapted model in a run directory.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use sha2::{Digest, Sha256};

use crate::adapt::{
    AdaptState, Adaptation, CallerError, Observer, Outcome, StepRecord, TrainedParameters,
};
use crate::checkpoint;
use crate::evaluate::{Evaluation, Scores, Threshold};
use crate::guard::{EpochRecord, Rule, Scoring, Signs, WatchedView, signs_of, warnings};
use crate::method::Method;
use crate::model::Prompts;
use crate::text::DEFAULT_CONTEXT;

use super::directory::{EPOCH_EVENTS, RecordWriter, RunDirectory, STEP_EVENTS};
use super::encode::{Subset, encode_images, encode_readable};
use super::images::{ImageSet, Labels};
use super::model::{Classifier, LoadedModel};
use super::predictions::{ImageResult, TrueLabel, Verdict};
use super::record::{
    AdaptRequest, FORMAT_VERSION, ImagesRecord, RunRecord, RunStatus, SkippedImage,
};
use super::scoring::{Judge, ScoreTable, Scorer};
use super::state;
use super::tensorboard::EventFile;
use super::{Event, Reporter, RunError, Stage};

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

/// What stays the same from the first pass to the last.
struct Job<'a> {
    request: &'a AdaptRequest,
    model: &'a LoadedModel,
    scorer: Scorer<'a>,
}

impl<'a> Job<'a> {
    fn new(request: &'a AdaptRequest, model: &'a LoadedModel) -> Result<Self, RunError> {
        let scorer = Scorer::new(
            model,
            &request.classes,
            request.score_rule(),
            request.threshold_method,
            request.strict,
        )?;
        let known_images = request.threshold_images.as_deref();
        let scorer = scorer.with_known_images(known_images, request.image_root.as_deref())?;
        Ok(Self {
            request,
            model,
            scorer,
        })
    }
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
    let (directory, model, request, resumed) = match start {
        Start::New { request, overwrite } => {
            request.settings.validate()?;
            let model =
                LoadedModel::open_with(&request.model, None, device, Some(request.precision))?;
            if model.run.is_some() {
                return Err(RunError::AlreadyAdapted {
                    path: request.model.clone(),
                });
            }
            let directory = RunDirectory::create(output, overwrite)?;
            (directory, model, *request, None)
        }
        Start::Resume { base } => {
            let directory = RunDirectory::open(output)?;
            let record = directory.read_record()?;
            let model = LoadedModel::open_base(
                &record.base,
                base.as_deref(),
                device,
                record.request.precision,
            )?;
            (directory, model, record.request.clone(), Some(record))
        }
    };
    reporter.report(Event::Model(&model.base));
    let images = ImageSet::open_keeping(
        request.settings.cache_content(model.preprocessing.crop)?,
        &request.images,
        request.image_root.as_deref(),
        &model.preprocessing,
        request.image_cache_bytes,
    )?;
    let labels = images.labels(&request.classes);
    let prompts = model.prompts(&request.classes)?;
    let job = Job::new(&request, &model)?;
    let objective = request.settings.objective();
    let adaptation = objective.as_deref().map(|objective| Adaptation {
        clip: &model.clip,
        prompts: &prompts,
        objective,
        settings: &request.settings,
        scoring: scoring(&model, &request),
    });

    let saved = match &resumed {
        Some(_) => directory.read_state(&model.clip)?,
        None => None,
    };
    let prepared = match (resumed, saved) {
        (Some(record), Some(state)) => {
            let used = images.without(&record.images.skipped);
            let found = fingerprint(&images, &used);
            if found != record.images.fingerprint {
                return Err(RunError::ImagesChanged {
                    path: request.images.clone(),
                    expected: record.images.used,
                    found: used.len(),
                });
            }
            Prepared {
                epochs: directory.read_epochs_until(state.watch.epochs)?,
                results: directory.read_predictions(&request.classes)?,
                record,
                state,
                used,
            }
        }
        _ => {
            let prepared = prepare(
                &job,
                &prompts,
                adaptation.as_ref(),
                &images,
                labels.as_ref(),
                reporter,
            )?;
            directory.write_record(&prepared.record)?;
            directory.write_predictions(&prepared.results, &request.classes)?;
            let mut epochs = directory.epochs(0)?;
            epochs.append(&prepared.epochs[0])?;
            epochs.flush()?;
            directory.write_state(&prepared.state)?;
            prepared
        }
    };
    let Prepared {
        mut record,
        state,
        used,
        mut results,
        epochs,
    } = prepared;

    let subset = Subset::new(&images, &used);
    let mut recorder = Recorder {
        directory: &directory,
        metrics: directory.metrics(state.step)?,
        epochs_file: directory.epochs(state.watch.epochs)?,
        events: match request.tensorboard {
            true => Some(directory.events(state.step, &epochs)?),
            false => None,
        },
        warned: warnings(&epochs, None)
            .into_iter()
            .map(|warning| warning.rule)
            .collect(),
        epochs,
        checkpoint_every: request.checkpoint_every,
        total_steps: record.total_steps,
        latest: state.clone(),
        reporter,
    };
    let started = Instant::now();
    let outcome = match &adaptation {
        Some(adaptation) => adaptation.run(state, &subset, &mut recorder),
        None => Ok(Outcome::Finished(state)),
    };
    // Whatever ended the loop, the last good step is kept.
    recorder.save()?;
    record.adaptation_secs += started.elapsed().as_secs_f64();
    directory.write_record(&record)?;
    let last = match outcome? {
        Outcome::Finished(state) => state,
        Outcome::Interrupted(state) => {
            return Ok(AdaptReport {
                record,
                steps_done: state.step,
            });
        }
    };

    let zero_shot_classes: Vec<usize> = results
        .iter()
        .map(|result| result.zero_shot.class)
        .collect();
    let measured = measure(
        &job,
        &last.parameters,
        &subset,
        labels.as_ref().map(|labels| labels.of(&used)).as_ref(),
        &zero_shot_classes,
        recorder.reporter,
    )?;
    for (result, verdict) in results.iter_mut().zip(measured.verdicts) {
        result.adapted = Some(verdict);
    }
    directory.write_predictions(&results, &request.classes)?;
    directory.write_adapted(&last.parameters)?;
    if request.standalone {
        let mut full = checkpoint::load(&model.base.path)?;
        state::adapted(&last.parameters).merge_into(&mut full.tensors)?;
        checkpoint::save(&directory.standalone_path(), &full)?;
    }
    record.status = RunStatus::Finished;
    record.threshold = Some(measured.threshold);
    record.adapted = measured.evaluation;
    record.kept_epoch = Some(last.kept_epoch());
    record.adapted_signs = Some(measured.signs);
    record.warnings = warnings(&recorder.epochs, Some(&measured.signs));
    directory.write_record(&record)?;
    Ok(AdaptReport {
        record,
        steps_done: last.step,
    })
}

/// The zero-shot pass: which images can be read, how confident the model is, what it scores.
fn prepare(
    job: &Job<'_>,
    prompts: &Prompts,
    adaptation: Option<&Adaptation<'_>>,
    images: &ImageSet,
    labels: Option<&Labels>,
    reporter: &mut dyn Reporter,
) -> Result<Prepared, RunError> {
    let Job {
        request,
        model,
        scorer,
    } = job;
    let (encoded, skipped) = encode_readable(
        model,
        &model.parameters.affine,
        images,
        request.strict,
        Stage::ZeroShot,
        reporter,
    )?;
    let cache_use = images.cache_use();
    if cache_use.images_left_out > 0 && adaptation.is_some() {
        reporter.report(Event::CacheTooSmall(cache_use));
    }
    let classifier = Classifier::new(&model.clip, prompts, &model.parameters);
    let mut pass = encoded.zero_shot(&model.clip, &classifier);
    if request.settings.needs_labels() {
        pass.known = Some(images.oracle(request, &encoded.indices)?);
    }
    let labels = labels.map(|labels| labels.of(&encoded.indices));
    let judge = Judge {
        scorer,
        classifier: &classifier,
        method: Method::ZeroShot,
        parameters: &model.parameters,
    };
    let table = judge.table(&encoded)?;
    // Against itself nothing has changed.
    let classes = scorer.predictions(&table)?.classes;
    let watching = scoring(model, request);
    let measured = judge_images(
        &judge,
        &table,
        &watching,
        labels.as_ref(),
        &classes,
        reporter,
    )?;
    let results = encoded
        .indices
        .iter()
        .zip(measured.verdicts)
        .enumerate()
        .map(|(row, (&index, zero_shot))| ImageResult {
            path: images.id(index).to_owned(),
            label: labels
                .as_ref()
                .map(|labels| true_label(images, index, labels.classes()[row], &request.classes)),
            zero_shot,
            adapted: None,
        })
        .collect();
    let parameters = model.parameters.clone();
    let trained_parameters = parameters.trained_len(request.settings.trained_part());
    let (state, total_steps, trained_parameters) = match adaptation {
        Some(adaptation) => {
            let state = adaptation.begin(parameters, &pass)?;
            let total_steps = adaptation.total_steps(&state.memory, pass.images());
            (state, total_steps, trained_parameters)
        }
        None => (AdaptState::untrained(parameters), 0, 0),
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
        zero_shot_threshold: Some(measured.threshold),
        threshold: None,
        kept_epoch: None,
        zero_shot_signs: Some(measured.signs),
        adapted_signs: None,
        warnings: Vec::new(),
        zero_shot: measured.evaluation,
        adapted: None,
        adaptation_secs: 0.0,
    };
    let epoch = EpochRecord {
        epoch: 0,
        step: 0,
        view: WatchedView::Test,
        signs: measured.signs,
        criterion: state.watch.best.as_ref().map(|best| best.value),
    };
    Ok(Prepared {
        record,
        state,
        used: encoded.indices,
        results,
        epochs: vec![epoch],
    })
}

/// What an image shows: classes by the name on the list, however the data set spells them.
fn true_label(
    images: &ImageSet,
    index: usize,
    class: Option<usize>,
    classes: &[String],
) -> TrueLabel {
    let name = match class {
        Some(class) => &classes[class],
        None => images.label_name(index).unwrap_or_default(),
    };
    TrueLabel {
        name: name.to_owned(),
        class,
    }
}

struct Measured {
    verdicts: Vec<Verdict>,
    signs: Signs,
    threshold: Threshold,
    evaluation: Option<Evaluation>,
}

/// A pass over the adapted images with the adapted model.
fn measure(
    job: &Job<'_>,
    parameters: &TrainedParameters,
    images: &Subset,
    labels: Option<&Labels>,
    zero_shot_classes: &[usize],
    reporter: &mut dyn Reporter,
) -> Result<Measured, RunError> {
    let Job {
        request,
        model,
        scorer,
    } = job;
    let method = request.settings.method;
    let classifier = Classifier::of_method(model, method, &request.classes, parameters)?;
    let affine = &parameters.affine;
    let encoded = encode_images(&model.clip, affine, images, Stage::Adapted, reporter);
    if let Some(failure) = encoded.failures.first() {
        return Err(RunError::ImageLost {
            reason: failure.reason.clone(),
        });
    }
    let judge = Judge {
        scorer,
        classifier: &classifier,
        method,
        parameters,
    };
    let table = judge.table(&encoded)?;
    let watching = scoring(model, request);
    judge_images(
        &judge,
        &table,
        &watching,
        labels,
        zero_shot_classes,
        reporter,
    )
}

/// How the predictions of a run are scored while they are watched.
fn scoring(model: &LoadedModel, request: &AdaptRequest) -> Scoring {
    Scoring::watching(
        model.clip.logit_scale(),
        request.score_rule(),
        request.threshold_method,
    )
}

/// What a model says about a set of images, the threshold and, with labels, the measurements.
fn judge_images(
    judge: &Judge<'_>,
    table: &ScoreTable,
    watching: &Scoring,
    labels: Option<&Labels>,
    zero_shot_classes: &[usize],
    reporter: &mut dyn Reporter,
) -> Result<Measured, RunError> {
    let (scores, scorer) = (table.scores(), judge.scorer);
    let predictions = scorer.predictions(table)?;
    let threshold = judge.threshold(&predictions.confidences, reporter)?;
    let Scores {
        cosine_logits,
        classes,
        ..
    } = scores;
    Ok(Measured {
        signs: signs_of(cosine_logits, classes, zero_shot_classes, watching)?,
        verdicts: Verdict::all(scores, &predictions),
        evaluation: labels
            .map(|labels| scorer.evaluation(&predictions, labels, threshold.value))
            .transpose()?,
        threshold,
    })
}

/// SHA-256 over the ids of some images, one per line.
fn fingerprint(images: &ImageSet, used: &[usize]) -> String {
    let mut hasher = Sha256::new();
    for &index in used {
        hasher.update(images.id(index).as_bytes());
        hasher.update(b"\n");
    }
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Writes metrics and states while the loop runs.
struct Recorder<'a> {
    directory: &'a RunDirectory,
    metrics: RecordWriter,
    epochs_file: RecordWriter,
    events: Option<EventFile>,
    /// That of the zero-shot model first.
    epochs: Vec<EpochRecord>,
    /// Warnings that the user has seen.
    warned: Vec<Rule>,
    checkpoint_every: usize,
    total_steps: usize,
    latest: AdaptState,
    reporter: &'a mut dyn Reporter,
}

impl Recorder<'_> {
    /// Records first: a state on disk never knows of more steps and epochs than they do.
    fn save(&mut self) -> Result<(), RunError> {
        self.metrics.flush()?;
        self.epochs_file.flush()?;
        if let Some(events) = &mut self.events {
            events.flush()?;
        }
        self.directory.write_state(&self.latest)
    }
}

impl Recorder<'_> {
    /// Reports warnings that are new.
    fn warn(&mut self) {
        for warning in warnings(&self.epochs, None) {
            if !self.warned.contains(&warning.rule) {
                self.warned.push(warning.rule);
                self.reporter.report(Event::Warning(&warning));
            }
        }
    }
}

impl Observer for Recorder<'_> {
    fn on_step(
        &mut self,
        record: &StepRecord,
        state: &AdaptState,
    ) -> Result<ControlFlow<()>, CallerError> {
        self.metrics.append(record)?;
        if let Some(events) = &mut self.events {
            events.append(STEP_EVENTS, record.step, record)?;
        }
        self.latest = state.clone();
        self.reporter.report(Event::Step {
            record,
            total: self.total_steps,
        });
        if state.step.is_multiple_of(self.checkpoint_every) {
            self.save()?;
        }
        Ok(if self.reporter.interrupted() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    fn on_epoch(&mut self, record: &EpochRecord, state: &AdaptState) -> Result<(), CallerError> {
        self.epochs_file.append(record)?;
        if let Some(events) = &mut self.events {
            events.append(EPOCH_EVENTS, record.step, record)?;
        }
        self.epochs.push(record.clone());
        self.latest = state.clone();
        self.reporter.report(Event::Epoch(record));
        self.warn();
        Ok(())
    }
}

/// Images that were left out, as `run.json` lists them.
pub(super) fn skipped_image(id: &str, reason: &str) -> SkippedImage {
    SkippedImage {
        id: id.to_owned(),
        reason: reason.to_owned(),
    }
}
