//! Recognizes a weights file by its first bytes and lists its tensors.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::store::TensorStore;
use super::{CheckpointError, safetensors_file, torch_file};

/// Bytes that are enough to tell the formats apart.
const BEGINNING_BYTES: u64 = 64;
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
/// First instruction of every pickle since protocol 2.
const PICKLE_PROTOCOL: u8 = 0x80;
/// First instructions that older pickles may have: a name, a mark, an empty list or dictionary.
const OLD_PICKLE: &[u8] = b"c(]}";
/// What git leaves in place of a large file when git-lfs is not installed.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// A listed weights file of any format.
pub(super) struct WeightsFile {
    pub store: TensorStore,
    /// A TorchScript archive.
    pub script: bool,
    /// A trainer's dictionary with the tensors in one of its entries.
    pub training_checkpoint: bool,
}

/// Lists the tensors of a file in any of the accepted formats.
pub(super) fn open(path: &Path) -> Result<WeightsFile, CheckpointError> {
    let beginning = beginning(path)?;
    if beginning.starts_with(ZIP_MAGIC) {
        return torch_file::open_archive(path).map(WeightsFile::from);
    }
    if torch_file::is_stream(&beginning) {
        return torch_file::open_stream(path).map(WeightsFile::from);
    }
    // Eight bytes of length, then JSON.
    if beginning.get(8) == Some(&b'{') {
        return Ok(WeightsFile {
            store: safetensors_file::open(path)?.store,
            script: false,
            training_checkpoint: false,
        });
    }
    let first = beginning.first();
    if first.is_some_and(|byte| *byte == PICKLE_PROTOCOL || OLD_PICKLE.contains(byte)) {
        return Err(torch_file::refuse_bare_pickle(path));
    }
    Err(CheckpointError::Unrecognized {
        path: path.to_owned(),
        expected: "a safetensors file or a PyTorch file".to_owned(),
        found: describe(&beginning),
    })
}

fn beginning(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    let file = File::open(path).map_err(CheckpointError::io("read", path))?;
    let mut beginning = Vec::new();
    file.take(BEGINNING_BYTES)
        .read_to_end(&mut beginning)
        .map_err(CheckpointError::io("read", path))?;
    Ok(beginning)
}

fn describe(beginning: &[u8]) -> String {
    if beginning.is_empty() {
        return "an empty file".to_owned();
    }
    if beginning.starts_with(LFS_POINTER) {
        return "a git-lfs pointer instead of the file itself (run `git lfs pull`)".to_owned();
    }
    format!(
        "a file that begins with \"{}\"",
        beginning[..beginning.len().min(16)].escape_ascii()
    )
}

impl From<torch_file::TorchFile> for WeightsFile {
    fn from(file: torch_file::TorchFile) -> Self {
        Self {
            store: file.store,
            script: file.script,
            training_checkpoint: file.training_checkpoint,
        }
    }
}
