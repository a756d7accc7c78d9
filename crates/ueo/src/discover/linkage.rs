//! Average linkage: which groups of images are joined in turn, and at which distance.

use kodama::Method;
use rayon::iter::{IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _};

use crate::method::dot;

/// Images joined to ever larger groups, the nearest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    images: usize,
    joins: Vec<Join>,
}

/// Two groups become one. A number below the number of images is an image, `images + i` is what the join `i` made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Join {
    pub first: usize,
    pub second: usize,
    pub distance: f64,
}

impl Tree {
    /// Joins images by the mean cosine distance between the members of two groups. The result does not depend on the number
    /// of threads.
    ///
    /// # Shapes
    ///
    /// `unit_features`: `[images, embed_dim]`, row-major, of unit norm.
    pub fn average_linkage(unit_features: &[f32], embed_dim: usize) -> Self {
        let images = unit_features.len() / embed_dim.max(1);
        let mut distances = cosine_distances(unit_features, embed_dim, images);
        let joins = match images {
            // The library asks for one image at least.
            0 => Vec::new(),
            _ => kodama::linkage(&mut distances, images, Method::Average)
                .steps()
                .iter()
                .map(|step| Join {
                    first: step.cluster1,
                    second: step.cluster2,
                    distance: f64::from(step.dissimilarity),
                })
                .collect(),
        };
        Self { images, joins }
    }

    pub(super) fn images(&self) -> usize {
        self.images
    }

    pub(super) fn joins(&self) -> &[Join] {
        &self.joins
    }

    /// The groups whose members are joined within a distance, each with its images ascending, in the order of the first ones.
    /// An image that is joined to none is a group of its own.
    pub fn groups_within(&self, cut: f64) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = (0..self.images).map(|image| vec![image]).collect();
        for join in self.joins.iter().take_while(|join| join.distance <= cut) {
            let mut joined = std::mem::take(&mut groups[join.first]);
            joined.append(&mut groups[join.second]);
            groups.push(joined);
        }
        groups.retain(|group| !group.is_empty());
        groups.iter_mut().for_each(|group| group.sort_unstable());
        groups.sort_unstable();
        groups
    }
}

/// Distances of all pairs, row by row: of the first image to all others, of the second to all after it, and so on.
fn cosine_distances(unit_features: &[f32], embed_dim: usize, images: usize) -> Vec<f32> {
    let row = |image: usize| &unit_features[image * embed_dim..(image + 1) * embed_dim];
    let mut distances = vec![0.0; images * images.saturating_sub(1) / 2];
    let mut rows = Vec::with_capacity(images);
    let mut rest = distances.as_mut_slice();
    for image in 0..images {
        let (of_image, after) = rest.split_at_mut(images - image - 1);
        rows.push(of_image);
        rest = after;
    }
    rows.into_par_iter()
        .enumerate()
        .for_each(|(image, distances)| {
            for (offset, distance) in distances.iter_mut().enumerate() {
                *distance = (1.0 - dot(row(image), row(image + 1 + offset))).max(0.0);
            }
        });
    distances
}

/// `wanted` of the positions up to `total`, evenly spaced; all where there are no more.
pub fn evenly_spaced(total: usize, wanted: usize) -> Vec<usize> {
    match total <= wanted {
        true => (0..total).collect(),
        false => (0..wanted).map(|i| i * total / wanted).collect(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Unit vectors of the plane at some angles, in degrees.
    pub(in crate::discover) fn at_angles(degrees: &[f64]) -> Vec<f32> {
        let vectors = degrees.iter().map(|degrees| degrees.to_radians());
        vectors
            .flat_map(|angle| [angle.cos() as f32, angle.sin() as f32])
            .collect()
    }

    #[test]
    fn joins_are_those_of_scipy() {
        // scipy.cluster.hierarchy.linkage(vectors, "average", metric="cosine") of SciPy 1.17.1.
        let tree = Tree::average_linkage(&at_angles(&[0.0, 10.0, 25.0, 80.0, 100.0, 200.0]), 2);
        let expected = [
            (0, 1, 0.015_192_25),
            (3, 4, 0.060_307_38),
            (2, 6, 0.063_883_19),
            (7, 8, 0.804_264_06),
            (5, 9, 1.718_868_65),
        ];
        assert_eq!(tree.joins().len(), expected.len());
        for (join, (first, second, distance)) in tree.joins().iter().zip(expected) {
            assert_eq!((join.first, join.second), (first, second));
            assert!((join.distance - distance).abs() < 1e-6, "{join:?}");
        }
    }

    #[test]
    fn an_image_far_from_all_stays_alone() {
        let tree = Tree::average_linkage(&at_angles(&[0.0, 90.0, 5.0, 95.0, 200.0]), 2);
        assert_eq!(tree.groups_within(0.1), [vec![0, 2], vec![1, 3], vec![4]]);
        assert_eq!(tree.groups_within(2.0), [vec![0, 1, 2, 3, 4]]);
        assert_eq!(tree.groups_within(-1.0).len(), 5);
        assert!(Tree::average_linkage(&[], 2).groups_within(1.0).is_empty());
        assert_eq!(
            Tree::average_linkage(&[1.0, 0.0], 2).groups_within(1.0),
            [[0]]
        );
    }

    #[test]
    fn a_sample_is_spread_over_all() {
        assert_eq!(evenly_spaced(3, 5), [0, 1, 2]);
        assert_eq!(evenly_spaced(10, 4), [0, 2, 5, 7]);
    }
}
