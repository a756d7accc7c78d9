//! `predictions.csv`: what the zero-shot and the adapted model say about every image of a run.
//!
//! The columns of the adapted model are those of the table that `ueo predict` writes, docs/files.md describes both. Version 0.1.0
//! called them otherwise, and such tables are read.
//!
//! The first half is written before training starts and read back when a run is resumed, so that a resumed run ends with
//! the same bytes. Numbers are written with as many digits as tell them apart from all others.

use std::collections::HashMap;
use std::io::Write;

use serde::{Deserialize, Serialize};

use ueo::evaluate::{Predictions, Scores, Threshold, Verdict};
use ueo::session::TrueLabel;
use ueo::{csv_cell, from_csv_cell, quote};

/// Classes that are kept per image and model, the most probable one included.
pub const KEPT_CLASSES: usize = 3;

/// What both models say about one image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageResult {
    /// Path relative to the images' root.
    pub path: String,
    /// What it shows, when the images have labels.
    pub label: Option<TrueLabel>,
    /// What the checkpoint says.
    pub zero_shot: Answer,
    /// What the adapted model says, once the run is finished.
    pub adapted: Option<Answer>,
}

/// What one model says about one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Index of the predicted class.
    pub class: usize,
    /// What separates known from unknown, by the run's score.
    pub confidence: f64,
    /// The [`KEPT_CLASSES`] most probable classes with their softmax probabilities at the checkpoint's own logit scale,
    /// best first.
    pub top: Vec<(usize, f64)>,
}

impl Answer {
    /// The answers on all images of a set of predictions.
    pub fn all(scores: Scores<'_>, predictions: &Predictions) -> Vec<Self> {
        let pairs = predictions.classes.iter().zip(&predictions.confidences);
        pairs
            .enumerate()
            .map(|(image, (class, confidence))| Self {
                class: *class,
                confidence: *confidence,
                top: scores.top(image, KEPT_CLASSES),
            })
            .collect()
    }

    /// Probability of the most probable class at the checkpoint's own logit scale.
    pub fn probability(&self) -> f64 {
        self.top
            .first()
            .map_or(0.0, |(_, probability)| *probability)
    }
}

/// Confidences from which on an image counts as known, of both models, as far as they are chosen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thresholds {
    /// That of the checkpoint.
    pub zero_shot: Option<Threshold>,
    /// That of the adapted model.
    pub adapted: Option<Threshold>,
}

/// A line of the file; the column names are those of the fields, and those of version 0.1.0 their aliases.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Row {
    path: String,
    #[serde(alias = "adapted_class")]
    predicted: Option<String>,
    #[serde(alias = "adapted_confidence")]
    confidence: Option<f64>,
    decision: Option<Decision>,
    verdict: Option<Verdict>,
    #[serde(alias = "adapted_probability")]
    probability: Option<f64>,
    #[serde(alias = "adapted_class_2")]
    predicted_2: Option<String>,
    #[serde(alias = "adapted_probability_2")]
    probability_2: Option<f64>,
    #[serde(alias = "adapted_class_3")]
    predicted_3: Option<String>,
    #[serde(alias = "adapted_probability_3")]
    probability_3: Option<f64>,
    #[serde(alias = "label")]
    true_label: Option<String>,
    #[serde(alias = "known")]
    true_decision: Option<Decision>,
    #[serde(alias = "zero_shot_class")]
    zero_shot_predicted: Option<String>,
    zero_shot_confidence: Option<f64>,
    zero_shot_decision: Option<Decision>,
    zero_shot_verdict: Option<Verdict>,
    zero_shot_probability: Option<f64>,
    #[serde(alias = "zero_shot_class_2")]
    zero_shot_predicted_2: Option<String>,
    zero_shot_probability_2: Option<f64>,
    #[serde(alias = "zero_shot_class_3")]
    zero_shot_predicted_3: Option<String>,
    zero_shot_probability_3: Option<f64>,
}

/// Whether an image counts as one of the classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Decision {
    #[serde(alias = "true")]
    Known,
    #[serde(alias = "false")]
    Unknown,
}

impl From<bool> for Decision {
    fn from(known: bool) -> Self {
        match known {
            true => Self::Known,
            false => Self::Unknown,
        }
    }
}

/// The columns of one model, ranks 1 to 3.
struct Columns {
    confidence: Option<f64>,
    decision: Option<Decision>,
    verdict: Option<Verdict>,
    ranks: [(Option<String>, Option<f64>); KEPT_CLASSES],
}

/// A text as a cell; [`text_of`] gives it back.
fn cell(text: &str) -> String {
    csv_cell(text).into_owned()
}

/// The text of a cell.
fn text_of(cell: Option<String>) -> Option<String> {
    cell.map(|cell| from_csv_cell(&cell).to_owned())
}

impl Columns {
    fn of(answer: Option<&Answer>, classes: &[String], threshold: Option<Threshold>) -> Self {
        let rank = |rank: usize| {
            let found = answer.and_then(|answer| answer.top.get(rank));
            (
                found.map(|(class, _)| cell(&classes[*class])),
                found.map(|(_, probability)| *probability),
            )
        };
        let mut ranks = [rank(0), rank(1), rank(2)];
        // A method may decide otherwise than by the largest probability.
        ranks[0].0 = answer.map(|answer| cell(&classes[answer.class]));
        Self {
            confidence: answer.map(|answer| answer.confidence),
            decision: answer
                .zip(threshold)
                .map(|(answer, threshold)| (answer.confidence >= threshold.value).into()),
            verdict: answer
                .zip(threshold)
                .map(|(answer, threshold)| threshold.verdict(answer.confidence)),
            ranks,
        }
    }

    /// The inverse of [`Self::of`]; `None` when the model has not spoken yet.
    fn answer(mut self, classes: &HashMap<&str, usize>) -> Result<Option<Answer>, String> {
        for (name, _) in &mut self.ranks {
            *name = text_of(name.take());
        }
        let [(Some(first), _), ..] = &self.ranks else {
            return Ok(None);
        };
        let index = |name: &str| {
            let class = classes.get(name).copied();
            class.ok_or_else(|| format!("`{}` is not a class of this run", quote::name(name)))
        };
        let finite = |number: f64| match number.is_finite() {
            true => Ok(number),
            false => Err(format!("expected a finite number, found {number}")),
        };
        let top = self.ranks.iter().map_while(|(name, probability)| {
            let (name, probability) = (name.as_ref()?, (*probability)?);
            Some(index(name).and_then(|class| Ok((class, finite(probability)?))))
        });
        Ok(Some(Answer {
            class: index(first)?,
            confidence: finite(self.confidence.ok_or("a confidence is missing")?)?,
            top: top.collect::<Result<_, _>>()?,
        }))
    }
}

/// Writes the table.
///
/// # Errors
///
/// As the writer.
pub(super) fn write(
    file: impl Write,
    images: &[ImageResult],
    classes: &[String],
    thresholds: Thresholds,
) -> Result<(), csv::Error> {
    let mut table = csv::Writer::from_writer(file);
    for image in images {
        let zero_shot = Columns::of(Some(&image.zero_shot), classes, thresholds.zero_shot);
        let adapted = Columns::of(image.adapted.as_ref(), classes, thresholds.adapted);
        let [zero_shot_1, zero_shot_2, zero_shot_3] = zero_shot.ranks;
        let [adapted_1, adapted_2, adapted_3] = adapted.ranks;
        let label = image.label.as_ref();
        table.serialize(Row {
            path: cell(&image.path),
            predicted: adapted_1.0,
            confidence: adapted.confidence,
            decision: adapted.decision,
            verdict: adapted.verdict,
            probability: adapted_1.1,
            predicted_2: adapted_2.0,
            probability_2: adapted_2.1,
            predicted_3: adapted_3.0,
            probability_3: adapted_3.1,
            true_label: label.map(|label| cell(&label.name)),
            true_decision: label.map(|label| label.class.is_some().into()),
            zero_shot_predicted: zero_shot_1.0,
            zero_shot_confidence: zero_shot.confidence,
            zero_shot_decision: zero_shot.decision,
            zero_shot_verdict: zero_shot.verdict,
            zero_shot_probability: zero_shot_1.1,
            zero_shot_predicted_2: zero_shot_2.0,
            zero_shot_probability_2: zero_shot_2.1,
            zero_shot_predicted_3: zero_shot_3.0,
            zero_shot_probability_3: zero_shot_3.1,
        })?;
    }
    table.flush()?;
    Ok(())
}

/// Reads the table of a run with these classes.
///
/// # Errors
///
/// In words, what is wrong and on which line.
pub(super) fn read(bytes: &[u8], classes: &[String]) -> Result<Vec<ImageResult>, String> {
    // Every line ends, so that a number that was cut is not taken for a shorter one.
    if !bytes.ends_with(b"\n") {
        return Err("the last line has been cut".to_owned());
    }
    let indices: HashMap<&str, usize> = classes
        .iter()
        .enumerate()
        .map(|(index, name)| (name.as_str(), index))
        .collect();
    let images: Vec<ImageResult> = csv::Reader::from_reader(bytes)
        .deserialize()
        .enumerate()
        .map(|(number, row)| {
            let row: Row = row.map_err(|error| quote::line(&error.to_string()).to_string())?;
            result(row, &indices).map_err(|reason| format!("image {}: {reason}", number + 1))
        })
        .collect::<Result<_, String>>()?;
    match images.is_empty() {
        false => Ok(images),
        true => Err("expected the rows of images, found none".to_owned()),
    }
}

/// Brings results into the order of some images, whatever their order in the file.
///
/// # Errors
///
/// In words, when they are not those of exactly these images.
pub(super) fn of_images<'a>(
    results: Vec<ImageResult>,
    paths: impl ExactSizeIterator<Item = &'a str>,
) -> Result<Vec<ImageResult>, String> {
    let (expected, found) = (paths.len(), results.len());
    let results = results.into_iter();
    let mut by_path: HashMap<String, ImageResult> = results
        .map(|result| (result.path.clone(), result))
        .collect();
    if found != expected || by_path.len() != found {
        return Err(format!(
            "expected the rows of {expected} images, found {found} rows of {} images",
            by_path.len()
        ));
    }
    paths
        .map(|path| {
            by_path
                .remove(path)
                .ok_or_else(|| format!("it has no row of image {}", quote::name(path)))
        })
        .collect()
}

fn result(row: Row, classes: &HashMap<&str, usize>) -> Result<ImageResult, String> {
    let zero_shot = Columns {
        confidence: row.zero_shot_confidence,
        decision: row.zero_shot_decision,
        verdict: row.zero_shot_verdict,
        ranks: [
            (row.zero_shot_predicted, row.zero_shot_probability),
            (row.zero_shot_predicted_2, row.zero_shot_probability_2),
            (row.zero_shot_predicted_3, row.zero_shot_probability_3),
        ],
    };
    let adapted = Columns {
        confidence: row.confidence,
        decision: row.decision,
        verdict: row.verdict,
        ranks: [
            (row.predicted, row.probability),
            (row.predicted_2, row.probability_2),
            (row.predicted_3, row.probability_3),
        ],
    };
    let label = match (text_of(row.true_label), row.true_decision) {
        (Some(name), Some(Decision::Known)) => Some(TrueLabel {
            class: Some(*classes.get(name.as_str()).ok_or_else(|| {
                let name = quote::name(&name);
                format!("label `{name}` is said to be known and is no class")
            })?),
            name,
        }),
        // An empty column is no label, unless the image is said to be unknown: folders may be called anything.
        (name, Some(Decision::Unknown)) => Some(TrueLabel {
            class: None,
            name: name.unwrap_or_default(),
        }),
        _ => None,
    };
    Ok(ImageResult {
        path: from_csv_cell(&row.path).to_owned(),
        label,
        zero_shot: zero_shot
            .answer(classes)?
            .ok_or("the zero-shot class is missing")?,
        adapted: adapted.answer(classes)?,
    })
}

#[cfg(test)]
mod tests {
    use ueo::evaluate::{Review, ThresholdAxis, ThresholdMethod, choose_threshold};

    use super::*;

    fn classes() -> Vec<String> {
        ["cat", "red, \"fox\"\nwith <b>", "ö"]
            .map(str::to_owned)
            .to_vec()
    }

    fn results() -> Vec<ImageResult> {
        let answer = |class, confidence: f64| Answer {
            class,
            confidence,
            top: vec![(class, 0.1 + 0.2), ((class + 1) % 3, 1e-300)],
        };
        vec![
            ImageResult {
                path: "a,b/\"c\".png".to_owned(),
                label: Some(TrueLabel {
                    name: classes()[1].clone(),
                    class: Some(1),
                }),
                zero_shot: answer(1, 1.0 / 3.0),
                adapted: Some(answer(2, f64::MIN_POSITIVE)),
            },
            ImageResult {
                path: "submarine.png".to_owned(),
                label: Some(TrueLabel {
                    name: "submarine".to_owned(),
                    class: None,
                }),
                zero_shot: answer(0, 0.5),
                adapted: None,
            },
            ImageResult {
                path: "unlabeled.png".to_owned(),
                label: None,
                zero_shot: answer(2, 1.0),
                adapted: None,
            },
        ]
    }

    #[test]
    fn what_is_written_is_read_to_the_last_bit() {
        let mut bytes = Vec::new();
        write(&mut bytes, &results(), &classes(), Thresholds::default()).unwrap();
        assert_eq!(read(&bytes, &classes()).unwrap(), results());
    }

    #[test]
    fn decisions_follow_the_thresholds_and_say_nothing_before_there_are_any() {
        let rows = |thresholds| -> Vec<[String; 5]> {
            let mut bytes = Vec::new();
            write(&mut bytes, &results(), &classes(), thresholds).unwrap();
            let mut table = csv::Reader::from_reader(bytes.as_slice());
            let header = table.headers().unwrap().clone();
            let column = |name| header.iter().position(|found| found == name).unwrap();
            let columns = [
                "decision",
                "verdict",
                "zero_shot_decision",
                "zero_shot_verdict",
                "true_decision",
            ]
            .map(column);
            table
                .records()
                .map(|row| columns.map(|column| row.as_ref().unwrap()[column].to_owned()))
                .collect()
        };
        assert_eq!(rows(Thresholds::default())[0], ["", "", "", "", "known"]);
        let threshold = |value: f64, review| Threshold {
            value,
            review,
            ..choose_threshold(&[value], ThresholdMethod::Otsu, ThresholdAxis::Identity).unwrap()
        };
        let review = Review {
            reject_below: 0.3,
            accept_from: 0.75,
            errors: None,
        };
        let thresholds = Thresholds {
            zero_shot: Some(threshold(0.5, Some(review))),
            adapted: Some(threshold(0.1, None)),
        };
        assert_eq!(
            rows(thresholds),
            [
                ["unknown", "reject", "unknown", "review", "known"],
                ["", "", "known", "review", "unknown"],
                ["", "", "known", "accept", ""]
            ]
        );
    }

    #[test]
    fn tables_of_version_0_1_0_are_read() {
        let table = "path,label,known,zero_shot_class,zero_shot_confidence,zero_shot_probability,zero_shot_class_2,\
             zero_shot_probability_2,zero_shot_class_3,zero_shot_probability_3,adapted_class,adapted_confidence,\
             adapted_probability,adapted_class_2,adapted_probability_2,adapted_class_3,adapted_probability_3\n\
             a.png,cat,true,cat,0.25,0.5,\u{f6},0.125,,,\u{f6},0.75,0.625,cat,0.25,,\n\
             b.png,boat,false,cat,0.25,0.5,,,,,,,,,,,\n";
        let images = read(table.as_bytes(), &classes()).unwrap();
        let adapted = images[0].adapted.as_ref().unwrap();
        assert_eq!((adapted.class, adapted.confidence), (2, 0.75));
        assert_eq!(adapted.top, [(2, 0.625), (0, 0.25)]);
        assert_eq!(images[0].zero_shot.top, [(0, 0.5), (2, 0.125)]);
        assert_eq!(images[0].label.as_ref().unwrap().class, Some(0));
        assert_eq!(images[1].label.as_ref().unwrap().class, None);
        assert_eq!(images[1].adapted, None);
    }

    #[test]
    fn rows_are_matched_by_path() {
        let paths = ["submarine.png", "a,b/\"c\".png", "unlabeled.png"];
        let ordered = of_images(results(), paths.into_iter()).unwrap();
        assert_eq!(ordered[1], results()[0]);
        let refused =
            |results, paths: &[&str]| of_images(results, paths.iter().copied()).unwrap_err();
        let error = refused(results(), &paths[..2]);
        assert!(
            error.contains("expected the rows of 2 images, found 3"),
            "{error}"
        );
        let error = refused(results(), &["submarine.png", "other.png", "unlabeled.png"]);
        assert!(error.contains("other.png"), "{error}");
        let mut twice = results();
        twice[0] = twice[1].clone();
        assert!(refused(twice, &paths).contains("3 rows of 2 images"));
    }

    #[test]
    fn a_cut_table_is_refused_wherever_it_ends() {
        let mut bytes = Vec::new();
        write(&mut bytes, &results(), &classes(), Thresholds::default()).unwrap();
        for length in 0..bytes.len() {
            let kept = read(&bytes[..length], &classes());
            let whole_rows = kept.map_or(0, |results| results.len());
            assert!(whole_rows < results().len(), "{length} bytes");
        }
    }

    #[test]
    fn a_table_of_no_images_is_refused() {
        // A run has images; a page of none would have nothing to show.
        for table in ["path,predicted\n", "path,label,zero_shot_class\n"] {
            let error = read(table.as_bytes(), &classes()).unwrap_err();
            assert!(error.contains("found none"), "{error}");
        }
    }

    #[test]
    fn tables_of_other_classes_are_refused() {
        let mut bytes = Vec::new();
        write(&mut bytes, &results(), &classes(), Thresholds::default()).unwrap();
        let error = read(&bytes, &classes()[..1]).unwrap_err();
        assert!(
            error.contains("image 1") && error.contains("red"),
            "{error}"
        );
    }
}
