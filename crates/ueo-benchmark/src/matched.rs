//! Separation among images that are alike in having been adapted to or not.
//!
//! Where the images adapted to are tested as well, known images were adapted to more often than unknown ones, and a method
//! that only becomes surer of what it has seen looks as if it told known from unknown. Matched measurements compare a known
//! image with an unknown one only where both were adapted to or both were not, and both were scored by the same model.

use super::cell::CellImages;
use ueo::evaluate;

/// A model and whether it was adapted to an image: only images of one stratum are compared.
type Stratum = (u8, bool);

/// The stratum of each image of a cell.
fn strata(images: &CellImages) -> Vec<Stratum> {
    let of_image = |image| {
        let half = images.halves.get(image).copied().unwrap_or(0);
        let adapted_to = images.adapted_to.get(image).copied().unwrap_or(false);
        (half, adapted_to)
    };
    (0..images.labels.len()).map(of_image).collect()
}

/// The images of each stratum that a cell has images of.
pub fn images_by_stratum(images: &CellImages) -> Vec<Vec<usize>> {
    let strata = strata(images);
    let mut names = strata.clone();
    names.sort_unstable();
    names.dedup();
    let of = |name: &Stratum| {
        let rows = 0..strata.len();
        rows.filter(|&image| strata[image] == *name).collect()
    };
    names.iter().map(of).collect()
}

/// Share of the pairs of a known and an unknown image of one stratum in which the known one scores higher, ties counting one
/// half; `None` where there is no such pair.
pub fn matched_auroc(images: &CellImages, known: &[usize], scores: &[f64]) -> Option<f64> {
    let scored = strata(images).into_iter().enumerate();
    let is_known = |(image, _): &(usize, Stratum)| known.contains(&images.labels[*image]);
    let (positive, negative): (Vec<_>, Vec<_>) = scored.partition(is_known);
    let values = |rows: Vec<(usize, Stratum)>| -> Vec<(f64, Stratum)> {
        let rows = rows.into_iter();
        rows.map(|(image, stratum)| (scores[image], stratum))
            .collect()
    };
    evaluate::matched_auroc(&values(positive), &values(negative))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> CellImages {
        CellImages {
            // Known, known, unknown, unknown.
            labels: vec![0, 0, 1, 1],
            predictions: vec![0; 4],
            confidences: vec![0.9, 0.3, 0.5, 0.8],
            ..CellImages::default()
        }
    }

    fn of(images: &CellImages) -> Option<f64> {
        matched_auroc(images, &[0], &images.confidences)
    }

    #[test]
    fn only_pairs_that_are_alike_count() {
        let mut images = images();
        // Nothing is known about adaptation: all four pairs, of which 0.3 loses two.
        assert_eq!(of(&images), Some(0.5));
        // 0.9 against 0.8, and 0.3 against 0.5.
        images.adapted_to = vec![true, false, false, true];
        assert_eq!(of(&images), Some(0.5));
        // 0.9 against 0.5 and 0.8.
        images.adapted_to = vec![true, false, true, true];
        assert_eq!(of(&images), Some(1.0));
        // Known images were adapted to, unknown ones were not.
        images.adapted_to = vec![true, true, false, false];
        assert_eq!(of(&images), None);
    }

    #[test]
    fn scores_of_two_models_are_not_compared() {
        let mut images = images();
        images.adapted_to = vec![false; 4];
        images.halves = vec![0, 1, 0, 0];
        assert_eq!(of(&images), Some(1.0));
    }
}
