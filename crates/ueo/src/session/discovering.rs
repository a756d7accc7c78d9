//! What the images show that a model rejects as unknown: groups of them, and names that the class list lacks.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::data::fold;
use crate::discover::{
    MOST_COMPARED, NameSpace, Tree, centred_images, cut_by_classes, distinct_proposals,
    evenly_spaced, group, mean_direction,
};
use crate::method::dot;
use crate::model::{normalize_rows, to_host};

use super::images::Images;
use super::model::Model;
use super::negative_labels::WORDS;
use super::predicting::{PredictionSet, Question, predict_encoded};
use super::{Reporter, SessionError};

/// Names that are listed for each group.
const NAMES_PER_GROUP: usize = 5;
/// Images that the cut is chosen from; the agreement of groups and classes changes little with more.
const MOST_FOR_CUT: usize = 2000;
/// The cut where classes say nothing: the mean of what they chose on the validation classes of IconNet.
const CUT_WITHOUT_CLASSES: f64 = 0.4;

/// What is asked about unknown images.
#[derive(Clone, Copy, Debug)]
pub struct DiscoverQuestion<'a> {
    /// Which images are unknown.
    pub prediction: Question<'a>,
    /// Where names for groups come from.
    pub vocabulary: Vocabulary<'a>,
    /// Images that a group has at least for a name of it to be proposed.
    pub smallest: usize,
}

/// Names that groups may get.
#[derive(Clone, Copy, Debug)]
pub enum Vocabulary<'a> {
    /// The nouns that come with the library, as far as they fit into the text tower.
    Shipped,
    /// These.
    Names(&'a [String]),
}

/// What the images show that are rejected as unknown.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// What the model says about all images.
    pub predictions: PredictionSet,
    /// Groups of two images or more, the largest first.
    pub groups: Vec<NamedGroup>,
    /// Positions in `predictions.images` of rejected images that nothing is near to, ascending.
    pub alone: Vec<usize>,
    /// Mean cosine distance within which groups were joined.
    pub cut: f64,
    /// What the cut was chosen from.
    pub cut_basis: CutBasis,
    /// What became of the vocabulary.
    pub vocabulary: VocabularyUse,
}

/// What the distance was chosen from at which joining groups stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutBasis {
    /// The predicted classes of all images.
    PredictedClasses,
    /// Nothing: the predicted classes say nothing, for example because every image is of another one, and a default was taken.
    Default,
}

/// What became of the names of a vocabulary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VocabularyUse {
    /// Names that groups may get.
    pub names: usize,
    /// Names left out because they are those of known classes.
    pub known: usize,
    /// Names left out because they are too long for the text tower.
    pub too_long: usize,
}

/// Images that are like each other, with names for what they show.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedGroup {
    /// The images, most similar to the group first.
    pub members: Vec<Member>,
    /// Names of the vocabulary, nearest first.
    pub names: Vec<SimilarName>,
    /// The nearest of the known classes.
    pub nearest_known: SimilarName,
    /// The name to add to the class list: the first that no larger group has. `None` for a group that is too small or whose names
    /// are all taken.
    pub proposal: Option<String>,
}

/// An image of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Position in [`PredictionSet::images`].
    pub row: usize,
    /// Cosine to the group's mean, of centred features.
    pub similarity: f64,
}

/// A name and how near it is to a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimilarName {
    /// The name.
    pub name: String,
    /// Cosine of the centred text and the group's mean of centred images. Only comparable within a job.
    pub similarity: f64,
}

/// Groups the images that a model rejects as unknown, and names the groups.
///
/// # Errors
///
/// As [`predict`](super::predict), [`SessionError::NoNames`] when the vocabulary has no name beside the known classes, and
/// [`SessionError::Text`] when a name that the caller gave is too long for the text tower.
pub fn discover(
    model: &Model,
    images: &Images,
    question: DiscoverQuestion<'_>,
    reporter: &mut dyn Reporter,
) -> Result<Discovery, SessionError> {
    let classes = question.prediction.classes;
    // A mistake in the vocabulary should not wait for the images.
    let (names, vocabulary) = usable_names(model, question.vocabulary, classes)?;
    let (predictions, encoded) = predict_encoded(model, images, question.prediction, reporter)?;
    let embed_dim = encoded.embed_dim;
    let unit = to_host(&normalize_rows(encoded.tensor(&model.clip))).data;
    let features = Features {
        centred: centred_images(&unit, embed_dim),
        embed_dim,
    };
    let images = predictions.images.iter().enumerate();
    let rejected: Vec<usize> = images
        .filter(|(_, image)| !image.known)
        .map(|(row, _)| row)
        .collect();
    let (cut, cut_basis) = features.cut(&predictions);
    let grouped = group(&features.of(&rejected), embed_dim, cut, MOST_COMPARED);
    let (mut groups, alone): (Vec<Vec<usize>>, Vec<Vec<usize>>) = grouped
        .into_iter()
        .map(|group| {
            group
                .into_iter()
                .map(|position| rejected[position])
                .collect()
        })
        .partition(|group: &Vec<usize>| group.len() > 1);
    // Stable: of equal sizes the group with the first image.
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    let space = NameSpace::new(
        &name_features(model, &names)?,
        &name_features(model, classes)?,
        embed_dim,
    );
    let mut groups: Vec<NamedGroup> = groups
        .iter()
        .filter_map(|rows| features.named(rows, &space, &names, classes))
        .collect();
    propose(&mut groups, question.smallest);
    Ok(Discovery {
        predictions,
        groups,
        alone: alone.concat(),
        cut,
        cut_basis,
        vocabulary,
    })
}

/// Centred features of unit norm, `[images, embed_dim]`.
struct Features {
    centred: Vec<f32>,
    embed_dim: usize,
}

impl Features {
    fn row(&self, row: usize) -> &[f32] {
        &self.centred[row * self.embed_dim..(row + 1) * self.embed_dim]
    }

    fn of(&self, rows: &[usize]) -> Vec<f32> {
        rows.iter()
            .flat_map(|row| self.row(*row))
            .copied()
            .collect()
    }

    /// The distance at which joining stops: where groups of all images agree best with their predicted classes. Of accepted
    /// images alone the groups are narrower than those of rejected ones, and more of these would stay alone.
    fn cut(&self, predictions: &PredictionSet) -> (f64, CutBasis) {
        let positions: HashMap<&str, usize> = predictions
            .classes
            .iter()
            .enumerate()
            .map(|(position, class)| (class.as_str(), position))
            .collect();
        let sample = evenly_spaced(predictions.images.len(), MOST_FOR_CUT);
        let classes: Vec<usize> = sample
            .iter()
            .map(|row| positions[predictions.images[*row].label.as_str()])
            .collect();
        let tree = Tree::average_linkage(&self.of(&sample), self.embed_dim);
        match cut_by_classes(&tree, &classes) {
            Some(cut) => (cut, CutBasis::PredictedClasses),
            None => (CUT_WITHOUT_CLASSES, CutBasis::Default),
        }
    }

    /// A group with its names; nothing is proposed yet. `None` without known classes.
    fn named(
        &self,
        rows: &[usize],
        space: &NameSpace,
        names: &[String],
        classes: &[String],
    ) -> Option<NamedGroup> {
        let direction = mean_direction(&self.centred, self.embed_dim, rows);
        let mut members: Vec<Member> = rows
            .iter()
            .map(|&row| Member {
                row,
                similarity: f64::from(dot(self.row(row), &direction)),
            })
            .collect();
        members.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        let nearest = space.nearest_known(&direction)?;
        Some(NamedGroup {
            members,
            names: space
                .names(&direction, NAMES_PER_GROUP)
                .into_iter()
                .map(|near| SimilarName {
                    name: names[near.name].clone(),
                    similarity: near.similarity,
                })
                .collect(),
            nearest_known: SimilarName {
                name: classes[nearest.name].clone(),
                similarity: nearest.similarity,
            },
            proposal: None,
        })
    }
}

/// Proposes a name for each group that is large enough.
fn propose(groups: &mut [NamedGroup], smallest: usize) {
    let large = |group: &&mut NamedGroup| group.members.len() >= smallest;
    let mut chosen: Vec<&mut NamedGroup> = groups.iter_mut().filter(large).collect();
    let names: Vec<Vec<String>> = chosen
        .iter()
        .map(|group| group.names.iter().map(|name| name.name.clone()).collect())
        .collect();
    let proposals = distinct_proposals(names.iter().map(Vec::as_slice));
    for (group, proposal) in chosen.iter_mut().zip(proposals) {
        group.proposal = proposal.map(str::to_owned);
    }
}

/// The names of a vocabulary that are none of the known classes.
fn usable_names(
    model: &Model,
    vocabulary: Vocabulary<'_>,
    classes: &[String],
) -> Result<(Vec<String>, VocabularyUse), SessionError> {
    let known: HashSet<String> = classes.iter().map(|class| fold(class)).collect();
    let mut names: Vec<String> = match vocabulary {
        Vocabulary::Shipped => WORDS.lines().map(str::to_owned).collect(),
        Vocabulary::Names(names) => names.to_vec(),
    };
    let given = names.len();
    names.retain(|name| !known.contains(&fold(name)));
    let unknown = names.len();
    match vocabulary {
        // Of a short context some of the nouns are too long, which no user can change.
        Vocabulary::Shipped => {
            names.retain(|name| model.prompts(std::slice::from_ref(name)).is_ok())
        }
        Vocabulary::Names(_) if !names.is_empty() => {
            model.prompts(&names)?;
        }
        Vocabulary::Names(_) => {}
    }
    let vocabulary = VocabularyUse {
        names: names.len(),
        known: given - unknown,
        too_long: unknown - names.len(),
    };
    match names.is_empty() {
        true => Err(SessionError::NoNames {
            known: vocabulary.known,
            too_long: vocabulary.too_long,
        }),
        false => Ok((names, vocabulary)),
    }
}

/// Features of unit norm of names in the model's own prompts, which is what it would compare images with if the names were on
/// its list, `[names, embed_dim]`, row-major.
fn name_features(model: &Model, names: &[String]) -> Result<Vec<f32>, SessionError> {
    let classifier = model.classifier(names)?;
    Ok(to_host(classifier.text_features()).data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(images: usize, names: &[&str]) -> NamedGroup {
        let similar = |name: &&str| SimilarName {
            name: (*name).to_owned(),
            similarity: 0.5,
        };
        NamedGroup {
            members: (0..images)
                .map(|row| Member {
                    row,
                    similarity: 1.0,
                })
                .collect(),
            names: names.iter().map(similar).collect(),
            nearest_known: similar(&"cat"),
            proposal: None,
        }
    }

    #[test]
    fn large_groups_propose_distinct_names() {
        let mut groups = [
            group(9, &["skull", "mask"]),
            group(5, &["skull", "pizza"]),
            group(4, &["pizza"]),
            group(2, &["robot"]),
        ];
        propose(&mut groups, 3);
        let proposals = groups.each_ref().map(|group| group.proposal.as_deref());
        assert_eq!(proposals, [Some("skull"), Some("pizza"), None, None]);
    }
}
