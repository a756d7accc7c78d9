//! The channel-wise affine parameters of the visual normalization layers: all that UEO trains in the image encoder.

use burn::tensor::{Device, Gradients, Tensor, TensorData};

use crate::tensor::{HostTensor, TensorMap};

use super::ModelError;

/// Weight and bias of one normalization layer.
#[derive(Clone, Debug)]
pub struct NormAffine {
    /// Name of the layer in OpenAI's naming, without `.weight` (`visual.ln_post`).
    pub name: String,
    /// Whether adaptation updates this layer.
    ///
    /// The released program skips the BatchNorm layers of the ResNet's downsample branches, and so do we.
    pub trained: bool,
    /// Scale per channel, `[channels]`.
    pub weight: Tensor<1>,
    /// Shift per channel, `[channels]`.
    pub bias: Tensor<1>,
}

/// The affine parameters of every visual normalization layer, in the order in which the tower meets them.
///
/// They travel beside the tower, not inside it: the zero-shot and the adapted model share all frozen weights and
/// differ only in the `AffineParameters` passed to the forward pass.
#[derive(Clone, Debug)]
pub struct AffineParameters {
    norms: Vec<NormAffine>,
}

/// Gradients of the trained layers of [`AffineParameters`], of all of them or of the last ones, summed over micro-batches.
#[derive(Clone, Debug, Default)]
pub struct AffineGradients(Vec<(Tensor<1>, Tensor<1>)>);

impl AffineParameters {
    /// Reads `names` (each with `.weight` and `.bias`) from `tensors`.
    ///
    /// # Errors
    ///
    /// [`ModelError::MissingTensor`] when a layer is not there.
    pub fn from_tensors(
        tensors: &TensorMap,
        names: impl IntoIterator<Item = (String, bool)>,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let load = |name: String| -> Result<Tensor<1>, ModelError> {
            let host = tensors
                .get(&name)
                .ok_or(ModelError::MissingTensor { name })?;
            Ok(Tensor::from_data(
                TensorData::new(host.data.clone(), [host.data.len()]),
                device,
            ))
        };
        let norms = names
            .into_iter()
            .map(|(name, trained)| {
                Ok(NormAffine {
                    weight: load(format!("{name}.weight"))?,
                    bias: load(format!("{name}.bias"))?,
                    name,
                    trained,
                })
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(Self { norms })
    }

    /// The layer at `index` in the tower's order.
    pub fn norm(&self, index: usize) -> &NormAffine {
        &self.norms[index]
    }

    /// All layers in the tower's order.
    pub fn norms(&self) -> &[NormAffine] {
        &self.norms
    }

    /// The numbers that adaptation updates when it trains the layers from `first` on.
    pub fn trained_len(&self, first: usize) -> usize {
        self.norms[first..]
            .iter()
            .filter(|norm| norm.trained)
            .map(|norm| 2 * norm.weight.dims()[0])
            .sum()
    }

    /// The same values as leaves of a new autodiff graph; only trained layers from `first` on require gradients.
    pub fn tracked(&self, first: usize) -> Self {
        let leaf = |tensor: &Tensor<1>, trained: bool| {
            if trained {
                tensor.clone().autodiff().require_grad()
            } else {
                tensor.clone()
            }
        };
        let norms = self.norms.iter().enumerate().map(|(index, norm)| {
            let requires_grad = norm.trained && index >= first;
            NormAffine {
                name: norm.name.clone(),
                trained: norm.trained,
                weight: leaf(&norm.weight, requires_grad),
                bias: leaf(&norm.bias, requires_grad),
            }
        });
        Self {
            norms: norms.collect(),
        }
    }

    /// The trained tensors by OpenAI name (`visual.ln_post.weight`), in the tower's order.
    pub fn to_host(&self) -> Vec<(String, HostTensor)> {
        self.norms
            .iter()
            .filter(|norm| norm.trained)
            .flat_map(|norm| {
                [
                    (format!("{}.weight", norm.name), to_host(&norm.weight)),
                    (format!("{}.bias", norm.name), to_host(&norm.bias)),
                ]
            })
            .collect()
    }

    /// Replaces trained values by those in `tensors`.
    ///
    /// # Errors
    ///
    /// [`ModelError::MissingTensor`] or [`ModelError::Shape`] when `tensors` does not fit this tower.
    pub fn with_values(&self, tensors: &TensorMap) -> Result<Self, ModelError> {
        let mut updated = self.clone();
        for norm in updated.norms.iter_mut().filter(|norm| norm.trained) {
            for (suffix, value) in [("weight", &mut norm.weight), ("bias", &mut norm.bias)] {
                let name = format!("{}.{suffix}", norm.name);
                let host = tensors
                    .get(&name)
                    .ok_or_else(|| ModelError::MissingTensor { name: name.clone() })?;
                let expected = value.dims().to_vec();
                if host.shape != expected {
                    return Err(ModelError::Shape {
                        name,
                        expected,
                        found: host.shape.clone(),
                    });
                }
                *value = Tensor::from_data(
                    TensorData::new(host.data.clone(), host.shape.clone()),
                    &value.device(),
                );
            }
        }
        Ok(updated)
    }

    /// Takes the gradients of the trained layers from `first` on out of `gradients` (zeros where the loss does not depend on a layer).
    ///
    /// `self` must be the [`tracked`](Self::tracked) parameters that the forward pass used, with the same `first`.
    pub fn take_gradients(&self, first: usize, gradients: &mut Gradients) -> AffineGradients {
        let mut take = |tensor: &Tensor<1>| {
            tensor
                .grad_remove(gradients)
                .unwrap_or_else(|| tensor.clone().inner().zeros_like())
        };
        AffineGradients(
            self.norms[first..]
                .iter()
                .filter(|norm| norm.trained)
                .map(|norm| (take(&norm.weight), take(&norm.bias)))
                .collect(),
        )
    }

    /// Every tensor of the trained layers from `first` on.
    pub(crate) fn trained(&self, first: usize) -> impl Iterator<Item = &Tensor<1>> {
        let trained = self.norms[first..].iter().filter(|norm| norm.trained);
        trained.flat_map(|norm| [&norm.weight, &norm.bias])
    }

    /// The L2 norm over all trained layers from `first` on together, accumulated in f64.
    pub fn length(&self, first: usize) -> f64 {
        let squares = self
            .trained(first)
            .map(|tensor| square_sum(&to_host(tensor).data));
        squares.sum::<f64>().sqrt()
    }

    /// The inverse of [`AffineGradients::to_numbers`] for the trained layers from `first` on.
    ///
    /// # Panics
    ///
    /// When there are not [`Self::trained_len`] numbers.
    pub(crate) fn gradients_of(&self, first: usize, numbers: &[f32]) -> AffineGradients {
        assert_eq!(
            numbers.len(),
            self.trained_len(first),
            "a number per gradient"
        );
        let mut left = numbers;
        let mut take = |tensor: &Tensor<1>| {
            let (own, rest) = left.split_at(tensor.dims()[0]);
            left = rest;
            let data = TensorData::new(own.to_vec(), [own.len()]);
            Tensor::from_data(data, &tensor.device())
        };
        AffineGradients(
            self.norms[first..]
                .iter()
                .filter(|norm| norm.trained)
                .map(|norm| (take(&norm.weight), take(&norm.bias)))
                .collect(),
        )
    }

    /// One step of plain stochastic gradient descent: `p - learning_rate * gradient`. Gradients of fewer layers are those of the last.
    pub fn descend(&self, gradients: &AffineGradients, learning_rate: f64) -> Self {
        let mut updated = self.clone();
        let trained = updated.norms.iter_mut().filter(|norm| norm.trained);
        for (norm, (weight, bias)) in trained.rev().zip(gradients.0.iter().rev()) {
            norm.weight = norm.weight.clone() - weight.clone().mul_scalar(learning_rate);
            norm.bias = norm.bias.clone() - bias.clone().mul_scalar(learning_rate);
        }
        updated
    }
}

impl AffineGradients {
    /// Adds the gradients of another micro-batch.
    pub fn accumulate(self, other: Self) -> Self {
        if self.0.is_empty() {
            return other;
        }
        Self(
            self.0
                .into_iter()
                .zip(other.0)
                .map(|((weight, bias), (other_weight, other_bias))| {
                    (weight + other_weight, bias + other_bias)
                })
                .collect(),
        )
    }

    /// Every tensor of every layer.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor<1>> {
        self.0.iter().flat_map(|(weight, bias)| [weight, bias])
    }

    /// All numbers in the order of the layers, weights before biases; none where there are no gradients.
    pub(crate) fn to_numbers(&self) -> Vec<f32> {
        let tensors = self.tensors();
        tensors.flat_map(|tensor| to_host(tensor).data).collect()
    }

    /// The L2 norm over all trained layers together, accumulated in f64.
    pub fn norm(&self) -> f64 {
        self.tensors()
            .map(|tensor| square_sum(&to_host(tensor).data))
            .sum::<f64>()
            .sqrt()
    }
}

/// Sum of squares in f64.
pub(crate) fn square_sum(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum()
}

/// Sum of the squares of all tensors, `[1]`, on their device.
pub(crate) fn square_sum_on_device<'a, const D: usize>(
    tensors: impl IntoIterator<Item = &'a Tensor<D>>,
    device: &Device,
) -> Tensor<1> {
    let squares = tensors.into_iter();
    let squares = squares.map(|tensor| tensor.clone().powi_scalar(2).sum());
    squares.fold(Tensor::zeros([1], device), |sum, square| sum + square)
}

/// Copies several tensors to the host at once, one after the other.
pub(crate) fn to_host_together(tensors: Vec<Tensor<1>>) -> Vec<f32> {
    to_host(&Tensor::cat(tensors, 0)).data
}

/// Copies a tensor to the host.
pub(crate) fn to_host<const D: usize>(tensor: &Tensor<D>) -> HostTensor {
    HostTensor {
        shape: tensor.dims().to_vec(),
        data: tensor
            .clone()
            .inner()
            .try_into_vec_as::<f32>()
            // Of a float tensor it is the device that fails: see `crate::device::guarded`.
            .unwrap_or_else(|error| panic!("{error}")),
    }
}
