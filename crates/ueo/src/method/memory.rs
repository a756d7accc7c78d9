//! What a method carries from step to step besides the trained parameters.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor, TensorData};

use crate::model::to_host;
use crate::tensor::{HostTensor, TensorMap};

use super::MethodError;

/// Named tensors that an objective remembers: confidence weights, pseudo-labels, a bank of features.
///
/// The memory is a value like the parameters: a step takes one and returns the next, so the memory of the last good
/// step is still there when a step fails, and a file can hold it. Copies share their tensors.
#[derive(Clone, Debug, Default)]
pub struct Memory(BTreeMap<String, Arc<Remembered>>);

/// A tensor in host memory, on a device, or both: it is copied once, where it is asked for.
#[derive(Debug)]
struct Remembered {
    shape: Vec<usize>,
    on_host: OnceLock<Vec<f32>>,
    on_device: OnceLock<Tensor<2>>,
}

impl Remembered {
    fn of_host(HostTensor { shape, data }: HostTensor) -> Self {
        Self {
            shape,
            on_host: OnceLock::from(data),
            on_device: OnceLock::new(),
        }
    }

    fn values(&self) -> &[f32] {
        self.on_host.get_or_init(|| {
            let tensor = self.on_device.get();
            to_host(tensor.expect("a tensor is in one of the two places")).data
        })
    }
}

impl PartialEq for Memory {
    fn eq(&self, other: &Self) -> bool {
        self.to_tensors() == other.to_tensors()
    }
}

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
        self.insert(name, Remembered::of_host(tensor));
        self
    }

    /// The memory with a matrix added or replaced, which stays on its device until its values are asked for.
    #[must_use]
    pub fn with_matrix(mut self, name: &str, matrix: Tensor<2>) -> Self {
        let remembered = Remembered {
            shape: matrix.dims().to_vec(),
            on_host: OnceLock::new(),
            on_device: OnceLock::from(matrix),
        };
        self.insert(name, remembered);
        self
    }

    fn insert(&mut self, name: &str, tensor: Remembered) {
        self.0.insert(name.to_owned(), Arc::new(tensor));
    }

    fn get(&self, name: &str) -> &Remembered {
        match self.0.get(name) {
            Some(tensor) => tensor,
            None => panic!("the memory has no tensor `{name}`"),
        }
    }

    /// The values of a tensor.
    ///
    /// # Panics
    ///
    /// When there is no such tensor: an objective asks only for what it put there or [`Self::check`]ed.
    pub fn values(&self, name: &str) -> &[f32] {
        self.get(name).values()
    }

    /// A matrix on a device; all calls name the same one.
    ///
    /// # Panics
    ///
    /// As [`Self::values`], and when the tensor is no matrix.
    pub fn matrix(&self, name: &str, device: &Device) -> Tensor<2> {
        let tensor = self.get(name);
        let matrix = tensor.on_device.get_or_init(|| {
            let data = TensorData::new(tensor.values().to_vec(), tensor.shape.clone());
            Tensor::from_data(data, device)
        });
        matrix.clone()
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
            .map(|(name, tensor)| {
                let tensor = HostTensor {
                    shape: tensor.shape.clone(),
                    data: tensor.values().to_vec(),
                };
                (name.clone(), tensor)
            })
            .collect()
    }

    /// The inverse of [`Self::to_tensors`].
    pub fn from_tensors(tensors: TensorMap) -> Self {
        Self(
            tensors
                .into_iter()
                .map(|(name, tensor)| (name, Arc::new(Remembered::of_host(tensor))))
                .collect(),
        )
    }
}
