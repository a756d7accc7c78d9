//! The reference for "unknown" that needs no labels: what every image would score if its own class were not listed.

use super::{EvaluateError, ScoreRule, Scores, predictions};

/// The confidence of every image with its most similar class left out, `[images]`.
///
/// An image of a known class, seen this way, is an image of a class that no line of the list names: the same style, the
/// same model, the same list but for one class. Many of them together show where unknown images would lie, whatever
/// the share of them is. The class that is left out is given the mean cosine of the others instead, so that scores
/// with a softmax still divide by as many terms.
///
/// # Errors
///
/// As [`predictions`], and [`EvaluateError::Setting`] if there are fewer than two classes.
pub fn left_out_confidences(
    scores: Scores<'_>,
    rule: ScoreRule,
) -> Result<Vec<f64>, EvaluateError> {
    let best = predictions(scores, rule)?.classes;
    let mut without = scores.cosine_logits.to_vec();
    check_classes(scores.classes)?;
    for (row, best) in without.chunks_exact_mut(scores.classes).zip(best) {
        let all: f64 = row.iter().copied().map(f64::from).sum();
        let others = all - f64::from(row[best]);
        row[best] = (others / (scores.classes - 1) as f64) as f32;
    }
    let without = Scores {
        cosine_logits: &without,
        ..scores
    };
    Ok(predictions(without, rule)?.confidences)
}

/// The largest and the second largest cosine of every image.
pub(crate) fn two_largest(cosines: &[f32], classes: usize) -> (Vec<f64>, Vec<f64>) {
    let rows = cosines.chunks_exact(classes).map(|row| {
        let start = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        row.iter()
            .copied()
            .map(f64::from)
            .fold(start, |(first, second), cosine| {
                if cosine > first {
                    (cosine, first)
                } else {
                    (first, second.max(cosine))
                }
            })
    });
    rows.unzip()
}

/// Without a second class there is nothing to leave one out of.
pub(super) fn check_classes(classes: usize) -> Result<(), EvaluateError> {
    match classes {
        0 | 1 => Err(EvaluateError::Setting {
            name: "number of classes",
            expected: "at least 2 where one of them is left out",
            value: classes as f64,
        }),
        _ => Ok(()),
    }
}
