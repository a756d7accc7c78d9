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
use crate::convolution::MapShape;
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
    section: Section,
    input_len: usize,
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
        self.section(Section::WHOLE).layers()
    }

    /// Affine parameters of all layers: a weight and a bias per channel.
    pub fn affine_len(&self) -> usize {
        self.layers().map(|layer| 2 * layer.channels()).sum()
    }

    /// Affine parameters of the layers of the bottlenecks from `first` on, which are the last of all.
    ///
    /// # Panics
    /// When there are fewer bottlenecks.
    pub fn affine_len_from(&self, first: usize) -> usize {
        let layers = self.section(Section::behind(first)).layers();
        layers.map(|layer| 2 * layer.channels()).sum()
    }

    /// The number of bottlenecks.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Positions and channels of the last map.
    pub fn output_shape(&self, image_size: usize) -> [usize; 2] {
        let output = self.plan(image_size).output;
        [output.positions(), output.channels]
    }

    /// Positions and channels of the map that enters a bottleneck.
    ///
    /// # Panics
    /// When there is no such bottleneck.
    pub fn block_input_shape(&self, block: usize, image_size: usize) -> [usize; 2] {
        let input = self.plan(image_size).blocks[block].layers[0].input;
        [input.positions(), input.channels]
    }

    /// Memory that training keeps per image, in bytes: each convolution's result in f32 (but for downsample convolutions that are not
    /// trained) and a byte per number of each bottleneck's output.
    ///
    /// RN50 at 224 pixels: 49 MB.
    pub fn saved_bytes_per_image(&self, image_size: usize) -> usize {
        let plan = self.plan(image_size);
        count([size_of::<f32>(), plan.numbers]).saturating_add(plan.marks)
    }

    /// One image in the whole tower.
    fn plan(&self, image_size: usize) -> Plan {
        self.section(Section::WHOLE).plan(1, image_size)
    }

    fn section(&self, section: Section) -> Layers<'_> {
        let end = section.end.unwrap_or(self.blocks.len());
        match section.first {
            None => Layers {
                tower: self,
                stem: &self.stem,
                blocks: &self.blocks[..end],
                first: 0,
            },
            Some(first) => Layers {
                tower: self,
                stem: &[],
                blocks: &self.blocks[first..end],
                first,
            },
        }
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
        self.section(Section::WHOLE)
            .forward(affine, pixels, image_size, workspace)
    }

    /// The stem and the first `blocks` bottlenecks of [`ConvolutionalTower::forward`]: what enters the bottleneck behind them,
    /// `[images, positions, channels]`. `affine` is that of these layers.
    ///
    /// # Panics
    /// When a length does not match or there are fewer bottlenecks.
    pub fn forward_first(
        &self,
        blocks: usize,
        affine: &[f32],
        pixels: &[f32],
        image_size: usize,
        workspace: &MapWorkspace,
    ) -> Vec<f32> {
        let section = Section {
            first: None,
            end: Some(blocks),
        };
        self.section(section)
            .forward(affine, pixels, image_size, workspace)
    }

    /// The bottlenecks of [`ConvolutionalTower::forward`] from `first` on. `affine` is that of their layers, `maps`
    /// `[images, positions, channels]` what enters the first of them when images have `image_size` pixels a side.
    ///
    /// # Panics
    /// When a length does not match or there are fewer bottlenecks.
    pub fn forward_from(
        &self,
        first: usize,
        affine: &[f32],
        maps: &[f32],
        image_size: usize,
        workspace: &MapWorkspace,
    ) -> Vec<f32> {
        self.section(Section::behind(first))
            .forward(affine, maps, image_size, workspace)
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
        self.section_training(Section::WHOLE, affine, pixels, image_size, workspace)
    }

    /// As [`ConvolutionalTower::forward_from`], and returns what the backward pass needs.
    ///
    /// # Panics
    /// When a length does not match or there are fewer bottlenecks.
    pub fn forward_from_training(
        &self,
        first: usize,
        affine: &[f32],
        maps: &[f32],
        image_size: usize,
        workspace: &MapWorkspace,
    ) -> (Vec<f32>, SavedMaps) {
        self.section_training(Section::behind(first), affine, maps, image_size, workspace)
    }

    fn section_training(
        &self,
        section: Section,
        affine: &[f32],
        input: &[f32],
        image_size: usize,
        workspace: &MapWorkspace,
    ) -> (Vec<f32>, SavedMaps) {
        let layers = self.section(section);
        let norms = layers.norms(affine);
        let batch = Batch::new(layers, input.len(), image_size);
        let mut output = vec![0.0; batch.output_len()];
        let groups = batch
            .split(input, &mut output)
            .into_par_iter()
            .with_max_len(1)
            .map_init(
                || workspace.scratch(),
                |scratch, (plan, input, output)| {
                    let mut activations = workspace.activations();
                    layers.pass(&norms, plan).forward(
                        input,
                        output,
                        Some(&mut activations),
                        scratch,
                    );
                    activations
                },
            )
            .collect();
        let saved = SavedMaps {
            section,
            input_len: input.len(),
            image_size,
            groups,
        };
        (output, saved)
    }

    /// The gradient of the affine parameters that the forward pass had, laid out as they are; zero for layers that are not trained.
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
        let layers = self.section(saved.section);
        let norms = layers.norms(affine);
        let batch = Batch::new(layers, saved.input_len, saved.image_size);
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
                    layers
                        .pass(&norms, plan)
                        .backward(gradient, activations, &mut sums, scratch);
                    sums
                },
            )
            .collect();
        let mut d_affine = vec![0.0; affine.len()];
        for sums in &sums {
            let mut rest = &mut d_affine[..];
            for (layer, sums) in layers.layers().zip(sums) {
                let (values, tail) = rest.split_at_mut(2 * layer.channels());
                rest = tail;
                let (d_weight, d_bias) = values.split_at_mut(layer.channels());
                sums.add_to(&layer.statistics, d_weight, d_bias);
            }
        }
        d_affine
    }
}

/// Which part of a tower a pass runs.
#[derive(Clone, Copy)]
struct Section {
    /// The first bottleneck; `None` begins with the stem.
    first: Option<usize>,
    /// The bottleneck that it ends before; `None` for none.
    end: Option<usize>,
}

impl Section {
    const WHOLE: Self = Self {
        first: None,
        end: None,
    };

    fn behind(first: usize) -> Self {
        Self {
            first: Some(first),
            end: None,
        }
    }
}

/// The layers of a section.
#[derive(Clone, Copy)]
struct Layers<'a> {
    tower: &'a ConvolutionalTower,
    /// Its three layers, or none.
    stem: &'a [Layer],
    blocks: &'a [Block],
    /// The first bottleneck.
    first: usize,
}

impl<'a> Layers<'a> {
    /// In the order of their affine parameters.
    fn layers(self) -> impl Iterator<Item = &'a Layer> {
        self.stem
            .iter()
            .chain(self.blocks.iter().flat_map(Block::all_layers))
    }

    fn plan(self, images: usize, image_size: usize) -> Plan {
        let image = MapShape {
            images,
            height: image_size,
            width: image_size,
            channels: 3,
        };
        match self.stem {
            [] => {
                let before = &self.tower.blocks[..self.first];
                let input = Plan::new(&self.tower.stem, before, image).output;
                Plan::new(&[], self.blocks, input)
            }
            stem => Plan::new(stem, self.blocks, image),
        }
    }

    fn pass<'p>(self, norms: &'p [ScaleShift], plan: &'p Plan) -> Pass<'p>
    where
        'a: 'p,
    {
        Pass {
            capability: self.tower.capability,
            stem: self.stem,
            blocks: self.blocks,
            norms,
            plan,
        }
    }

    fn norms(self, affine: &[f32]) -> Vec<ScaleShift> {
        assert_eq!(
            affine.len(),
            self.layers().map(|layer| 2 * layer.channels()).sum(),
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

    fn forward(
        self,
        affine: &[f32],
        input: &[f32],
        image_size: usize,
        workspace: &MapWorkspace,
    ) -> Vec<f32> {
        let norms = self.norms(affine);
        let batch = Batch::new(self, input.len(), image_size);
        let mut output = vec![0.0; batch.output_len()];
        batch
            .split(input, &mut output)
            .into_par_iter()
            .with_max_len(1)
            .for_each_init(
                || workspace.scratch(),
                |scratch, (plan, input, output)| {
                    self.pass(&norms, plan)
                        .forward(input, output, None, scratch);
                },
            );
        output
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
    fn new(layers: Layers<'_>, input_len: usize, image_size: usize) -> Self {
        assert!(
            image_size >= TOTAL_STRIDE,
            "images have at least {TOTAL_STRIDE} pixels a side"
        );
        let one = layers.plan(1, image_size);
        let image_len = one.input.len();
        assert!(
            input_len.is_multiple_of(image_len),
            "the input is a whole number of images of {image_size} pixels a side, or of their maps"
        );
        let images = input_len / image_len;
        // The same groups in every section.
        let [positions, _] = layers.tower.output_shape(image_size);
        let group = (images / GROUPS_WANTED).clamp(1, LAST_POSITIONS.div_ceil(positions));
        let rest = images % group;
        Self {
            images,
            image_len,
            output_len: one.output.len(),
            group,
            full: layers.plan(group, image_size),
            last: layers.plan(if rest == 0 { group } else { rest }, image_size),
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
        input: &'a [f32],
        output: &'a mut [f32],
    ) -> Vec<(&'a Plan, &'a [f32], &'a mut [f32])> {
        input
            .chunks(self.group * self.image_len)
            .zip(output.chunks_mut(self.group * self.output_len))
            .enumerate()
            .map(|(index, (input, output))| (self.plan(index), input, output))
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
