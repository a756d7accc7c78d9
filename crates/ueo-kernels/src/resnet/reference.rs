//! The convolutional part in f64, written as its definition: what tests compare with.

use super::{BottleneckWeights, ConvolutionWeights};
use crate::convolution::MapShape;
use crate::reference::Random;

/// Every tap of a window: `(input index, output index, tap)` of positions, for all positions.
fn taps(input: MapShape, kernel: usize, stride: usize) -> Vec<(usize, usize, usize)> {
    let (height, width) = (input.height.div_ceil(stride), input.width.div_ceil(stride));
    let mut taps = Vec::new();
    for image in 0..input.images {
        for y in 0..height {
            for x in 0..width {
                for dy in 0..kernel {
                    for dx in 0..kernel {
                        let top = (y * stride + dy).checked_sub(kernel / 2);
                        let left = (x * stride + dx).checked_sub(kernel / 2);
                        let (Some(top), Some(left)) = (top, left) else {
                            continue;
                        };
                        if top < input.height && left < input.width {
                            taps.push((
                                (image * input.height + top) * input.width + left,
                                (image * height + y) * width + x,
                                dy * kernel + dx,
                            ));
                        }
                    }
                }
            }
        }
    }
    taps
}

/// Channels-last convolution with a weight `[outputs, inputs, kernel, kernel]`.
pub(crate) fn convolution(
    x: &[f64],
    input: MapShape,
    weight: &[f32],
    kernel: usize,
    stride: usize,
) -> Vec<f64> {
    let (inputs, area) = (input.channels, kernel * kernel);
    let outputs = weight.len() / (inputs * area);
    let positions = input.images * input.height.div_ceil(stride) * input.width.div_ceil(stride);
    let mut y = vec![0.0; positions * outputs];
    for (from, to, tap) in taps(input, kernel, stride) {
        for o in 0..outputs {
            for i in 0..inputs {
                y[to * outputs + o] +=
                    x[from * inputs + i] * f64::from(weight[(o * inputs + i) * area + tap]);
            }
        }
    }
    y
}

/// Gradient to the input of a convolution of stride 1.
pub(crate) fn convolution_backward(
    dy: &[f64],
    input: MapShape,
    weight: &[f32],
    kernel: usize,
) -> Vec<f64> {
    let (inputs, area) = (input.channels, kernel * kernel);
    let outputs = weight.len() / (inputs * area);
    let mut dx = vec![0.0; input.len()];
    for (from, to, tap) in taps(input, kernel, 1) {
        for o in 0..outputs {
            for i in 0..inputs {
                dx[from * inputs + i] +=
                    dy[to * outputs + o] * f64::from(weight[(o * inputs + i) * area + tap]);
            }
        }
    }
    dx
}

/// Random frozen tensors of one convolution and its norm.
pub(super) struct Parameters {
    weight: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    inputs: usize,
    kernel: usize,
    trained: bool,
    stride: usize,
}

/// A small tower with random weights.
pub(super) struct Tower {
    pub stem: [Parameters; 3],
    pub blocks: Vec<([Parameters; 3], Option<Parameters>, usize)>,
    /// Weight, then bias of each layer.
    pub affine: Vec<f32>,
}

/// A map in f64.
#[derive(Clone)]
struct Map {
    shape: MapShape,
    values: Vec<f64>,
}

impl Parameters {
    fn random(random: &mut Random, inputs: usize, outputs: usize, kernel: usize) -> Self {
        let fan_in = (inputs * kernel * kernel) as f64;
        Self {
            weight: random.values(
                outputs * inputs * kernel * kernel,
                (3.0 / fan_in).sqrt() * 1.5,
            ),
            mean: random.values(outputs, 0.2),
            variance: random
                .values(outputs, 0.5)
                .iter()
                .map(|x| x + 1.0)
                .collect(),
            inputs,
            kernel,
            trained: true,
            stride: 1,
        }
    }

    pub fn weights(&self) -> ConvolutionWeights<'_> {
        ConvolutionWeights {
            weight: &self.weight,
            mean: &self.mean,
            variance: &self.variance,
            inputs: self.inputs,
            kernel: self.kernel,
            trained: self.trained,
        }
    }
}

impl Tower {
    /// Bottlenecks of `(inner channels, stride)` behind a stem of `width` channels.
    pub fn random(width: usize, blocks: &[(usize, usize)], train_downsample: bool) -> Self {
        let mut random = Random::new(width as u64);
        let half = width / 2;
        let mut stem = [
            Parameters::random(&mut random, 3, half, 3),
            Parameters::random(&mut random, half, half, 3),
            Parameters::random(&mut random, half, width, 3),
        ];
        stem[0].stride = 2;
        let mut inputs = width;
        let blocks = blocks
            .iter()
            .map(|&(planes, stride)| {
                let outputs = 4 * planes;
                let layers = [
                    Parameters::random(&mut random, inputs, planes, 1),
                    Parameters::random(&mut random, planes, planes, 3),
                    Parameters::random(&mut random, planes, outputs, 1),
                ];
                let downsample = (stride > 1 || inputs != outputs).then(|| {
                    let mut layer = Parameters::random(&mut random, inputs, outputs, 1);
                    layer.trained = train_downsample;
                    layer
                });
                inputs = outputs;
                (layers, downsample, stride)
            })
            .collect();
        let mut tower = Self {
            stem,
            blocks,
            affine: Vec::new(),
        };
        let affine = tower
            .layers()
            .flat_map(|layer| {
                let weight = random.values(layer.mean.len(), 0.4);
                let bias = random.values(layer.mean.len(), 0.2);
                [weight.iter().map(|w| 1.0 + w).collect(), bias].concat()
            })
            .collect();
        tower.affine = affine;
        tower
    }

    fn layers(&self) -> impl Iterator<Item = &Parameters> {
        let blocks = self.blocks.iter();
        self.stem
            .iter()
            .chain(blocks.flat_map(|(layers, downsample, _)| layers.iter().chain(downsample)))
    }

    pub fn bottlenecks(&self) -> Vec<BottleneckWeights<'_>> {
        self.blocks
            .iter()
            .map(|(layers, downsample, stride)| BottleneckWeights {
                convolutions: layers.each_ref().map(Parameters::weights),
                downsample: downsample.as_ref().map(Parameters::weights),
                stride: *stride,
            })
            .collect()
    }

    /// Where each layer's weight begins in the affine parameters.
    fn offsets(&self) -> Vec<usize> {
        let mut end = 0;
        self.layers()
            .map(|layer| {
                end += 2 * layer.mean.len();
                end - 2 * layer.mean.len()
            })
            .collect()
    }

    /// Which affine parameters get a gradient.
    pub fn is_trained(&self) -> Vec<bool> {
        self.layers()
            .flat_map(|layer| vec![layer.trained; 2 * layer.mean.len()])
            .collect()
    }

    /// The output for pixels `[images, 3, side, side]` and given affine parameters; with `marks`, every ReLU passes what it passed there
    /// (appended where there is none yet), so that finite differences see the derivative and not a kink.
    pub fn forward(
        &self,
        affine: &[f64],
        pixels: &[f32],
        side: usize,
        marks: &mut Vec<Vec<bool>>,
    ) -> Vec<f64> {
        let images = pixels.len() / (3 * side * side);
        let shape = MapShape {
            images,
            height: side,
            width: side,
            channels: 3,
        };
        let mut x = Map {
            shape,
            values: (0..shape.len())
                .map(|i| {
                    let (position, channel) = (i / 3, i % 3);
                    let (image, inside) = (position / (side * side), position % (side * side));
                    f64::from(pixels[(image * 3 + channel) * side * side + inside])
                })
                .collect(),
        };
        let offsets = self.offsets();
        let mut next = 0;
        let mut relus = 0;
        let norm = |layer: &Parameters, x: &Map, index: usize| -> Map {
            let at = offsets[index];
            let outputs = layer.mean.len();
            let values = convolution(
                &x.values,
                x.shape,
                &layer.weight,
                layer.kernel,
                layer.stride,
            );
            let shape = MapShape {
                height: x.shape.height.div_ceil(layer.stride),
                width: x.shape.width.div_ceil(layer.stride),
                channels: outputs,
                ..x.shape
            };
            let values = values
                .iter()
                .enumerate()
                .map(|(i, z)| {
                    let c = i % outputs;
                    let deviation = (f64::from(layer.variance[c]) + f64::from(1e-5f32)).sqrt();
                    (z - f64::from(layer.mean[c])) / deviation * affine[at + c]
                        + affine[at + outputs + c]
                })
                .collect();
            Map { shape, values }
        };
        let mut relu = |mut map: Map| -> Map {
            if relus == marks.len() {
                marks.push(map.values.iter().map(|&value| value > 0.0).collect());
            }
            for (value, &open) in map.values.iter_mut().zip(&marks[relus]) {
                *value = if open { *value } else { 0.0 };
            }
            relus += 1;
            map
        };
        for layer in &self.stem {
            x = relu(norm(layer, &x, next));
            next += 1;
        }
        x = pool(&x, 2);
        for (layers, downsample, stride) in &self.blocks {
            let y = relu(norm(&layers[0], &x, next));
            let y = relu(norm(&layers[1], &y, next + 1));
            let mut y = norm(&layers[2], &pool(&y, *stride), next + 2);
            next += 3;
            let residual = match downsample {
                Some(layer) => {
                    next += 1;
                    norm(layer, &pool(&x, *stride), next - 1)
                }
                None => x,
            };
            y.values
                .iter_mut()
                .zip(&residual.values)
                .for_each(|(y, r)| *y += r);
            x = relu(y);
        }
        x.values
    }
}

fn pool(map: &Map, window: usize) -> Map {
    let shape = MapShape {
        height: map.shape.height / window,
        width: map.shape.width / window,
        ..map.shape
    };
    let mut values = vec![0.0; shape.len()];
    for (i, value) in values.iter_mut().enumerate() {
        let (position, channel) = (i / shape.channels, i % shape.channels);
        let (row, x) = (position / shape.width, position % shape.width);
        let (image, y) = (row / shape.height, row % shape.height);
        for dy in 0..window {
            for dx in 0..window {
                let row = image * map.shape.height + y * window + dy;
                let position = row * map.shape.width + x * window + dx;
                *value += map.values[position * shape.channels + channel];
            }
        }
        *value /= (window * window) as f64;
    }
    Map { shape, values }
}
