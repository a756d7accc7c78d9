//! How much an adaptation changed what is measured, and whether the choice of classes explains it.

use std::collections::HashMap;

use ueo::evaluate::{ClassIntervals, EvaluateError, Predictions};

use super::predictions::{Answer, ImageResult};

/// Differences of accuracy and AUROC, adapted minus zero-shot, with their intervals over classes.
///
/// `None` where an image has no label or the adapted model has not spoken, and where no image is of a known class.
///
/// # Errors
///
/// As [`ClassIntervals::of_change`].
pub fn changes(
    images: &[ImageResult],
    classes: &[String],
) -> Result<Option<ClassIntervals>, EvaluateError> {
    // Images without a label are measured by nobody.
    let images: Vec<&ImageResult> = images.iter().filter(|i| i.label.is_some()).collect();
    let labels: Vec<_> = images.iter().filter_map(|i| i.label.as_ref()).collect();
    let adapted: Option<Vec<_>> = images.iter().map(|image| image.adapted.as_ref()).collect();
    let Some(adapted) = adapted else {
        return Ok(None);
    };
    let known: Vec<Option<usize>> = labels.iter().map(|label| label.class).collect();
    if known.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut numbers = HashMap::new();
    let unknown: Vec<usize> = labels
        .iter()
        .map(|label| {
            let next = numbers.len();
            match label.class {
                Some(_) => 0,
                None => *numbers.entry(label.name.as_str()).or_insert(next),
            }
        })
        .collect();
    let before = predictions(images.iter().map(|image| &image.zero_shot));
    let after = predictions(adapted.into_iter());
    ClassIntervals::of_change(&before, &after, &known, Some(&unknown), classes.len()).map(Some)
}

fn predictions<'a>(answers: impl Iterator<Item = &'a Answer>) -> Predictions {
    let mut predictions = Predictions::default();
    for answer in answers {
        predictions.classes.push(answer.class);
        predictions.confidences.push(answer.confidence);
        predictions.probabilities.push(answer.probability());
    }
    predictions
}
