//! What a job tells, on its way to Python.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use pyo3::prelude::*;
use ueo::session::{Event, Reporter, Stage};
use ueo_cli::{Notice, notice};

/// Something that the package is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// How far the work is.
    Progress {
        /// What is going on.
        phase: &'static str,
        done: usize,
        total: usize,
        /// Epoch and loss of a training step.
        step: Option<(usize, f64)>,
    },
    /// What the user should know about.
    Warning(String),
}

impl Told {
    /// Calls `listener.progress(phase, done, total, epoch, loss)` or `listener.warning(text)`.
    pub fn to(self, listener: &Bound<'_, PyAny>) -> PyResult<()> {
        match self {
            Self::Progress {
                phase,
                done,
                total,
                step,
            } => {
                let (epoch, loss) = step.unzip();
                listener.call_method1("progress", (phase, done, total, epoch, loss))?;
            }
            Self::Warning(text) => {
                listener.call_method1("warning", (text,))?;
            }
        }
        Ok(())
    }
}

/// Sends on what a job reports, and stops it when asked to.
pub struct Messenger<'a> {
    pub sender: Sender<Told>,
    pub stop: &'a AtomicBool,
}

impl Reporter for Messenger<'_> {
    fn report(&mut self, event: Event<'_>) {
        let told = match event {
            Event::Encoding { stage, done, total } => Some(Told::Progress {
                phase: phase(stage),
                done,
                total,
                step: None,
            }),
            Event::Step { record, total } => Some(Told::Progress {
                phase: "adapt",
                done: record.step,
                total,
                step: Some((record.epoch, record.loss)),
            }),
            _ => match notice(&event) {
                Some(Notice::Warning(text) | Notice::Message(text)) => Some(Told::Warning(text)),
                Some(Notice::Detail(_)) | None => None,
            },
        };
        if let Some(told) = told {
            // Nobody listens any more when the call has failed, and then the job is asked to stop.
            let _ = self.sender.send(told);
        }
    }

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The name of a pass for programs; [`Event::Step`] is `adapt`.
fn phase(stage: Stage) -> &'static str {
    match stage {
        Stage::ZeroShot => "zero-shot",
        Stage::Adapted => "adapted",
        Stage::Inference => "encode",
        Stage::Threshold => "threshold",
    }
}
