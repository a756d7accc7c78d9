//! Exports.

use std::io;

use ueo::checkpoint::CheckpointError;
use ueo_export::ExportError;

use super::Hint;

impl Hint for ExportError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Run(error) => return error.hint(),
            Self::Checkpoint(CheckpointError::Unsupported { .. }) => {
                "choose another --to: --to hugging-face suits a CLIP with a vision transformer and a SigLIP, --to open_clip a CLIP \
                 with a vision transformer, a ResNet or another tower, --to onnx all of them"
            }
            Self::Checkpoint(error) => return error.hint(),
            Self::OutputExists {
                is_export: true, ..
            } => "name another --output, or replace it with --overwrite",
            Self::OutputExists { .. } => "name another --output",
            Self::OtherFormat { .. } => "leave it out, or choose another --to",
            Self::Architecture { .. } => {
                "adapt a CLIP; the run itself serves `ueo predict` and `ueo embed`"
            }
            Self::NoGraph { .. } => "export full weights with --to open_clip",
            Self::Rescored { .. } => "adapt with another --method",
            Self::Score { .. } => "adapt with another --score",
            Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "name another --output, or change the permissions"
                }
                io::ErrorKind::StorageFull => "free some space, or name another --output",
                _ => return None,
            },
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
