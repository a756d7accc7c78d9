//! All layers over the maps of one group of images, forward and backward.

use super::layer::{Block, Layer, Tail};
use super::plan::{BlockPlan, LayerPlan, Plan};
use super::workspace::{Activations, Scratch};
use crate::Capability;
use crate::average_pool;
use crate::batch_norm::{self, PeriodSums, ScaleShift};
use crate::buffer::fit;
use crate::convolution::MapShape;
use std::mem::swap;

/// What a pass of a section over a group works with: layers, their present scales and shifts in the order of the tower, and shapes.
pub(super) struct Pass<'a> {
    pub capability: Capability,
    /// Its three layers, or none in a section behind it.
    pub stem: &'a [Layer],
    pub blocks: &'a [Block],
    pub norms: &'a [ScaleShift],
    pub plan: &'a Plan,
}

/// The pixels of one image, `[channels, positions]`, as `[positions, channels]`.
fn channels_last(pixels: &[f32], channels: usize, target: &mut [f32]) {
    let positions = pixels.len() / channels;
    for (channel, plane) in pixels.chunks_exact(positions).enumerate() {
        for (pixel, target) in plane.iter().zip(target.chunks_exact_mut(channels)) {
            target[channel] = *pixel;
        }
    }
}

/// The part of the kept activations that a layer writes.
fn keep<'a>(z: &'a mut Option<&mut Activations>, plan: &LayerPlan) -> Option<&'a mut [f32]> {
    let activations = z.as_deref_mut()?;
    Some(&mut activations.z[plan.kept.clone()?])
}

/// The part of the kept activations that a layer wrote; empty where it kept nothing.
fn kept<'a>(activations: &'a Activations, plan: &LayerPlan) -> &'a [f32] {
    match &plan.kept {
        Some(range) => &activations.z[range.clone()],
        None => &[],
    }
}

impl Pass<'_> {
    /// Runs a group of images and keeps what its backward pass needs where `activations` are given.
    ///
    /// # Shapes
    /// `input` `[images, 3, height, width]` where the section has the stem, else `[images, positions, channels]` like `output`.
    pub fn forward(
        &self,
        input: &[f32],
        output: &mut [f32],
        mut activations: Option<&mut Activations>,
        scratch: &mut Scratch,
    ) {
        let Scratch { chunk, maps } = scratch;
        let [x, y, spare, joined] = maps.each_mut().map(|map| {
            fit(map, self.plan.largest);
            map
        });
        if let Some(activations) = activations.as_deref_mut() {
            fit(&mut activations.z, self.plan.numbers);
            fit(&mut activations.mask, self.plan.marks);
        }
        if self.stem.is_empty() {
            x[..input.len()].copy_from_slice(input);
        } else {
            let shape = self.plan.input;
            let image = shape.len() / shape.images;
            for (pixels, target) in input.chunks_exact(image).zip(x.chunks_exact_mut(image)) {
                channels_last(pixels, shape.channels, target);
            }
        }
        let mut norms = self.norms.iter();
        let mut next_norm = || norms.next().expect("one norm per layer");
        for (layer, plan) in self.stem.iter().zip(&self.plan.stem) {
            layer.forward(
                self.capability,
                next_norm(),
                plan,
                &x[..plan.input.len()],
                &mut y[..plan.output.len()],
                Tail::Relu,
                keep(&mut activations, plan),
                None,
                chunk,
            );
            swap(x, y);
        }
        if let Some(last) = self.plan.stem.last() {
            self.pool(last.output, x, y);
            swap(x, y);
        }
        for (block, plan) in self.blocks.iter().zip(&self.plan.blocks) {
            let [first, second, third] = &plan.layers;
            let [norm_1, norm_2, norm_3] = [next_norm(), next_norm(), next_norm()];
            block.layers[0].forward(
                self.capability,
                norm_1,
                first,
                &x[..first.input.len()],
                &mut y[..first.output.len()],
                Tail::Relu,
                keep(&mut activations, first),
                None,
                chunk,
            );
            block.layers[1].forward(
                self.capability,
                norm_2,
                second,
                &y[..second.input.len()],
                &mut spare[..second.output.len()],
                Tail::Relu,
                keep(&mut activations, second),
                None,
                chunk,
            );
            if block.stride > 1 {
                self.pool(second.output, spare, y);
                swap(spare, y);
            }
            // The residual connection: the block's input itself, or what the downsample convolution makes of it.
            if let (Some(layer), Some(plan)) = (&block.downsample, &plan.downsample) {
                let norm = next_norm();
                let input = if block.stride > 1 {
                    self.pool(first.input, x, y);
                    &*y
                } else {
                    &*x
                };
                layer.forward(
                    self.capability,
                    norm,
                    plan,
                    &input[..plan.input.len()],
                    &mut joined[..plan.output.len()],
                    Tail::None,
                    keep(&mut activations, plan),
                    None,
                    chunk,
                );
                swap(x, joined);
            }
            let (z, mask) = match activations.as_deref_mut() {
                Some(Activations { z, mask }) => (
                    third.kept.clone().map(|range| &mut z[range]),
                    Some(&mut mask[plan.mask.clone()]),
                ),
                None => (None, None),
            };
            block.layers[2].forward(
                self.capability,
                norm_3,
                third,
                &spare[..third.input.len()],
                &mut x[..third.output.len()],
                Tail::ResidualRelu,
                z,
                mask,
                chunk,
            );
        }
        output.copy_from_slice(&x[..output.len()]);
    }

    fn pool(&self, shape: MapShape, x: &[f32], y: &mut [f32]) {
        let output = average_pool::output_shape(shape);
        average_pool::forward(
            self.capability,
            &x[..shape.len()],
            shape,
            &mut y[..output.len()],
        );
    }

    fn pool_backward(&self, shape: MapShape, dy: &[f32], dx: &mut [f32]) {
        let output = average_pool::output_shape(shape);
        average_pool::backward(
            self.capability,
            &dy[..output.len()],
            shape,
            &mut dx[..shape.len()],
        );
    }

    /// Adds the affine parameters' sums, one per layer in the order of the tower, for the gradient of the output.
    pub fn backward(
        &self,
        gradient: &[f32],
        activations: &Activations,
        sums: &mut [PeriodSums],
        scratch: &mut Scratch,
    ) {
        for map in &mut scratch.maps {
            fit(map, self.plan.largest);
        }
        scratch.maps[0][..gradient.len()].copy_from_slice(gradient);
        let mut index = self.norms.len();
        for (block, plan) in self.blocks.iter().zip(&self.plan.blocks).rev() {
            index -= block.all_layers().count();
            self.block_backward(block, plan, index, activations, sums, scratch);
        }
        let Some(stem) = self.plan.stem.last() else {
            return;
        };
        let Scratch { chunk, maps } = scratch;
        let [d, dz, ..] = maps;
        self.pool_backward(stem.output, d, dz);
        swap(d, dz);
        for (index, (layer, plan)) in self.stem.iter().zip(&self.plan.stem).enumerate().rev() {
            layer.norm_backward(
                self.capability,
                &self.norms[index],
                kept(activations, plan),
                true,
                &d[..plan.output.len()],
                &mut dz[..plan.output.len()],
                &mut sums[index],
            );
            // Nobody asks for the gradient of the pixels.
            if index > 0 {
                layer.input_gradient(
                    plan,
                    &dz[..plan.output.len()],
                    &mut d[..plan.input.len()],
                    false,
                    chunk,
                );
            }
        }
    }

    /// Replaces the gradient of a block's output in the first map by that of its input, unless the section begins with the block: nobody
    /// asks for that gradient. `index` is the block's first layer.
    fn block_backward(
        &self,
        block: &Block,
        plan: &BlockPlan,
        index: usize,
        activations: &Activations,
        sums: &mut [PeriodSums],
        scratch: &mut Scratch,
    ) {
        let Scratch { chunk, maps } = scratch;
        let [d, a, b, c] = maps;
        let [first, second, third] = &plan.layers;
        let mut norm_backward =
            |layer: &Layer, plan: &LayerPlan, at: usize, relu, dy: &[f32], dz: &mut [f32]| {
                layer.norm_backward(
                    self.capability,
                    &self.norms[index + at],
                    kept(activations, plan),
                    relu,
                    &dy[..plan.output.len()],
                    &mut dz[..plan.output.len()],
                    &mut sums[index + at],
                );
            };
        batch_norm::close(
            self.capability,
            &mut d[..third.output.len()],
            &activations.mask[plan.mask.clone()],
        );
        norm_backward(&block.layers[2], third, 2, false, d, a);
        let (a_len, b_len) = (third.output.len(), third.input.len());
        block.layers[2].input_gradient(third, &a[..a_len], &mut b[..b_len], false, chunk);
        if block.stride > 1 {
            self.pool_backward(second.output, b, a);
            swap(a, b);
        }
        norm_backward(&block.layers[1], second, 1, true, b, a);
        let (a_len, b_len) = (second.output.len(), second.input.len());
        block.layers[1].input_gradient(second, &a[..a_len], &mut b[..b_len], false, chunk);
        norm_backward(&block.layers[0], first, 0, true, b, a);
        let is_asked_for = index > 0;

        // The residual connection's gradient stands in `d` before the branch's is added.
        if let (Some(layer), Some(plan)) = (&block.downsample, &plan.downsample) {
            norm_backward(layer, plan, 3, false, d, b);
            if !is_asked_for {
                return;
            }
            let (b_len, c_len) = (plan.output.len(), plan.input.len());
            layer.input_gradient(plan, &b[..b_len], &mut c[..c_len], false, chunk);
            if block.stride > 1 {
                self.pool_backward(first.input, c, d);
            } else {
                swap(c, d);
            }
        }
        if !is_asked_for {
            return;
        }
        let (a_len, d_len) = (first.output.len(), first.input.len());
        block.layers[0].input_gradient(first, &a[..a_len], &mut d[..d_len], true, chunk);
    }
}
