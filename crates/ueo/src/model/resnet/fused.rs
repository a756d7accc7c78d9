//! The convolutional part as one fused operation, on slices of `ueo-kernels`.

use std::fmt;
use std::sync::Arc;

use burn::tensor::Tensor;
use ueo_kernels::{
    BottleneckWeights, Capability, ConvolutionWeights, ConvolutionalTower, MapWorkspace, SavedMaps,
};

use crate::model::ModelError;
use crate::model::affine::AffineParameters;
use crate::model::fused::{BackwardPass, FlexTensor, Fused, Operation, axes, tensor};
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
        let precision = weights.precision().into();
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
            Capability::for_precision(precision).map_err(ModelError::InstructionSet)?,
            precision,
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
        let affine: Tensor<1> = Tensor::cat(vectors.collect(), 0);
        Fused::apply(self.clone(), pixels, affine)
    }
}

/// What a forward pass leaves: activations, and the affine parameters that made them.
struct MapsBackward {
    saved: SavedMaps,
    affine: FlexTensor,
    maps: FusedMaps,
}

/// `[batch, 3, image_size, image_size]` to `[batch, positions, channels]`; the affine parameters are the weight and bias of every norm in
/// the order of the tower. There is no gradient to the pixels.
impl Operation for FusedMaps {
    fn forward(&self, [pixels, affine]: [FlexTensor; 2]) -> FlexTensor {
        let [batch, _, side] = axes(&pixels);
        let Kernels { tower, workspace } = &*self.0;
        let output = tower.forward(affine.storage(), pixels.storage(), side, workspace);
        let [positions, channels] = tower.output_shape(side);
        tensor(output, [batch, positions, channels])
    }

    fn forward_training(
        &self,
        [pixels, affine]: [FlexTensor; 2],
    ) -> (FlexTensor, Arc<dyn BackwardPass>) {
        let [batch, _, side] = axes(&pixels);
        let Kernels { tower, workspace } = &*self.0;
        let (output, saved) =
            tower.forward_training(affine.storage(), pixels.storage(), side, workspace);
        let [positions, channels] = tower.output_shape(side);
        let backward = MapsBackward {
            saved,
            affine,
            maps: self.clone(),
        };
        (
            tensor(output, [batch, positions, channels]),
            Arc::new(backward),
        )
    }
}

impl BackwardPass for MapsBackward {
    fn gradients(&self, gradient: &[f32], [pixels, affine]: [bool; 2]) -> [Option<FlexTensor>; 2] {
        assert!(
            !pixels,
            "the fused kernels give no gradient to the pixels; the composition does"
        );
        let affine = affine.then(|| {
            let Kernels { tower, workspace } = &*self.maps.0;
            let values = tower.backward(self.affine.storage(), &self.saved, gradient, workspace);
            let len = values.len();
            tensor(values, [len])
        });
        [None, affine]
    }
}
