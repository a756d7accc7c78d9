//! What the images of a set show, where they have labels.

use std::path::Path;

use crate::data::{ClassList, ImageLabel, LabelChoice, Labelling};
use crate::evaluate::Predictions;

use super::images::Images;
use super::{Event, Reporter};

/// What each image of a set shows. Some may have no label: they are measured by nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    classes: Vec<Option<usize>>,
    unknown_classes: Vec<usize>,
    is_labelled: Vec<bool>,
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
        let of = |index: &usize| {
            (
                self.classes[*index],
                self.unknown_classes[*index],
                self.is_labelled[*index],
            )
        };
        let mut labels = Self {
            classes: Vec::with_capacity(indices.len()),
            unknown_classes: Vec::with_capacity(indices.len()),
            is_labelled: Vec::with_capacity(indices.len()),
        };
        for (class, unknown_class, is_labelled) in indices.iter().map(of) {
            labels.classes.push(class);
            labels.unknown_classes.push(unknown_class);
            labels.is_labelled.push(is_labelled);
        }
        labels
    }

    /// The known class of each image, `None` for images of unknown classes and without a label.
    pub fn classes(&self) -> &[Option<usize>] {
        &self.classes
    }

    /// A number for the class of each unknown image; of other images it means nothing.
    pub fn unknown_classes(&self) -> &[usize] {
        &self.unknown_classes
    }

    /// Whether an image has a label.
    pub fn is_labelled(&self, image: usize) -> bool {
        self.is_labelled[image]
    }

    /// The labelled images among those that were predicted.
    pub fn labelled(&self, predictions: &Predictions) -> (Predictions, Self) {
        let rows: Vec<usize> = (0..self.classes.len())
            .filter(|&image| self.is_labelled[image])
            .collect();
        let of = |values: &[f64]| -> Vec<f64> {
            let values = rows.iter().filter_map(|&row| values.get(row));
            values.copied().collect()
        };
        let predictions = Predictions {
            classes: rows.iter().map(|&row| predictions.classes[row]).collect(),
            confidences: of(&predictions.confidences),
            probabilities: of(&predictions.probabilities),
        };
        (predictions, self.of(&rows))
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
        let mut labels = Labels {
            classes: Vec::with_capacity(labelling.images.len()),
            unknown_classes: Vec::with_capacity(labelling.images.len()),
            is_labelled: Vec::with_capacity(labelling.images.len()),
        };
        for label in &labelling.images {
            let (class, unknown_class) = match *label {
                ImageLabel::Known(class) => (Some(class), 0),
                ImageLabel::Unknown(number) => (None, number),
                ImageLabel::Unlabelled(_) => (None, 0),
            };
            labels.classes.push(class);
            labels.unknown_classes.push(unknown_class);
            let is_labelled = !matches!(label, ImageLabel::Unlabelled(_));
            labels.is_labelled.push(is_labelled);
        }
        if labels.classes.iter().all(Option::is_none) {
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
        Some(labels)
    }
}
