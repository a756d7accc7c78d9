//! The image tower: normalized pixels to features.

use ueo::checkpoint::{ClipConfig, ResNetConfig, VisionConfig, VitConfig};
use ueo::tensor::HostTensor;

use super::graph::{Attribute, Graph, Value};
use super::siglip;
use super::transformer::{multi_head, residual_blocks};
use super::weights::Weights;

/// The only epsilon of BatchNorm in CLIP's ResNets.
const BATCH_NORM_EPSILON: f64 = 1e-5;
/// Output channels of a bottleneck, as a multiple of its inner channels.
const EXPANSION: usize = 4;

/// `[batch, 3, image_size, image_size]`, normalized, to `[batch, embed_dim]`, not normalized.
pub fn image_features(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    config: &ClipConfig,
    pixels: &Value,
) -> Value {
    match &config.vision {
        VisionConfig::Vit(vit) => vision_transformer(graph, weights, vit, pixels),
        VisionConfig::ResNet(resnet) => modified_resnet(graph, weights, resnet, pixels),
        VisionConfig::Siglip(vit) => siglip::image_features(graph, weights, vit, pixels),
        VisionConfig::ModularVit(_) => unreachable!("refused before a graph is begun"),
        VisionConfig::ConvNext(_) | VisionConfig::ViTamin(_) => {
            unreachable!("a tower without a graph is refused before one is begun")
        }
    }
}

/// The name of an image tower that [`image_features`] has no graph for.
pub fn without_graph(config: &VisionConfig) -> Option<&'static str> {
    match config {
        VisionConfig::ConvNext(_) => Some("ConvNeXt"),
        VisionConfig::ViTamin(_) => Some("ViTamin"),
        _ => None,
    }
}

fn vision_transformer(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    config: &VitConfig,
    pixels: &Value,
) -> Value {
    let transformer = &config.transformer;
    let epsilon = transformer.layer_norm_epsilon;
    graph.enter("visual");
    let patches = patches(graph, weights, config, pixels, None);
    // A row of zeros in front, to which the class token comes with its position.
    let places = graph.integers(&[0, 1, 0, 0, 0, 0]);
    let tokens = graph.node("Pad", &[&patches, &places], &[]);
    let positions = positions_with_class_token(weights);
    let positions = graph.weight("visual.positional_embedding", positions);
    let x = graph.add(&tokens, &positions);
    let x = weights.layer_norm(graph, &x, "visual.ln_pre", epsilon);
    let x = residual_blocks(graph, weights, transformer, "visual.transformer", x, None);
    graph.enter("visual");
    let class_token = graph.pick(&x, 0);
    let class_token = weights.layer_norm(graph, &class_token, "visual.ln_post", epsilon);
    let projection = weights.put_matrix(graph, "visual.proj", 1);
    graph.matmul(&class_token, &projection)
}

/// Patches as tokens, `[batch, patches, width]`.
pub fn patches(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    config: &VitConfig,
    pixels: &Value,
    bias: Option<&Value>,
) -> Value {
    let kernel = weights.put_matrix(graph, "visual.conv1.weight", 0);
    let side = config.patch_size as i64;
    let inputs: Vec<&Value> = [pixels, &kernel].into_iter().chain(bias).collect();
    let attributes = [
        Attribute::Ints("kernel_shape", &[side; 2]),
        Attribute::Ints("strides", &[side; 2]),
    ];
    let patches = graph.node("Conv", &inputs, &attributes);
    let patches = graph.reshape(&patches, &[0, config.transformer.width as i64, -1]);
    graph.transpose(&patches, &[0, 2, 1])
}

/// The positional embedding with the class token added to its first row.
fn positions_with_class_token(weights: &mut Weights<'_>) -> HostTensor {
    let mut positions = weights.take("visual.positional_embedding");
    let class = weights.take("visual.class_embedding");
    for (position, class) in positions.data.iter_mut().zip(&class.data) {
        *position += class;
    }
    positions
}

fn modified_resnet(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    config: &ResNetConfig,
    pixels: &Value,
) -> Value {
    graph.enter("visual");
    let mut x = pixels.clone();
    for (layer, stride) in [(1, 2), (2, 1), (3, 1)] {
        let (convolution, norm) = (format!("visual.conv{layer}"), format!("visual.bn{layer}"));
        x = convolution_with_norm(graph, weights, &x, (&convolution, &norm), stride);
        x = graph.node("Relu", &[&x], &[]);
    }
    x = average_pool(graph, &x);
    for (stage, &blocks) in config.layers.iter().enumerate() {
        for block in 0..blocks {
            let name = format!("visual.layer{}.{block}", stage + 1);
            graph.enter(&name);
            x = bottleneck(graph, weights, &x, &name, stage > 0 && block == 0);
        }
    }
    attention_pool(graph, weights, config, &x)
}

fn bottleneck(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    x: &Value,
    name: &str,
    halves: bool,
) -> Value {
    let mut layer = |graph: &mut Graph, x: &Value, convolution: &str, norm: &str| {
        let names = (
            &*format!("{name}.{convolution}"),
            &*format!("{name}.{norm}"),
        );
        convolution_with_norm(graph, weights, x, names, 1)
    };
    let y = layer(graph, x, "conv1", "bn1");
    let y = graph.node("Relu", &[&y], &[]);
    let y = layer(graph, &y, "conv2", "bn2");
    let mut y = graph.node("Relu", &[&y], &[]);
    if halves {
        y = average_pool(graph, &y);
    }
    let y = layer(graph, &y, "conv3", "bn3");
    let has_downsample = weights
        .0
        .contains_key(&format!("{name}.downsample.0.weight"));
    let identity = match (has_downsample, halves) {
        (false, _) => x.clone(),
        (true, halves) => {
            let x = match halves {
                true => average_pool(graph, x),
                false => x.clone(),
            };
            let names = (
                &*format!("{name}.downsample.0"),
                &*format!("{name}.downsample.1"),
            );
            convolution_with_norm(graph, weights, &x, names, 1)
        }
    };
    let sum = graph.add(&y, &identity);
    graph.node("Relu", &[&sum], &[])
}

/// A convolution without bias and the BatchNorm behind it, whose stored statistics make both one convolution.
fn convolution_with_norm(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    x: &Value,
    (convolution, norm): (&str, &str),
    stride: i64,
) -> Value {
    let mut kernel = weights.take(&format!("{convolution}.weight"));
    let mut norm_values = |part: &str| weights.take(&format!("{norm}.{part}")).data;
    let (weight, bias) = (norm_values("weight"), norm_values("bias"));
    let (mean, variance) = (norm_values("running_mean"), norm_values("running_var"));
    let outputs = kernel.shape[0];
    let scales: Vec<f64> = (0..outputs)
        .map(|channel| {
            f64::from(weight[channel]) / (f64::from(variance[channel]) + BATCH_NORM_EPSILON).sqrt()
        })
        .collect();
    let per_channel = kernel.data.len() / outputs;
    for (taps, scale) in kernel.data.chunks_exact_mut(per_channel).zip(&scales) {
        taps.iter_mut()
            .for_each(|tap| *tap = (f64::from(*tap) * scale) as f32);
    }
    let shifts = (0..outputs)
        .map(|channel| {
            (f64::from(bias[channel]) - scales[channel] * f64::from(mean[channel])) as f32
        })
        .collect();
    let side = kernel.shape[2] as i64;
    let kernel = graph.matrix(&format!("{convolution}.weight"), kernel, 0);
    let shift = HostTensor {
        shape: vec![outputs],
        data: shifts,
    };
    let shift = graph.weight(&format!("{convolution}.bias"), shift);
    graph.node(
        "Conv",
        &[x, &kernel, &shift],
        &[
            Attribute::Ints("kernel_shape", &[side; 2]),
            Attribute::Ints("pads", &[side / 2; 4]),
            Attribute::Ints("strides", &[stride; 2]),
        ],
    )
}

fn average_pool(graph: &mut Graph, x: &Value) -> Value {
    let attributes = [
        Attribute::Ints("kernel_shape", &[2, 2]),
        Attribute::Ints("strides", &[2, 2]),
    ];
    graph.node("AveragePool", &[x], &attributes)
}

/// Attention of the mean position to all positions of the last map.
fn attention_pool(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    config: &ResNetConfig,
    maps: &Value,
) -> Value {
    graph.enter("visual.attnpool");
    let channels = (config.width << (config.layers.len() - 1)) * EXPANSION;
    let positions = graph.reshape(maps, &[0, channels as i64, -1]);
    let positions = graph.transpose(&positions, &[0, 2, 1]);
    let mean = graph.node(
        "ReduceMean",
        &[&positions],
        &[Attribute::Ints("axes", &[1]), Attribute::Int("keepdims", 1)],
    );
    let x = graph.concat(&[&mean, &positions], 1);
    let embedding = weights.put(graph, "visual.attnpool.positional_embedding");
    let x = graph.add(&x, &embedding);
    let mut project = |graph: &mut Graph, x: &Value, part: &str| {
        let name = format!("visual.attnpool.{part}");
        weights.linear(graph, x, &format!("{name}.weight"), &format!("{name}.bias"))
    };
    // Only the mean position asks.
    let first = graph.integers(&[0]);
    let mean = graph.node("Gather", &[&x, &first], &[Attribute::Int("axis", 1)]);
    let parts = [
        project(graph, &mean, "q_proj"),
        project(graph, &x, "k_proj"),
        project(graph, &x, "v_proj"),
    ];
    let heads = config.heads;
    let pooled = multi_head(graph, &parts, heads, channels / heads, None);
    let pooled = graph.pick(&pooled, 0);
    project(graph, &pooled, "c_proj")
}
