//! The perceptrons' activation functions as ordinary Burn operations.

use burn::tensor::{Tensor, activation};

use crate::checkpoint::Activation;

/// The activation function of a checkpoint, element by element.
pub(crate) fn activate<const D: usize>(kind: Activation, x: Tensor<D>) -> Tensor<D> {
    match kind {
        Activation::QuickGelu => x.clone() * activation::sigmoid(x.mul_scalar(1.702)),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => activation::gelu_approximate(x),
    }
}

impl From<Activation> for ueo_kernels::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::QuickGelu => Self::QuickGelu,
            Activation::Gelu => Self::Gelu,
            Activation::GeluTanh => Self::GeluTanh,
        }
    }
}
