//! Writes what happens while the loop runs: records, states, warnings.

use std::ops::ControlFlow;

use ueo::adapt::{AdaptState, CallerError, Observer, StepRecord};
use ueo::device::guarded;
use ueo::guard::{EpochRecord, Rule, warnings};
use ueo::session::{Event, Reporter, SessionError};

use super::RunError;
use super::directory::{EPOCH_EVENTS, RunDirectory, STEP_EVENTS};
use super::record::{AdaptRequest, RunRecord};
use super::records::RecordWriter;
use super::tensorboard::EventFile;

/// Writes metrics and states while the loop runs.
pub struct Recorder<'a> {
    /// `None` on a rank that writes nothing.
    files: Option<Files<'a>>,
    /// That of the zero-shot model first.
    epochs: Vec<EpochRecord>,
    /// Warnings that the user has seen.
    warned: Vec<Rule>,
    checkpoint_every: usize,
    total_steps: usize,
    latest: AdaptState,
    reporter: &'a mut dyn Reporter,
}

/// What is written while the loop runs.
struct Files<'a> {
    directory: &'a RunDirectory,
    metrics: RecordWriter,
    epochs: RecordWriter,
    events: Option<EventFile>,
}

impl Files<'_> {
    fn save(&mut self, state: &AdaptState) -> Result<(), RunError> {
        self.metrics.sync()?;
        self.epochs.sync()?;
        if let Some(events) = &mut self.events {
            events.sync()?;
        }
        self.directory.write_state(state)
    }
}

impl<'a> Recorder<'a> {
    /// Opens the files of a run where `state` ends.
    pub fn open(
        directory: Option<&'a RunDirectory>,
        request: &AdaptRequest,
        record: &RunRecord,
        state: &AdaptState,
        epochs: Vec<EpochRecord>,
        reporter: &'a mut dyn Reporter,
    ) -> Result<Self, RunError> {
        let files = |directory: &'a RunDirectory| -> Result<Files<'a>, RunError> {
            Ok(Files {
                directory,
                metrics: directory.metrics(state.step)?,
                epochs: directory.epochs(state.watch.epochs)?,
                events: match request.tensorboard {
                    true => Some(directory.events(state.step, &epochs)?),
                    false => None,
                },
            })
        };
        Ok(Self {
            files: directory.map(files).transpose()?,
            warned: warnings(&epochs, None)
                .into_iter()
                .map(|warning| warning.rule)
                .collect(),
            epochs,
            checkpoint_every: request.checkpoint_every,
            total_steps: record.total_steps,
            latest: state.clone(),
            reporter,
        })
    }

    /// Records first, on the disk: a state never knows of more steps and epochs than they do, even after a power loss.
    pub fn save(&mut self) -> Result<(), RunError> {
        let Some(files) = self.files.as_mut() else {
            return Ok(());
        };
        let device = self.latest.parameters.context.device();
        guarded(&device, || files.save(&self.latest)).map_err(SessionError::Device)?
    }

    /// The records of all epochs, and the way to tell about what follows.
    pub fn finish(self) -> (Vec<EpochRecord>, &'a mut dyn Reporter) {
        (self.epochs, self.reporter)
    }

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
        if let Some(files) = &mut self.files {
            files.metrics.append(record)?;
            if let Some(events) = &mut files.events {
                events.append(STEP_EVENTS, record.step, record)?;
            }
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
        if let Some(files) = &mut self.files {
            files.epochs.append(record)?;
            if let Some(events) = &mut files.events {
                events.append(EPOCH_EVENTS, record.step, record)?;
            }
        }
        self.epochs.push(record.clone());
        self.latest = state.clone();
        self.reporter.report(Event::Epoch(record));
        self.warn();
        Ok(())
    }

    fn interrupted(&self) -> bool {
        self.reporter.interrupted()
    }
}
