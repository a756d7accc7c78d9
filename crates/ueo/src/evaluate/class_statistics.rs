//! What a test set says about each class: enough to measure it again with every class counted a number of times.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{EvaluateError, Predictions};

/// The images of one known class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownClass {
    /// Images whose class was predicted correctly, without rejection.
    pub correct: usize,
    /// Scores of all images of the class, higher meaning "more known".
    pub scores: Vec<f64>,
}

/// The images of a labelled set by class, as one model (one seed of one method) sees them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoredClasses {
    /// Known classes in the order of the class list; a class without images stays in its place.
    pub known: Vec<KnownClass>,
    /// Scores of the images of each unknown class.
    pub unknown: Vec<Vec<f64>>,
}

impl ScoredClasses {
    /// Groups predictions by true class.
    ///
    /// `labels` holds the index of a known class, or `None` for an unknown image; `unknown_classes` holds for each
    /// image the index of its unknown class (of a known image it is not looked at). Without it every unknown image is
    /// a class of its own, as nothing says which ones belong together.
    ///
    /// # Errors
    ///
    /// If the lists differ in length, or a label is not below `classes`.
    pub fn group(
        predictions: &Predictions,
        labels: &[Option<usize>],
        unknown_classes: Option<&[usize]>,
        classes: usize,
    ) -> Result<Self, EvaluateError> {
        let images = labels.len();
        let lengths = [predictions.classes.len(), predictions.confidences.len()];
        if lengths != [images; 2] || unknown_classes.is_some_and(|ids| ids.len() != images) {
            return Err(EvaluateError::Lengths {
                predictions: lengths[0],
                confidences: lengths[1],
                labels: unknown_classes.map_or(images, <[usize]>::len),
            });
        }
        let mut grouped = Self {
            known: vec![KnownClass::default(); classes],
            unknown: Vec::new(),
        };
        for (image, label) in labels.iter().enumerate() {
            let score = predictions.confidences[image];
            match *label {
                Some(class) => {
                    let group = grouped.known.get_mut(class);
                    let group = group.ok_or(EvaluateError::ClassIndex {
                        image,
                        class,
                        classes,
                    })?;
                    group.correct += usize::from(predictions.classes[image] == class);
                    group.scores.push(score);
                }
                None => {
                    let class = unknown_classes.map_or(grouped.unknown.len(), |ids| ids[image]);
                    if grouped.unknown.len() <= class {
                        grouped.unknown.resize(class + 1, Vec::new());
                    }
                    grouped.unknown[class].push(score);
                }
            }
        }
        Ok(grouped)
    }
}

/// What the bootstrap needs to know of one test set, averaged over the seeds of a method.
///
/// Seeds are repetitions of one experiment, not new classes: they are averaged within each class before anything is
/// drawn, so that more seeds do not pass for more evidence about classes. With class `c` counted `w_c` times,
///
/// ```text
/// accuracy(w) = sum_k w_k recall_k / sum_k w_k                                  over known classes k that have images
/// auroc(w)    = sum_ku w_k w_u pairs_won_ku / (sum_k w_k n_k  sum_u w_u n_u)    u over unknown classes
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ClassStatistics {
    /// Images of each known class, `[known]`.
    known_images: Vec<f64>,
    /// Share of correct images of each known class, mean over the seeds, `[known]`; 0 without images.
    recalls: Vec<f64>,
    /// Images of each unknown class, `[unknown]`.
    unknown_images: Vec<f64>,
    /// Pairs of a known and an unknown image in which the known one scores higher (ties count one half), mean over the
    /// seeds, `[known, unknown]`.
    pairs_won: Vec<f64>,
    /// Pairs that are compared, mean over the seeds, `[known, unknown]`; `None` where every pair is.
    pairs: Option<Vec<f64>>,
}

impl ClassStatistics {
    /// Averages the seeds of a method on one test set.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::DifferentImages`] if there are none, or they do not hold the same numbers of images in the same classes.
    pub fn of_seeds(seeds: &[ScoredClasses]) -> Result<Self, EvaluateError> {
        let mut all = seeds.iter().map(Self::of_seed);
        let mut mean = all.next().ok_or(EvaluateError::DifferentImages)?;
        for seed in all {
            if seed.known_images != mean.known_images || seed.unknown_images != mean.unknown_images
            {
                return Err(EvaluateError::DifferentImages);
            }
            mean.add(&seed);
        }
        mean.divide(seeds.len() as f64);
        Ok(mean)
    }

    /// [`Self::of_seeds`] where a known image is compared only with the unknown ones of its own stratum: each seed is a list of
    /// strata, and the seeds may divide the images differently.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::DifferentImages`] as there, the strata of a seed taken together.
    pub fn of_matched_seeds(seeds: &[Vec<ScoredClasses>]) -> Result<Self, EvaluateError> {
        let mut all = seeds.iter().map(|strata| Self::of_strata(strata));
        let mut mean = all.next().ok_or(EvaluateError::DifferentImages)??;
        for seed in all {
            let seed = seed?;
            if seed.known_images != mean.known_images || seed.unknown_images != mean.unknown_images
            {
                return Err(EvaluateError::DifferentImages);
            }
            mean.add(&seed);
        }
        mean.divide(seeds.len() as f64);
        Ok(mean)
    }

    /// The strata of one seed; recalls are weighed by images.
    fn of_strata(strata: &[ScoredClasses]) -> Result<Self, EvaluateError> {
        let mut sum: Option<Self> = None;
        for stratum in strata {
            let mut part = Self::of_seed(stratum);
            let unknown = &part.unknown_images;
            let row = |&known| unknown.iter().map(move |unknown: &f64| known * unknown);
            part.pairs = Some(part.known_images.iter().flat_map(row).collect());
            let recalls = part.recalls.iter_mut().zip(&part.known_images);
            recalls.for_each(|(recall, images)| *recall *= images);
            let Some(sum) = &mut sum else {
                sum = Some(part);
                continue;
            };
            if sum.classes() != part.classes() {
                return Err(EvaluateError::DifferentImages);
            }
            sum.add(&part);
            let images = sum.known_images.iter_mut().zip(&part.known_images);
            images.for_each(|(sum, images)| *sum += images);
            let images = sum.unknown_images.iter_mut().zip(&part.unknown_images);
            images.for_each(|(sum, images)| *sum += images);
        }
        let mut sum = sum.ok_or(EvaluateError::DifferentImages)?;
        let recalls = sum.recalls.iter_mut().zip(&sum.known_images);
        recalls.for_each(|(recall, images)| *recall /= images.max(1.0));
        Ok(sum)
    }

    /// Adds what is averaged.
    fn add(&mut self, other: &Self) {
        let pairs = self.pairs.iter_mut().flatten();
        let sums = self
            .recalls
            .iter_mut()
            .chain(&mut self.pairs_won)
            .chain(pairs);
        let values = other.recalls.iter().chain(&other.pairs_won);
        let values = values.chain(other.pairs.iter().flatten());
        sums.zip(values).for_each(|(sum, value)| *sum += value);
    }

    /// Divides what is averaged.
    fn divide(&mut self, count: f64) {
        let pairs = self.pairs.iter_mut().flatten();
        let sums = self
            .recalls
            .iter_mut()
            .chain(&mut self.pairs_won)
            .chain(pairs);
        sums.for_each(|sum| *sum /= count);
    }

    fn of_seed(seed: &ScoredClasses) -> Self {
        let sorted: Vec<Vec<f64>> = seed
            .unknown
            .iter()
            .map(|scores| {
                let mut scores = scores.clone();
                scores.sort_by(f64::total_cmp);
                scores
            })
            .collect();
        let won = |known: &KnownClass, unknown: &[f64]| {
            let twice = known.scores.iter().map(|score| {
                let below = unknown.partition_point(|other| other < score);
                let not_above = unknown.partition_point(|other| other <= score);
                below + not_above
            });
            twice.sum::<usize>() as f64 / 2.0
        };
        let images = |scores: &Vec<f64>| scores.len() as f64;
        Self {
            known_images: seed
                .known
                .iter()
                .map(|class| images(&class.scores))
                .collect(),
            recalls: seed
                .known
                .iter()
                .map(|class| class.correct as f64 / images(&class.scores).max(1.0))
                .collect(),
            unknown_images: seed.unknown.iter().map(images).collect(),
            pairs_won: seed
                .known
                .iter()
                .flat_map(|known| sorted.iter().map(move |unknown| won(known, unknown)))
                .collect(),
            pairs: None,
        }
    }

    /// The measure of a draw of classes; `None` where it is undefined, for example without unknown images.
    pub fn measure(&self, measure: ClassMeasure, draw: &ClassDraw) -> Option<f64> {
        let with_images = draw.known.iter().zip(&self.known_images);
        let (part, whole) = match measure {
            ClassMeasure::OverallAccuracy => {
                let images: Vec<f64> = with_images.map(|(times, images)| times * images).collect();
                (weighted(&images, &self.recalls), images.iter().sum())
            }
            ClassMeasure::PerClassAccuracy => {
                let classes = with_images.filter(|(_, images)| **images > 0.0);
                (
                    weighted(&draw.known, &self.recalls),
                    classes.map(|(times, _)| times).sum(),
                )
            }
            ClassMeasure::Auroc => {
                let pairs = match &self.pairs {
                    Some(pairs) => over_pairs(draw, pairs),
                    None => {
                        weighted(&draw.known, &self.known_images)
                            * weighted(&draw.unknown, &self.unknown_images)
                    }
                };
                (over_pairs(draw, &self.pairs_won), pairs)
            }
        };
        (whole > 0.0).then(|| part / whole)
    }

    /// Numbers of known and unknown classes, whether or not they have images.
    pub(super) fn classes(&self) -> [usize; 2] {
        [self.known_images.len(), self.unknown_images.len()]
    }
}

/// Sum of `values`, `[known, unknown]`, each as often as both of its classes are drawn.
fn over_pairs(draw: &ClassDraw, values: &[f64]) -> f64 {
    let rows = values.chunks_exact(draw.unknown.len().max(1));
    let sums = draw.known.iter().zip(rows);
    sums.map(|(times, row)| match *times {
        // More than a third of the classes is not drawn.
        0.0 => 0.0,
        times => times * weighted(&draw.unknown, row),
    })
    .sum()
}

fn weighted(times: &[f64], values: &[f64]) -> f64 {
    times
        .iter()
        .zip(values)
        .map(|(times, value)| times * value)
        .sum()
}

/// What is measured on a draw of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassMeasure {
    /// Correct known images over all known images.
    OverallAccuracy,
    /// Mean recall over the known classes that have images.
    PerClassAccuracy,
    /// Area under the ROC curve of the score, positives are known images.
    Auroc,
}

/// How often each class is drawn; whole numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassDraw {
    /// Times each known class is drawn.
    pub known: Vec<f64>,
    /// Times each unknown class is drawn.
    pub unknown: Vec<f64>,
}

impl ClassDraw {
    /// Every class once: the measure of the test set itself.
    pub fn once(known: usize, unknown: usize) -> Self {
        Self {
            known: vec![1.0; known],
            unknown: vec![1.0; unknown],
        }
    }

    /// As many classes as there are, with replacement; a function of the arguments alone.
    pub fn random(known: usize, unknown: usize, seed: u64, index: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // The draws follow each other in one stream, of which a class takes 64 bits, two words.
        rng.set_word_pos(2 * (index * (known + unknown)) as u128);
        let mut draw = |classes: usize| {
            let mut times = vec![0.0; classes];
            for _ in 0..classes {
                // Uniform, written out so that intervals do not change with a later version of the `rand` crate.
                let class = (u128::from(rng.next_u64()) * classes as u128) >> 64;
                times[class as usize] += 1.0;
            }
            times
        };
        Self {
            known: draw(known),
            unknown: draw(unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One known class and one unknown class with some scores each.
    fn scored(correct: usize, known: &[f64], unknown: &[f64]) -> ScoredClasses {
        ScoredClasses {
            known: vec![KnownClass {
                correct,
                scores: known.to_vec(),
            }],
            unknown: vec![unknown.to_vec()],
        }
    }

    #[test]
    fn strata_are_compared_within_themselves_only() {
        // In the first stratum both known images win, in the second none; across the strata nothing counts.
        let strata = vec![
            scored(1, &[0.9, 0.8], &[0.1]),
            scored(1, &[0.2], &[0.3, 0.4]),
        ];
        let once = ClassDraw::once(1, 1);
        let matched = ClassStatistics::of_matched_seeds(std::slice::from_ref(&strata)).unwrap();
        assert_eq!(matched.measure(ClassMeasure::Auroc, &once), Some(0.5));
        let accuracy = matched.measure(ClassMeasure::PerClassAccuracy, &once);
        assert!((accuracy.unwrap() - 2.0 / 3.0).abs() < 1e-12);

        let whole = scored(2, &[0.9, 0.8, 0.2], &[0.1, 0.3, 0.4]);
        let plain = ClassStatistics::of_seeds(std::slice::from_ref(&whole)).unwrap();
        let one_stratum = ClassStatistics::of_matched_seeds(&[vec![whole.clone()]]).unwrap();
        assert_eq!(
            plain.measure(ClassMeasure::Auroc, &once),
            one_stratum.measure(ClassMeasure::Auroc, &once)
        );
        // A seed that divides the same images differently: 2 of 4 pairs and 7 of 9, on average 4.5 of 6.5.
        let mean = ClassStatistics::of_matched_seeds(&[strata, vec![whole]]).unwrap();
        let auroc = mean.measure(ClassMeasure::Auroc, &once).unwrap();
        assert!((auroc - 4.5 / 6.5).abs() < 1e-12, "{auroc}");
        assert!(ClassStatistics::of_matched_seeds(&[]).is_err());
    }

    #[test]
    fn known_and_unknown_classes_are_drawn_apart() {
        let draws: Vec<ClassDraw> = (0..200)
            .map(|index| ClassDraw::random(4, 3, 2024, index))
            .collect();
        for draw in &draws {
            let totals = [&draw.known, &draw.unknown].map(|times| times.iter().sum::<f64>());
            assert_eq!(totals, [4.0, 3.0]);
        }
        let drawn = |class: usize| -> f64 {
            let of_class = |draw: &ClassDraw| [&*draw.known, &draw.unknown].concat()[class];
            draws.iter().map(of_class).sum()
        };
        // 200 of 200 on average, with a deviation of about 12.
        assert!((0..7).all(|class| (140.0..260.0).contains(&drawn(class))));
    }
}
