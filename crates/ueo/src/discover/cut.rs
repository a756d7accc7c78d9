//! Where to stop joining: the distance at which groups agree best with classes that a model predicts.

use std::collections::HashMap;

use super::linkage::Tree;

/// How much the recall of pairs counts beside their precision, beta in F_beta. Below one, because a group of two classes gets a
/// name that is wrong for one of them, while of a class in two parts both get the name. On the validation classes of IconNet 0.7
/// agreed best with the true classes of rejected images (docs/discover.md).
pub const PRECISION_WEIGHT: f64 = 0.7;

/// The distance within which the groups of a tree agree best with the classes of its images; `None` where they say nothing: fewer
/// than two classes have two images.
///
/// The agreement is F_beta over pairs of images: a pair is positive when the class is the same, and found when the group is. Of
/// equal agreements the smallest distance counts.
///
/// # Panics
///
/// When there is not one class per image.
pub fn cut_by_classes(tree: &Tree, classes: &[usize]) -> Option<f64> {
    assert_eq!(classes.len(), tree.images(), "one class per image");
    let mut images_of: HashMap<usize, usize> = HashMap::new();
    for class in classes {
        *images_of.entry(*class).or_default() += 1;
    }
    if images_of.values().filter(|images| **images > 1).count() < 2 {
        return None;
    }
    let positive: usize = images_of.values().map(|images| pairs(*images)).sum();
    let mut groups: Vec<HashMap<usize, usize>> = classes
        .iter()
        .map(|class| HashMap::from([(*class, 1)]))
        .collect();
    let (mut found, mut right) = (0, 0);
    let mut best = (0.0, None);
    for (step, join) in tree.joins().iter().enumerate() {
        let [first, second] =
            [join.first, join.second].map(|group| std::mem::take(&mut groups[group]));
        let size = |group: &HashMap<usize, usize>| group.values().sum::<usize>();
        found += size(&first) * size(&second);
        let (mut larger, smaller) = match first.len() < second.len() {
            true => (second, first),
            false => (first, second),
        };
        for (class, images) in smaller {
            let of_class = larger.entry(class).or_default();
            right += *of_class * images;
            *of_class += images;
        }
        groups.push(larger);
        let next = tree.joins().get(step + 1);
        let agreement = f_beta(right, found, positive);
        // Of joins at one distance all happen or none.
        if next.is_none_or(|next| next.distance > join.distance) && agreement > best.0 {
            best = (agreement, Some(join.distance));
        }
    }
    best.1
}

fn pairs(images: usize) -> usize {
    images * (images - 1) / 2
}

/// `(1 + b^2) P R / (b^2 P + R)` of precision and recall, in counts; 0 where nothing is right.
fn f_beta(right: usize, found: usize, positive: usize) -> f64 {
    let weight = PRECISION_WEIGHT * PRECISION_WEIGHT;
    let [right, found, positive] = [right, found, positive].map(|count| count as f64);
    (1.0 + weight) * right / (weight * positive + found)
}

#[cfg(test)]
mod tests {
    use super::super::linkage::tests::at_angles;
    use super::*;

    #[test]
    fn the_cut_follows_the_classes() {
        // Three pairs, of which the first two are neighbours.
        let tree = Tree::average_linkage(&at_angles(&[0.0, 4.0, 30.0, 34.0, 150.0, 154.0]), 2);
        let apart = cut_by_classes(&tree, &[0, 0, 1, 1, 2, 2]).unwrap();
        assert_eq!(tree.groups_within(apart).len(), 3);
        let together = cut_by_classes(&tree, &[0, 0, 0, 0, 2, 2]).unwrap();
        assert_eq!(tree.groups_within(together), [vec![0, 1, 2, 3], vec![4, 5]]);
        assert!(together > apart);
    }

    #[test]
    fn classes_that_say_nothing_choose_nothing() {
        let tree = Tree::average_linkage(&at_angles(&[0.0, 4.0, 90.0]), 2);
        assert_eq!(cut_by_classes(&tree, &[0, 0, 0]), None, "one class");
        assert_eq!(cut_by_classes(&tree, &[0, 1, 2]), None, "no pair");
        assert_eq!(
            cut_by_classes(&tree, &[0, 0, 1]),
            None,
            "pairs of one class"
        );
        assert_eq!(cut_by_classes(&Tree::average_linkage(&[], 2), &[]), None);
    }

    #[test]
    fn agreement_is_f_beta() {
        // Precision 1/2, recall 1/4.
        let (precision, recall) = (0.5, 0.25);
        let expected = 1.49 * precision * recall / (0.49 * precision + recall);
        assert!((f_beta(1, 2, 4) - expected).abs() < 1e-12);
        assert_eq!(f_beta(0, 0, 4), 0.0);
    }
}
