//! Paired bootstrap over classes: how far a difference between two methods depends on which classes were looked at.
//!
//! A replicate draws as many known classes as the suite lists, and as many unknown ones as there are others, with
//! replacement; each class then counts as often as it was drawn, in every domain, under every shift and for all
//! methods. Seeds are averaged within each class before, domains and shifts after the measuring.

use super::cell::{Cell, CellImages};
use super::matched::images_by_stratum;
use ueo::evaluate::{
    BootstrapSettings, ClassMeasure, ClassStatistics, EvaluateError, KnownClass, Replicated,
    ScoredClasses,
};

/// The replicated measurements of a method on one domain under one shift.
#[derive(Clone, Debug)]
pub struct ReplicatedMeasurements {
    /// Mean recall over the known classes.
    pub accuracy: Replicated,
    /// Area under the ROC curve at temperature 1.
    pub auroc: Replicated,
    /// The same over pairs that are alike in having been adapted to or not.
    pub auroc_matched: Replicated,
    /// Area under the ROC curve at the model's own temperature.
    pub auroc_scaled: Replicated,
}

impl ReplicatedMeasurements {
    /// Of the mean over cells that differ in their seed.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::DifferentImages`] if there are none, or they are not of the same images.
    pub fn of_seeds(cells: &[&Cell]) -> Result<Self, EvaluateError> {
        let all = |cell: &Cell| (0..cell.images.labels.len()).collect::<Vec<usize>>();
        let statistics = |scores: fn(&CellImages) -> &[f64]| {
            let seeds: Vec<ScoredClasses> = cells
                .iter()
                .map(|cell| by_class(cell, &all(cell), scores(&cell.images)))
                .collect();
            ClassStatistics::of_seeds(&seeds)
        };
        let strata = |cell: &&Cell| -> Vec<ScoredClasses> {
            let strata = images_by_stratum(&cell.images);
            let of = |rows: &Vec<usize>| by_class(cell, rows, &cell.images.confidences);
            strata.iter().map(of).collect()
        };
        let strata: Vec<_> = cells.iter().map(strata).collect();
        let matched = ClassStatistics::of_matched_seeds(&strata)?;
        let replicated = |statistics, measure| {
            Replicated::new(statistics, measure, BootstrapSettings::default())
        };
        let plain = statistics(|images| &images.confidences)?;
        let scaled = statistics(|images| &images.scaled_confidences)?;
        Ok(Self {
            accuracy: replicated(&plain, ClassMeasure::PerClassAccuracy)?,
            auroc: replicated(&plain, ClassMeasure::Auroc)?,
            auroc_matched: replicated(&matched, ClassMeasure::Auroc)?,
            auroc_scaled: replicated(&scaled, ClassMeasure::Auroc)?,
        })
    }
}

/// Some images of a cell by class; a class without images stays in its place.
fn by_class(cell: &Cell, rows: &[usize], scores: &[f64]) -> ScoredClasses {
    let images = &cell.images;
    let of_class = |class: usize| {
        let rows = rows.iter().copied();
        rows.filter(move |&row| images.labels[row] == class)
    };
    let scores_of = |class| of_class(class).map(|row| scores[row]).collect();
    let correct = |class| {
        let hits = of_class(class).filter(|&row| images.predictions[row] == class);
        hits.count()
    };
    ScoredClasses {
        known: cell
            .request
            .known
            .iter()
            .map(|&class| KnownClass {
                correct: correct(class),
                scores: scores_of(class),
            })
            .collect(),
        unknown: cell.request.unknown().into_iter().map(scores_of).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cells::{cell, random_images, request};
    use ueo::evaluate::{ClassDraw, auroc};

    const CLASSES: usize = 7;
    const KNOWN: [usize; 4] = [0, 1, 3, 4];
    const UNKNOWN: [usize; 3] = [2, 5, 6];

    /// Accuracy and both AUROCs with every image repeated as often as its class counts, by the ordinary functions.
    fn plain(images: &CellImages, draw: &ClassDraw) -> [Option<f64>; 3] {
        let mut recalls = Vec::new();
        let (mut known, mut unknown) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        let classes = KNOWN.iter().zip(&draw.known);
        for (&class, &times) in classes.chain(UNKNOWN.iter().zip(&draw.unknown)) {
            let rows: Vec<usize> = (0..images.labels.len())
                .filter(|&row| images.labels[row] == class)
                .collect();
            for _ in 0..times as usize {
                let target = if KNOWN.contains(&class) {
                    &mut known
                } else {
                    &mut unknown
                };
                target[0].extend(rows.iter().map(|&row| images.confidences[row]));
                target[1].extend(rows.iter().map(|&row| images.scaled_confidences[row]));
                if KNOWN.contains(&class) && !rows.is_empty() {
                    let hits = rows
                        .iter()
                        .filter(|&&row| images.predictions[row] == class)
                        .count();
                    recalls.push(hits as f64 / rows.len() as f64);
                }
            }
        }
        [
            (!recalls.is_empty()).then(|| recalls.iter().sum::<f64>() / recalls.len() as f64),
            auroc(&known[0], &unknown[0]),
            auroc(&known[1], &unknown[1]),
        ]
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn every_replicate_equals_a_plain_computation_on_repeated_images() {
        // Two seeds on the same images, and a class without any.
        let seeds = [1, 2].map(|seed| {
            cell(
                request(CLASSES, &KNOWN),
                random_images(60, CLASSES, &KNOWN, 3, seed),
            )
        });
        let [first, second] = &seeds;
        let measured = ReplicatedMeasurements::of_seeds(&[first, second]).unwrap();
        let measured = [measured.accuracy, measured.auroc, measured.auroc_scaled];
        let seed = BootstrapSettings::default().seed;
        for replicate in 0..50 {
            let draw = ClassDraw::random(KNOWN.len(), UNKNOWN.len(), seed, replicate);
            let [first, second] = [first, second].map(|cell| plain(&cell.images, &draw));
            for (found, (a, b)) in measured.iter().zip(first.iter().zip(second)) {
                match (found.replicates[replicate], a.zip(b)) {
                    (Some(found), Some((a, b))) => assert!(close(found, (a + b) / 2.0)),
                    (found, expected) => assert_eq!((found, expected), (None, None)),
                }
            }
        }
        let auroc = &measured[1];
        assert!(
            auroc
                .replicates
                .iter()
                .any(|value| *value != auroc.estimate)
        );
    }

    #[test]
    fn pairing_removes_what_both_methods_share() {
        // Two methods whose recalls differ by 0.1 in every class, although classes differ widely.
        let measured = |extra: usize| {
            let mut images = CellImages::default();
            for class in 0..4 {
                for image in 0..10 {
                    let correct = image < 2 * class + extra;
                    images.labels.push(class);
                    images
                        .predictions
                        .push(if correct { class } else { (class + 1) % 4 });
                    images.confidences.push(0.5);
                    images.scaled_confidences.push(0.5);
                }
            }
            let cell = cell(request(4, &[0, 1, 2, 3]), images);
            ReplicatedMeasurements::of_seeds(&[&cell]).unwrap()
        };
        let (a, b) = (measured(2), measured(1));
        let interval = a.accuracy.minus(&b.accuracy).interval().unwrap();
        assert!(
            close(interval.lower, 0.1) && close(interval.upper, 0.1),
            "{interval:?}"
        );
        assert!(interval.rises() && !interval.falls());
        let alone = a.accuracy.interval().unwrap();
        assert!(alone.upper - alone.lower > 0.2, "{alone:?}");
        assert_eq!(a.auroc.interval(), None);
    }
}
