//! Whole jobs and run directories.

use std::io;
use std::path::Path;

use ueo_run::RunError;

use super::Hint;
use crate::words::quoted;

impl Hint for RunError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Session(error) => return error.hint(),
            Self::Io {
                action: "read",
                source,
                ..
            } if source.kind() == io::ErrorKind::NotFound => {
                "the run is not whole: take the file from a copy of the run, or begin it again with `ueo adapt --overwrite`"
            }
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => "check the permissions, or choose another place",
                io::ErrorKind::StorageFull => {
                    "free some space; then the same command goes on, `ueo adapt` with --resume: what is finished is kept"
                }
                _ => return None,
            },
            Self::OutputExists { is_run: true, .. } => {
                "choose another --output, continue the run with --resume, or replace it with --overwrite"
            }
            Self::OutputExists { .. } => "choose another --output",
            Self::DiscoveryExists {
                is_discovery: true, ..
            } => "name another --output, or replace it with --overwrite",
            Self::DiscoveryExists { .. } => "name another --output",
            Self::NotARun { .. } => "name a directory that `ueo adapt --output` made",
            Self::InUse { .. } => "wait until it ends, or choose another --output",
            Self::OtherSetting { .. } => {
                "give the run's own settings, or begin another run with another --output"
            }
            Self::NotExtended { .. } => {
                "a run can only be extended; begin a shorter one with another --output"
            }
            Self::Unfinished { path } => return Some(resume(path)),
            Self::AlreadyAdapted { .. } => "name the checkpoint that the run started from",
            Self::Record { .. } => "the run was written by another version or has been edited",
            Self::OtherAdapted { .. } => {
                "put the run's own file back, or start the run again with another --output"
            }
            Self::State { .. } => "the file is damaged; start the run again",
            Self::BaseMoved { .. } => {
                "name its new place with --base, or once for all with `ueo run move RUN --base PATH`"
            }
            Self::BaseChanged { .. } | Self::BaseEdited { .. } => {
                "name the original checkpoint with --base"
            }
            Self::ImagesChanged { .. } => {
                "put the images back as they were, or start a new run with another --output"
            }
            Self::NoClasses => "give the class names with --classes FILE, one name per line",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// How to go on with a run that is not finished.
pub(super) fn resume(run: &Path) -> String {
    format!(
        "continue it with `ueo adapt --resume --output {}`",
        quoted(run)
    )
}
