//! Predictions of many images, row by row: nothing but a few numbers per image stays in memory.
//!
//! Features go to a [`KeptFeatures`] as they are computed. Where the threshold is known, rows are made of them at once. A threshold
//! that is chosen from all images needs their confidences first, so the kept features are read again, and once more for the rows.
//! Methods that score an image by all others hold the features of all in memory.

use crate::adapt::CallerError;
use crate::evaluate::{
    GroupTest, Predictions, Reference, Threshold, ThresholdMethod, Verdict, choose_threshold,
    decide, left_out_confidences, two_largest,
};
use crate::method::{Centring, mean_row};
use crate::model::to_host;

use super::encode::{
    ENCODING_BATCH, FeatureStore, ImageFeatures, encode_images_keeping, list_skipped,
};
use super::images::Images;
use super::labels::Labels;
use super::model::{Classifier, Model};
use super::predicting::{Cut, ImagePrediction, Question};
use super::scoring::{Judge, Scorer, calibrated};
use super::{Reporter, SessionError, SkippedImage, Stage};

/// Sets of up to this many images are scored in one piece, so that the last bit of a number is that of [`predict`](super::predict);
/// larger ones batch by batch, so that the first rows come soon.
const SCORED_AT_ONCE: usize = 4096;

/// Features of a pass that are kept outside of memory and can be read again.
pub trait KeptFeatures: FeatureStore {
    /// The batches that were kept, those of an earlier pass included, in order.
    ///
    /// # Errors
    ///
    /// Any error ends the pass with [`SessionError::NotKept`], here and while the batches are read.
    fn batches(&mut self) -> Result<Box<dyn Iterator<Item = KeptBatch> + '_>, CallerError>;
}

/// A batch that was kept, or why it cannot be read.
type KeptBatch = Result<ImageFeatures, CallerError>;

/// What there is to say about all rows.
#[derive(Clone, Debug)]
pub struct PredictedRows {
    /// Rows that were made: readable images.
    pub images: usize,
    /// Those of which the confidence reaches the threshold.
    pub known: usize,
    /// Inputs that were left out.
    pub skipped: Vec<SkippedImage>,
    /// Images with at least this confidence are known.
    pub threshold: f64,
    /// How the threshold came about, where it was chosen from images.
    pub chosen_threshold: Option<Threshold>,
}

/// Predicts the classes of images and hands out a row for each, in order. The rows are those of [`predict`](super::predict), but for
/// the last bits of numbers where there are more than 4,096 images.
///
/// # Errors
///
/// As [`predict`](super::predict), and [`SessionError::NotKept`] when the store or `row` fails.
pub fn predict_rows(
    model: &Model,
    images: &Images,
    question: Question<'_>,
    store: &mut dyn KeptFeatures,
    row: &mut dyn FnMut(&ImagePrediction) -> Result<(), CallerError>,
    reporter: &mut dyn Reporter,
) -> Result<PredictedRows, SessionError> {
    let method = match question.cut {
        Cut::Choose(method) => method,
        Cut::At(_) | Cut::Chosen(_) => ThresholdMethod::default(),
    };
    let classes = question.classes;
    let scorer = Scorer::new(model, classes, question.rule, method, question.strict)?;
    let classifier = model.classifier(classes)?;
    let judge = Judge {
        scorer: &scorer,
        classifier: &classifier,
        method: model.method,
        parameters: &model.parameters,
    };
    let parts = Parts {
        images: match images.len() {
            _ if classifier.rescoring().is_some() => usize::MAX,
            few if few <= SCORED_AT_ONCE => SCORED_AT_ONCE,
            _ => ENCODING_BATCH,
        },
        negative: judge.negative_classifier()?,
        judge,
    };
    let labels = images.labels(classes, reporter)?.labels;
    let mut rows = Rows {
        parts: &parts,
        model,
        question,
        images,
        labels,
        threshold: match question.cut {
            Cut::At(value) => Some((value, None)),
            Cut::Chosen(stored) => Some((stored.value, Some(stored))),
            Cut::Choose(_) => None,
        },
        row,
        part: ImageFeatures::default(),
        made: Predictions::default(),
        indices: Vec::new(),
        known: 0,
        images_made: 0,
    };
    let encoded = rows.encode(store, reporter)?;
    images.tell_orientation(reporter);
    let skipped = list_skipped(&encoded, images, question.strict, reporter)?;
    drop(encoded);
    // Of several processes the first keeps the features, and makes the rows.
    if !model.exchange().is_first() {
        rows.labels = None;
        return rows.finish(skipped);
    }
    if rows.threshold.is_none() {
        let chosen = parts.choose(model, method, store, question)?;
        rows.threshold = Some((chosen.value, Some(chosen)));
        rows.add_kept(store)?;
    }
    rows.make()?;
    rows.finish(skipped)
}

/// How features become scores, part by part.
struct Parts<'a> {
    /// Images of a part, at least.
    images: usize,
    negative: Option<Classifier>,
    judge: Judge<'a>,
}

impl Parts<'_> {
    /// Calls for each part of the kept features.
    fn visit(
        &self,
        store: &mut dyn KeptFeatures,
        visit: &mut dyn FnMut(&ImageFeatures) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        let mut part = ImageFeatures::default();
        for batch in store.batches().map_err(SessionError::NotKept)? {
            join(&mut part, batch.map_err(SessionError::NotKept)?);
            if part.indices.len() >= self.images {
                visit(&std::mem::take(&mut part))?;
            }
        }
        match part.indices.is_empty() {
            true => Ok(()),
            false => visit(&part),
        }
    }

    /// The threshold that the confidences of all images ask for.
    fn choose(
        &self,
        model: &Model,
        method: ThresholdMethod,
        store: &mut dyn KeptFeatures,
        question: Question<'_>,
    ) -> Result<Threshold, SessionError> {
        let rule = question.rule;
        let is_decided = method == ThresholdMethod::Auto && question.classes.len() > 1;
        let (mut confidences, mut left_out) = (Vec::new(), Vec::new());
        let mut means = Means::default();
        self.visit(store, &mut |part| {
            let table = self.judge.table_of_part(part, self.negative.as_ref());
            confidences.extend(self.judge.scorer.predictions(&table)?.confidences);
            if is_decided {
                left_out.extend(left_out_confidences(table.scores(), rule)?);
                means.add(&part.unit_features(&model.clip), part.embed_dim);
            }
            Ok(())
        })?;
        let axis = rule.score.axis();
        if !is_decided {
            return Ok(choose_threshold(&confidences, method, axis)?);
        }
        let texts = to_host(self.judge.classifier.text_features()).data;
        let width = model.base.config.embed_dim;
        let centring = Centring {
            image_mean: means.mean(),
            text_mean: mean_row(&texts, width),
            factor: Centring::HALF,
        };
        let (mut largest, mut second) = (Vec::new(), Vec::new());
        self.visit(store, &mut |part| {
            let cosines = centring.cosines(&part.unit_features(&model.clip), &texts);
            let two = two_largest(&cosines, question.classes.len());
            largest.extend(two.0);
            second.extend(two.1);
            Ok(())
        })?;
        let classes = question.classes.len();
        let model = self.judge.cosines_of();
        let reference = Reference {
            left_out: &left_out,
            group_test: GroupTest::of_two_largest((largest, second), classes, model),
            axis,
        };
        Ok(decide(&confidences, reference)?)
    }
}

/// The mean of rows that come in parts, as [`mean_row`] has it of all of them.
#[derive(Default)]
struct Means {
    sums: Vec<f64>,
    rows: usize,
}

impl Means {
    fn add(&mut self, rows: &[f32], width: usize) {
        self.sums.resize(width, 0.0);
        for row in rows.chunks_exact(width.max(1)) {
            let pairs = self.sums.iter_mut().zip(row);
            pairs.for_each(|(sum, value)| *sum += f64::from(*value));
            self.rows += 1;
        }
    }

    fn mean(&self) -> Vec<f32> {
        let count = self.rows.max(1) as f64;
        self.sums.iter().map(|sum| (sum / count) as f32).collect()
    }
}

/// Makes rows of features, once the threshold is known.
struct Rows<'a, 'r> {
    parts: &'a Parts<'a>,
    model: &'a Model,
    question: Question<'a>,
    images: &'a Images,
    labels: Option<Labels>,
    threshold: Option<(f64, Option<Threshold>)>,
    row: &'r mut dyn FnMut(&ImagePrediction) -> Result<(), CallerError>,
    /// Features of which no rows were made yet.
    part: ImageFeatures,
    /// Classes and confidences so far, where labels will be compared with them.
    made: Predictions,
    indices: Vec<usize>,
    known: usize,
    images_made: usize,
}

impl Rows<'_, '_> {
    /// The pass over the images; rows are made in it where the threshold is known.
    fn encode(
        &mut self,
        store: &mut dyn KeptFeatures,
        reporter: &mut dyn Reporter,
    ) -> Result<ImageFeatures, SessionError> {
        let (model, images) = (self.model, self.images);
        let mut making = Making {
            rows: self,
            store,
            failed: None,
        };
        let affine = &model.parameters.affine;
        let stage = Stage::Inference;
        let encoded = encode_images_keeping(&mut making, model, affine, images, stage, reporter);
        match making.failed {
            Some(error) => Err(error),
            None => encoded,
        }
    }

    fn add_kept(&mut self, store: &mut dyn KeptFeatures) -> Result<(), SessionError> {
        for batch in store.batches().map_err(SessionError::NotKept)? {
            self.add(batch.map_err(SessionError::NotKept)?)?;
        }
        Ok(())
    }

    fn add(&mut self, batch: ImageFeatures) -> Result<(), SessionError> {
        join(&mut self.part, batch);
        match self.part.indices.len() >= self.parts.images {
            true => self.make(),
            false => Ok(()),
        }
    }

    /// Makes the rows of the images that wait for theirs.
    fn make(&mut self) -> Result<(), SessionError> {
        let part = std::mem::take(&mut self.part);
        let Some((threshold, chosen)) = &self.threshold else {
            return Ok(());
        };
        if part.indices.is_empty() {
            return Ok(());
        }
        let Parts {
            judge, negative, ..
        } = self.parts;
        let table = judge.table_of_part(&part, negative.as_ref());
        let predicted = judge.scorer.predictions(&table)?;
        let classes = self.question.classes;
        for (row, &index) in part.indices.iter().enumerate() {
            let confidence = predicted.confidences[row];
            let known = confidence >= *threshold;
            let top = table.scores().top(row, self.question.top_k).into_iter();
            let labels = self.labels.as_ref();
            let prediction = ImagePrediction {
                path: self.images.id(index).to_owned(),
                label: classes[predicted.classes[row]].clone(),
                confidence,
                known,
                verdict: match chosen {
                    Some(chosen) => chosen.verdict(confidence),
                    None if known => Verdict::Accept,
                    None => Verdict::Reject,
                },
                top: top
                    .map(|(class, probability)| (classes[class].clone(), probability))
                    .collect(),
                true_label: labels.and_then(|labels| labels.true_label(index, classes)),
            };
            (self.row)(&prediction).map_err(SessionError::NotKept)?;
            self.known += usize::from(known);
            self.images_made += 1;
        }
        if self.labels.is_some() {
            self.indices.extend(&part.indices);
            self.made.classes.extend(&predicted.classes);
            self.made.confidences.extend(&predicted.confidences);
        }
        Ok(())
    }

    fn finish(self, skipped: Vec<SkippedImage>) -> Result<PredictedRows, SessionError> {
        let (threshold, chosen) = self.threshold.unwrap_or_default();
        let labels = self.labels.map(|labels| labels.of(&self.indices));
        Ok(PredictedRows {
            images: self.images_made,
            known: self.known,
            skipped,
            threshold,
            chosen_threshold: match (chosen, &labels) {
                (Some(chosen), Some(labels)) => Some(calibrated(chosen, &self.made, labels)?),
                (chosen, _) => chosen,
            },
        })
    }
}

/// Keeps the features of a pass and makes rows of them.
struct Making<'m, 'a, 'r> {
    rows: &'m mut Rows<'a, 'r>,
    store: &'m mut dyn KeptFeatures,
    /// What went wrong with rows; the pass itself knows errors of stores only.
    failed: Option<SessionError>,
}

impl FeatureStore for Making<'_, '_, '_> {
    fn kept(&mut self) -> ImageFeatures {
        // Rows of an earlier pass are made again: what was written of them may have been cut anywhere.
        if self.rows.threshold.is_some() {
            self.failed = self.rows.add_kept(self.store).err();
        }
        self.store.kept()
    }

    fn keep(&mut self, batch: &ImageFeatures) -> Result<(), CallerError> {
        let in_vain = || "no rows can be made".into();
        if self.failed.is_some() {
            return Err(in_vain());
        }
        self.store.keep(batch)?;
        if self.rows.threshold.is_some()
            && let Err(error) = self.rows.add(batch.clone())
        {
            self.failed = Some(error);
            return Err(in_vain());
        }
        Ok(())
    }

    fn is_enough(&self) -> bool {
        true
    }
}

fn join(part: &mut ImageFeatures, batch: ImageFeatures) {
    part.embed_dim = batch.embed_dim;
    part.append(batch);
}
