//! A linear layer whose weight never changes, packed once for each direction.

use crate::buffer::count;
use crate::gemm::{Output, PackedWeight};
use crate::precision::{Operand, OperandBuffer};
use crate::{Capability, Precision, ShapeError};
use std::cell::RefCell;
use std::sync::OnceLock;

/// `y = x W^T + b` with a frozen weight, so that there is no gradient but the input's.
///
/// The weight is packed for the forward product at once and for the input's gradient at the first backward pass, so
/// that inference pays for one copy only. Callers may drop their own.
pub struct FrozenLinear {
    capability: Capability,
    forward: PackedWeight,
    input_gradient: OnceLock<PackedWeight>,
    bias: Option<Vec<f32>>,
}

thread_local! {
    /// f32 operands of the public functions, rounded to the weight's precision.
    static ROUNDED: RefCell<OperandBuffer> = RefCell::default();
}

impl FrozenLinear {
    /// Packs a weight `[outputs, inputs]`, row-major as in PyTorch, and an optional bias `[outputs]`, which stays f32.
    ///
    /// # Errors
    /// [`ShapeError`] when a length does not match the shape.
    pub fn new(
        capability: Capability,
        precision: Precision,
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
        ShapeError::check_count("weight of a linear layer", [outputs, inputs], weight.len())?;
        if let Some(bias) = bias {
            ShapeError::check("bias of a linear layer", outputs, bias.len())?;
        }
        let forward = PackedWeight::pack_transposed(capability, precision, weight, inputs, outputs);
        Ok(Self {
            capability,
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
        self.with_operand(&x[..count([rows, self.inputs()])], |x| {
            self.forward_operand(rows, x, y);
        });
    }

    /// `dx = dy W`, on the calling thread.
    ///
    /// # Shapes
    /// `dy` `[rows, outputs]`, `dx` `[rows, inputs]`.
    ///
    /// # Panics
    /// When a slice is shorter than that.
    pub fn backward(&self, rows: usize, dy: &[f32], dx: &mut [f32]) {
        self.with_operand(&dy[..count([rows, self.outputs()])], |dy| {
            self.backward_operand(rows, dy, dx);
        });
    }

    fn with_operand(&self, values: &[f32], run: impl FnOnce(Operand<'_>)) {
        ROUNDED.with_borrow_mut(|buffer| {
            run(buffer.rounded(self.capability, self.forward.precision(), values));
        });
    }

    /// As [`FrozenLinear::forward`] with an operand in the weight's precision.
    pub(crate) fn forward_operand(&self, rows: usize, x: Operand<'_>, y: &mut [f32]) {
        let output = self.rows(y, false);
        self.forward_into(rows, x, output);
    }

    /// `y += x W^T + b`.
    pub(crate) fn forward_add(&self, rows: usize, x: Operand<'_>, y: &mut [f32]) {
        let output = self.rows(y, true);
        self.forward_into(rows, x, output);
    }

    fn rows<'a>(&self, y: &'a mut [f32], accumulate: bool) -> Output<'a> {
        Output {
            data: y,
            row_stride: self.outputs(),
            accumulate,
        }
    }

    /// As [`FrozenLinear::forward`] with an operand in the weight's precision and rows of `y` where `output` says.
    pub(crate) fn forward_into(&self, rows: usize, x: Operand<'_>, output: Output<'_>) {
        self.forward.multiply(rows, x, self.bias.as_deref(), output);
    }

    /// As [`FrozenLinear::backward`] with an operand in the weight's precision.
    pub(crate) fn backward_operand(&self, rows: usize, dy: Operand<'_>, dx: &mut [f32]) {
        let packed = self
            .input_gradient
            .get_or_init(|| self.forward.transposed());
        let output = Output {
            data: dx,
            row_stride: self.inputs(),
            accumulate: false,
        };
        packed.multiply(rows, dy, None, output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_wrap_around_are_refused() {
        for capability in Capability::available() {
            for precision in Precision::ALL {
                // 2^33 x 2^31 numbers are none at all in 64 bits.
                let error = FrozenLinear::new(capability, precision, &[], None, 1 << 33, 1 << 31)
                    .err()
                    .unwrap();
                assert_eq!((error.expected, error.found), (usize::MAX, 0));
                let layer =
                    FrozenLinear::new(capability, precision, &[1.0; 16], None, 4, 4).unwrap();
                let rows = (1 << (usize::BITS - 2)) + 1;
                for run in [FrozenLinear::forward, FrozenLinear::backward] {
                    let refused = std::panic::catch_unwind(|| {
                        run(&layer, rows, &[1.0; 4], &mut [0.0; 4]);
                    });
                    let message = *refused.unwrap_err().downcast::<String>().unwrap();
                    assert!(message.contains("larger than memory"), "{message}");
                }
            }
        }
    }
}
