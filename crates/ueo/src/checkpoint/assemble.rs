//! From the tensors of a file to the complete set that an architecture needs, all checked before any is read.

use std::collections::BTreeSet;

use super::error::WrongShape;
use super::store::{OpenStore, TensorStore};
use crate::tensor::{HostTensor, TensorMap};

use super::{CheckpointError, TensorMismatch, positions};

/// How a parameter is made of the tensors of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Recipe {
    /// The tensor of this name as it is.
    Copy(String),
    /// The transpose of a matrix.
    Transpose(String),
    /// The first tensor, each row times the row's number in the second.
    Scaled(String, String),
    /// Three tensors one after the other along the first axis.
    Stack([String; 3]),
    /// Tensors with these numbers of rows one after the other along the first axis.
    Concatenate(Vec<(String, usize)>),
    /// Biases of queries and of values, with zeros for the keys between them.
    WithoutKeys([String; 2]),
    /// The tensor of this name, which has another shape with as many elements.
    Reshape(String, Vec<usize>),
    /// A table of image positions of this shape, resampled to another grid.
    Grid(String, Vec<usize>),
    /// A table of text positions of this shape, resampled to another length.
    Line(String, Vec<usize>),
}

/// A parameter with its place in a file.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    /// OpenAI name.
    pub name: String,
    /// Shape in OpenAI's layout.
    pub shape: Vec<usize>,
    /// Where it comes from.
    pub recipe: Recipe,
}

impl Parameter {
    /// The tensors of the file that this parameter needs, each with its shape there.
    fn sources(&self) -> Vec<(&str, Vec<usize>)> {
        match &self.recipe {
            Recipe::Copy(name) => vec![(name, self.shape.clone())],
            Recipe::Grid(name, shape)
            | Recipe::Line(name, shape)
            | Recipe::Reshape(name, shape) => vec![(name, shape.clone())],
            Recipe::Concatenate(parts) => {
                let rest = &self.shape[1..];
                let shape = |rows: usize| [&[rows], rest].concat();
                parts
                    .iter()
                    .map(|(name, rows)| (name.as_str(), shape(*rows)))
                    .collect()
            }
            Recipe::Transpose(name) => {
                vec![(name, self.shape.iter().rev().copied().collect())]
            }
            Recipe::Scaled(name, scale) => {
                vec![
                    (name, self.shape.clone()),
                    (scale, self.shape[..1].to_vec()),
                ]
            }
            Recipe::WithoutKeys(names) => {
                let third = vec![self.shape[0] / 3];
                names
                    .iter()
                    .map(|name| (name.as_str(), third.clone()))
                    .collect()
            }
            Recipe::Stack(names) => {
                let mut part = self.shape.clone();
                if let Some(rows) = part.first_mut() {
                    *rows /= names.len();
                }
                names
                    .iter()
                    .map(|name| (name.as_str(), part.clone()))
                    .collect()
            }
        }
    }

    fn read(&self, store: &mut OpenStore<'_>) -> Result<HostTensor, CheckpointError> {
        let data = match &self.recipe {
            Recipe::Copy(name) | Recipe::Reshape(name, _) => store.read(name)?.data,
            Recipe::Transpose(name) => transpose(&store.read(name)?),
            Recipe::Grid(name, _) => positions::grid(&store.read(name)?, self.shape[0]),
            Recipe::Line(name, _) => positions::line(&store.read(name)?, self.shape[0]),
            Recipe::Scaled(name, scale) => {
                let (mut rows, scale) = (store.read(name)?.data, store.read(scale)?.data);
                let width = rows.len() / scale.len().max(1);
                for (row, factor) in rows.chunks_mut(width.max(1)).zip(scale) {
                    row.iter_mut().for_each(|value| *value *= factor);
                }
                rows
            }
            Recipe::Concatenate(parts) => {
                let mut data = Vec::new();
                for (name, _) in parts {
                    data.append(&mut store.read(name)?.data);
                }
                data
            }
            Recipe::WithoutKeys([queries, values]) => {
                let mut data = store.read(queries)?.data;
                data.resize(2 * data.len(), 0.0);
                data.append(&mut store.read(values)?.data);
                data
            }
            Recipe::Stack(names) => {
                let mut data = Vec::new();
                for name in names {
                    data.append(&mut store.read(name)?.data);
                }
                data
            }
        };
        Ok(HostTensor {
            shape: self.shape.clone(),
            data,
        })
    }
}

/// Reads all parameters, one tensor at a time.
///
/// # Errors
///
/// [`CheckpointError::Tensors`] with every tensor that is missing, has another shape, or is in the file without a use
/// (unless `is_known_extra` says that it is no parameter).
pub(super) fn assemble(
    store: &TensorStore,
    parameters: &[Parameter],
    is_known_extra: impl Fn(&str) -> bool,
) -> Result<TensorMap, CheckpointError> {
    let mismatch = compare(store, parameters, is_known_extra);
    if !mismatch.is_empty() {
        return Err(CheckpointError::Tensors {
            path: store.path().to_owned(),
            mismatch,
        });
    }
    let mut open = store.open()?;
    parameters
        .iter()
        .map(|parameter| Ok((parameter.name.clone(), parameter.read(&mut open)?)))
        .collect()
}

fn compare(
    store: &TensorStore,
    parameters: &[Parameter],
    is_known_extra: impl Fn(&str) -> bool,
) -> TensorMismatch {
    let mut mismatch = TensorMismatch::default();
    let mut used = BTreeSet::new();
    for (name, expected) in parameters.iter().flat_map(Parameter::sources) {
        used.insert(name);
        match store.tensors.get(name) {
            None => mismatch.missing.push(name.to_owned()),
            Some(stored) if !same_shape(&stored.shape, &expected) => {
                mismatch.wrong_shape.push(WrongShape {
                    name: name.to_owned(),
                    expected,
                    found: stored.shape.clone(),
                });
            }
            Some(_) => {}
        }
    }
    mismatch.unexpected = store
        .tensors
        .keys()
        .filter(|name| !used.contains(name.as_str()) && !is_known_extra(name))
        .cloned()
        .collect();
    mismatch
}

/// Equal shapes; a scalar may also be stored as `[1]`, as some trainers do with the logit scale.
fn same_shape(found: &[usize], expected: &[usize]) -> bool {
    found == expected || (expected.is_empty() && found == [1])
}

/// The elements of the transpose; of anything but a matrix, its own.
pub(super) fn transpose(matrix: &HostTensor) -> Vec<f32> {
    let [rows, columns] = matrix.shape[..] else {
        return matrix.data.clone();
    };
    let mut data = Vec::with_capacity(matrix.data.len());
    for column in 0..columns {
        data.extend((0..rows).map(|row| matrix.data[row * columns + column]));
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_transposed() {
        let matrix = HostTensor {
            shape: vec![2, 3],
            data: vec![0., 1., 2., 3., 4., 5.],
        };
        assert_eq!(transpose(&matrix), [0., 3., 1., 4., 2., 5.]);
    }

    #[test]
    fn stacked_parts_have_a_third_of_the_rows() {
        let names = ["q", "k", "v"].map(str::to_owned);
        let parameter = Parameter {
            name: "in_proj_weight".into(),
            shape: vec![6, 2],
            recipe: Recipe::Stack(names),
        };
        assert!(
            parameter
                .sources()
                .iter()
                .all(|(_, shape)| *shape == [2, 2])
        );
    }
}
