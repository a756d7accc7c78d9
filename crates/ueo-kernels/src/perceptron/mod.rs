//! Layer normalization and a perceptron behind it, gated or not, with frozen matrices:
//! `y = down(activation(up(n)) * gate(n))` with `n = LayerNorm(x)`. The residual connection is the caller's.

use crate::buffer::{count, fit};
use crate::layer_norm::{self, Statistics};
use crate::precision::OperandMut;
use crate::{Activation, Capability, FrozenLinear, Precision, ShapeError, activation};
use rayon::prelude::*;
use std::cell::RefCell;

/// Rows of one task: enough to pass a packed matrix for, few enough that their values stay in the second-level cache.
const ROWS: usize = 192;

/// A frozen linear layer.
#[derive(Clone, Copy)]
pub struct LinearWeights<'a> {
    /// `[outputs, inputs]`, row-major as in PyTorch.
    pub weight: &'a [f32],
    /// `[outputs]`
    pub bias: &'a [f32],
}

/// The layers of a perceptron.
#[derive(Clone, Copy)]
pub struct PerceptronWeights<'a> {
    /// To the hidden layer.
    pub up: LinearWeights<'a>,
    /// What the hidden layer is multiplied with behind its activation.
    pub gate: Option<LinearWeights<'a>>,
    /// From the hidden layer.
    pub down: LinearWeights<'a>,
}

/// The affine parameters of the normalization, `[width]` each.
#[derive(Clone, Copy)]
pub struct PerceptronAffine<'a> {
    /// Factors.
    pub weight: &'a [f32],
    /// Summands.
    pub bias: &'a [f32],
}

/// A normalization and the perceptron behind it.
pub struct NormedPerceptron {
    capability: Capability,
    activation: Activation,
    epsilon: f32,
    up: FrozenLinear,
    gate: Option<FrozenLinear>,
    down: FrozenLinear,
}

/// What a forward pass leaves for its backward pass.
pub struct SavedPerceptron {
    x: Vec<f32>,
    tasks: Vec<SavedRows>,
}

/// Of the rows of a task, what enters the activation and the gate, `[rows, hidden]` each.
#[derive(Default)]
struct SavedRows {
    statistics: Vec<Statistics>,
    up: Vec<f32>,
    gate: Vec<f32>,
}

/// Gradients of a perceptron's input and affine parameters.
pub struct PerceptronGradients {
    /// `[rows, width]`
    pub x: Vec<f32>,
    /// `[width]`
    pub weight: Vec<f32>,
    /// `[width]`
    pub bias: Vec<f32>,
}

/// Memory that the tasks of a thread share.
#[derive(Default)]
struct Scratch {
    /// Of a pass that keeps nothing.
    rows: SavedRows,
    normalized: Vec<f32>,
    hidden: Vec<f32>,
    gate: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl NormedPerceptron {
    /// Packs the matrices of a perceptron over rows of `width` values.
    ///
    /// # Errors
    /// [`ShapeError`] when a length does not follow from `width` and those of the biases.
    pub fn new(
        capability: Capability,
        precision: Precision,
        activation: Activation,
        epsilon: f32,
        width: usize,
        weights: PerceptronWeights<'_>,
    ) -> Result<Self, ShapeError> {
        let hidden = weights.up.bias.len();
        let pack = |layer: LinearWeights<'_>, inputs| {
            let outputs = layer.bias.len();
            let bias = Some(layer.bias);
            FrozenLinear::new(capability, precision, layer.weight, bias, inputs, outputs)
        };
        if let Some(gate) = weights.gate {
            ShapeError::check("bias of a gate", hidden, gate.bias.len())?;
        }
        Ok(Self {
            capability,
            activation,
            epsilon,
            up: pack(weights.up, width)?,
            gate: weights.gate.map(|gate| pack(gate, width)).transpose()?,
            down: pack(weights.down, hidden)?,
        })
    }

    /// Length of an output row.
    pub fn outputs(&self) -> usize {
        self.down.outputs()
    }

    /// The output, on all threads of the rayon pool.
    ///
    /// # Shapes
    /// `x` `[rows, width]`, the result `[rows, outputs]`.
    ///
    /// # Panics
    /// When `x` holds no whole rows, or a vector of `affine` has another length.
    pub fn forward(&self, affine: PerceptronAffine<'_>, x: &[f32]) -> Vec<f32> {
        let (width, outputs) = (self.width(), self.outputs());
        let mut y = vec![0.0; count([self.rows(x), outputs])];
        y.par_chunks_mut(ROWS * outputs)
            .zip(x.par_chunks(ROWS * width))
            .for_each(|(y, x)| {
                SCRATCH.with_borrow_mut(|scratch| {
                    let mut rows = std::mem::take(&mut scratch.rows);
                    self.forward_rows(affine, x, &mut rows, scratch, y);
                    scratch.rows = rows;
                });
            });
        y
    }

    /// As [`Self::forward`], keeping what [`Self::backward`] needs.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn forward_training(
        &self,
        affine: PerceptronAffine<'_>,
        x: Vec<f32>,
    ) -> (Vec<f32>, SavedPerceptron) {
        let (width, outputs) = (self.width(), self.outputs());
        let mut y = vec![0.0; count([self.rows(&x), outputs])];
        let tasks = y
            .par_chunks_mut(ROWS * outputs)
            .zip(x.par_chunks(ROWS * width))
            .map(|(y, x)| {
                let mut rows = SavedRows::default();
                SCRATCH.with_borrow_mut(|scratch| {
                    self.forward_rows(affine, x, &mut rows, scratch, y);
                });
                rows
            })
            .collect();
        (y, SavedPerceptron { x, tasks })
    }

    /// Gradients of the input and of the affine parameters. Sums over tasks are taken in order.
    ///
    /// # Shapes
    /// `dy` `[rows, outputs]`
    ///
    /// # Panics
    /// When `dy` has another length than the output of the pass that left `saved`.
    pub fn backward(
        &self,
        affine: PerceptronAffine<'_>,
        saved: &SavedPerceptron,
        dy: &[f32],
    ) -> PerceptronGradients {
        let (width, outputs) = (self.width(), self.outputs());
        let rows = self.rows(&saved.x);
        assert_eq!(dy.len(), count([rows, outputs]), "the output's gradient");
        let mut dx = vec![0.0; saved.x.len()];
        let sums: Vec<[Vec<f32>; 2]> = dx
            .par_chunks_mut(ROWS * width)
            .zip(saved.x.par_chunks(ROWS * width))
            .zip(dy.par_chunks(ROWS * outputs))
            .zip(&saved.tasks)
            .map(|(((dx, x), dy), rows)| {
                SCRATCH
                    .with_borrow_mut(|scratch| self.backward_rows(affine, x, rows, dy, scratch, dx))
            })
            .collect();
        let mut total = [vec![0.0; width], vec![0.0; width]];
        for sums in sums {
            for (total, sum) in total.iter_mut().zip(sums) {
                total
                    .iter_mut()
                    .zip(sum)
                    .for_each(|(total, sum)| *total += sum);
            }
        }
        let [weight, bias] = total;
        PerceptronGradients {
            x: dx,
            weight,
            bias,
        }
    }

    fn width(&self) -> usize {
        self.up.inputs()
    }

    fn rows(&self, x: &[f32]) -> usize {
        let rows = x.len() / self.width();
        assert_eq!(x.len(), rows * self.width(), "whole rows");
        rows
    }

    fn forward_rows(
        &self,
        affine: PerceptronAffine<'_>,
        x: &[f32],
        saved: &mut SavedRows,
        scratch: &mut Scratch,
        y: &mut [f32],
    ) {
        let (rows, hidden) = (x.len() / self.width(), self.up.outputs());
        let normalized = fit(&mut scratch.normalized, x.len());
        let operands = layer_norm::Forward {
            x,
            weight: affine.weight,
            bias: affine.bias,
            epsilon: self.epsilon,
            statistics: fit(&mut saved.statistics, rows),
            y: OperandMut::F32(normalized),
        };
        layer_norm::forward(self.capability, operands);
        let up = fit(&mut saved.up, rows * hidden);
        self.up.forward(rows, normalized, up);
        let product = fit(&mut scratch.hidden, rows * hidden);
        activation::forward(
            self.capability,
            self.activation,
            up,
            OperandMut::F32(product),
        );
        if let Some(gate) = &self.gate {
            let values = fit(&mut saved.gate, rows * hidden);
            gate.forward(rows, normalized, values);
            multiply(product, values);
        }
        self.down.forward(rows, product, y);
    }

    /// Writes the input's gradient and returns the sums of the affine parameters'.
    fn backward_rows(
        &self,
        affine: PerceptronAffine<'_>,
        x: &[f32],
        saved: &SavedRows,
        dy: &[f32],
        scratch: &mut Scratch,
        dx: &mut [f32],
    ) -> [Vec<f32>; 2] {
        let (width, hidden) = (self.width(), self.up.outputs());
        let rows = x.len() / width;
        let up = &saved.up[..rows * hidden];
        let d_hidden = fit(&mut scratch.hidden, rows * hidden);
        self.down.backward(rows, dy, d_hidden);
        let d_normalized = fit(&mut scratch.normalized, x.len());
        if let Some(gate) = &self.gate {
            let d_gate = fit(&mut scratch.gate, rows * hidden);
            activation::forward(
                self.capability,
                self.activation,
                up,
                OperandMut::F32(d_gate),
            );
            multiply(d_gate, d_hidden);
            multiply(d_hidden, &saved.gate[..rows * hidden]);
            // The gate's part of the gradient waits where the input's will stand.
            gate.backward(rows, d_gate, dx);
        }
        activation::backward(self.capability, self.activation, up, d_hidden);
        self.up.backward(rows, d_hidden, d_normalized);
        if self.gate.is_some() {
            d_normalized
                .iter_mut()
                .zip(&*dx)
                .for_each(|(sum, part)| *sum += part);
        }
        dx.fill(0.0);
        let mut sums = [vec![0.0; width], vec![0.0; width]];
        let [d_weight, d_bias] = &mut sums;
        let operands = layer_norm::Backward {
            x,
            statistics: &saved.statistics[..rows],
            weight: affine.weight,
            dy: d_normalized,
            dx,
            affine: Some((d_weight, d_bias)),
        };
        layer_norm::backward(self.capability, operands);
        sums
    }
}

fn multiply(values: &mut [f32], factors: &[f32]) {
    values
        .iter_mut()
        .zip(factors)
        .for_each(|(value, factor)| *value *= factor);
}

#[cfg(test)]
mod tests;
