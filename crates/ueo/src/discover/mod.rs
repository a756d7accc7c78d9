//! Groups of images that show none of the known classes, and names for them: features in, groups and names out.
//!
//! Images are joined by average linkage on the cosine distance of features that are [centred](centred_images). Where to stop is
//! chosen without labels, by the classes that a model predicts ([`cut_by_classes`]).

mod cut;
mod grouping;
mod linkage;
mod naming;

pub use cut::{PRECISION_WEIGHT, cut_by_classes};
pub use grouping::group;
pub use linkage::{Tree, evenly_spaced};
pub use naming::{NameSpace, NamedDirection, distinct_proposals};

use crate::method::{centred, mean_row};

/// Most images that are compared pair by pair; the distances of so many take 200 MB. Of more, the groups are made of as many
/// evenly spaced ones, and each other image joins the nearest group within the cut, if there is one.
pub const MOST_COMPARED: usize = 10_000;

/// Image features of unit norm minus their whole mean, of unit norm again, `[images, embed_dim]` to the same.
///
/// What all images have in common (style, corruption) is in every cosine and says nothing about classes. For predictions
/// half of the mean is subtracted ([`Centring`](crate::method::Centring)); groups and names were better with all of it on the
/// validation classes of IconNet (docs/discover.md).
pub fn centred_images(unit_features: &[f32], embed_dim: usize) -> Vec<f32> {
    centred(unit_features, &mean_row(unit_features, embed_dim), 1.0)
}

/// The direction of the mean of some rows, of unit norm.
///
/// # Shapes
///
/// `[images, embed_dim]` to `[embed_dim]`.
pub fn mean_direction(features: &[f32], embed_dim: usize, rows: &[usize]) -> Vec<f32> {
    let members: Vec<f32> = rows
        .iter()
        .flat_map(|row| &features[row * embed_dim..(row + 1) * embed_dim])
        .copied()
        .collect();
    centred(&mean_row(&members, embed_dim), &vec![0.0; embed_dim], 0.0)
}
