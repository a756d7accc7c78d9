//! Names for groups of images: the texts whose direction is nearest to that of a group.

use crate::data::fold;
use crate::method::{centred, dot, mean_row};

/// Part of the vocabulary's mean that is subtracted from its texts, as the mean of all images is from theirs, so that a name counts by
/// what sets it apart. Chosen on the validation classes of IconNet; with all of it names were worse (docs/discover.md).
const TEXT_CENTRING: f32 = 0.5;

/// A text and how near it is to a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NamedDirection {
    /// Position of the name in its list.
    pub name: usize,
    /// Cosine of the centred text and the group's mean of centred images.
    pub similarity: f64,
}

/// The texts of a vocabulary and of the known classes, both without half of the vocabulary's mean.
#[derive(Clone, Debug)]
pub struct NameSpace {
    vocabulary: Vec<f32>,
    known: Vec<f32>,
    embed_dim: usize,
}

impl NameSpace {
    /// Centres the texts.
    ///
    /// # Shapes
    ///
    /// `[names, embed_dim]` and `[classes, embed_dim]`, row-major, of unit norm.
    pub fn new(vocabulary: &[f32], known: &[f32], embed_dim: usize) -> Self {
        let mean = mean_row(vocabulary, embed_dim);
        Self {
            vocabulary: centred(vocabulary, &mean, TEXT_CENTRING),
            known: centred(known, &mean, TEXT_CENTRING),
            embed_dim,
        }
    }

    /// The names of the vocabulary that are nearest to a direction, the nearest first, at most `wanted`.
    pub fn names(&self, direction: &[f32], wanted: usize) -> Vec<NamedDirection> {
        let mut names = ranked(&self.vocabulary, direction, self.embed_dim);
        names.truncate(wanted);
        names
    }

    /// The known class that is nearest to a direction.
    pub fn nearest_known(&self, direction: &[f32]) -> Option<NamedDirection> {
        let known = ranked(&self.known, direction, self.embed_dim);
        known.into_iter().next()
    }
}

/// All names, the nearest first; of equal ones the first in the list.
fn ranked(texts: &[f32], direction: &[f32], embed_dim: usize) -> Vec<NamedDirection> {
    let texts = texts.chunks_exact(embed_dim.max(1)).enumerate();
    let mut names: Vec<NamedDirection> = texts
        .map(|(name, text)| NamedDirection {
            name,
            similarity: f64::from(dot(text, direction)),
        })
        .collect();
    names.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    names
}

/// A name to propose for each group: its first that no group before it has, or none where all are taken.
pub fn distinct_proposals<'a>(
    names: impl IntoIterator<Item = &'a [String]>,
) -> Vec<Option<&'a str>> {
    let mut taken: Vec<String> = Vec::new();
    let mut first_free = |names: &'a [String]| {
        let free = names.iter().find(|name| !taken.contains(&fold(name)))?;
        taken.push(fold(free));
        Some(free.as_str())
    };
    names.into_iter().map(&mut first_free).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_by_what_sets_them_apart() {
        // All texts share the third axis; the first has nothing else.
        let texts = [0.0, 0.0, 1.0, 0.6, 0.0, 0.8, 0.0, 0.6, 0.8];
        let direction = [0.8, 0.6, 0.0];
        let space = NameSpace::new(&texts, &[0.0, 0.8, 0.6], 3);
        // Half of the mean is (0.1, 0.1, 0.433).
        let expect = |near: NamedDirection, name: usize, similarity: f64| {
            assert_eq!(near.name, name);
            assert!((near.similarity - similarity).abs() < 1e-5, "{near:?}");
        };
        let names = space.names(&direction, 2);
        assert_eq!(names.len(), 2);
        expect(names[0], 1, 0.541_36);
        expect(names[1], 2, 0.350_29);
        expect(space.nearest_known(&direction).unwrap(), 0, 0.468_01);
        assert_eq!(space.names(&direction, 9).len(), 3);
    }

    #[test]
    fn proposals_are_distinct_where_possible() {
        let names =
            |names: &[&str]| -> Vec<String> { names.iter().map(|n| (*n).to_owned()).collect() };
        let groups = [
            names(&["Shopping_Cart", "cart"]),
            names(&["shopping cart", "pizza"]),
            names(&["pizza"]),
        ];
        let proposals = distinct_proposals(groups.iter().map(Vec::as_slice));
        assert_eq!(proposals, [Some("Shopping_Cart"), Some("pizza"), None]);
    }
}
