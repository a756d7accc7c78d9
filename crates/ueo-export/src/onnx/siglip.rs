//! SigLIP's image tower: patches without a class token, pooled by the attention of one learned query, the probe.

use ueo::checkpoint::VitConfig;
use ueo::tensor::HostTensor;

use super::graph::{Attribute, Graph, Value};
use super::transformer::{multi_head, perceptron, residual_blocks};
use super::vision::patches;
use super::weights::{Weights, transposed};

/// The pooling head.
const HEAD: &str = "visual.attn_pool";

/// `[batch, 3, image_size, image_size]`, normalized, to `[batch, width]`, not normalized.
pub fn image_features(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    config: &VitConfig,
    pixels: &Value,
) -> Value {
    let transformer = &config.transformer;
    graph.enter("visual");
    let bias = weights.put(graph, "visual.conv1.bias");
    let x = patches(graph, weights, config, pixels, Some(&bias));
    let positions = weights.put(graph, "visual.positional_embedding");
    let x = graph.add(&x, &positions);
    let x = residual_blocks(graph, weights, transformer, "visual.transformer", x, None);
    graph.enter("visual");
    let epsilon = transformer.layer_norm_epsilon;
    let x = weights.layer_norm(graph, &x, "visual.ln_post", epsilon);

    graph.enter(HEAD);
    let parts = attention_parts(graph, weights, transformer.width, &x);
    let head_width = transformer.width / transformer.heads;
    let pooled = multi_head(graph, &parts, transformer.heads, head_width, None);
    let pooled = weights.linear(
        graph,
        &pooled,
        &format!("{HEAD}.out_proj.weight"),
        &format!("{HEAD}.out_proj.bias"),
    );
    let normalized = weights.layer_norm(graph, &pooled, &format!("{HEAD}.ln"), epsilon);
    let hidden = perceptron(graph, weights, transformer.activation, HEAD, &normalized);
    let features = graph.add(&pooled, &hidden);
    graph.pick(&features, 0)
}

/// The query, which is the same for every image, `[1, 1, width]`, and keys and values of the tokens, `[batch, tokens, width]`.
fn attention_parts(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    width: usize,
    tokens: &Value,
) -> [Value; 3] {
    let probe = weights.take(&format!("{HEAD}.probe"));
    let mut weight = weights.take(&format!("{HEAD}.in_proj_weight"));
    let mut bias = weights.take(&format!("{HEAD}.in_proj_bias"));
    let query = query(&probe.data, &weight.data, &bias.data[..width]);
    let query = HostTensor {
        shape: vec![1, 1, width],
        data: query,
    };
    let query = graph.weight(&format!("{HEAD}.query"), query);

    weight.data.drain(..width * width);
    weight.shape[0] -= width;
    bias.data.drain(..width);
    bias.shape[0] -= width;
    let weight = graph.matrix(&format!("{HEAD}.kv_weight"), transposed(&weight), 1);
    let bias = graph.weight(&format!("{HEAD}.kv_bias"), bias);
    let both = graph.linear(tokens, &weight, &bias);
    let lengths = graph.integers(&[width as i64; 2]);
    let attributes = [Attribute::Int("axis", -1)];
    let mut both = graph.nodes_of("Split", &[&both, &lengths], &attributes, 2);
    let value = both.remove(1);
    [query, both.remove(0), value]
}

/// `W probe + b`; the rows of the query's matrix are the first ones.
fn query(probe: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let rows = weight.chunks_exact(probe.len()).zip(bias);
    rows.map(|(row, bias)| {
        let products = row.iter().zip(probe);
        let sum: f64 = products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        (sum + f64::from(*bias)) as f32
    })
    .collect()
}
