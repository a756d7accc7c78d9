//! The convolutional part as one fused operation: a Burn back-end extension around `ueo-kernels`.
//!
//! The kernels see slices. This file turns Flex tensors into slices, and makes the hand-written backward pass a node of
//! Burn's autodiff graph. Frozen, packed weights are no tensors as far as Burn is concerned.

use std::fmt;
use std::sync::Arc;

use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Tensor, TensorData};
use ueo_kernels::{
    BottleneckWeights, Capability, ConvolutionWeights, ConvolutionalTower, MapWorkspace, SavedMaps,
};

use crate::model::ModelError;
use crate::model::affine::AffineParameters;
use crate::model::weights::Weights;

use super::{ConvolutionSpec, MapsSpec};

/// The convolutional part with packed weights and the memory that its calls share.
#[derive(Clone)]
pub struct FusedMaps(Arc<Kernels>);

struct Kernels {
    tower: ConvolutionalTower,
    workspace: MapWorkspace,
}

impl fmt::Debug for FusedMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FusedMaps").finish_non_exhaustive()
    }
}

/// The fused operation as Burn sees it.
#[backend_extension(Flex, Autodiff)]
pub trait MapOps: Backend {
    /// `[batch, 3, image_size, image_size]` to `[batch, positions, channels]`; `affine` holds the weight and bias of every norm in the
    /// order of the tower. There is no gradient to the pixels.
    fn resnet_maps(
        pixels: FloatTensor<Self>,
        affine: FloatTensor<Self>,
        maps: FusedMaps,
    ) -> FloatTensor<Self>;
}

/// The frozen tensors of a convolution and its norm on the host.
struct HostConvolution<'a> {
    spec: &'a ConvolutionSpec,
    weight: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
}

impl<'a> HostConvolution<'a> {
    fn take(spec: &'a ConvolutionSpec, weights: &mut Weights) -> Result<Self, ModelError> {
        let ConvolutionSpec {
            convolution,
            norm,
            inputs,
            outputs,
            kernel,
            ..
        } = spec;
        let shape = [*outputs, *inputs, *kernel, *kernel];
        let mut take = |name: String, shape: &[usize]| Ok(weights.take_host(&name, shape)?.data);
        Ok(Self {
            spec,
            weight: take(format!("{convolution}.weight"), &shape)?,
            mean: take(format!("{norm}.running_mean"), &[*outputs])?,
            variance: take(format!("{norm}.running_var"), &[*outputs])?,
        })
    }

    fn as_weights(&self) -> ConvolutionWeights<'_> {
        ConvolutionWeights {
            weight: &self.weight,
            mean: &self.mean,
            variance: &self.variance,
            inputs: self.spec.inputs,
            kernel: self.spec.kernel,
            trained: self.spec.is_trained(),
        }
    }
}

impl FusedMaps {
    pub(super) fn new(spec: &MapsSpec, weights: &mut Weights) -> Result<Self, ModelError> {
        let host = spec
            .all()
            .map(|spec| HostConvolution::take(spec, weights))
            .collect::<Result<Vec<_>, _>>()?;
        let mut all = host.iter().map(HostConvolution::as_weights);
        let mut next = || {
            all.next()
                .expect("the specification lists every convolution")
        };
        let stem = [next(), next(), next()];
        let blocks: Vec<_> = spec
            .blocks
            .iter()
            .map(|block| BottleneckWeights {
                convolutions: [next(), next(), next()],
                downsample: block.downsample.is_some().then(&mut next),
                stride: block.stride,
            })
            .collect();
        let tower = ConvolutionalTower::new(
            Capability::chosen().map_err(ModelError::InstructionSet)?,
            stem,
            &blocks,
        )
        .map_err(ModelError::Kernel)?;
        Ok(Self(Arc::new(Kernels {
            tower,
            workspace: MapWorkspace::new(),
        })))
    }

    /// `[batch, 3, image_size, image_size]` to `[batch, positions, channels]`.
    pub(super) fn forward(&self, pixels: Tensor<4>, affine: &AffineParameters) -> Tensor<3> {
        // One tensor, so that the operation has two inputs whatever the number of layers.
        let vectors = affine
            .norms()
            .iter()
            .flat_map(|norm| [norm.weight.clone(), norm.bias.clone()]);
        let affine = Tensor::cat(vectors.collect(), 0);
        Tensor::from_dispatch(Dispatch::resnet_maps(
            pixels.into_dispatch(),
            affine.into_dispatch(),
            self.clone(),
        ))
    }
}

type FlexTensor = FloatTensor<Flex>;

/// Batch and side of `[batch, 3, side, side]`.
fn images(pixels: &FlexTensor) -> (usize, usize) {
    let shape = pixels.layout().shape();
    (shape[0], shape[2])
}

fn map_tensor(values: Vec<f32>, batch: usize, [positions, channels]: [usize; 2]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, [batch, positions, channels]))
}

impl MapOps for Flex {
    fn resnet_maps(pixels: FlexTensor, affine: FlexTensor, maps: FusedMaps) -> FlexTensor {
        let (batch, side) = images(&pixels);
        let (pixels, affine) = (pixels.to_contiguous(), affine.to_contiguous());
        let Kernels { tower, workspace } = &*maps.0;
        let output = tower.forward(affine.storage(), pixels.storage(), side, workspace);
        map_tensor(output, batch, tower.output_shape(side))
    }
}

/// Backward pass of [`MapOps::resnet_maps`].
#[derive(Debug)]
struct MapsBackward;

/// What the backward pass needs: the forward pass's activations and affine parameters.
#[derive(Clone)]
struct MapsState {
    saved: Arc<SavedMaps>,
    affine: FlexTensor,
    maps: FusedMaps,
}

impl fmt::Debug for MapsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapsState").finish_non_exhaustive()
    }
}

impl Backward<Flex, 2> for MapsBackward {
    type State = MapsState;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let MapsState {
            saved,
            affine,
            maps,
        } = ops.state;
        let [pixels, affine_parent] = ops.parents;
        assert!(
            pixels.is_none(),
            "the fused kernels give no gradient to the pixels; the composition does"
        );
        if let Some(parent) = affine_parent {
            let Kernels { tower, workspace } = &*maps.0;
            let values = tower.backward(affine.storage(), &saved, gradient.storage(), workspace);
            let len = values.len();
            let tensor = FlexTensor::from_data(TensorData::new(values, [len]));
            gradients.register::<Flex>(parent.id, tensor);
        }
    }
}

impl<C: CheckpointStrategy> MapOps for Autodiff<Flex, C> {
    fn resnet_maps(
        pixels: FloatTensor<Self>,
        affine: FloatTensor<Self>,
        maps: FusedMaps,
    ) -> FloatTensor<Self> {
        let nodes = [pixels.node(), affine.node()];
        match MapsBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let affine = affine.into_primitive().to_contiguous();
                let (batch, side) = images(pixels.primitive());
                let pixels = pixels.into_primitive().to_contiguous();
                let Kernels { tower, workspace } = &*maps.0;
                let (output, saved) =
                    tower.forward_training(affine.storage(), pixels.storage(), side, workspace);
                let output = map_tensor(output, batch, tower.output_shape(side));
                let state = MapsState {
                    saved: Arc::new(saved),
                    affine,
                    maps,
                };
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(Flex::resnet_maps(
                pixels.into_primitive(),
                affine.into_primitive(),
                maps,
            )),
        }
    }
}
