//! What makes patches of an image: convolutions of cells that do not overlap, each of which is a product with a matrix.

use burn::tensor::{Tensor, activation};

use crate::checkpoint::{ModularVitConfig, Stem};
use crate::model::weights::Weights;
use crate::model::{ModelError, NormAffine};

/// PyTorch's default, which timm keeps for BatchNorm.
const BATCH_NORM_EPSILON: f32 = 1e-5;
/// Sides of the cells of MobileCLIP's convolutions; together the patch.
const CELLS: [usize; 3] = [4, 2, 2];

/// Names of the stem's normalization layers, in order.
pub(super) fn norm_names(stem: Stem) -> Vec<String> {
    let norms = match stem {
        Stem::Patches | Stem::BiasedPatches => 0,
        // The last convolution has a bias instead.
        Stem::Convolutions => CELLS.len() - 1,
    };
    (0..norms)
        .map(|index| format!("visual.stem.{index}.bn"))
        .collect()
}

/// The frozen weights of a stem.
#[derive(Debug)]
pub(super) struct PatchStem {
    first: CellConvolution,
    /// BatchNorm and GELU behind the convolution in front of each, and the convolution.
    others: Vec<(Statistics, CellConvolution)>,
}

/// A convolution of cells that do not overlap.
#[derive(Debug)]
struct CellConvolution {
    side: usize,
    /// `[values of a cell, channels]`
    matrix: Tensor<2>,
    /// `[1, channels]`
    bias: Option<Tensor<2>>,
}

/// A BatchNorm's stored statistics, each `[1, channels]`.
#[derive(Debug)]
struct Statistics {
    mean: Tensor<2>,
    inverse_deviation: Tensor<2>,
}

impl PatchStem {
    pub(super) fn new(
        config: &ModularVitConfig,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        let width = config.vit.transformer.width;
        let has_bias = match config.stem {
            Stem::Patches => false,
            Stem::BiasedPatches => true,
            Stem::Convolutions => return Self::convolutions(width, weights),
        };
        let name = "visual.conv1";
        let patch = config.vit.patch_size;
        let mut first = CellConvolution::of_pixels(name, width, patch, weights)?;
        if has_bias {
            first.bias = Some(vector(&format!("{name}.bias"), width, weights)?);
        }
        Ok(Self {
            first,
            others: Vec::new(),
        })
    }

    fn convolutions(width: usize, weights: &mut Weights) -> Result<Self, ModelError> {
        let narrow = width / 4;
        let name = |index: usize| format!("visual.stem.{index}");
        let conv = |index: usize| format!("{}.conv", name(index));
        let first = CellConvolution::of_pixels(&conv(0), narrow, CELLS[0], weights)?;
        let second = CellConvolution::of_map(&conv(1), narrow, narrow, CELLS[1], weights)?;
        let mut third = CellConvolution::of_map(&conv(2), narrow, width, CELLS[2], weights)?;
        third.bias = Some(vector(&format!("{}.bias", conv(2)), width, weights)?);
        let others = vec![
            (Statistics::new(&name(0), narrow, weights)?, second),
            (Statistics::new(&name(1), narrow, weights)?, third),
        ];
        Ok(Self { first, others })
    }

    /// `[batch, 3, image_size, image_size]` to `[batch, patches, width]`; `norms` are the stem's.
    pub(super) fn forward(&self, pixels: Tensor<4>, norms: &[NormAffine]) -> Tensor<3> {
        let mut map = self.first.forward(pixels.permute([0, 2, 3, 1]));
        for ((statistics, convolution), norm) in self.others.iter().zip(norms) {
            map = convolution.forward(activation::gelu(statistics.normalize(map, norm)));
        }
        let [batch, rows, columns, width] = map.dims();
        map.reshape([batch, rows * columns, width])
    }
}

impl CellConvolution {
    fn of_pixels(
        name: &str,
        outputs: usize,
        side: usize,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        Self::of_map(name, 3, outputs, side, weights)
    }

    fn of_map(
        name: &str,
        inputs: usize,
        outputs: usize,
        side: usize,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        let kernel: Tensor<4> =
            weights.take(&format!("{name}.weight"), [outputs, inputs, side, side])?;
        Ok(Self {
            side,
            matrix: kernel
                .permute([2, 3, 1, 0])
                .reshape([side * side * inputs, outputs]),
            bias: None,
        })
    }

    /// `[batch, height, width, channels]` to a map of cells. What fills no whole cell at the right and at the bottom is left out, as
    /// a convolution without padding does.
    fn forward(&self, map: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, channels] = map.dims();
        let side = self.side;
        let (rows, columns) = (height / side, width / side);
        let cells = map
            .narrow(1, 0, rows * side)
            .narrow(2, 0, columns * side)
            .reshape([batch, rows, side, columns, side, channels])
            .permute([0, 1, 3, 2, 4, 5])
            .reshape([batch * rows * columns, side * side * channels])
            .matmul(self.matrix.clone());
        let cells = match &self.bias {
            Some(bias) => cells + bias.clone(),
            None => cells,
        };
        let outputs = cells.dims()[1];
        cells.reshape([batch, rows, columns, outputs])
    }
}

impl Statistics {
    fn new(name: &str, channels: usize, weights: &mut Weights) -> Result<Self, ModelError> {
        let mean = vector(&format!("{name}.bn.running_mean"), channels, weights)?;
        let variance = vector(&format!("{name}.bn.running_var"), channels, weights)?;
        Ok(Self {
            mean,
            inverse_deviation: (variance + BATCH_NORM_EPSILON).sqrt().recip(),
        })
    }

    /// With frozen statistics BatchNorm is one multiplication and one addition per channel.
    fn normalize(&self, map: Tensor<4>, norm: &NormAffine) -> Tensor<4> {
        let scale = norm.weight.clone().unsqueeze() * self.inverse_deviation.clone();
        let bias: Tensor<2> = norm.bias.clone().unsqueeze();
        let shift = bias - scale.clone() * self.mean.clone();
        let channels = scale.dims()[1];
        map * scale.reshape([1, 1, 1, channels]) + shift.reshape([1, 1, 1, channels])
    }
}

/// A vector as `[1, length]`.
fn vector(name: &str, length: usize, weights: &mut Weights) -> Result<Tensor<2>, ModelError> {
    let vector: Tensor<1> = weights.take(name, [length])?;
    Ok(vector.unsqueeze())
}
