//! How far a measurement depends on which classes happen to be in a test: the percentile bootstrap over classes.
//!
//! The images of a class resemble each other, so resampling images would make intervals too narrow. Here whole classes
//! are drawn with replacement, known and unknown ones apart, and two methods are compared on the same draws (Efron and
//! Tibshirani 1993, chapters 8 and 13).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

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
/// drawn, so that more seeds do not pass for more evidence about classes.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassStatistics {
    /// Images of each known class, `[known]`.
    known_images: Vec<f64>,
    /// Correct images of each known class, mean over the seeds, `[known]`.
    correct: Vec<f64>,
    /// Images of each unknown class, `[unknown]`.
    unknown_images: Vec<f64>,
    /// Pairs of a known and an unknown image in which the known one scores higher (ties count one half), mean over the
    /// seeds, `[known, unknown]`.
    pairs_won: Vec<f64>,
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
            let sums = mean.correct.iter_mut().chain(&mut mean.pairs_won);
            let values = seed.correct.iter().chain(&seed.pairs_won);
            sums.zip(values).for_each(|(sum, value)| *sum += value);
        }
        let count = seeds.len() as f64;
        let sums = mean.correct.iter_mut().chain(&mut mean.pairs_won);
        sums.for_each(|sum| *sum /= count);
        Ok(mean)
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
            correct: seed
                .known
                .iter()
                .map(|class| class.correct as f64)
                .collect(),
            unknown_images: seed.unknown.iter().map(images).collect(),
            pairs_won: seed
                .known
                .iter()
                .flat_map(|known| sorted.iter().map(move |unknown| won(known, unknown)))
                .collect(),
        }
    }

    /// The measure of a draw of classes; `None` where it is undefined, for example without unknown images.
    pub fn measure(&self, measure: ClassMeasure, draw: &ClassDraw) -> Option<f64> {
        let images = weighted(&draw.known, &self.known_images);
        match measure {
            ClassMeasure::OverallAccuracy => {
                (images > 0.0).then(|| weighted(&draw.known, &self.correct) / images)
            }
            ClassMeasure::PerClassAccuracy => {
                let (mut sum, mut classes) = (0.0, 0.0);
                let counts = self.correct.iter().zip(&self.known_images);
                for (times, (correct, images)) in draw.known.iter().zip(counts) {
                    if *images > 0.0 {
                        sum += times * correct / images;
                        classes += times;
                    }
                }
                (classes > 0.0).then(|| sum / classes)
            }
            ClassMeasure::Auroc => {
                let unknown_images = weighted(&draw.unknown, &self.unknown_images);
                if images == 0.0 || unknown_images == 0.0 {
                    return None;
                }
                let rows = self.pairs_won.chunks_exact(self.unknown_images.len());
                let won = draw
                    .known
                    .iter()
                    .zip(rows)
                    .map(|(times, row)| match *times {
                        // More than a third of the classes is not drawn.
                        0.0 => 0.0,
                        times => times * weighted(&draw.unknown, row),
                    });
                Some(won.sum::<f64>() / images / unknown_images)
            }
        }
    }

    /// Numbers of known and unknown classes.
    fn classes(&self) -> [usize; 2] {
        [self.known_images.len(), self.unknown_images.len()]
    }
}

fn weighted(times: &[f64], values: &[f64]) -> f64 {
    times
        .iter()
        .zip(values)
        .map(|(times, value)| times * value)
        .sum()
}

/// What is measured on a draw of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

    /// As many classes as there are, with replacement. The draw is a function of seed and index alone.
    fn random(known: usize, unknown: usize, seed: u64, index: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64);
        let mut draw = |classes: usize| {
            let mut times = vec![0.0; classes];
            for _ in 0..classes {
                times[rng.random_range(0..classes)] += 1.0;
            }
            times
        };
        Self {
            known: draw(known),
            unknown: draw(unknown),
        }
    }
}

/// How many draws, and what part of them an interval covers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapSettings {
    /// Draws of classes.
    pub draws: usize,
    /// Share of the draws inside the interval, between 0 and 1.
    pub level: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for BootstrapSettings {
    fn default() -> Self {
        Self {
            draws: 2_000,
            level: 0.95,
            seed: 2023,
        }
    }
}

/// A measurement with its bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The measurement on the classes as they are.
    pub estimate: f64,
    /// Lower end: the (1 - level) / 2 quantile of the draws.
    pub lower: f64,
    /// Upper end: the (1 + level) / 2 quantile of the draws.
    pub upper: f64,
}

impl Interval {
    /// Whether zero lies outside, which for a difference means that it is not explained by the choice of classes.
    pub fn excludes_zero(&self) -> bool {
        self.lower > 0.0 || self.upper < 0.0
    }
}

/// Interval of a measure, averaged over test sets that share their classes (the domains of a suite, or one set).
///
/// `None` where the measure is undefined. Draws on which it is undefined for some set (none of its classes drawn) are
/// left out.
///
/// # Errors
///
/// If there are no sets, their classes differ in number, or a setting is out of range.
pub fn class_bootstrap(
    sets: &[ClassStatistics],
    measure: ClassMeasure,
    settings: BootstrapSettings,
) -> Result<Option<Interval>, EvaluateError> {
    let classes = common_classes(sets)?;
    interval(classes, settings, |draw| mean_measure(sets, measure, draw))
}

/// Interval of the difference `second - first` of two methods on the same test sets, averaged over the sets.
///
/// Both methods see the same draws, so what makes a class hard for both cancels. Otherwise as [`class_bootstrap`].
///
/// # Errors
///
/// As [`class_bootstrap`], and if the methods were not measured on the same sets.
pub fn paired_class_bootstrap(
    first: &[ClassStatistics],
    second: &[ClassStatistics],
    measure: ClassMeasure,
    settings: BootstrapSettings,
) -> Result<Option<Interval>, EvaluateError> {
    let same_images = first.len() == second.len()
        && first
            .iter()
            .zip(second)
            .all(|(a, b)| a.known_images == b.known_images && a.unknown_images == b.unknown_images);
    if !same_images {
        return Err(EvaluateError::DifferentImages);
    }
    let classes = common_classes(first)?;
    interval(classes, settings, |draw| {
        let second = mean_measure(second, measure, draw)?;
        Some(second - mean_measure(first, measure, draw)?)
    })
}

fn common_classes(sets: &[ClassStatistics]) -> Result<[usize; 2], EvaluateError> {
    let classes = sets.first().ok_or(EvaluateError::NoImages)?.classes();
    if sets.iter().any(|set| set.classes() != classes) {
        return Err(EvaluateError::DifferentImages);
    }
    Ok(classes)
}

fn mean_measure(sets: &[ClassStatistics], measure: ClassMeasure, draw: &ClassDraw) -> Option<f64> {
    let values = sets.iter().map(|set| set.measure(measure, draw));
    let sum = values.sum::<Option<f64>>()?;
    Some(sum / sets.len() as f64)
}

fn interval(
    [known, unknown]: [usize; 2],
    settings: BootstrapSettings,
    statistic: impl Fn(&ClassDraw) -> Option<f64> + Sync,
) -> Result<Option<Interval>, EvaluateError> {
    let BootstrapSettings { draws, level, seed } = settings;
    let invalid = |name, expected, value| EvaluateError::Setting {
        name,
        expected,
        value,
    };
    if draws == 0 {
        return Err(invalid("number of bootstrap draws", "at least 1", 0.0));
    }
    if !(level > 0.0 && level < 1.0) {
        return Err(invalid("bootstrap level", "between 0 and 1", level));
    }
    let Some(estimate) = statistic(&ClassDraw::once(known, unknown)) else {
        return Ok(None);
    };
    let mut values: Vec<f64> = (0..draws)
        .into_par_iter()
        .filter_map(|index| statistic(&ClassDraw::random(known, unknown, seed, index)))
        .collect();
    values.sort_by(f64::total_cmp);
    Ok((!values.is_empty()).then(|| Interval {
        estimate,
        lower: quantile(&values, (1.0 - level) / 2.0),
        upper: quantile(&values, (1.0 + level) / 2.0),
    }))
}

/// Quantile of sorted values, interpolated between neighbors (numpy's default).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}
