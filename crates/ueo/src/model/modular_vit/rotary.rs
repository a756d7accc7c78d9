//! Rotary positions: pairs of a query's or key's channels turned by angles that grow with the patch's row and column.
//!
//! The owner turns neighbouring channels together. Scores do not change when queries and keys have their channels in another order, so
//! here the first half of a head's channels holds the pairs' first members and the second half their second ones
//! ([`pairs_apart`]), and no channel has to be moved afterwards.

use burn::tensor::{Device, Tensor, TensorData};

use crate::checkpoint::{Rotary, RotaryOrder};

/// Largest wave length, in turns of 2 pi patches.
const TEMPERATURE: f64 = 10_000.0;

/// Cosines and sines of the angles, `[1, 1, tokens, half a head's width]` each; tokens in front of the patches are not turned.
#[derive(Debug)]
pub(super) struct Rotation {
    cosines: Tensor<4>,
    sines: Tensor<4>,
}

impl Rotation {
    /// For a grid of `side` x `side` patches behind `tokens_in_front`.
    pub(super) fn new(
        rotary: Rotary,
        side: usize,
        tokens_in_front: usize,
        head_width: usize,
        device: &Device,
    ) -> Self {
        let half = head_width / 2;
        let mut angles = vec![0.0; tokens_in_front * half];
        let bands = half / 2;
        let frequencies: Vec<f64> = (0..bands)
            .map(|band| TEMPERATURE.powf(-(band as f64) / bands as f64))
            .collect();
        let place = |index: usize| {
            (index + rotary.first) as f64 / side as f64 * rotary.reference_side as f64
        };
        for row in 0..side {
            for column in 0..side {
                let places = match rotary.order {
                    RotaryOrder::RowsFirst => [row, column],
                    RotaryOrder::ColumnsFirst => [column, row],
                };
                for at in places {
                    angles.extend(frequencies.iter().map(|frequency| place(at) * frequency));
                }
            }
        }
        let tokens = tokens_in_front + side * side;
        let table = |value: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|&angle| value(angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, [1, 1, tokens, half]), device)
        };
        Self {
            cosines: table(f64::cos),
            sines: table(f64::sin),
        }
    }

    /// Turns queries or keys `[batch, heads, tokens, head_width]` whose pairs stand apart.
    pub(super) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let half = self.cosines.dims()[3];
        let (first, second) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        let (cosines, sines) = (&self.cosines, &self.sines);
        let turned = |a: &Tensor<4>, b: &Tensor<4>| {
            (
                a.clone() * cosines.clone() - b.clone() * sines.clone(),
                b.clone() * cosines.clone() + a.clone() * sines.clone(),
            )
        };
        let (first, second) = turned(&first, &second);
        Tensor::cat(vec![first, second], 3)
    }
}

/// The rows of a projection to queries or keys, `[width, inputs]`, with the members of a head's pairs apart.
pub(super) fn pairs_apart(rows: Tensor<2>, heads: usize) -> Tensor<2> {
    let [width, inputs] = rows.dims();
    rows.reshape([heads, width / heads / 2, 2, inputs])
        .swap_dims(1, 2)
        .reshape([width, inputs])
}
