//! The main job: from a checkpoint, class names and a folder of images to an adapted model in a run directory.
//!
//! ```text
//! open -> prepare (the zero-shot pass, or what the directory holds) -> train -> judge -> write
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ueo::Device;
use ueo::adapt::{ActivationCache, AdaptError, AdaptState, Adaptation, Outcome};
use ueo::checkpoint;
use ueo::exchange::{Alone, Exchange};
use ueo::guard::warnings;
use ueo::model::Prompts;
use ueo::session::{
    Event, Images, Model, ReadLabels, Reporter, SessionError, Subset, check_same_images,
};

use super::RunError;
use super::directory::{PREDICTIONS, STATE};
use super::discovering::adapted_sha256;
use super::held::HeldDirectory;
use super::judging::{AdaptedTo, Job, fingerprint, measure};
use super::opening::load_base;
use super::predictions::of_images;
use super::preparing::Prepared;
use super::record::{AdaptRequest, RunRecord, RunStatus};
use super::recorder::Recorder;
use super::starting::{Begun, Start, begin_together};
use super::together::RankDirectory;

/// How a call of [`adapt`] ended.
#[derive(Clone, Debug)]
pub struct AdaptReport {
    /// The content of `run.json`.
    pub record: RunRecord,
    /// Steps done; fewer than `record.total_steps` when the run was interrupted.
    pub steps_done: usize,
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
    adapt_together(start, output, device, Arc::new(Alone), reporter)
}

/// [`adapt`] by several processes, all of which make this call. The first rank reads and writes the directory; model and images are read
/// by all. Steps, parameters and predictions are the same as those of one process, up to the rounding of sums.
///
/// # Errors
///
/// As [`adapt`]. What fails on one rank may fail there alone: then the others wait for it until they are ended.
pub fn adapt_together(
    start: Start,
    output: &Path,
    device: &Device,
    exchange: Arc<dyn Exchange>,
    reporter: &mut dyn Reporter,
) -> Result<AdaptReport, RunError> {
    let place = (output, device);
    adapt_with(start, place, exchange, reporter, |request, model| {
        Ok(Images::open_keeping(
            request.settings.cache_content(model.preprocessing.crop)?,
            &request.images,
            request.image_options(),
            &model.preprocessing,
            request.image_cache_bytes,
        )?)
    })
}

/// [`adapt`] to images that the caller opens, for example some that are in memory. The request still says where they are, for
/// the record.
///
/// # Errors
///
/// As [`adapt`].
pub fn adapt_to(
    start: Start,
    output: &Path,
    device: &Device,
    reporter: &mut dyn Reporter,
    open_images: impl FnOnce(&AdaptRequest, &Model) -> Result<Images, RunError>,
) -> Result<AdaptReport, RunError> {
    let place = (output, device);
    adapt_with(start, place, Arc::new(Alone), reporter, open_images)
}

fn adapt_with(
    start: Start,
    (output, device): (&Path, &Device),
    exchange: Arc<dyn Exchange>,
    reporter: &mut dyn Reporter,
    open_images: impl FnOnce(&AdaptRequest, &Model) -> Result<Images, RunError>,
) -> Result<AdaptReport, RunError> {
    let (begun, finished) = begin_together(start, output, &*exchange)?;
    if let Some(record) = finished {
        return Ok(AdaptReport {
            steps_done: record.total_steps,
            record,
        });
    }
    let model = begun.open_model(device, Arc::clone(&exchange))?;
    let Begun {
        mut request,
        place,
        resumed,
        extended,
        ..
    } = begun;
    request.device = device.name().to_owned();
    request.settings.validate()?;
    request
        .settings
        .train_blocks
        .check(&model.clip)
        .map_err(SessionError::from)?;
    reporter.report(Event::Model(&model.base));
    let images = open_images(&request, &model)?
        .with_label_choice(request.labels)
        .with_class_ids(request.class_ids.clone());
    images.tell_left_out(reporter);
    check_same_images(&images, &*exchange)?;
    let labels = images.labels(&request.classes, reporter)?;
    let prompts = model.prompts(&request.classes)?;
    let job = Job::new(&request, &model)?;
    let objective = request.settings.objective();
    let adaptation = objective.as_deref().map(|objective| Adaptation {
        clip: &model.clip,
        prompts: &prompts,
        objective,
        settings: &request.settings,
        scoring: job.scoring(),
        activation_cache: ActivationCache {
            memory_bytes: request.image_cache_bytes,
            // The others may be on machines that do not have this directory.
            directory: Some(match exchange.is_first() {
                true => output.to_owned(),
                false => std::env::temp_dir(),
            }),
        },
        exchange: &*exchange,
    });
    let task = Task {
        job: &job,
        prompts: &prompts,
        adaptation: adaptation.as_ref(),
        images: &images,
        labels: &labels,
    };
    let directory = place.hold()?;
    let continued = match resumed {
        Some(record) => task.continued_together(&directory, record, output)?,
        None => None,
    };
    let prepared = match continued {
        Some(prepared) => {
            reporter.report(Event::Prepared);
            // A run that was to replace this one is given up.
            directory.write(|directory| directory.unstage())?;
            if extended {
                // Before the first step that the shorter run did not have.
                directory.write(|directory| directory.write_record(&prepared.record))?;
            }
            prepared
        }
        None => task.begun(&directory, reporter)?,
    };
    task.finish(&directory, prepared, reporter)
}

/// An adaptation with everything that it reads.
pub(super) struct Task<'a> {
    pub job: &'a Job<'a>,
    pub prompts: &'a Prompts,
    /// `None` for a method without training.
    pub adaptation: Option<&'a Adaptation<'a>>,
    pub images: &'a Images,
    pub labels: &'a ReadLabels,
}

impl Task<'_> {
    /// What the directory holds of the run that is continued; `None` when there is no state yet.
    pub(super) fn continued(
        &self,
        directory: &HeldDirectory,
        mut record: RunRecord,
    ) -> Result<Option<Prepared>, RunError> {
        let request = self.job.request;
        let Some(state) = directory.read_state(&self.job.model.clip)? else {
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
        self.check_state(&state, &record, used.len())
            .map_err(|reason| RunError::State {
                path: directory.file(STATE),
                reason,
            })?;
        let results = directory.read_predictions(&request.classes)?;
        let paths = used.iter().map(|&index| self.images.id(index));
        let results = of_images(results, paths)
            .map_err(|reason| RunError::record(&directory.file(PREDICTIONS), reason))?;
        record.request = request.clone();
        Ok(Some(Prepared {
            epochs: directory.read_epochs_until(state.watch.epochs)?,
            zero_shot_classes: results.iter().map(|r| r.zero_shot.class).collect(),
            results,
            record,
            state,
            features: Vec::new(),
            used,
        }))
    }

    /// Whether a state belongs to this many images and to its record.
    fn check_state(
        &self,
        state: &AdaptState,
        record: &RunRecord,
        images: usize,
    ) -> Result<(), String> {
        let expect = |what, expected: usize, found: usize| match expected == found {
            true => Ok(()),
            false => Err(format!("expected {expected} {what}, found {found}")),
        };
        let Some(adaptation) = self.adaptation else {
            return expect("steps", 0, state.step);
        };
        adaptation
            .check(state, images)
            .map_err(|error| error.to_string())?;
        let total = adaptation.total_steps(&state.memory, images);
        expect("steps in all", record.total_steps, total)?;
        if state.step > total {
            return Err(format!(
                "expected at most {total} steps, found {}",
                state.step
            ));
        }
        // An epoch's record follows on its last step.
        let per_epoch = (total / adaptation.epochs(&state.memory, images)).max(1);
        let (done, at_the_end) = (state.step / per_epoch, state.step.is_multiple_of(per_epoch));
        let epochs = state.watch.epochs;
        if epochs == done || (at_the_end && epochs + 1 == done) {
            return Ok(());
        }
        Err(format!(
            "expected the records of {done} epochs after {} steps, found {epochs}",
            state.step
        ))
    }

    /// From the state to the end: train, judge, write.
    fn finish(
        &self,
        directory: &RankDirectory,
        prepared: Prepared,
        reporter: &mut dyn Reporter,
    ) -> Result<AdaptReport, RunError> {
        let request = self.job.request;
        let Prepared {
            mut record,
            state,
            features,
            used,
            mut results,
            zero_shot_classes,
            epochs,
        } = prepared;
        let subset = Subset::new(self.images, &used);
        if let Some(adaptation) = self.adaptation
            && let Some(cost) = adaptation.cost(&features, &state, &subset)?
        {
            reporter.report(Event::Cost(&cost));
        }
        let held = directory.0.as_deref();
        let mut recorder = Recorder::open(held, request, &record, &state, epochs, reporter)?;
        let started = Instant::now();
        let outcome = match self.adaptation {
            Some(adaptation) => adaptation.run_knowing(&features, state, &subset, &mut recorder),
            None => Ok(Outcome::Finished(state)),
        };
        // Whatever ended the loop, the last good step is kept; a device that failed gives back nothing, so the state of the last
        // checkpoint stays.
        if !matches!(outcome, Err(AdaptError::Device { .. })) {
            recorder.save()?;
        }
        record.adaptation_secs += started.elapsed().as_secs_f64();
        directory.write(|directory| directory.write_record(&record))?;
        let mut last = match outcome? {
            Outcome::Finished(state) => state,
            Outcome::Interrupted(state) => return Ok(interrupted(record, &state)),
        };

        let labels = self.labels.labels.as_ref();
        let labels = labels.map(|labels| labels.of(&used));
        let (epochs, reporter) = recorder.finish();
        let adapted_to = AdaptedTo {
            images: &subset,
            ids: used.iter().map(|&index| self.images.id(index)).collect(),
            labels: labels.as_ref(),
            zero_shot_classes: &zero_shot_classes,
        };
        let parameters = &mut last.parameters;
        let measured = measure(self.job, directory, parameters, &adapted_to, reporter);
        let measured = match measured {
            Err(RunError::Session(SessionError::Interrupted { .. })) => {
                return Ok(interrupted(record, &last));
            }
            measured => measured?,
        };
        for (result, answer) in results.iter_mut().zip(&measured.answers) {
            result.adapted = Some(answer.clone());
        }
        record.threshold = Some(measured.threshold);
        directory.write(|directory| {
            directory.write_predictions(&results, &record)?;
            self.write_result(directory, &last)?;
            record.adapted_sha256 = adapted_sha256(directory.path())?;
            Ok(())
        })?;
        record.status = RunStatus::Finished;
        record.adapted = measured.evaluation;
        record.kept_epoch = Some(last.kept_epoch());
        record.adapted_signs = Some(measured.signs);
        record.warnings = warnings(&epochs, Some(&measured.signs));
        directory.write(|directory| {
            directory.write_record(&record)?;
            directory.drop_features()
        })?;
        Ok(AdaptReport {
            record,
            steps_done: last.step,
        })
    }

    /// The files of the result. The record counts them only when they are whole.
    fn write_result(&self, directory: &HeldDirectory, last: &AdaptState) -> Result<(), RunError> {
        directory.write_adapted(&last.parameters)?;
        if self.job.request.standalone {
            let base = &self.job.model.base;
            let mut full = load_base(base, &base.path)?;
            last.parameters.to_adapted().merge_into(&mut full.tensors)?;
            checkpoint::save(&directory.clear_standalone()?, &full)?;
        }
        Ok(())
    }
}

fn interrupted(record: RunRecord, state: &AdaptState) -> AdaptReport {
    AdaptReport {
        record,
        steps_done: state.step,
    }
}
