//! Takes named tensors out of a checkpoint, checks their shapes and puts them on the device.

use burn::tensor::{Device, Tensor, TensorData};

use crate::device::capacity;
use crate::tensor::{HostTensor, TensorMap};

use super::{Engine, ModelError, Precision};

/// A view of a checkpoint's tensors under a common prefix.
pub(crate) struct Weights<'a> {
    tensors: &'a mut TensorMap,
    device: &'a Device,
    engine: Engine,
    precision: Precision,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(
        tensors: &'a mut TensorMap,
        device: &'a Device,
        engine: Engine,
        precision: Precision,
    ) -> Self {
        Self {
            tensors,
            device,
            engine,
            precision,
        }
    }

    /// The tensors that nothing has taken yet.
    pub(crate) fn remaining(&self) -> &TensorMap {
        self.tensors
    }

    /// What the residual blocks are to be built for.
    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }

    /// Number format of the matrices that only fused kernels use.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    pub(crate) fn device(&self) -> &Device {
        self.device
    }

    /// Removes a tensor from the map, so that host and device copies do not live side by side.
    pub(crate) fn take_host(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<HostTensor, ModelError> {
        let host = self
            .tensors
            .remove(name)
            .ok_or_else(|| ModelError::MissingTensor {
                name: name.to_owned(),
            })?;
        if host.shape != shape {
            return Err(ModelError::Shape {
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: host.shape,
            });
        }
        Ok(host)
    }

    pub(crate) fn take<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Tensor<D>, ModelError> {
        let host = self.take_host(name, &shape)?;
        let bytes = size_of_val(&host.data[..]) as u64;
        if let Some(limit) = capacity(self.device).map(|capacity| capacity.tensor_bytes)
            && bytes > limit
        {
            return Err(ModelError::TooLargeForDevice {
                what: format!("tensor `{name}`"),
                bytes,
                limit,
            });
        }
        Ok(Tensor::from_data(
            TensorData::new(host.data, host.shape),
            self.device,
        ))
    }
}
