//! What a method carries from step to step besides the trained parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::tensor::{HostTensor, TensorMap};

use super::MethodError;

/// Named tensors that an objective remembers: confidence weights, pseudo-labels, a bank of features.
///
/// The memory is a value like the parameters: a step takes one and returns the next, so the memory of the last good
/// step is still there when a step fails, and a file can hold it. Copies share their tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory(BTreeMap<String, Arc<HostTensor>>);

impl Memory {
    /// The memory with a tensor added or replaced.
    ///
    /// # Panics
    ///
    /// When the values do not fill the shape.
    #[must_use]
    pub fn with(mut self, name: &str, shape: &[usize], data: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "{name}");
        let tensor = HostTensor {
            shape: shape.to_vec(),
            data,
        };
        self.0.insert(name.to_owned(), Arc::new(tensor));
        self
    }

    /// The values of a tensor.
    ///
    /// # Panics
    ///
    /// When there is no such tensor: an objective asks only for what it put there or [`Self::check`]ed.
    pub fn values(&self, name: &str) -> &[f32] {
        match self.0.get(name) {
            Some(tensor) => &tensor.data,
            None => panic!("the memory has no tensor `{name}`"),
        }
    }

    /// Checks that a tensor read from a file is there and has the right shape.
    ///
    /// # Errors
    ///
    /// [`MethodError::MissingMemory`] and [`MethodError::MemoryShape`].
    pub fn check(&self, name: &'static str, shape: &[usize]) -> Result<(), MethodError> {
        let found = self.shape(name)?;
        if found == shape {
            return Ok(());
        }
        Err(MethodError::MemoryShape {
            name,
            expected: shape.to_vec(),
            found: found.to_vec(),
        })
    }

    /// Checks that a tensor read from a file holds indices below `end`, or `none`, and at least one index.
    ///
    /// # Errors
    ///
    /// [`MethodError::MemoryValue`].
    pub fn check_indices(
        &self,
        name: &'static str,
        none: f32,
        end: usize,
    ) -> Result<(), MethodError> {
        let index = |value: f32| value >= 0.0 && value.fract() == 0.0 && value < end as f32;
        let wrong = |value: &f32| *value != none && !index(*value);
        let values = self.values(name);
        let found = match values.iter().copied().find(|value| wrong(value)) {
            None if values.iter().any(|value| *value != none) => return Ok(()),
            None => format!("{none} alone"),
            Some(value) => value.to_string(),
        };
        Err(MethodError::MemoryValue { name, end, found })
    }

    fn shape(&self, name: &'static str) -> Result<&[usize], MethodError> {
        match self.0.get(name) {
            Some(tensor) => Ok(&tensor.shape),
            None => Err(MethodError::MissingMemory { name }),
        }
    }

    /// The tensors by name, for a file.
    pub fn to_tensors(&self) -> TensorMap {
        self.0
            .iter()
            .map(|(name, tensor)| (name.clone(), HostTensor::clone(tensor)))
            .collect()
    }

    /// The inverse of [`Self::to_tensors`].
    pub fn from_tensors(tensors: TensorMap) -> Self {
        Self(
            tensors
                .into_iter()
                .map(|(name, tensor)| (name, Arc::new(tensor)))
                .collect(),
        )
    }
}
