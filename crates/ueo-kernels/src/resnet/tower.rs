//! The whole convolutional part over a batch.
//!
//! One task takes a few images through all layers, so activations stay in its core's cache and threads meet once per pass.

use super::group::Pass;
use super::layer::{Block, Layer};
use super::plan::Plan;
use super::workspace::{Activations, Lease, MapWorkspace};
use super::{BottleneckWeights, ConvolutionWeights};
use crate::batch_norm::{PeriodSums, ScaleShift};
use crate::buffer::count;
use crate::{Capability, Precision, ShapeError};
use rayon::prelude::*;

/// Positions that the last map of a group should have: fewer do not fill the tiles of a matrix product.
const LAST_POSITIONS: usize = 32;
/// Groups wanted before they grow to [`LAST_POSITIONS`], so that a few cores have work.
const GROUPS_WANTED: usize = 8;
/// The stem and the three strides of the stages halve the image five times.
const TOTAL_STRIDE: usize = 32;

/// Stem and bottlenecks of a modified ResNet with frozen, packed weights.
///
/// Share it through an `Arc`: all methods take `&self`. They run on the rayon pool of the calling thread.
pub struct ConvolutionalTower {
    capability: Capability,
    stem: [Layer; 3],
    blocks: Vec<Block>,
}

/// What [`ConvolutionalTower::backward`] needs of [`ConvolutionalTower::forward_training`]; dropping it gives the memory back to the
/// [`MapWorkspace`]. See [`ConvolutionalTower::saved_bytes_per_image`] for its size.
pub struct SavedMaps {
    images: usize,
    image_size: usize,
    groups: Vec<Lease<Activations>>,
}

impl ConvolutionalTower {
    /// Packs the weights. Nothing borrowed is kept.
    ///
    /// The precision is that of 1 x 1 convolutions and of those that gather patches. 3 x 3 convolutions by minimal filtering are f32 in all.
    ///
    /// # Errors
    /// [`ShapeError`] when a length does not match or a layer does not fit the one before it.
    pub fn new(
        capability: Capability,
        precision: Precision,
        stem: [ConvolutionWeights<'_>; 3],
        blocks: &[BottleneckWeights<'_>],
    ) -> Result<Self, ShapeError> {
        let [first, second, third] = &stem;
        ShapeError::check("channels of an image", 3, first.inputs)?;
        ShapeError::check(
            "inputs of the stem's second convolution",
            first.mean.len(),
            second.inputs,
        )?;
        ShapeError::check(
            "inputs of the stem's third convolution",
            second.mean.len(),
            third.inputs,
        )?;
        let mut channels = third.mean.len();
        let stem = [
            Layer::new(capability, precision, first, 2)?,
            Layer::new(capability, precision, second, 1)?,
            Layer::new(capability, precision, third, 1)?,
        ];
        let blocks = blocks
            .iter()
            .map(|weights| {
                let block = Block::new(capability, precision, weights, channels)?;
                channels = block.layers[2].channels();
                Ok(block)
            })
            .collect::<Result<_, ShapeError>>()?;
        Ok(Self {
            capability,
            stem,
            blocks,
        })
    }

    /// All layers in the order of their affine parameters: the stem's, then each bottleneck's three and its downsample convolution's.
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.stem
            .iter()
            .chain(self.blocks.iter().flat_map(Block::all_layers))
    }

    /// Affine parameters of all layers: a weight and a bias per channel.
    pub fn affine_len(&self) -> usize {
        self.layers().map(|layer| 2 * layer.channels()).sum()
    }

    /// Positions and channels of the last map.
    pub fn output_shape(&self, image_size: usize) -> [usize; 2] {
        let output = self.plan(1, image_size).output;
        [output.positions(), output.channels]
    }

    /// Memory that training keeps per image, in bytes: each convolution's result in f32 (but for downsample convolutions that are not
    /// trained) and a byte per number of each bottleneck's output.
    ///
    /// RN50 at 224 pixels: 49 MB.
    pub fn saved_bytes_per_image(&self, image_size: usize) -> usize {
        let plan = self.plan(1, image_size);
        count([size_of::<f32>(), plan.numbers]).saturating_add(plan.marks)
    }

    fn plan(&self, images: usize, image_size: usize) -> Plan {
        Plan::new(&self.stem, &self.blocks, images, image_size)
    }

    fn pass<'a>(&'a self, norms: &'a [ScaleShift], plan: &'a Plan) -> Pass<'a> {
        Pass {
            capability: self.capability,
            stem: &self.stem,
            blocks: &self.blocks,
            norms,
            plan,
        }
    }

    fn norms(&self, affine: &[f32]) -> Vec<ScaleShift> {
        assert_eq!(
            affine.len(),
            self.affine_len(),
            "a weight and a bias per channel of every layer"
        );
        let mut rest = affine;
        self.layers()
            .map(|layer| {
                let (values, tail) = rest.split_at(2 * layer.channels());
                rest = tail;
                let (weight, bias) = values.split_at(layer.channels());
                ScaleShift::new(&layer.statistics, weight, bias)
            })
            .collect()
    }

    /// Runs a batch and keeps nothing.
    ///
    /// # Shapes
    /// - `affine`: weight, then bias of each layer: stem, then each bottleneck's three and its downsample convolution's
    /// - `pixels`: `[images, 3, image_size, image_size]`
    /// - result: `[images, positions, channels]`
    ///
    /// # Panics
    /// When a length does not match.
    pub fn forward(
        &self,
        affine: &[f32],
        pixels: &[f32],
        image_size: usize,
        workspace: &MapWorkspace,
    ) -> Vec<f32> {
        let norms = self.norms(affine);
        let batch = Batch::new(self, pixels.len(), image_size);
        let mut output = vec![0.0; batch.output_len()];
        batch
            .split(pixels, &mut output)
            .into_par_iter()
            .with_max_len(1)
            .for_each_init(
                || workspace.scratch(),
                |scratch, (plan, pixels, output)| {
                    self.pass(&norms, plan)
                        .forward(pixels, output, None, scratch);
                },
            );
        output
    }

    /// As [`ConvolutionalTower::forward`], and returns what the backward pass needs.
    ///
    /// # Panics
    /// When a length does not match.
    pub fn forward_training(
        &self,
        affine: &[f32],
        pixels: &[f32],
        image_size: usize,
        workspace: &MapWorkspace,
    ) -> (Vec<f32>, SavedMaps) {
        let norms = self.norms(affine);
        let batch = Batch::new(self, pixels.len(), image_size);
        let mut output = vec![0.0; batch.output_len()];
        let groups = batch
            .split(pixels, &mut output)
            .into_par_iter()
            .with_max_len(1)
            .map_init(
                || workspace.scratch(),
                |scratch, (plan, pixels, output)| {
                    let mut activations = workspace.activations();
                    self.pass(&norms, plan).forward(
                        pixels,
                        output,
                        Some(&mut activations),
                        scratch,
                    );
                    activations
                },
            )
            .collect();
        let saved = SavedMaps {
            images: batch.images,
            image_size,
            groups,
        };
        (output, saved)
    }

    /// The gradient of all affine parameters, laid out as they are; zero for layers that are not trained.
    ///
    /// `affine` must hold the values of the forward pass that made `saved`.
    ///
    /// # Shapes
    /// `gradient` `[images, positions, channels]` as the output.
    ///
    /// # Panics
    /// When a length does not match.
    pub fn backward(
        &self,
        affine: &[f32],
        saved: &SavedMaps,
        gradient: &[f32],
        workspace: &MapWorkspace,
    ) -> Vec<f32> {
        let norms = self.norms(affine);
        let pixels = count([saved.images, 3, saved.image_size, saved.image_size]);
        let batch = Batch::new(self, pixels, saved.image_size);
        assert_eq!(
            gradient.len(),
            batch.output_len(),
            "the gradient has the output's shape"
        );
        let zeros: Vec<PeriodSums> = norms.iter().map(PeriodSums::new).collect();
        let sums: Vec<Vec<PeriodSums>> = batch
            .split_gradient(gradient)
            .into_par_iter()
            .zip(&saved.groups)
            .with_max_len(1)
            .map_init(
                || workspace.scratch(),
                |scratch, ((plan, gradient), activations)| {
                    let mut sums = zeros.clone();
                    self.pass(&norms, plan)
                        .backward(gradient, activations, &mut sums, scratch);
                    sums
                },
            )
            .collect();
        let mut d_affine = vec![0.0; affine.len()];
        for sums in &sums {
            let mut rest = &mut d_affine[..];
            for (layer, sums) in self.layers().zip(sums) {
                let (values, tail) = rest.split_at_mut(2 * layer.channels());
                rest = tail;
                let (d_weight, d_bias) = values.split_at_mut(layer.channels());
                sums.add_to(&layer.statistics, d_weight, d_bias);
            }
        }
        d_affine
    }
}

/// A batch divided into groups by its shape alone, so that results do not depend on the number of threads.
struct Batch {
    images: usize,
    image_len: usize,
    output_len: usize,
    /// Images of every group but the last.
    group: usize,
    full: Plan,
    last: Plan,
}

impl Batch {
    fn new(tower: &ConvolutionalTower, pixels: usize, image_size: usize) -> Self {
        let image_len = count([3, image_size, image_size]);
        assert!(
            image_size >= TOTAL_STRIDE && pixels.is_multiple_of(image_len),
            "pixels are [images, 3, {image_size}, {image_size}] with at least {TOTAL_STRIDE} pixels a side"
        );
        let images = pixels / image_len;
        let [positions, channels] = tower.output_shape(image_size);
        let group = (images / GROUPS_WANTED).clamp(1, LAST_POSITIONS.div_ceil(positions));
        let rest = images % group;
        Self {
            images,
            image_len,
            output_len: count([positions, channels]),
            group,
            full: tower.plan(group, image_size),
            last: tower.plan(if rest == 0 { group } else { rest }, image_size),
        }
    }

    fn output_len(&self) -> usize {
        count([self.images, self.output_len])
    }

    fn plan(&self, index: usize) -> &Plan {
        if (index + 1) * self.group < self.images {
            &self.full
        } else {
            &self.last
        }
    }

    fn split<'a>(
        &'a self,
        pixels: &'a [f32],
        output: &'a mut [f32],
    ) -> Vec<(&'a Plan, &'a [f32], &'a mut [f32])> {
        pixels
            .chunks(self.group * self.image_len)
            .zip(output.chunks_mut(self.group * self.output_len))
            .enumerate()
            .map(|(index, (pixels, output))| (self.plan(index), pixels, output))
            .collect()
    }

    fn split_gradient<'a>(&'a self, gradient: &'a [f32]) -> Vec<(&'a Plan, &'a [f32])> {
        gradient
            .chunks(self.group * self.output_len)
            .enumerate()
            .map(|(index, gradient)| (self.plan(index), gradient))
            .collect()
    }
}
