//! The residual blocks that both towers share.

use ueo::checkpoint::{Activation, TransformerConfig};

use super::graph::{Attribute, Graph, Value};
use super::weights::Weights;

/// Runs the blocks `{prefix}.resblocks.{layer}` over `x`, `[batch, tokens, width]`. `mask` is added to the attention's
/// scores, `[tokens, tokens]`.
pub fn residual_blocks(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    config: &TransformerConfig,
    prefix: &str,
    mut x: Value,
    mask: Option<&Value>,
) -> Value {
    for layer in 0..config.layers {
        let block = format!("{prefix}.resblocks.{layer}");
        graph.enter(&block);
        let normalized = weights.layer_norm(
            graph,
            &x,
            &format!("{block}.ln_1"),
            config.layer_norm_epsilon,
        );
        let attended = attention(graph, weights, config, &block, &normalized, mask);
        x = graph.add(&x, &attended);
        let normalized = weights.layer_norm(
            graph,
            &x,
            &format!("{block}.ln_2"),
            config.layer_norm_epsilon,
        );
        let hidden = perceptron(graph, weights, config.activation, &block, &normalized);
        x = graph.add(&x, &hidden);
    }
    x
}

fn attention(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    config: &TransformerConfig,
    block: &str,
    x: &Value,
    mask: Option<&Value>,
) -> Value {
    let qkv = weights.linear(
        graph,
        x,
        &format!("{block}.attn.in_proj_weight"),
        &format!("{block}.attn.in_proj_bias"),
    );
    let lengths = graph.integers(&[config.width as i64; 3]);
    let parts = graph.nodes_of("Split", &[&qkv, &lengths], &[Attribute::Int("axis", -1)], 3);
    let (heads, head_width) = (config.heads, config.width / config.heads);
    let attended = multi_head(graph, &parts, heads, head_width, mask);
    weights.linear(
        graph,
        &attended,
        &format!("{block}.attn.out_proj.weight"),
        &format!("{block}.attn.out_proj.bias"),
    )
}

/// `softmax(q k^T / sqrt(head width) + mask) v` for each head; `parts` are queries, keys and values,
/// `[batch, tokens, heads * head_width]`, and so is the result. A query that is the same for the whole batch may come once.
pub fn multi_head(
    graph: &mut Graph,
    parts: &[Value],
    heads: usize,
    head_width: usize,
    mask: Option<&Value>,
) -> Value {
    let shape = [0, 0, heads as i64, head_width as i64];
    let mut split = |part: &Value, permutation: &[i64]| {
        let part = graph.reshape(part, &shape);
        graph.transpose(&part, permutation)
    };
    let query = split(&parts[0], &[0, 2, 1, 3]);
    let key = split(&parts[1], &[0, 2, 3, 1]);
    let value = split(&parts[2], &[0, 2, 1, 3]);
    let scale = graph.float((head_width as f32).powf(-0.5));
    let query = graph.mul(&query, &scale);
    let mut scores = graph.matmul(&query, &key);
    if let Some(mask) = mask {
        scores = graph.add(&scores, mask);
    }
    let shares = graph.softmax(&scores);
    let attended = graph.matmul(&shares, &value);
    let attended = graph.transpose(&attended, &[0, 2, 1, 3]);
    graph.reshape(&attended, &[0, 0, (heads * head_width) as i64])
}

/// Two linear layers with the activation between them, `{block}.mlp.c_fc` and `{block}.mlp.c_proj`.
pub fn perceptron(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    activation: Activation,
    block: &str,
    x: &Value,
) -> Value {
    let hidden = weights.linear(
        graph,
        x,
        &format!("{block}.mlp.c_fc.weight"),
        &format!("{block}.mlp.c_fc.bias"),
    );
    let hidden = activate(graph, activation, &hidden);
    weights.linear(
        graph,
        &hidden,
        &format!("{block}.mlp.c_proj.weight"),
        &format!("{block}.mlp.c_proj.bias"),
    )
}

fn activate(graph: &mut Graph, activation: Activation, x: &Value) -> Value {
    match activation {
        Activation::QuickGelu => {
            let slope = graph.float(1.702);
            let gate = graph.mul(x, &slope);
            let gate = graph.node("Sigmoid", &[&gate], &[]);
            graph.mul(x, &gate)
        }
        Activation::GeluTanh => {
            // (1 + tanh z) / 2 is the logistic function of 2 z, here x (a + b x^2).
            let (slope, cube) = (graph.float(1.595_769), graph.float(0.071_354_81));
            let square = graph.mul(x, x);
            let cubic = graph.mul(&square, &cube);
            let factor = graph.add(&cubic, &slope);
            let argument = graph.mul(x, &factor);
            let gate = graph.node("Sigmoid", &[&argument], &[]);
            graph.mul(x, &gate)
        }
        Activation::Gelu => {
            let scale = graph.float(std::f32::consts::FRAC_1_SQRT_2);
            let scaled = graph.mul(x, &scale);
            let erf = graph.node("Erf", &[&scaled], &[]);
            let one = graph.float(1.0);
            let gate = graph.add(&erf, &one);
            let half = graph.float(0.5);
            let half = graph.mul(x, &half);
            graph.mul(&half, &gate)
        }
    }
}
