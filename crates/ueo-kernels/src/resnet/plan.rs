//! The shapes of all maps of a group, and where the activations that its backward pass needs lie in one buffer.

use super::layer::{Block, Layer};
use crate::average_pool;
use crate::convolution::MapShape;
use std::ops::Range;

/// One convolution of a group.
#[derive(Clone, Debug)]
pub(super) struct LayerPlan {
    pub input: MapShape,
    pub output: MapShape,
    /// Where the convolution's result is kept; `None` where the backward pass does not need it.
    pub kept: Option<Range<usize>>,
}

/// One bottleneck of a group.
#[derive(Clone, Debug)]
pub(super) struct BlockPlan {
    pub layers: [LayerPlan; 3],
    pub downsample: Option<LayerPlan>,
    /// Where the marks of the block's last ReLU are kept.
    pub mask: Range<usize>,
}

/// A group of images in a section of the tower.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// What the section begins with: images, or the map that enters its first bottleneck.
    pub input: MapShape,
    /// Empty in a section behind the stem.
    pub stem: Vec<LayerPlan>,
    pub blocks: Vec<BlockPlan>,
    /// Kept numbers.
    pub numbers: usize,
    /// Kept marks.
    pub marks: usize,
    /// The last map.
    pub output: MapShape,
    /// The largest map of all.
    pub largest: usize,
}

/// Hands out consecutive ranges.
struct Planner {
    numbers: usize,
    largest: usize,
}

impl Planner {
    fn layer(&mut self, layer: &Layer, input: MapShape, relu: bool) -> LayerPlan {
        let output = layer.convolution.output_shape(input);
        self.largest = self.largest.max(input.len()).max(output.len());
        // ReLU's marks follow from the convolution's result.
        let kept = (relu || layer.trained).then(|| {
            let start = self.numbers;
            self.numbers = advance(start, output.len());
            start..self.numbers
        });
        LayerPlan {
            input,
            output,
            kept,
        }
    }
}

/// Where what begins at `start` ends.
///
/// # Panics
/// When that passes the largest `usize`.
fn advance(start: usize, len: usize) -> usize {
    start
        .checked_add(len)
        .expect("the maps of a group fit into memory")
}

fn pooled(shape: MapShape, stride: usize) -> MapShape {
    if stride == 1 {
        shape
    } else {
        average_pool::output_shape(shape)
    }
}

impl Plan {
    /// Plans a group whose input has a shape. `stem` has its three layers, or none.
    pub fn new(stem: &[Layer], blocks: &[Block], input: MapShape) -> Self {
        let mut planner = Planner {
            numbers: 0,
            largest: input.len(),
        };
        let mut shape = input;
        let stem: Vec<_> = stem
            .iter()
            .map(|layer| {
                let plan = planner.layer(layer, shape, true);
                shape = plan.output;
                plan
            })
            .collect();
        if !stem.is_empty() {
            shape = pooled(shape, 2);
        }
        let mut marks = 0;
        let blocks = blocks
            .iter()
            .map(|block| {
                let first = planner.layer(&block.layers[0], shape, true);
                let second = planner.layer(&block.layers[1], first.output, true);
                let input = pooled(second.output, block.stride);
                let third = planner.layer(&block.layers[2], input, false);
                let downsample = block
                    .downsample
                    .as_ref()
                    .map(|layer| planner.layer(layer, pooled(shape, block.stride), false));
                shape = third.output;
                let mask = marks..advance(marks, shape.len());
                marks = mask.end;
                BlockPlan {
                    layers: [first, second, third],
                    downsample,
                    mask,
                }
            })
            .collect();
        Self {
            input,
            stem,
            blocks,
            numbers: planner.numbers,
            marks,
            output: shape,
            largest: planner.largest,
        }
    }
}
