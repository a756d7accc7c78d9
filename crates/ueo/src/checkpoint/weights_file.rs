//! Recognizes a weights file by its first bytes and lists its tensors.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
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
/// Containers and formats that hold no tensors that this library reads, by their first bytes.
const OTHER_FORMATS: [(&[u8], &str); 13] = [
    (
        b"\x28\xb5\x2f\xfd",
        "a file that is compressed with Zstandard (unpack it: `zstd -d`)",
    ),
    (
        b"\x1f\x8b",
        "a file that is compressed with gzip (unpack it: `gunzip`)",
    ),
    (
        b"\xfd7zXZ\x00",
        "a file that is compressed with xz (unpack it: `unxz`)",
    ),
    (
        b"BZh",
        "a file that is compressed with bzip2 (unpack it: `bunzip2`)",
    ),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive (unpack it)"),
    (
        b"\x04\x22\x4d\x18",
        "a file that is compressed with LZ4 (unpack it: `lz4 -d`)",
    ),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"GGUF", "a GGUF file (llama.cpp)"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (
        b"<",
        "a page of HTML or XML (a download that ended at a login page?)",
    ),
];
/// What git leaves in place of a large file when git-lfs is not installed.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// A listed weights file of any format.
pub(super) struct WeightsFile {
    pub store: TensorStore,
    /// A TorchScript archive.
    pub script: bool,
    /// A trainer's dictionary with the tensors in one of its entries.
    pub training_checkpoint: bool,
    /// What was chosen among several models and what was left out, one sentence each.
    pub decisions: Vec<String>,
}

/// Lists the tensors of a file in any of the accepted formats.
pub(super) fn open(path: &Path) -> Result<WeightsFile, CheckpointError> {
    let file = File::open(path).map_err(CheckpointError::io("read", path))?;
    read(BufReader::new(file), path)
}

/// As [`open`], from a file or from memory; `path` is for messages and for reading the tensors later.
pub(super) fn read(
    mut file: impl Read + Seek,
    path: &Path,
) -> Result<WeightsFile, CheckpointError> {
    let mut beginning = Vec::new();
    (&mut file)
        .take(BEGINNING_BYTES)
        .read_to_end(&mut beginning)
        .and_then(|_| file.rewind())
        .map_err(CheckpointError::io("read", path))?;
    if beginning.starts_with(ZIP_MAGIC) {
        return torch_file::open_archive(file, path).map(WeightsFile::from);
    }
    if torch_file::is_stream(&beginning) {
        return torch_file::open_stream(file, path).map(WeightsFile::from);
    }
    // Eight bytes of length, then JSON.
    if beginning.get(8) == Some(&b'{') {
        return Ok(WeightsFile {
            store: safetensors_file::read(file, path)?.store,
            script: false,
            training_checkpoint: false,
            decisions: Vec::new(),
        });
    }
    let other_format = OTHER_FORMATS
        .iter()
        .any(|(magic, _)| beginning.starts_with(magic));
    let first = beginning.first();
    if !other_format
        && first.is_some_and(|byte| *byte == PICKLE_PROTOCOL || OLD_PICKLE.contains(byte))
    {
        return Err(torch_file::refuse_bare_pickle(file, path));
    }
    Err(CheckpointError::unrecognized(
        path,
        "a safetensors file or a PyTorch file",
        describe(&beginning),
    ))
}

fn describe(beginning: &[u8]) -> String {
    if beginning.is_empty() {
        return "an empty file".to_owned();
    }
    if beginning.starts_with(LFS_POINTER) {
        return "a git-lfs pointer instead of the file itself (run `git lfs pull`)".to_owned();
    }
    if let Some((_, name)) = OTHER_FORMATS
        .iter()
        .find(|(magic, _)| beginning.starts_with(magic))
    {
        return (*name).to_owned();
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
            decisions: file.decisions,
        }
    }
}
