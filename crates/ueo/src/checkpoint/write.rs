//! Writes files completely or not at all, and always with the same bytes for the same content.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::CheckpointError;
use crate::disk::DiskFile;
use crate::tensor::HostTensor;
use crate::write_atomically;

/// Elements that are converted to bytes at a time.
const CHUNK: usize = 1 << 16;
/// Header and data of a safetensors file are aligned to this.
const ALIGNMENT: usize = 8;

/// A tensor to be written.
pub(super) struct Entry<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub data: Cow<'a, [f32]>,
}

/// Writes a safetensors file in f32, tensors and metadata in the order of their names.
pub(super) fn safetensors(
    path: &Path,
    mut entries: Vec<Entry<'_>>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut end = 0;
    for entry in &entries {
        let start = end;
        end += size_of_val(entry.data.as_ref());
        header.insert(
            entry.name.clone(),
            json!({"dtype": "F32", "shape": entry.shape, "data_offsets": [start, end]}),
        );
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    atomically(path, |writer| {
        writer.write_all(&(header.len() as u64).to_le_bytes())?;
        writer.write_all(&header)?;
        let mut bytes = Vec::with_capacity(CHUNK * size_of::<f32>());
        for chunk in entries.iter().flat_map(|entry| entry.data.chunks(CHUNK)) {
            bytes.clear();
            bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
            writer.write_all(&bytes)?;
        }
        Ok(())
    })
}

/// Writes tensors by name with free-form strings as a safetensors file in f32. Equal content gives equal bytes.
///
/// # Errors
///
/// [`CheckpointError::Io`] when the file cannot be written.
pub fn save_tensors(
    path: &Path,
    tensors: &[(&str, &HostTensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    let entries = tensors.iter().map(|(name, tensor)| Entry {
        name: (*name).to_owned(),
        shape: tensor.shape.clone(),
        data: Cow::Borrowed(&tensor.data),
    });
    safetensors(path, entries.collect(), metadata)
}

/// Writes a JSON file for people to read.
pub(super) fn json(path: &Path, value: &Value) -> Result<(), CheckpointError> {
    atomically(path, |writer| {
        serde_json::to_writer_pretty(&mut *writer, value)?;
        writer.write_all(b"\n")
    })
}

/// Copies a file.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    let bytes = std::fs::read(from).map_err(CheckpointError::io("read", from))?;
    atomically(to, |writer| writer.write_all(&bytes))
}

/// As [`write_atomically`], with the error of this module.
fn atomically(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<DiskFile>) -> std::io::Result<()>,
) -> Result<(), CheckpointError> {
    write_atomically(path, content).map_err(CheckpointError::io("write", path))
}
