//! From cosines to predicted classes and confidences.

use super::{EvaluateError, ScoreRule};

/// Cosines between image features and class features.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// Unscaled cosines, `[images, classes]`, row-major.
    pub cosine_logits: &'a [f32],
    /// Number of known classes.
    pub classes: usize,
    /// Factor on the cosines that gives the model's own probabilities.
    pub logit_scale: f64,
    /// What is added to the scaled cosines before the logistic function, in models that were trained with it.
    pub logit_bias: Option<f64>,
    /// Cosines to negative labels, `[images, negatives]`, row-major; empty unless a score needs them.
    pub negative_cosines: &'a [f32],
}

/// What a model says about each image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// Index of the most similar known class, `[images]`.
    pub classes: Vec<usize>,
    /// What tells known from unknown images, higher for known ones, `[images]`.
    pub confidences: Vec<f64>,
    /// Probability of the predicted class at the model's own logit scale, `[images]`.
    pub probabilities: Vec<f64>,
}

impl Scores<'_> {
    /// The `count` most probable classes of an image with their softmax probabilities at the model's own logit scale, best
    /// first.
    ///
    /// Equal cosines are ordered by class index. An image that does not exist has no classes.
    pub fn top(&self, image: usize, count: usize) -> Vec<(usize, f64)> {
        let Some(row) = self
            .cosine_logits
            .chunks_exact(self.classes.max(1))
            .nth(image)
        else {
            return Vec::new();
        };
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        let weight = |cosine: f32| relative_weight(cosine, row[order[0]], self.logit_scale);
        let partition: f64 = row.iter().copied().map(weight).sum();
        let probability = |class: &usize| (*class, weight(row[*class]) / partition);
        order.iter().take(count).map(probability).collect()
    }
}

/// Most similar class and confidence of every image, in f64. Of equal cosines the lowest class index wins.
///
/// # Errors
///
/// If the cosines do not fill `[images, classes]`, are not finite, the temperature is not positive, or the score needs
/// negative labels or a bias and there are none.
pub fn predictions(scores: Scores<'_>, rule: ScoreRule) -> Result<Predictions, EvaluateError> {
    let Scores {
        cosine_logits,
        classes,
        logit_scale,
        logit_bias,
        negative_cosines,
    } = scores;
    if classes == 0 || !cosine_logits.len().is_multiple_of(classes) {
        return Err(EvaluateError::Shape {
            classes,
            length: cosine_logits.len(),
        });
    }
    let images = cosine_logits.len() / classes;
    for (name, value) in [
        ("score temperature", rule.temperature),
        ("logit scale", logit_scale),
    ] {
        if !(value.is_finite() && value > 0.0) {
            return Err(EvaluateError::Setting {
                name,
                expected: "positive and finite",
                value,
            });
        }
    }
    let negatives = match rule.score.needs_negative_labels() {
        true if images > 0 && negative_cosines.is_empty() => {
            return Err(EvaluateError::NoNegativeLabels);
        }
        true => negative_cosines.len() / images.max(1),
        false => 0,
    };
    let logistic = match logit_bias {
        Some(bias) => Some((logit_scale, bias)),
        None if rule.score.needs_logit_bias() => return Err(EvaluateError::NoLogitBias),
        None => None,
    };
    let mut output = Predictions::default();
    for (image, row) in cosine_logits.chunks_exact(classes).enumerate() {
        let negative_row = &negative_cosines[image * negatives..(image + 1) * negatives];
        let mut values = row.iter().chain(negative_row).copied();
        if let Some(value) = values.find(|value| !value.is_finite()) {
            return Err(EvaluateError::NonFiniteCosine { image, value });
        }
        let mut best = 0;
        for class in 1..classes {
            if row[class] > row[best] {
                best = class;
            }
        }
        let weights = row
            .iter()
            .map(|cosine| relative_weight(*cosine, row[best], logit_scale));
        output.classes.push(best);
        output
            .confidences
            .push(rule.confidence(row, row[best], negative_row, logistic));
        output.probabilities.push(weights.sum::<f64>().recip());
    }
    Ok(output)
}

/// `exp(scale (cosine - largest))`, at most 1.
fn relative_weight(cosine: f32, largest: f32, scale: f64) -> f64 {
    ((f64::from(cosine) - f64::from(largest)) * scale).exp()
}
