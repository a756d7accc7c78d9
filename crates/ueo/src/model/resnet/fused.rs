//! The convolutional part as one fused operation, on slices of `ueo-kernels`.

use std::fmt;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use ueo_kernels::{
    BottleneckWeights, Capability, ConvolutionWeights, ConvolutionalTower, MapWorkspace, SavedMaps,
};

use crate::model::affine::AffineParameters;
use crate::model::fused::{BackwardPass, FlexTensor, Fused, Operation, axes, tensor};
use crate::model::weights::Weights;
use crate::model::{ModelError, NormAffine, to_host};

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
        Fused::apply(self.clone(), pixels, packed(affine.norms()))
    }

    /// As [`super::ModifiedResNet::block_inputs`]; `norms` come before the bottleneck's.
    pub(super) fn block_inputs(
        &self,
        block: usize,
        pixels: Tensor<4>,
        affine: &AffineParameters,
        norms: usize,
    ) -> Tensor<3> {
        let [batch, _, side, _] = pixels.dims();
        let device = pixels.device();
        let affine = to_host(&packed(&affine.norms()[..norms])).data;
        let pixels = to_host(&pixels).data;
        let Kernels { tower, workspace } = &*self.0;
        let maps = tower.forward_first(block, &affine, &pixels, side, workspace);
        let [positions, channels] = tower.block_input_shape(block, side);
        let maps = TensorData::new(maps, [batch, positions, channels]);
        Tensor::from_data(maps, &device)
    }

    /// What enters a bottleneck to `[batch, positions, channels]`; `norms` are those from the bottleneck on.
    pub(super) fn forward_from(
        &self,
        block: usize,
        maps: Tensor<3>,
        image_size: usize,
        norms: &[NormAffine],
    ) -> Tensor<3> {
        let operation = LastBlocks {
            maps: self.clone(),
            first: block,
            image_size,
        };
        Fused::apply(operation, maps, packed(norms))
    }
}

/// All affine vectors as one tensor, so that an operation has two inputs whatever the number of layers.
fn packed(norms: &[NormAffine]) -> Tensor<1> {
    let vectors = norms
        .iter()
        .flat_map(|norm| [norm.weight.clone(), norm.bias.clone()]);
    Tensor::cat(vectors.collect(), 0)
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

/// The bottlenecks from one on: `[batch, positions, channels]` of what enters it, and the affine parameters from its first norm on. There
/// is no gradient to the input.
struct LastBlocks {
    maps: FusedMaps,
    first: usize,
    image_size: usize,
}

impl LastBlocks {
    fn shaped(&self, output: Vec<f32>, input: &FlexTensor) -> FlexTensor {
        let [batch] = axes(input);
        let [positions, channels] = self.maps.0.tower.output_shape(self.image_size);
        tensor(output, [batch, positions, channels])
    }
}

impl Operation for LastBlocks {
    fn forward(&self, [maps, affine]: [FlexTensor; 2]) -> FlexTensor {
        let Kernels { tower, workspace } = &*self.maps.0;
        let (affine, input, side) = (affine.storage(), maps.storage(), self.image_size);
        let output = tower.forward_from(self.first, affine, input, side, workspace);
        self.shaped(output, &maps)
    }

    fn forward_training(
        &self,
        [maps, affine]: [FlexTensor; 2],
    ) -> (FlexTensor, Arc<dyn BackwardPass>) {
        let Kernels { tower, workspace } = &*self.maps.0;
        let (output, saved) = tower.forward_from_training(
            self.first,
            affine.storage(),
            maps.storage(),
            self.image_size,
            workspace,
        );
        let output = self.shaped(output, &maps);
        let backward = MapsBackward {
            saved,
            affine,
            maps: self.maps.clone(),
        };
        (output, Arc::new(backward))
    }
}

impl BackwardPass for MapsBackward {
    fn gradients(&self, gradient: &[f32], [pixels, affine]: [bool; 2]) -> [Option<FlexTensor>; 2] {
        assert!(
            !pixels,
            "the fused kernels give no gradient to their input; the composition does"
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
