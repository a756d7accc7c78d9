//! What the images of a set show, where they have labels.

use std::path::Path;

use crate::data::{ClassList, ImageLabel, LabelChoice, Labelling};
use crate::evaluate::Predictions;

use super::images::Images;
use super::{Event, Reporter};

/// What each image of a set shows. Some may have no label: they are measured by nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels(Vec<ImageLabel>);

/// Predictions of labelled images, and their labels as metrics read them.
#[derive(Clone, Debug)]
pub struct LabelledPredictions {
    /// What was predicted, `[labelled images]`.
    pub predictions: Predictions,
    /// The known class of each image, `None` for images of unknown classes.
    pub classes: Vec<Option<usize>>,
    /// A number for the class of each unknown image; of known images it means nothing.
    pub unknown_classes: Vec<usize>,
}

/// Where the labels for oracle weights are read from.
#[derive(Clone, Copy, Debug)]
pub struct OracleLabels<'a> {
    /// The same images with labels: a directory, list file, tar shard or directory of shards.
    pub path: &'a Path,
    /// Folder to which the paths of a list file are relative.
    pub image_root: Option<&'a Path>,
}

impl Labels {
    /// The labels of some images.
    pub fn of(&self, indices: &[usize]) -> Self {
        Self(indices.iter().map(|&index| self.0[index]).collect())
    }

    /// The known class of an image, `None` for an image of an unknown class or without a label.
    pub fn class(&self, image: usize) -> Option<usize> {
        match self.0[image] {
            ImageLabel::Known(class) => Some(class),
            ImageLabel::Unknown(_) | ImageLabel::Unlabelled(_) => None,
        }
    }

    /// Whether an image has a label.
    pub fn is_labelled(&self, image: usize) -> bool {
        !matches!(self.0[image], ImageLabel::Unlabelled(_))
    }

    /// The predictions of the images that have labels.
    pub fn labelled(&self, predictions: &Predictions) -> LabelledPredictions {
        let rows: Vec<usize> = (0..self.0.len())
            .filter(|&image| self.is_labelled(image))
            .collect();
        let of = |values: &[f64]| -> Vec<f64> {
            let values = rows.iter().filter_map(|&row| values.get(row));
            values.copied().collect()
        };
        LabelledPredictions {
            predictions: Predictions {
                classes: rows.iter().map(|&row| predictions.classes[row]).collect(),
                confidences: of(&predictions.confidences),
                probabilities: of(&predictions.probabilities),
            },
            classes: rows.iter().map(|&row| self.class(row)).collect(),
            unknown_classes: rows
                .iter()
                .map(|&row| match self.0[row] {
                    ImageLabel::Unknown(number) => number,
                    ImageLabel::Known(_) | ImageLabel::Unlabelled(_) => 0,
                })
                .collect(),
        }
    }
}

impl Images {
    /// The labels, if one of them at least is a known class.
    ///
    /// Folders that sort images by anything else than the known classes are no labels. What has none among labelled images
    /// is told to the reporter.
    pub fn labels(&self, classes: &[String], reporter: &mut dyn Reporter) -> Option<Labels> {
        let classes = ClassList::from_names(classes.to_vec());
        // Nothing that is asked for automatically can be missing.
        let labelling = Labelling::of(self.dataset(), &classes, LabelChoice::Auto).ok()?;
        let is_known = |label: &ImageLabel| matches!(label, ImageLabel::Known(_));
        if !labelling.images.iter().any(is_known) {
            return None;
        }
        for (reason, images) in labelling.unlabelled() {
            let is_one = |label: &ImageLabel| *label == ImageLabel::Unlabelled(reason);
            let first = labelling.images.iter().position(is_one);
            reporter.report(Event::Unlabelled {
                reason,
                images,
                first: first.map_or("", |image| self.id(image)),
            });
        }
        Some(Labels(labelling.images))
    }
}
