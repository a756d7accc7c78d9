//! The text tower: token ids to features.

use ueo::checkpoint::{TextArchitecture, TextConfig};
use ueo::tensor::HostTensor;

use super::graph::{Attribute, Graph, Value};
use super::proto::ElementType;
use super::transformer::residual_blocks;
use super::weights::Weights;

/// Added to the score of a token that comes later: far below any score, and finite in every number format that a runtime may
/// choose for it.
const HIDDEN: f32 = -3e4;

/// `[batch, sequence]` to `[batch, embed_dim]`, not normalized. The feature is read at the first `end_of_text` of a row; of texts that
/// are filled up to the context length, at the last token.
pub fn text_features(
    graph: &mut Graph,
    weights: &mut Weights<'_>,
    config: &TextConfig,
    end_of_text: u32,
    ids: &Value,
) -> Value {
    graph.enter("text");
    let shape = graph.shape_of(ids);
    let second = graph.integers(&[1]);
    let length = graph.node("Gather", &[&shape, &second], &[Attribute::Int("axis", 0)]);
    let x = embed(graph, weights, ids, &length);
    let mask = match config.architecture {
        TextArchitecture::Causal => Some(causal_mask(graph, config.context_length, &length)),
        TextArchitecture::Padded { .. } => None,
    };
    let transformer = &config.transformer;
    let x = residual_blocks(graph, weights, transformer, "transformer", x, mask.as_ref());
    graph.enter("text");
    let x = match config.architecture {
        TextArchitecture::Causal => at_first(
            graph,
            (ids, &length),
            end_of_text,
            config.context_length,
            &x,
        ),
        TextArchitecture::Padded { .. } => graph.pick(&x, config.context_length as i64 - 1),
    };
    let x = weights.layer_norm(graph, &x, "ln_final", transformer.layer_norm_epsilon);
    let projection = weights.put_matrix(graph, "text_projection", 1);
    let features = graph.matmul(&x, &projection);
    match config.architecture {
        TextArchitecture::Causal => features,
        TextArchitecture::Padded { .. } => {
            let bias = weights.put(graph, "text_projection_bias");
            graph.add(&features, &bias)
        }
    }
}

/// Tokens with their positions, `[batch, sequence, width]`.
fn embed(graph: &mut Graph, weights: &mut Weights<'_>, ids: &Value, length: &Value) -> Value {
    let table = weights.put(graph, "token_embedding.weight");
    let tokens = graph.node("Gather", &[&table, ids], &[Attribute::Int("axis", 0)]);
    let positions = weights.put(graph, "positional_embedding");
    let (start, axes) = (graph.integers(&[0]), graph.integers(&[0]));
    let positions = graph.node("Slice", &[&positions, &start, length, &axes], &[]);
    graph.add(&tokens, &positions)
}

/// What hides later tokens, `[sequence, sequence]`.
fn causal_mask(graph: &mut Graph, context_length: usize, length: &Value) -> Value {
    let hides = |index: usize| index % context_length > index / context_length;
    let data = (0..context_length * context_length)
        .map(|index| if hides(index) { HIDDEN } else { 0.0 })
        .collect();
    let shape = vec![context_length; 2];
    let mask = graph.weight("text.causal_mask", HostTensor { shape, data });
    let (start, axes) = (graph.integers(&[0, 0]), graph.integers(&[0, 1]));
    let end = graph.concat(&[length, length], 0);
    graph.node("Slice", &[&mask, &start, &end, &axes], &[])
}

/// The token of each row where its ids have `wanted` for the first time, `[batch, width]`.
fn at_first(
    graph: &mut Graph,
    (ids, length): (&Value, &Value),
    wanted: u32,
    context_length: usize,
    x: &Value,
) -> Value {
    let wanted = graph.integer(i64::from(wanted));
    let found = graph.node("Equal", &[ids, &wanted], &[]);
    let found = graph.cast(&found, ElementType::Float);
    // The earlier the larger: which of equal values is taken differs between runtimes.
    let ranks = (0..context_length).map(|place| (context_length - place) as f32);
    let ranks = graph.floats(&[context_length], ranks.collect());
    let (start, axes) = (graph.integers(&[0]), graph.integers(&[0]));
    let ranks = graph.node("Slice", &[&ranks, &start, length, &axes], &[]);
    let found = graph.mul(&found, &ranks);
    let attributes = [Attribute::Int("axis", 1), Attribute::Int("keepdims", 1)];
    let place = graph.node("ArgMax", &[&found], &attributes);
    let attributes = [Attribute::Int("batch_dims", 1)];
    graph.node("GatherND", &[x, &place], &attributes)
}
