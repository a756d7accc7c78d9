//! Lists the tensors of a safetensors file without reading them.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::budget::JsonBudget;
use crate::quote;

use super::CheckpointError;
use super::store::{
    ElementType, MAX_AXES, StoredTensor, TensorStore, contiguous_strides, element_count,
};

/// Largest header that is read. The largest CLIP has 2,000 tensors, each with 100 to 150 bytes of it.
const HEADER_BUDGET: JsonBudget = JsonBudget {
    bytes: 8 << 20,
    values: 1 << 19,
};
/// Bytes of the header's length in front of the header.
const PREFIX_BYTES: u64 = 8;

/// A listed safetensors file.
pub(super) struct SafetensorsFile {
    pub store: TensorStore,
    /// The free-form strings of the header.
    pub metadata: HashMap<String, String>,
}

/// Reads the header of a safetensors file and checks it against the file's length.
pub(super) fn open(path: &Path) -> Result<SafetensorsFile, CheckpointError> {
    let file = File::open(path).map_err(CheckpointError::io("read", path))?;
    read(file, path)
}

/// As [`open`], from a file or from memory; `path` is for messages and for reading the tensors later.
pub(super) fn read(
    mut file: impl Read + Seek,
    path: &Path,
) -> Result<SafetensorsFile, CheckpointError> {
    let mut prefix = [0; PREFIX_BYTES as usize];
    let length = file
        .seek(SeekFrom::End(0))
        .and_then(|length| file.rewind().map(|()| length))
        .and_then(|length| file.read_exact(&mut prefix).map(|()| length))
        .map_err(CheckpointError::io("read", path))?;
    let header_bytes = u64::from_le_bytes(prefix);
    if header_bytes > length.saturating_sub(PREFIX_BYTES) {
        return Err(CheckpointError::malformed(
            path,
            format!("a safetensors header of {header_bytes} bytes"),
            format!("a file of {length} bytes"),
        ));
    }
    if header_bytes > HEADER_BUDGET.bytes {
        return Err(CheckpointError::too_large(
            path,
            format!("{} bytes of a safetensors header", HEADER_BUDGET.bytes),
        ));
    }
    let mut header = Vec::new();
    file.take(header_bytes)
        .read_to_end(&mut header)
        .map_err(CheckpointError::io("read", path))?;
    let header: Metadata = HEADER_BUDGET
        .parse(&header)
        .map_err(|error| CheckpointError::budget(path, "a safetensors header", error))?;

    let data_start = PREFIX_BYTES + header_bytes;
    let data_bytes = length - data_start;
    let mut tensors = BTreeMap::new();
    for (name, info) in header.tensors() {
        let (start, end) = info.data_offsets;
        let element = element_type(info.dtype);
        if info.shape.len() > MAX_AXES {
            return Err(CheckpointError::unsupported(
                path,
                format!(
                    "a tensor of {} axes (`{}`; at most {MAX_AXES} are)",
                    info.shape.len(),
                    quote::name(&name)
                ),
            ));
        }
        let bytes = element_count(&info.shape)
            .and_then(|count| count.checked_mul(element.size_bytes()))
            .ok_or_else(|| {
                CheckpointError::malformed(
                    path,
                    format!("a shape that fits into memory for `{}`", quote::name(&name)),
                    format!("{:?}", info.shape),
                )
            })?;
        if end.checked_sub(start) != Some(bytes) {
            return Err(CheckpointError::malformed(
                path,
                format!(
                    "{bytes} bytes for `{}` of shape {:?}",
                    quote::name(&name),
                    info.shape
                ),
                format!("the range {start}..{end}"),
            ));
        }
        if end as u64 > data_bytes {
            return Err(CheckpointError::malformed(
                path,
                format!("data up to byte {end} (`{}`)", quote::name(&name)),
                format!("{data_bytes} bytes of data: the file is truncated"),
            ));
        }
        tensors.insert(
            name,
            StoredTensor {
                element,
                strides: contiguous_strides(&info.shape),
                shape: info.shape.clone(),
                file: 0,
                offset: data_start + start as u64,
            },
        );
    }
    Ok(SafetensorsFile {
        store: TensorStore::single(path, tensors),
        metadata: header.metadata().clone().unwrap_or_default(),
    })
}

fn element_type(dtype: Dtype) -> ElementType {
    let other = |name, size_bytes| ElementType::Other { name, size_bytes };
    match dtype {
        Dtype::F64 => ElementType::F64,
        Dtype::F32 => ElementType::F32,
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::Bf16,
        Dtype::I64 => other("int64", 8),
        Dtype::U64 => other("uint64", 8),
        Dtype::I32 => other("int32", 4),
        Dtype::U32 => other("uint32", 4),
        Dtype::I16 => other("int16", 2),
        Dtype::U16 => other("uint16", 2),
        Dtype::I8 => other("int8", 1),
        Dtype::U8 => other("uint8", 1),
        Dtype::BOOL => other("bool", 1),
        Dtype::C64 => other("complex64", 8),
        // The 8-bit formats, and formats of less than a byte, whose range check then reports the difference.
        _ => other("a quantized type", 1),
    }
}
