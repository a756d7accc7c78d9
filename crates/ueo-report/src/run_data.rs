//! Everything that a report says about one run comes from here: `run.json`, `metrics.jsonl`, `epochs.jsonl` and
//! `predictions.csv`.

use std::path::Path;

use super::ReportError;
use ueo::adapt::StepRecord;
use ueo::evaluate::{ClassIntervals, Evaluation, choose_threshold};
use ueo::guard::EpochRecord;
use ueo::session::TrueLabel;
use ueo_run::{Answer, RunDirectory, RunError, RunRecord, RunStatus};

/// A finished run.
#[derive(Clone, Debug)]
pub struct RunData {
    /// Name of the run's directory.
    pub name: String,
    /// `run.json`.
    pub record: RunRecord,
    /// `metrics.jsonl`.
    pub steps: Vec<StepRecord>,
    /// `epochs.jsonl`, the zero-shot model first; empty for a run that was made before there was such a file.
    pub epochs: Vec<EpochRecord>,
    /// `predictions.csv`.
    pub images: Vec<ReportedImage>,
    /// How much the adaptation changed accuracy and AUROC, with intervals, when the images have labels.
    pub changes: Option<ClassIntervals>,
    /// The threshold that the run's method would have chosen for the zero-shot model.
    zero_shot_threshold: f64,
    /// The threshold of the adapted model.
    adapted_threshold: f64,
}

/// What both models say about one image.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedImage {
    /// Path relative to the images' root.
    pub path: String,
    /// What it shows, when the images have labels.
    pub label: Option<TrueLabel>,
    /// What the checkpoint says.
    pub zero_shot: Answer,
    /// What the adapted model says.
    pub adapted: Answer,
}

/// One of the two models of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The checkpoint.
    ZeroShot,
    /// After the adaptation.
    Adapted,
}

impl Side {
    /// Before and after.
    pub const BOTH: [Self; 2] = [Self::ZeroShot, Self::Adapted];

    /// As the report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroShot => "zero-shot",
            Self::Adapted => "adapted",
        }
    }
}

impl ReportedImage {
    /// What one of the models says.
    pub fn answer(&self, side: Side) -> &Answer {
        match side {
            Side::ZeroShot => &self.zero_shot,
            Side::Adapted => &self.adapted,
        }
    }

    /// Index of the known class that it shows.
    pub fn known_class(&self) -> Option<usize> {
        self.label.as_ref()?.class
    }

    /// Whether one of the models names it correctly; `None` without a label or for an unknown image.
    pub fn correct(&self, side: Side) -> Option<bool> {
        Some(self.known_class()? == self.answer(side).class)
    }

    /// Whether the adaptation changed the class.
    pub fn moved(&self) -> bool {
        self.zero_shot.class != self.adapted.class
    }
}

impl RunData {
    /// Reads a run.
    ///
    /// # Errors
    ///
    /// [`ReportError::Unfinished`], or as the readers of the run's files.
    pub fn read(directory: &RunDirectory) -> Result<Self, ReportError> {
        let record = directory.read_record()?;
        let path = directory.path();
        let unfinished = || ReportError::Unfinished {
            path: path.to_owned(),
        };
        let threshold = match (record.status, &record.threshold) {
            (RunStatus::Finished, Some(threshold)) => threshold.value,
            _ => return Err(unfinished()),
        };
        let results = directory.read_predictions(&record.request.classes)?;
        let changes = ueo_run::changes(&results, &record.request.classes)?;
        let images = results
            .into_iter()
            .map(|image| {
                Ok(ReportedImage {
                    adapted: image.adapted.ok_or_else(unfinished)?,
                    path: image.path,
                    label: image.label,
                    zero_shot: image.zero_shot,
                })
            })
            .collect::<Result<Vec<_>, ReportError>>()?;
        if images.len() != record.images.used {
            let reason = format!(
                "expected {} images in predictions.csv, found {}",
                record.images.used,
                images.len()
            );
            return Err(RunError::Record {
                path: path.to_owned(),
                reason,
            }
            .into());
        }
        let zero_shot_threshold = match &record.zero_shot_threshold {
            Some(threshold) => threshold.value,
            // A run of before this record.
            None => {
                let confidences: Vec<f64> = images.iter().map(|i| i.zero_shot.confidence).collect();
                choose_threshold(
                    &confidences,
                    record.request.threshold_method,
                    record.request.score.axis(),
                )?
                .value
            }
        };
        Ok(Self {
            name: directory_name(path),
            zero_shot_threshold,
            adapted_threshold: threshold,
            steps: directory.read_metrics()?,
            // A record with signs was written beside the file that they are the first line of.
            epochs: match record.zero_shot_signs {
                Some(_) => directory.read_epochs()?,
                None => Vec::new(),
            },
            record,
            images,
            changes,
        })
    }

    /// Names of the known classes.
    pub fn classes(&self) -> &[String] {
        &self.record.request.classes
    }

    /// Whether the images have labels.
    pub fn labelled(&self) -> bool {
        self.evaluation(Side::Adapted).is_some()
    }

    /// Measurements of one of the models, when the images have labels.
    pub fn evaluation(&self, side: Side) -> Option<&Evaluation> {
        match side {
            Side::ZeroShot => self.record.zero_shot.as_ref(),
            Side::Adapted => self.record.adapted.as_ref(),
        }
    }

    /// Images with at least this confidence count as known.
    pub fn threshold(&self, side: Side) -> f64 {
        match side {
            Side::ZeroShot => self.zero_shot_threshold,
            Side::Adapted => self.adapted_threshold,
        }
    }

    /// Whether one of the models rejects an image as unknown.
    pub fn rejects(&self, side: Side, image: &ReportedImage) -> bool {
        image.answer(side).confidence < self.threshold(side)
    }

    /// Confidences of all images.
    pub fn confidences(&self, side: Side) -> impl Iterator<Item = f64> {
        let images = self.images.iter();
        images.map(move |image| image.answer(side).confidence)
    }

    /// Confidences of the images that are known, or of those that are not.
    pub fn confidences_of(&self, side: Side, known: bool) -> Vec<f64> {
        let images = self.images.iter();
        images
            .filter(|image| {
                image
                    .label
                    .as_ref()
                    .is_some_and(|l| l.class.is_some() == known)
            })
            .map(|image| image.answer(side).confidence)
            .collect()
    }

    /// Share of the images for which something holds; 0 without images.
    pub fn share(&self, holds: impl Fn(&ReportedImage) -> bool) -> f64 {
        let count = self.images.iter().filter(|image| holds(image)).count();
        count as f64 / self.images.len().max(1) as f64
    }

    /// How many images a model gives to each class, `[classes]`.
    pub fn predicted_counts(&self, side: Side) -> Vec<usize> {
        let mut counts = vec![0; self.classes().len()];
        for image in &self.images {
            counts[image.answer(side).class] += 1;
        }
        counts
    }
}

/// The last part of a path, or all of it where there is none.
fn directory_name(path: &Path) -> String {
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    full.file_name().map_or_else(
        || full.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// `exp(entropy)` of a distribution of images over classes: how many classes of equal size would be as diverse.
pub fn effective_classes(counts: &[usize]) -> f64 {
    let total = counts.iter().sum::<usize>() as f64;
    let entropy: f64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = *count as f64 / total;
            -share * share.ln()
        })
        .sum();
    entropy.exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_counts_are_all_effective() {
        assert!((effective_classes(&[5, 5, 5, 0]) - 3.0).abs() < 1e-12);
        assert!((effective_classes(&[9, 0, 0]) - 1.0).abs() < 1e-12);
    }
}
