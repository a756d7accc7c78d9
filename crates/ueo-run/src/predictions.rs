//! `predictions.csv`: what the zero-shot and the adapted model say about every image of a run.
//!
//! The first half is written before training starts and read back when a run is resumed, so that a resumed run ends with
//! the same bytes. Numbers are written with as many digits as tell them apart from all others.

use std::collections::HashMap;
use std::io::Write;

use serde::{Deserialize, Serialize};

use ueo::evaluate::{Predictions, Scores};

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
    pub zero_shot: Verdict,
    /// What the adapted model says, once the run is finished.
    pub adapted: Option<Verdict>,
}

/// What an image shows according to its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrueLabel {
    /// The class name for a known class, otherwise the label as the data set spells it.
    pub name: String,
    /// Index of the known class, `None` for an image of another class.
    pub class: Option<usize>,
}

/// What one model says about one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Index of the predicted class.
    pub class: usize,
    /// What separates known from unknown, by the run's score.
    pub confidence: f64,
    /// The [`KEPT_CLASSES`] most probable classes with their softmax probabilities at the checkpoint's own logit scale,
    /// best first.
    pub top: Vec<(usize, f64)>,
}

impl Verdict {
    /// The verdicts on all images of a set of predictions.
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

/// A line of the file; the column names are those of the fields.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Row {
    path: String,
    label: Option<String>,
    known: Option<bool>,
    zero_shot_class: Option<String>,
    zero_shot_confidence: Option<f64>,
    zero_shot_probability: Option<f64>,
    zero_shot_class_2: Option<String>,
    zero_shot_probability_2: Option<f64>,
    zero_shot_class_3: Option<String>,
    zero_shot_probability_3: Option<f64>,
    adapted_class: Option<String>,
    adapted_confidence: Option<f64>,
    adapted_probability: Option<f64>,
    adapted_class_2: Option<String>,
    adapted_probability_2: Option<f64>,
    adapted_class_3: Option<String>,
    adapted_probability_3: Option<f64>,
}

/// The columns of one model, ranks 1 to 3.
struct Columns {
    confidence: Option<f64>,
    ranks: [(Option<String>, Option<f64>); KEPT_CLASSES],
}

impl Columns {
    fn of(verdict: Option<&Verdict>, classes: &[String]) -> Self {
        let rank = |rank: usize| {
            let found = verdict.and_then(|verdict| verdict.top.get(rank));
            (
                found.map(|(class, _)| classes[*class].clone()),
                found.map(|(_, probability)| *probability),
            )
        };
        let mut ranks = [rank(0), rank(1), rank(2)];
        // A method may decide otherwise than by the largest probability.
        ranks[0].0 = verdict.map(|verdict| classes[verdict.class].clone());
        Self {
            confidence: verdict.map(|verdict| verdict.confidence),
            ranks,
        }
    }

    /// The inverse of [`Self::of`]; `None` when the model has not spoken yet.
    fn verdict(self, classes: &HashMap<&str, usize>) -> Result<Option<Verdict>, String> {
        let [(Some(first), _), ..] = &self.ranks else {
            return Ok(None);
        };
        let index = |name: &str| {
            classes
                .get(name)
                .copied()
                .ok_or_else(|| format!("`{name}` is not a class of this run"))
        };
        let top = self.ranks.iter().map_while(|(name, probability)| {
            let (name, probability) = (name.as_ref()?, (*probability)?);
            Some(index(name).map(|class| (class, probability)))
        });
        Ok(Some(Verdict {
            class: index(first)?,
            confidence: self.confidence.ok_or("a confidence is missing")?,
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
) -> Result<(), csv::Error> {
    let mut table = csv::Writer::from_writer(file);
    for image in images {
        let zero_shot = Columns::of(Some(&image.zero_shot), classes);
        let adapted = Columns::of(image.adapted.as_ref(), classes);
        let [zero_shot_1, zero_shot_2, zero_shot_3] = zero_shot.ranks;
        let [adapted_1, adapted_2, adapted_3] = adapted.ranks;
        table.serialize(Row {
            path: image.path.clone(),
            label: image.label.as_ref().map(|label| label.name.clone()),
            known: image.label.as_ref().map(|label| label.class.is_some()),
            zero_shot_class: zero_shot_1.0,
            zero_shot_confidence: zero_shot.confidence,
            zero_shot_probability: zero_shot_1.1,
            zero_shot_class_2: zero_shot_2.0,
            zero_shot_probability_2: zero_shot_2.1,
            zero_shot_class_3: zero_shot_3.0,
            zero_shot_probability_3: zero_shot_3.1,
            adapted_class: adapted_1.0,
            adapted_confidence: adapted.confidence,
            adapted_probability: adapted_1.1,
            adapted_class_2: adapted_2.0,
            adapted_probability_2: adapted_2.1,
            adapted_class_3: adapted_3.0,
            adapted_probability_3: adapted_3.1,
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
    csv::Reader::from_reader(bytes)
        .deserialize()
        .enumerate()
        .map(|(number, row)| {
            let row: Row = row.map_err(|error| error.to_string())?;
            result(row, &indices).map_err(|reason| format!("image {}: {reason}", number + 1))
        })
        .collect()
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
                .ok_or_else(|| format!("it has no row of image {path}"))
        })
        .collect()
}

fn result(row: Row, classes: &HashMap<&str, usize>) -> Result<ImageResult, String> {
    let zero_shot = Columns {
        confidence: row.zero_shot_confidence,
        ranks: [
            (row.zero_shot_class, row.zero_shot_probability),
            (row.zero_shot_class_2, row.zero_shot_probability_2),
            (row.zero_shot_class_3, row.zero_shot_probability_3),
        ],
    };
    let adapted = Columns {
        confidence: row.adapted_confidence,
        ranks: [
            (row.adapted_class, row.adapted_probability),
            (row.adapted_class_2, row.adapted_probability_2),
            (row.adapted_class_3, row.adapted_probability_3),
        ],
    };
    let label =
        match (row.label, row.known) {
            (Some(name), Some(true)) => Some(TrueLabel {
                class: Some(*classes.get(name.as_str()).ok_or_else(|| {
                    format!("label `{name}` is said to be known and is no class")
                })?),
                name,
            }),
            // An empty column is no label, unless the image is said to be unknown: folders may be called anything.
            (name, Some(false)) => Some(TrueLabel {
                class: None,
                name: name.unwrap_or_default(),
            }),
            _ => None,
        };
    Ok(ImageResult {
        path: row.path,
        label,
        zero_shot: zero_shot
            .verdict(classes)?
            .ok_or("the zero-shot class is missing")?,
        adapted: adapted.verdict(classes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Vec<String> {
        ["cat", "red, \"fox\"\nwith <b>", "ö"]
            .map(str::to_owned)
            .to_vec()
    }

    fn results() -> Vec<ImageResult> {
        let verdict = |class, confidence: f64| Verdict {
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
                zero_shot: verdict(1, 1.0 / 3.0),
                adapted: Some(verdict(2, f64::MIN_POSITIVE)),
            },
            ImageResult {
                path: "submarine.png".to_owned(),
                label: Some(TrueLabel {
                    name: "submarine".to_owned(),
                    class: None,
                }),
                zero_shot: verdict(0, 0.5),
                adapted: None,
            },
            ImageResult {
                path: "unlabeled.png".to_owned(),
                label: None,
                zero_shot: verdict(2, 1.0),
                adapted: None,
            },
        ]
    }

    #[test]
    fn what_is_written_is_read_to_the_last_bit() {
        let mut bytes = Vec::new();
        write(&mut bytes, &results(), &classes()).unwrap();
        assert_eq!(read(&bytes, &classes()).unwrap(), results());
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
        write(&mut bytes, &results(), &classes()).unwrap();
        for length in 0..bytes.len() {
            let kept = read(&bytes[..length], &classes());
            let whole_rows = kept.map_or(0, |results| results.len());
            assert!(whole_rows < results().len(), "{length} bytes");
        }
    }

    #[test]
    fn tables_of_other_classes_are_refused() {
        let mut bytes = Vec::new();
        write(&mut bytes, &results(), &classes()).unwrap();
        let error = read(&bytes, &classes()[..1]).unwrap_err();
        assert!(
            error.contains("image 1") && error.contains("red"),
            "{error}"
        );
    }
}
