//! A linear layer whose weight never changes, packed once for each direction.

use crate::gemm::{Left, Output, PackedMatrix, multiply};
use crate::{Capability, ShapeError};
use std::sync::OnceLock;

/// `y = x W^T + b` with a frozen weight, so that there is no gradient but the input's.
///
/// The weight is packed for the forward product at once and for the input's gradient at the first backward pass, so
/// that inference pays for one copy only. Callers may drop their own.
pub struct FrozenLinear {
    forward: PackedMatrix,
    input_gradient: OnceLock<PackedMatrix>,
    bias: Option<Vec<f32>>,
}

impl FrozenLinear {
    /// Packs a weight `[outputs, inputs]`, row-major as in PyTorch, and an optional bias `[outputs]`.
    ///
    /// # Errors
    /// [`ShapeError`] when a length does not match the shape.
    pub fn new(
        capability: Capability,
        weight: &[f32],
        bias: Option<&[f32]>,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, ShapeError> {
        ShapeError::check(
            "inputs of a linear layer (at least 1)",
            inputs.max(1),
            inputs,
        )?;
        ShapeError::check(
            "outputs of a linear layer (at least 1)",
            outputs.max(1),
            outputs,
        )?;
        ShapeError::check("weight of a linear layer", inputs * outputs, weight.len())?;
        if let Some(bias) = bias {
            ShapeError::check("bias of a linear layer", outputs, bias.len())?;
        }
        let mut forward = PackedMatrix::new(capability);
        forward.pack_transposed(weight, inputs, inputs, outputs);
        Ok(Self {
            forward,
            input_gradient: OnceLock::new(),
            bias: bias.map(<[f32]>::to_vec),
        })
    }

    /// Length of an input row.
    pub fn inputs(&self) -> usize {
        self.forward.depth()
    }

    /// Length of an output row.
    pub fn outputs(&self) -> usize {
        self.forward.columns()
    }

    /// `y = x W^T + b`, on the calling thread.
    ///
    /// # Shapes
    /// `x` `[rows, inputs]`, `y` `[rows, outputs]`.
    ///
    /// # Panics
    /// When a slice is shorter than that.
    pub fn forward(&self, rows: usize, x: &[f32], y: &mut [f32]) {
        self.apply(rows, x, y, false);
    }

    /// `y += x W^T + b`; see [`FrozenLinear::forward`].
    ///
    /// # Panics
    /// When a slice is shorter than its shape.
    pub fn forward_add(&self, rows: usize, x: &[f32], y: &mut [f32]) {
        self.apply(rows, x, y, true);
    }

    fn apply(&self, rows: usize, x: &[f32], y: &mut [f32], accumulate: bool) {
        let output = Output {
            data: y,
            row_stride: self.outputs(),
            accumulate,
        };
        multiply(
            Left::rows(x, rows, self.inputs()),
            &self.forward,
            self.bias.as_deref(),
            output,
        );
    }

    /// `dx = dy W`, on the calling thread.
    ///
    /// # Shapes
    /// `dy` `[rows, outputs]`, `dx` `[rows, inputs]`.
    ///
    /// # Panics
    /// When a slice is shorter than that.
    pub fn backward(&self, rows: usize, dy: &[f32], dx: &mut [f32]) {
        let packed = self
            .input_gradient
            .get_or_init(|| self.forward.transposed());
        let output = Output {
            data: dx,
            row_stride: self.inputs(),
            accumulate: false,
        };
        multiply(Left::rows(dy, rows, self.outputs()), packed, None, output);
    }
}
