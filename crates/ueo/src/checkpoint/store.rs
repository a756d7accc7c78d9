//! Tensors that are still on disk: their names, types, shapes and places, read one at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use crate::quote;
use crate::tensor::HostTensor;

use super::CheckpointError;

/// Axes that a tensor may have: a convolution's weights have four.
pub(super) const MAX_AXES: usize = 8;

/// Element type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementType {
    F64,
    F32,
    F16,
    Bf16,
    /// Not a floating-point type: of no use as a weight, but buffers may have one.
    Other {
        name: &'static str,
        size_bytes: usize,
    },
}

impl ElementType {
    /// The name that PyTorch gives it.
    fn name(self) -> &'static str {
        match self {
            Self::F64 => "float64",
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::Other { name, .. } => name,
        }
    }

    pub(super) fn size_bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Other { size_bytes, .. } => size_bytes,
        }
    }
}

/// A strided view of a contiguous region of a file.
#[derive(Clone, Debug)]
pub(super) struct StoredTensor {
    pub element: ElementType,
    pub shape: Vec<usize>,
    /// Distance between neighbours along each axis, in elements.
    pub strides: Vec<usize>,
    /// The file, as an index into [`TensorStore::files`].
    pub file: usize,
    /// Offset of the first element in the file, in bytes.
    pub offset: u64,
}

/// Number of elements of `shape`, or `None` when it does not fit the address space.
pub(super) fn element_count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |count, &axis| count.checked_mul(axis))
}

/// Distances of a row-major layout, in elements. The product of `shape` must fit the address space.
pub(super) fn contiguous_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// Elements from the first to the last one that a strided view touches, both included.
pub(super) fn span(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .zip(strides)
        .try_fold(1_usize, |span, (&axis, &stride)| {
            span.checked_add((axis - 1).checked_mul(stride)?)
        })
}

/// Named tensors of one or more files.
#[derive(Debug, Default)]
pub(super) struct TensorStore {
    pub files: Vec<PathBuf>,
    pub tensors: BTreeMap<String, StoredTensor>,
}

impl TensorStore {
    /// A store over one file.
    pub(super) fn single(path: &Path, tensors: BTreeMap<String, StoredTensor>) -> Self {
        Self {
            files: vec![path.to_owned()],
            tensors,
        }
    }

    /// Adds the files and tensors of another store (the next shard).
    pub(super) fn append(&mut self, other: Self) {
        let first = self.files.len();
        self.files.extend(other.files);
        self.tensors
            .extend(other.tensors.into_iter().map(|(name, mut tensor)| {
                tensor.file += first;
                (name, tensor)
            }));
    }

    /// The first file, which stands for the store in messages.
    pub(super) fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Names and shapes, which is all that inference of an architecture may look at.
    pub(super) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shape.clone()))
            .collect()
    }

    /// Replaces every name by what `rename` makes of it.
    pub(super) fn rename(&mut self, rename: impl Fn(&str) -> String) {
        self.tensors = std::mem::take(&mut self.tensors)
            .into_iter()
            .map(|(name, tensor)| (rename(&name), tensor))
            .collect();
    }

    /// Opens the files for reading.
    pub(super) fn open(&self) -> Result<OpenStore<'_>, CheckpointError> {
        let mut files = Vec::with_capacity(self.files.len());
        let mut length = 0_u64;
        for path in &self.files {
            let file = File::open(path).map_err(CheckpointError::io("read", path))?;
            let metadata = file.metadata().map_err(CheckpointError::io("read", path))?;
            length = length.saturating_add(metadata.len());
            files.push(file);
        }
        Ok(OpenStore {
            store: self,
            files,
            unread: length,
        })
    }
}

/// A store whose files are open.
pub(super) struct OpenStore<'a> {
    store: &'a TensorStore,
    files: Vec<File>,
    /// Bytes that may still be read. Tensors of an honest file do not overlap, so together they are not larger than
    /// the files; a hostile one that maps thousands of tensors onto the same bytes runs out here, not out of memory.
    unread: u64,
}

impl OpenStore<'_> {
    /// Reads one tensor and converts it to f32, row-major.
    pub(super) fn read(&mut self, name: &str) -> Result<HostTensor, CheckpointError> {
        let store = self.store;
        let Some(tensor) = store.tensors.get(name) else {
            return Err(CheckpointError::malformed(
                store.path(),
                format!("a tensor `{}`", quote::name(name)),
                "none",
            ));
        };
        let path = &store.files[tensor.file];
        let too_large = || {
            CheckpointError::malformed(
                path,
                format!(
                    "tensors that do not overlap, `{}` among them",
                    quote::name(name)
                ),
                "more data than the file has",
            )
        };
        let span = span(&tensor.shape, &tensor.strides).ok_or_else(too_large)?;
        let count = element_count(&tensor.shape).ok_or_else(too_large)?;
        let bytes = span
            .max(count)
            .checked_mul(tensor.element.size_bytes())
            .ok_or_else(too_large)?;
        self.unread = self
            .unread
            .checked_sub(bytes as u64)
            .ok_or_else(too_large)?;

        let mut raw = vec![0_u8; span * tensor.element.size_bytes()];
        let file = &mut self.files[tensor.file];
        file.seek(SeekFrom::Start(tensor.offset))
            .and_then(|_| file.read_exact(&mut raw))
            .map_err(CheckpointError::io("read", path))?;
        let values = decode(&raw, tensor.element).ok_or_else(|| {
            CheckpointError::malformed(
                path,
                format!("floating-point values in `{}`", quote::name(name)),
                tensor.element.name(),
            )
        })?;
        if let Some(place) = first_not_finite(&values) {
            return Err(CheckpointError::bad_value(
                path,
                name,
                "a tensor of finite numbers",
                format!("{} at element {place}", values[place]),
            ));
        }
        let data = if tensor.strides == contiguous_strides(&tensor.shape) {
            values
        } else {
            gather(&values, &tensor.shape, &tensor.strides)
        };
        Ok(HostTensor {
            shape: tensor.shape.clone(),
            data,
        })
    }
}

/// Converts little-endian elements to f32; `None` for types that are no floating-point numbers.
fn decode(raw: &[u8], element: ElementType) -> Option<Vec<f32>> {
    fn convert<const N: usize>(raw: &[u8], from: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        raw.as_chunks::<N>()
            .0
            .iter()
            .map(|&bytes| from(bytes))
            .collect()
    }
    match element {
        ElementType::F64 => Some(convert(raw, |bytes| f64::from_le_bytes(bytes) as f32)),
        ElementType::F32 => Some(convert(raw, f32::from_le_bytes)),
        ElementType::F16 => Some(convert(raw, |bytes| f16::from_le_bytes(bytes).to_f32())),
        ElementType::Bf16 => Some(convert(raw, |bytes| bf16::from_le_bytes(bytes).to_f32())),
        ElementType::Other { .. } => None,
    }
}

/// Position of the first value that is infinite or no number. Whole stretches are looked at before single values, which
/// the compiler turns into a few instructions for many values.
fn first_not_finite(values: &[f32]) -> Option<usize> {
    const EXPONENT: u32 = 0x7f80_0000;
    const STRETCH: usize = 4_096;
    let stretch = values.chunks(STRETCH).position(|stretch| {
        let bad = stretch.iter().fold(0_u32, |bad, value| {
            bad | u32::from(value.to_bits() & EXPONENT == EXPONENT)
        });
        bad != 0
    })?;
    let start = stretch * STRETCH;
    let within = values[start..]
        .iter()
        .position(|value| !value.is_finite())?;
    Some(start + within)
}

/// Copies a strided view into row-major order.
fn gather(values: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let mut gathered = Vec::with_capacity(count);
    let mut index = vec![0; shape.len()];
    for _ in 0..count {
        let position: usize = index
            .iter()
            .zip(strides)
            .map(|(i, stride)| i * stride)
            .sum();
        gathered.push(values[position]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    gathered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_view_is_gathered_in_row_major_order() {
        // [[0, 1, 2], [3, 4, 5]] seen as its transpose.
        let values: Vec<f32> = (0..6).map(|value| value as f32).collect();
        assert_eq!(gather(&values, &[3, 2], &[1, 3]), [0., 3., 1., 4., 2., 5.]);
    }

    #[test]
    fn the_first_value_that_is_not_finite_is_found() {
        let mut values = vec![f32::MAX; 10_000];
        assert_eq!(first_not_finite(&values), None);
        values[9_999] = f32::NAN;
        values[5_000] = f32::NEG_INFINITY;
        assert_eq!(first_not_finite(&values), Some(5_000));
        assert_eq!(first_not_finite(&values[5_001..]), Some(4_998));
    }

    #[test]
    fn spans_are_checked_for_overflow() {
        assert_eq!(span(&[2, 3], &[3, 1]), Some(6));
        assert_eq!(span(&[0, 3], &[3, 1]), Some(0));
        assert_eq!(span(&[usize::MAX, 3], &[usize::MAX, 1]), None);
        assert_eq!(element_count(&[usize::MAX, 2]), None);
    }

    #[test]
    fn every_floating_point_type_becomes_f32() {
        assert_eq!(
            decode(&1.5_f64.to_le_bytes(), ElementType::F64),
            Some(vec![1.5])
        );
        assert_eq!(
            decode(&1.5_f32.to_le_bytes(), ElementType::F32),
            Some(vec![1.5])
        );
        assert_eq!(
            decode(&f16::from_f32(1.5).to_le_bytes(), ElementType::F16),
            Some(vec![1.5])
        );
        assert_eq!(
            decode(&bf16::from_f32(1.5).to_le_bytes(), ElementType::Bf16),
            Some(vec![1.5])
        );
        let integer = ElementType::Other {
            name: "int64",
            size_bytes: 8,
        };
        assert_eq!(decode(&[0; 8], integer), None);
    }
}
