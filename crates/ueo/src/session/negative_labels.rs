//! Words that name none of the known classes, for [`Score::NegativeLabels`](crate::evaluate::Score::NegativeLabels).

use crate::adapt::TrainedParameters;
use crate::evaluate::EvaluateError;
use crate::method::Method;
use crate::model::to_host;
use crate::text::Overlong;

use super::SessionError;
use super::encode::ImageFeatures;
use super::model::{Classifier, Model};

/// Nouns for things that a photograph can show, one per line (`tools/words/negative_words.py`); names for groups of unknown images
/// come from them too.
pub(super) const WORDS: &str = include_str!("../../assets/negative_words.txt");
/// Words that stay: those farthest from all classes.
const KEPT_WORDS: usize = 1000;
/// A word is as near to a list of classes as to the class at this quantile of its cosines, which forgives single classes that
/// are near to everything (Jiang et al. 2024, section 3.1, with their 0.05 from the other end).
const NEARNESS_QUANTILE: f64 = 0.95;

/// The chosen words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NegativeLabels {
    words: Vec<String>,
}

impl NegativeLabels {
    /// The words of the list that are farthest from the known classes by the text features of whole sentences, which training
    /// never changes: a run's words are the same before and after it.
    pub fn choose(model: &Model, classes: &[String]) -> Result<Self, SessionError> {
        let sentence = |name: &str| model.templates()[0].about(name);
        let is_class = |word: &str| {
            classes
                .iter()
                .any(|class| class.replace('_', " ").eq_ignore_ascii_case(word))
        };
        // Of a short context some words are too long.
        let fits = |word: &str| model.prompts(&[word.to_owned()]).is_ok();
        let words: Vec<&str> = WORDS
            .lines()
            .filter(|word| !is_class(word) && fits(word))
            .collect();
        let features = |names: &mut dyn Iterator<Item = &str>| -> Result<_, SessionError> {
            let sentences: Vec<String> = names.map(sentence).collect();
            model.text_features(&sentences, Overlong::Error)
        };
        let word_features = features(&mut words.iter().copied())?;
        let class_features = features(&mut classes.iter().map(String::as_str))?;
        let cosines = to_host(&word_features.matmul(class_features.transpose())).data;
        let mut by_nearness: Vec<(f32, &str)> = cosines
            .chunks_exact(classes.len())
            .zip(words)
            .map(|(row, word)| (nearness(row), word))
            .collect();
        // Stable, and the list is in alphabetical order.
        by_nearness.sort_by(|a, b| a.0.total_cmp(&b.0));
        by_nearness.truncate(KEPT_WORDS);
        let words = by_nearness.into_iter();
        Ok(Self {
            words: words.map(|(_, word)| word.to_owned()).collect(),
        })
    }

    /// A classifier of the words, in prompts with the context of `parameters`.
    pub fn classifier(
        &self,
        model: &Model,
        method: Method,
        parameters: &TrainedParameters,
    ) -> Result<Classifier, SessionError> {
        let classifier = Classifier::of_method(model, method, &self.words, parameters)?;
        // What a method makes of all images together is on no common scale with cosines to other words.
        if classifier.rescoring().is_some() {
            return Err(EvaluateError::NoNegativeLabels.into());
        }
        Ok(classifier)
    }

    /// Cosines of images to the words, in prompts with the context of `parameters`, `[images, words]`, row-major.
    pub fn cosines(
        &self,
        model: &Model,
        method: Method,
        parameters: &TrainedParameters,
        encoded: &ImageFeatures,
    ) -> Result<Vec<f32>, SessionError> {
        let classifier = self.classifier(model, method, parameters)?;
        Ok(encoded.class_scores(&model.clip, &classifier))
    }
}

fn nearness(cosines: &[f32]) -> f32 {
    let mut sorted = cosines.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted[((sorted.len() - 1) as f64 * NEARNESS_QUANTILE).ceil() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_plain() {
        let words: Vec<&str> = WORDS.lines().collect();
        assert!(words.len() > KEPT_WORDS);
        assert!(words.is_sorted_by(|a, b| a < b));
        let plain = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
        assert!(words.iter().all(plain));
    }

    #[test]
    fn nearness_forgives_one_class_in_twenty() {
        let mut cosines = vec![0.1; 41];
        (cosines[0], cosines[7]) = (0.9, 0.8);
        assert_eq!(nearness(&cosines), 0.1);
        assert_eq!(
            nearness(&[0.3, 0.5]),
            0.5,
            "of few classes the nearest counts"
        );
    }
}
