//! What is made of image features: cosines, probabilities, the confidence by the run's score, the decision.

use ueo::evaluate::{Score, Threshold};
use ueo::tensor::HostTensor;

use crate::ExportError;
use crate::subject::Subject;

use super::graph::{Attribute, Axis, Graph, Value};
use super::proto::ElementType;
use super::weights::transposed;

/// Adds all outputs to a graph whose image features are `[batch, embed_dim]`.
///
/// # Errors
///
/// [`ExportError::Score`] for a score that this version cannot write as a graph.
pub fn outputs(graph: &mut Graph, subject: &Subject, features: &Value) -> Result<(), ExportError> {
    graph.enter("classifier");
    let classes = subject.classes().len();
    let mut features = normalized(graph, features);
    if let Some(offset) = &subject.image_offset {
        let offset = graph.floats(&offset.shape, offset.data.clone());
        let centred = graph.sub(&features, &offset);
        features = normalized(graph, &centred);
    }
    let cosines = cosines(graph, &features, &subject.class_embeddings);
    let negatives = subject
        .negative_embeddings
        .as_ref()
        .map(|embeddings| self::cosines(graph, &features, embeddings));
    let attributes = [Attribute::Int("axis", 1), Attribute::Int("keepdims", 0)];
    let label = graph.node("ArgMax", &[&cosines], &attributes);
    let scale = graph.float(subject.logit_scale as f32);
    let logits = graph.mul(&cosines, &scale);
    let probabilities = graph.softmax(&logits);
    let confidence = confidence(graph, subject, &cosines, negatives.as_ref())?;
    let confidence = graph.pick(&confidence, 0);
    let known = reaches(graph, &confidence, subject.threshold.value);
    let verdict = verdict(graph, &confidence, &subject.threshold);

    let (batch, per_class) = (Axis::Free("batch"), Axis::Fixed(classes));
    let float = ElementType::Float;
    graph.output(
        "label",
        &label,
        ElementType::Int64,
        &[batch],
        "Index of the most similar class in class_names of the metadata",
    );
    graph.output(
        "probabilities",
        &probabilities,
        float,
        &[batch, per_class],
        "Softmax of the cosines times logit_scale",
    );
    graph.output(
        "confidence",
        &confidence,
        float,
        &[batch],
        "What tells known from unknown images; higher is more probably known",
    );
    graph.output(
        "known",
        &known,
        ElementType::Bool,
        &[batch],
        "Whether the confidence reaches the threshold: the image probably shows one of the classes",
    );
    graph.output(
        "verdict",
        &verdict,
        ElementType::Int64,
        &[batch],
        "Index in verdicts of the metadata: whether to reject, to let a person look, or to accept",
    );
    graph.output(
        "cosines",
        &cosines,
        float,
        &[batch, per_class],
        "Cosines of the image to all classes",
    );
    Ok(())
}

/// Whether confidences are at least a number.
fn reaches(graph: &mut Graph, confidence: &Value, cut: f64) -> Value {
    let cut = graph.float(at_most(cut));
    graph.node("GreaterOrEqual", &[confidence, &cut], &[])
}

/// How many of the two cuts a confidence reaches: the index of its verdict in [`VERDICTS`](crate::subject::VERDICTS).
fn verdict(graph: &mut Graph, confidence: &Value, threshold: &Threshold) -> Value {
    let [rejecting, accepting] = threshold.cuts().map(|cut| {
        let reached = reaches(graph, confidence, cut);
        graph.cast(&reached, ElementType::Int64)
    });
    graph.add(&rejecting, &accepting)
}

/// The largest f32 that is not above a number: the image that a threshold was taken from reaches it in f32, too.
fn at_most(value: f64) -> f32 {
    let nearest = value as f32;
    match f64::from(nearest) > value {
        true => nearest.next_down(),
        false => nearest,
    }
}

/// Rows of unit L2 norm.
fn normalized(graph: &mut Graph, features: &Value) -> Value {
    let squares = graph.mul(features, features);
    let sum = graph.sum_last(&squares);
    let norm = graph.node("Sqrt", &[&sum], &[]);
    graph.div(features, &norm)
}

/// Cosines to embeddings `[names, embed_dim]`. They stay in f32: they decide, and are small.
fn cosines(graph: &mut Graph, features: &Value, embeddings: &HostTensor) -> Value {
    let HostTensor { shape, data } = transposed(embeddings);
    let embeddings = graph.floats(&shape, data);
    graph.matmul(features, &embeddings)
}

/// The confidence, `[batch, 1]`; [`Score`] has the equations.
fn confidence(
    graph: &mut Graph,
    subject: &Subject,
    cosines: &Value,
    negatives: Option<&Value>,
) -> Result<Value, ExportError> {
    let (rule, classes) = (subject.rule, subject.classes().len());
    // Made where it is used: the largest cosine has no temperature.
    let temperature = |graph: &mut Graph| graph.float(rule.temperature as f32);
    let divided = |graph: &mut Graph, cosines: &Value| {
        let temperature = temperature(graph);
        graph.div(cosines, &temperature)
    };
    Ok(match rule.score {
        Score::Msp => {
            let logits = divided(graph, cosines);
            let probabilities = graph.softmax(&logits);
            graph.max_last(&probabilities)
        }
        Score::MaximumLogit => graph.max_last(cosines),
        Score::Energy => {
            let largest = graph.max_last(cosines);
            let below = graph.sub(cosines, &largest);
            let exponents = divided(graph, &below);
            let weights = graph.node("Exp", &[&exponents], &[]);
            let sum = graph.sum_last(&weights);
            let log = graph.node("Log", &[&sum], &[]);
            let temperature = temperature(graph);
            let scaled = graph.mul(&log, &temperature);
            graph.add(&largest, &scaled)
        }
        Score::Entropy => {
            let logits = divided(graph, cosines);
            let logs = graph.node("LogSoftmax", &[&logits], &[Attribute::Int("axis", -1)]);
            let probabilities = graph.node("Exp", &[&logs], &[]);
            let terms = graph.mul(&probabilities, &logs);
            graph.sum_last(&terms)
        }
        Score::Margin => {
            let logits = divided(graph, cosines);
            let probabilities = graph.softmax(&logits);
            // One class has no second best.
            if classes == 1 {
                return Ok(probabilities);
            }
            let two = graph.integers(&[2]);
            let best = graph
                .nodes_of(
                    "TopK",
                    &[&probabilities, &two],
                    &[Attribute::Int("axis", -1)],
                    2,
                )
                .remove(0);
            let signs = graph.floats(&[2], vec![1.0, -1.0]);
            let signed = graph.mul(&best, &signs);
            graph.sum_last(&signed)
        }
        Score::NegativeLabels => {
            let negatives = negatives.ok_or(ExportError::Score { score: rule.score })?;
            let all = graph.concat(&[cosines, negatives], 1);
            let logits = divided(graph, &all);
            let probabilities = graph.softmax(&logits);
            let start = graph.integers(&[0]);
            let end = graph.integers(&[classes as i64]);
            let axes = graph.integers(&[1]);
            let known = graph.node("Slice", &[&probabilities, &start, &end, &axes], &[]);
            graph.sum_last(&known)
        }
        Score::Sigmoid => {
            let bias = subject.logit_bias;
            let bias = bias.ok_or(ExportError::Score { score: rule.score })?;
            let scale = graph.float(subject.logit_scale as f32);
            let bias = graph.float(bias as f32);
            let largest = graph.max_last(cosines);
            let scaled = graph.mul(&largest, &scale);
            let logit = graph.add(&scaled, &bias);
            graph.node("Sigmoid", &[&logit], &[])
        }
        score => return Err(ExportError::Score { score }),
    })
}

#[cfg(test)]
mod tests {
    use super::at_most;

    #[test]
    fn a_threshold_in_f32_is_never_above_that_in_f64() {
        for value in [0.1, 0.25, 0.3, -0.1, -2.7, 1.0 / 3.0] {
            let rounded = at_most(value);
            assert!(f64::from(rounded) <= value);
            assert!(f64::from(rounded.next_up()) > value);
        }
    }
}
