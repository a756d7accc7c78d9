//! What the images of a set show, where they have labels.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::{
    ClassList, DatasetOptions, ImageLabel, LabelBasis, LabelChoice, Labelling, Unlabelled,
    UnmatchedLabel,
};
use crate::evaluate::Predictions;

use super::images::Images;
use super::{Event, Reporter, SessionError, TrueLabel};

/// Labels that match no class which a record names; the others are counted.
const NAMED_UNMATCHED: usize = 1000;

/// What each image of a set shows. Some may have no label: they are measured by nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    images: Vec<ImageLabel>,
    /// Names of the unknown classes, as the data set first spells them.
    unknown: Arc<[String]>,
}

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
#[derive(Clone, Debug)]
pub struct OracleLabels<'a> {
    /// The same images with labels: a directory, list file, tar shard, Parquet file or directory of these.
    pub path: &'a Path,
    /// The folder of a list's paths, and the columns of Parquet files.
    pub options: DatasetOptions,
}

/// How the labels of a set were understood: what a user should see, and what a record keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelRecord {
    /// What was asked for.
    pub choice: LabelChoice,
    /// What labels were taken from.
    pub basis: LabelBasis,
    /// Images of known classes.
    pub known_images: usize,
    /// Images of other classes.
    pub unknown_images: usize,
    /// Images without a label, by reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unlabelled: Vec<UnlabelledCount>,
    /// Names that match no class, those with a class nearby first, then those with the most images; at most 1,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmatched: Vec<UnmatchedLabel>,
    /// How many names match no class.
    pub unmatched_names: usize,
    /// Whether numbers seem to count classes from 1, where 0 is the first.
    pub counts_from_one: bool,
}

/// Images without a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlabelledCount {
    /// Why they have none.
    pub reason: Unlabelled,
    /// How many there are.
    pub images: usize,
}

/// The labels of a set, and how they were understood.
#[derive(Clone, Debug)]
pub struct ReadLabels {
    /// The labels, if one of them at least is a known class or labels were asked for.
    pub labels: Option<Labels>,
    /// How they were understood.
    pub record: LabelRecord,
}

impl Labels {
    /// The labels of some images.
    pub fn of(&self, indices: &[usize]) -> Self {
        Self {
            images: indices.iter().map(|&index| self.images[index]).collect(),
            unknown: Arc::clone(&self.unknown),
        }
    }

    /// The known class of an image, `None` for an image of an unknown class or without a label.
    pub fn class(&self, image: usize) -> Option<usize> {
        match self.images[image] {
            ImageLabel::Known(class) => Some(class),
            ImageLabel::Unknown(_) | ImageLabel::Unlabelled(_) => None,
        }
    }

    /// Whether an image has a label.
    pub fn is_labelled(&self, image: usize) -> bool {
        !matches!(self.images[image], ImageLabel::Unlabelled(_))
    }

    /// What an image shows, `None` for one without a label; known classes by the name on the list, however the data set spells
    /// them.
    pub fn true_label(&self, image: usize, classes: &[String]) -> Option<TrueLabel> {
        let (name, class) = match self.images[image] {
            ImageLabel::Known(class) => (&classes[class], Some(class)),
            ImageLabel::Unknown(number) => (&self.unknown[number], None),
            ImageLabel::Unlabelled(_) => return None,
        };
        Some(TrueLabel {
            name: name.clone(),
            class,
        })
    }

    /// The predictions of the images that have labels.
    pub fn labelled(&self, predictions: &Predictions) -> LabelledPredictions {
        let rows: Vec<usize> = (0..self.images.len())
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
                .map(|&row| match self.images[row] {
                    ImageLabel::Unknown(number) => number,
                    ImageLabel::Known(_) | ImageLabel::Unlabelled(_) => 0,
                })
                .collect(),
        }
    }
}

impl LabelRecord {
    fn new(choice: LabelChoice, labelling: &Labelling) -> Self {
        let count =
            |is: fn(&ImageLabel) -> bool| labelling.images.iter().filter(|&l| is(l)).count();
        let mut unmatched = labelling.unmatched.clone();
        unmatched.sort_by_key(|label| (label.nearest.is_none(), std::cmp::Reverse(label.images)));
        unmatched.truncate(NAMED_UNMATCHED);
        Self {
            choice,
            basis: labelling.basis,
            known_images: count(|label| matches!(label, ImageLabel::Known(_))),
            unknown_images: count(|label| matches!(label, ImageLabel::Unknown(_))),
            unlabelled: labelling
                .unlabelled()
                .into_iter()
                .map(|(reason, images)| UnlabelledCount { reason, images })
                .collect(),
            unmatched,
            unmatched_names: labelling.unmatched.len(),
            counts_from_one: labelling.counts_from_one,
        }
    }
}

impl Images {
    /// The labels, as [`Images::with_label_choice`] says where from.
    ///
    /// How they were understood, and what has none among labelled images, is told to the reporter.
    ///
    /// # Errors
    ///
    /// [`SessionError::Data`] when labels are asked for that are not there.
    pub fn labels(
        &self,
        classes: &[String],
        reporter: &mut dyn Reporter,
    ) -> Result<ReadLabels, SessionError> {
        let list = self.class_list(classes);
        let labelling = Labelling::of(self.dataset(), &list, self.label_choice())?;
        let record = LabelRecord::new(self.label_choice(), &labelling);
        reporter.report(Event::Labels(&record));
        // Who asks for labels means those that are there, however many of them are known classes.
        let are_asked_for = matches!(record.choice, LabelChoice::Folders | LabelChoice::List);
        if record.known_images == 0 && !(are_asked_for && record.unknown_images > 0) {
            return Ok(ReadLabels {
                labels: None,
                record,
            });
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
        let names = labelling.unmatched.into_iter().map(|label| label.label);
        Ok(ReadLabels {
            labels: Some(Labels {
                images: labelling.images,
                unknown: names.collect(),
            }),
            record,
        })
    }

    /// The class names with the ids that the labels may spell them by.
    pub(super) fn class_list(&self, classes: &[String]) -> ClassList {
        let list = ClassList::from_names(classes.to_vec());
        match self.class_ids() {
            Some(ids) if ids.len() == classes.len() => list.with_ids(ids.to_vec()),
            _ => list,
        }
    }
}
