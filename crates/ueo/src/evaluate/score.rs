//! From cosines to predicted classes and confidences.

use super::EvaluateError;

/// Cosines between image features and class features.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// Unscaled cosines, `[images, classes]`, row-major.
    pub cosine_logits: &'a [f32],
    /// Number of known classes.
    pub classes: usize,
}

/// What a model says about each image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// Index of the most similar known class, `[images]`.
    pub classes: Vec<usize>,
    /// Maximum softmax probability, `[images]`, between 1 / classes and 1.
    pub confidences: Vec<f64>,
}

impl Scores<'_> {
    /// The `count` most probable classes of an image with their softmax probabilities, best first.
    ///
    /// Equal cosines are ordered by class index. An image that does not exist has no classes.
    pub fn top(&self, image: usize, score_temperature: f64, count: usize) -> Vec<(usize, f64)> {
        let Some(row) = self
            .cosine_logits
            .chunks_exact(self.classes.max(1))
            .nth(image)
        else {
            return Vec::new();
        };
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        let partition = partition_function(row, row[order[0]], score_temperature);
        order.truncate(count);
        let probability = |class: usize| {
            relative_weight(row[class], row[order[0]], score_temperature) / partition
        };
        order
            .iter()
            .map(|class| (*class, probability(*class)))
            .collect()
    }
}

/// Most similar class and maximum softmax probability of every image.
///
/// `confidence = max_k softmax(cosine_k / score_temperature)` in f64. Temperature 1 is the convention of MCM (Ming et
/// al. 2022) and of the released program; the inverse logit scale (1/100 for CLIP) gives the probabilities that the
/// objective sees. Of equal cosines the lowest class index wins.
///
/// # Errors
///
/// If the cosines do not fill `[images, classes]`, are not finite, or the temperature is not positive.
pub fn predictions(
    scores: Scores<'_>,
    score_temperature: f64,
) -> Result<Predictions, EvaluateError> {
    let Scores {
        cosine_logits,
        classes,
    } = scores;
    if classes == 0 || !cosine_logits.len().is_multiple_of(classes) {
        return Err(EvaluateError::Shape {
            classes,
            length: cosine_logits.len(),
        });
    }
    if !(score_temperature.is_finite() && score_temperature > 0.0) {
        return Err(EvaluateError::Setting {
            name: "score temperature",
            expected: "positive and finite",
            value: score_temperature,
        });
    }
    let mut output = Predictions::default();
    for (image, row) in cosine_logits.chunks_exact(classes).enumerate() {
        if let Some(value) = row.iter().copied().find(|value| !value.is_finite()) {
            return Err(EvaluateError::NonFiniteCosine { image, value });
        }
        let mut best = 0;
        for class in 1..classes {
            if row[class] > row[best] {
                best = class;
            }
        }
        output.classes.push(best);
        output
            .confidences
            .push(1.0 / partition_function(row, row[best], score_temperature));
    }
    Ok(output)
}

/// Sum of exp((cosine - largest) / temperature): at least 1, so that nothing overflows.
fn partition_function(row: &[f32], largest: f32, temperature: f64) -> f64 {
    row.iter()
        .map(|cosine| relative_weight(*cosine, largest, temperature))
        .sum()
}

fn relative_weight(cosine: f32, largest: f32, temperature: f64) -> f64 {
    ((f64::from(cosine) - f64::from(largest)) / temperature).exp()
}
