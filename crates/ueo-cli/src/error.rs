//! Everything that ends a command early.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use ueo::checkpoint::CheckpointError;
use ueo::data::DataError;
use ueo::device::{DeviceError, DeviceFailure};
use ueo::session::SessionError;
use ueo_benchmark::BenchmarkError;
use ueo_export::ExportError;
use ueo_hub::HubError;
use ueo_report::ReportError;
use ueo_run::RunError;

use crate::config_file::ConfigFileError;
use crate::hints::Hint;
use crate::interrupt::InterruptError;
use crate::target::TargetError;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CliError {
    /// The job itself failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// What is done in memory failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The benchmark cannot run.
    #[error(transparent)]
    Benchmark(#[from] BenchmarkError),
    /// A run cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A report cannot be made.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A model cannot be had from the hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A model's configuration cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A text file of the user cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The configuration file cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigFileError),
    /// The output cannot be written where it was asked for.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A new run has no base checkpoint besides its model.
    #[error("--base was given without --resume")]
    BaseWithoutResume,
    /// Models side by side need one list of classes.
    #[error("{} and {} have different classes, so their measurements cannot stand side by side", first.display(), other.display())]
    DifferentClasses {
        /// A model.
        first: PathBuf,
        /// One with other classes.
        other: PathBuf,
    },
    /// A run knows the activation that it was made with.
    #[error("{} is a run directory, whose activation is that of its adaptation", run.display())]
    ActivationOfRun {
        /// The run.
        run: PathBuf,
    },
    /// A run has learned its context in the templates that it was made with.
    #[error("{} is a run directory, whose template is that of its adaptation", run.display())]
    TemplateOfRun {
        /// The run.
        run: PathBuf,
    },
    /// Processes of one job were not started alike.
    #[error("rank {rank} is another version than rank 0, or was started with other arguments")]
    OtherCommand {
        /// The first one to differ.
        rank: usize,
    },
    /// Processes of one job see different results in the output directory.
    #[error("rank {rank} sees other cells to do in {} than rank 0", output.display())]
    OtherCells {
        /// The first one to differ.
        rank: usize,
        /// The output directory.
        output: PathBuf,
    },
    /// Ctrl-C cannot be listened to.
    #[error(transparent)]
    Interrupt(#[from] InterruptError),
    /// A path cannot be made absolute.
    #[error("{} cannot be found from here", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The results cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The results cannot be shown.
    #[error("stdout cannot be written")]
    Stdout(#[source] io::Error),
    /// A result is no JSON.
    #[error("a result cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// Features do not make a safetensors file.
    #[error("the features cannot be put into a safetensors file")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// A line of a text file has nothing to encode.
    #[error("{}:{line}: expected a text, found a blank line", path.display())]
    BlankText {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A text file is empty.
    #[error("expected one text per line in {}, found none", path.display())]
    NoTexts {
        /// The file.
        path: PathBuf,
    },
    /// There is no such device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device was lost or ran out of memory.
    #[error(transparent)]
    DeviceFailed(#[from] DeviceFailure),
    /// The threads cannot be started.
    #[error("{threads} threads cannot be started")]
    Threads {
        /// How many.
        threads: usize,
        /// What the operating system said.
        #[source]
        source: rayon::ThreadPoolBuildError,
    },
}

impl CliError {
    /// Whether the user asked to stop, which is no failure.
    pub fn is_interruption(&self) -> bool {
        let of_session = |error: &SessionError| error.is_interruption();
        match self {
            Self::Session(error) | Self::Run(RunError::Session(error)) => of_session(error),
            Self::Hub(HubError::Stopped) => true,
            _ => false,
        }
    }

    /// Whether a setting makes no sense.
    pub fn is_setting(&self) -> bool {
        let of_session = |error: &SessionError| matches!(error, SessionError::Setting(_));
        match self {
            Self::Session(error) | Self::Run(RunError::Session(error)) => of_session(error),
            _ => false,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Run(error) => error.hint(),
            Self::Session(error) => error.hint(),
            Self::Benchmark(error) => error.hint(),
            Self::Export(error) => error.hint(),
            Self::Report(error) => error.hint(),
            Self::Hub(error) => error.hint(),
            Self::Checkpoint(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Target(error) => error.hint(),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or name another --output".to_owned())
            }
            Self::BaseWithoutResume => {
                Some("a new run takes its checkpoint from --model".to_owned())
            }
            Self::ActivationOfRun { .. } => {
                Some("leave --activation out; it belongs to `ueo adapt`".to_owned())
            }
            Self::TemplateOfRun { .. } => {
                Some("leave --template out; it belongs to `ueo adapt`".to_owned())
            }
            Self::DifferentClasses { .. } => {
                Some("name one list for all of them with --classes".to_owned())
            }
            Self::BlankText { .. } => {
                Some("remove the line; row N of the features is line N of the file".to_owned())
            }
            Self::OtherCommand { .. } => {
                Some("start all ranks with one command: mpirun -n RANKS ueo ...".to_owned())
            }
            Self::OtherCells { .. } => Some(
                "--output and --data have to be the same directories on all machines".to_owned(),
            ),
            Self::Device(error) => error.hint(),
            Self::DeviceFailed(error) => error.hint(),
            Self::Threads { .. } => Some("ask for fewer with --threads".to_owned()),
            _ => None,
        }
    }
}
