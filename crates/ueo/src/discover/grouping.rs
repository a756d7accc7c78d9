//! Groups of any number of images, in bounded memory.

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use crate::method::dot;

use super::linkage::{Tree, evenly_spaced};

/// Groups images whose mean cosine distance is within a cut. Of more images than `most_compared`, as many evenly spaced ones make the
/// groups, and each other image joins the group to whose images its mean distance is smallest, if that is within the cut.
///
/// Every image is in one group, alone where nothing is near. Groups are in the order of their first images.
///
/// # Shapes
///
/// `unit_features`: `[images, embed_dim]`, row-major, of unit norm.
pub fn group(
    unit_features: &[f32],
    embed_dim: usize,
    cut: f64,
    most_compared: usize,
) -> Vec<Vec<usize>> {
    let images = unit_features.len() / embed_dim.max(1);
    let row = |image: usize| &unit_features[image * embed_dim..(image + 1) * embed_dim];
    let sample = evenly_spaced(images, most_compared);
    let sampled: Vec<f32> = sample
        .iter()
        .flat_map(|image| row(*image))
        .copied()
        .collect();
    let tree = Tree::average_linkage(&sampled, embed_dim);
    let mut groups: Vec<Vec<usize>> = tree.groups_within(cut);
    for image in groups.iter_mut().flatten() {
        *image = sample[*image];
    }
    let means: Vec<Vec<f32>> = groups
        .iter()
        .map(|group| mean(group.iter().map(|image| row(*image)), embed_dim))
        .collect();
    // The mean of cosines to unit vectors is the dot product with their mean.
    let nearest = |image: &usize| {
        let distances = means
            .iter()
            .map(|mean| 1.0 - f64::from(dot(row(*image), mean)));
        let (group, distance) = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1))?;
        (distance <= cut).then_some(group)
    };
    let others: Vec<usize> = (0..images)
        .filter(|image| sample.binary_search(image).is_err())
        .collect();
    let joined: Vec<Option<usize>> = others.par_iter().map(nearest).collect();
    for (image, group) in others.into_iter().zip(joined) {
        match group {
            Some(group) => groups[group].push(image),
            None => groups.push(vec![image]),
        }
    }
    groups.iter_mut().for_each(|group| group.sort_unstable());
    groups.sort_unstable();
    groups
}

fn mean<'a>(rows: impl ExactSizeIterator<Item = &'a [f32]>, width: usize) -> Vec<f32> {
    let count = rows.len().max(1) as f64;
    let mut sums = vec![0.0_f64; width];
    for row in rows {
        let pairs = sums.iter_mut().zip(row);
        pairs.for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::super::linkage::tests::at_angles;
    use super::*;

    #[test]
    fn images_beyond_the_bound_join_the_nearest_group() {
        let angles = [0.0, 2.0, 90.0, 93.0, 4.0, 180.0, 91.0, 1.0, 270.0, 92.0];
        let features = at_angles(&angles);
        let all = [vec![0, 1, 4, 7], vec![2, 3, 6, 9], vec![5], vec![8]];
        assert_eq!(group(&features, 2, 0.02, 10), all);
        // Of every second image the groups are the same, but nothing is near to the last one at 180 degrees.
        assert_eq!(group(&features, 2, 0.02, 5), all);
    }

    #[test]
    fn few_images_make_few_groups() {
        assert!(group(&[], 2, 0.5, 10).is_empty());
        assert_eq!(group(&[0.0, 1.0], 2, 0.5, 10), [[0]]);
    }

    #[test]
    fn threads_change_nothing() {
        let angles: Vec<f64> = (0..60).map(|i| f64::from(i * i % 97) * 3.0).collect();
        let features = at_angles(&angles);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build()
                .unwrap()
                .install(|| group(&features, 2, 0.05, 40))
        };
        assert_eq!(on(1), on(4));
    }
}
