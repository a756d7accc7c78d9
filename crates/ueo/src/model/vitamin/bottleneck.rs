//! An inverted bottleneck: to four times the channels, a depthwise convolution, and back.

use burn::tensor::{Tensor, activation};

use crate::model::depthwise::Depthwise;
use crate::model::linear::Linear;
use crate::model::maps::halve;
use crate::model::weights::Weights;
use crate::model::{ModelError, NormAffine, layer_norm};

/// Channels inside, as a multiple of those that leave it.
const EXPANSION: usize = 4;
/// Side of the depthwise convolution.
const KERNEL: usize = 3;

/// The frozen weights of a bottleneck: `shortcut(x) + narrow(gelu(depthwise(gelu(widen(norm(x))))))`.
#[derive(Debug)]
pub(super) struct Bottleneck {
    /// Positions and channels of the map that enters it.
    input: [usize; 2],
    halves: bool,
    /// In the shortcut, where the number of channels changes.
    expand: Option<Linear>,
    widen: Linear,
    depthwise: Depthwise,
    narrow: Linear,
}

impl Bottleneck {
    /// Takes `name` out of the weights; `input` are positions and channels.
    pub(super) fn new(
        name: &str,
        input: [usize; 2],
        outputs: usize,
        halves: bool,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        let [_, inputs] = input;
        let inner = EXPANSION * outputs;
        let expand = match inputs == outputs {
            true => None,
            false => {
                let name = format!("{name}.shortcut.expand");
                Some(Linear::pointwise(weights, &name, inputs, outputs)?)
            }
        };
        let stride = if halves { 2 } else { 1 };
        let depthwise = format!("{name}.conv2_kxk");
        Ok(Self {
            input,
            halves,
            expand,
            widen: Linear::pointwise(weights, &format!("{name}.conv1_1x1"), inputs, inner)?,
            depthwise: Depthwise::new(weights, &depthwise, inner, KERNEL, stride)?,
            narrow: Linear::pointwise(weights, &format!("{name}.conv3_1x1"), inner, outputs)?,
        })
    }

    /// Positions and channels of the map that enters it.
    pub(super) fn input(&self) -> [usize; 2] {
        self.input
    }

    pub(super) fn forward(&self, x: Tensor<3>, norm: &NormAffine, epsilon: f64) -> Tensor<3> {
        let y = self.widen.forward(layer_norm(x.clone(), norm, epsilon));
        let y = self.depthwise.forward(activation::gelu(y));
        let y = self.narrow.forward(activation::gelu(y));
        let shortcut = if self.halves { halve(x) } else { x };
        match &self.expand {
            Some(expand) => y + expand.forward(shortcut),
            None => y + shortcut,
        }
    }
}
