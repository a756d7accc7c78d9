//! Paired bootstrap over classes: how far a difference between two methods depends on which classes were looked at.
//!
//! A replicate draws as many known classes as the suite lists, and as many unknown ones as there are others, with
//! replacement; each class then counts as often as it was drawn, in every domain, under every shift and for all
//! methods. Seeds are averaged within each class before, domains and shifts after the measuring. The interval of a
//! difference holds the middle 95 % of its replicates (percentile interval, Efron and Tibshirani 1993, chapter 13).
//!
//! A domain uses those of the drawn classes that it has images of. A replicate without any of them says nothing about this
//! domain and leaves it out.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::class_statistics::{ClassStatistics, Resampled};

/// Replicates of a resampling: the ends of a 95 % interval then rest on 50 values each.
pub const REPLICATES: usize = 2000;
/// Seed of the resampling, the same for all comparisons.
const SEED: u64 = 2024;
/// Share of the replicates below and above an interval.
const TAIL: f64 = 0.025;

/// How often each class counts in each replicate.
#[derive(Clone, Debug)]
pub struct ClassResampling {
    /// `[replicates, classes]`, row-major.
    weights: Vec<u32>,
    classes: usize,
}

/// A measurement as it is and in every replicate; NaN where it is undefined.
#[derive(Clone, Debug, PartialEq)]
pub struct Replicated {
    /// With every class counted once.
    pub point: f64,
    /// With the classes of each replicate.
    pub replicates: Vec<f64>,
}

/// The replicated measurements of a method on one domain under one shift, or of their mean.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicatedMeasurements {
    /// Mean recall over the known classes.
    pub accuracy: Replicated,
    /// Area under the ROC curve at temperature 1.
    pub auroc: Replicated,
    /// Area under the ROC curve at the model's own temperature.
    pub auroc_scaled: Replicated,
}

/// A difference with the interval of its replicates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The difference itself.
    pub difference: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether the whole interval lies above zero.
    pub fn rises(&self) -> bool {
        self.low > 0.0
    }

    /// Whether the whole interval lies below zero.
    pub fn falls(&self) -> bool {
        self.high < 0.0
    }
}

impl ClassResampling {
    /// Draws `replicates` times from the known and from the unknown classes, of `classes` in all.
    pub fn new(known: &[usize], classes: usize, replicates: usize) -> Self {
        let unknown: Vec<usize> = (0..classes)
            .filter(|class| !known.contains(class))
            .collect();
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let mut weights = vec![0; replicates * classes];
        for replicate in weights.chunks_exact_mut(classes.max(1)) {
            for group in [known, &unknown] {
                for _ in group {
                    replicate[group[below(group.len(), &mut rng)]] += 1;
                }
            }
        }
        Self { weights, classes }
    }

    /// A method's measurements in every replicate.
    pub fn replicate(&self, statistics: &ClassStatistics) -> ReplicatedMeasurements {
        let point = statistics.weighted(&vec![1; self.classes]);
        let rows = self.weights.chunks_exact(self.classes.max(1));
        let replicates: Vec<Resampled> = rows.map(|row| statistics.weighted(row)).collect();
        let of = |metric: fn(&Resampled) -> Option<f64>| Replicated {
            point: metric(&point).unwrap_or(f64::NAN),
            replicates: replicates
                .iter()
                .map(|r| metric(r).unwrap_or(f64::NAN))
                .collect(),
        };
        ReplicatedMeasurements {
            accuracy: of(|r| r.accuracy),
            auroc: of(|r| r.auroc),
            auroc_scaled: of(|r| r.auroc_scaled),
        }
    }
}

/// Uniform below `end`, written out so that intervals do not change with a later version of the `rand` crate.
fn below(end: usize, rng: &mut impl Rng) -> usize {
    ((u128::from(rng.next_u64()) * end as u128) >> 64) as usize
}

impl Replicated {
    /// The mean over domains and shifts, of those where it is defined.
    pub fn mean(parts: &[&Self]) -> Self {
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (mut sum, mut count) = (0.0, 0);
            for value in values.filter(|value| !value.is_nan()) {
                sum += value;
                count += 1;
            }
            // 0 / 0 is NaN: undefined everywhere is undefined.
            sum / f64::from(count)
        };
        let replicates = parts
            .iter()
            .map(|part| part.replicates.len())
            .min()
            .unwrap_or(0);
        Self {
            point: mean(&mut parts.iter().map(|part| part.point)),
            replicates: (0..replicates)
                .map(|r| mean(&mut parts.iter().map(|part| part.replicates[r])))
                .collect(),
        }
    }

    /// How much larger this is than another measurement, replicate by replicate.
    pub fn minus(&self, other: &Self) -> Self {
        let pairs = self.replicates.iter().zip(&other.replicates);
        Self {
            point: self.point - other.point,
            replicates: pairs.map(|(a, b)| a - b).collect(),
        }
    }

    /// The value and the middle 95 % of its replicates; `None` where it is undefined.
    pub fn interval(&self) -> Option<Interval> {
        let mut sorted: Vec<f64> = self
            .replicates
            .iter()
            .copied()
            .filter(|value| !value.is_nan())
            .collect();
        if self.point.is_nan() || sorted.is_empty() {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        Some(Interval {
            difference: self.point,
            low: quantile(&sorted, TAIL),
            high: quantile(&sorted, 1.0 - TAIL),
        })
    }
}

/// Quantile of sorted values, linear between neighbors (NumPy's default).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::cell::CellImages;
    use crate::benchmark::test_cells::{random_images, request};
    use crate::evaluate::auroc;

    const CLASSES: usize = 7;
    const KNOWN: [usize; 4] = [0, 1, 3, 4];

    /// The measurements with every image repeated as often as its class counts, by the ordinary functions.
    fn plain(images: &CellImages, weights: &[u32]) -> Resampled {
        let mut recalls = Vec::new();
        let (mut known, mut unknown) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for (class, &weight) in weights.iter().enumerate() {
            let rows: Vec<usize> = (0..images.labels.len())
                .filter(|&row| images.labels[row] == class)
                .collect();
            for _ in 0..weight {
                let target = if KNOWN.contains(&class) {
                    &mut known
                } else {
                    &mut unknown
                };
                target[0].extend(rows.iter().map(|&row| images.confidences[row]));
                target[1].extend(rows.iter().map(|&row| images.scaled_confidences[row]));
                if KNOWN.contains(&class) && !rows.is_empty() {
                    let hits = rows
                        .iter()
                        .filter(|&&row| images.predictions[row] == class)
                        .count();
                    recalls.push(hits as f64 / rows.len() as f64);
                }
            }
        }
        Resampled {
            accuracy: (!recalls.is_empty())
                .then(|| recalls.iter().sum::<f64>() / recalls.len() as f64),
            auroc: auroc(&known[0], &unknown[0]),
            auroc_scaled: auroc(&known[1], &unknown[1]),
        }
    }

    fn close(a: f64, b: f64) -> bool {
        (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-12
    }

    #[test]
    fn every_replicate_equals_a_plain_computation_on_repeated_images() {
        let request = request(CLASSES, &KNOWN);
        let resampling = ClassResampling::new(&KNOWN, CLASSES, 50);
        // Two seeds on the same images, and a class without any.
        let seeds: Vec<CellImages> = [1, 2]
            .map(|seed| random_images(60, CLASSES, &KNOWN, 3, seed))
            .into();
        let statistics: Vec<ClassStatistics> = seeds
            .iter()
            .map(|images| ClassStatistics::of(&request, images))
            .collect();
        let mean = ClassStatistics::mean(&statistics).unwrap();
        let replicated = resampling.replicate(&mean);
        let mut seen = 0;
        for (replicate, weights) in resampling.weights.chunks_exact(CLASSES).enumerate() {
            let expected: Vec<Resampled> =
                seeds.iter().map(|images| plain(images, weights)).collect();
            let mean = |of: fn(&Resampled) -> Option<f64>| {
                let values = expected.iter().map(|r| of(r).unwrap_or(f64::NAN));
                values.sum::<f64>() / expected.len() as f64
            };
            let r = &replicated;
            assert!(close(
                r.accuracy.replicates[replicate],
                mean(|r| r.accuracy)
            ));
            assert!(close(r.auroc.replicates[replicate], mean(|r| r.auroc)));
            assert!(close(
                r.auroc_scaled.replicates[replicate],
                mean(|r| r.auroc_scaled)
            ));
            seen += 1;
        }
        assert_eq!(seen, 50);
        assert!(
            replicated
                .auroc
                .replicates
                .iter()
                .any(|value| *value != replicated.auroc.point)
        );
    }

    #[test]
    fn known_and_unknown_classes_are_drawn_apart() {
        let resampling = ClassResampling::new(&KNOWN, CLASSES, 200);
        for weights in resampling.weights.chunks_exact(CLASSES) {
            let known: u32 = KNOWN.iter().map(|&class| weights[class]).sum();
            assert_eq!(known, 4);
            assert_eq!(weights.iter().sum::<u32>(), 7);
        }
        let drawn = |class: usize| -> u32 {
            resampling
                .weights
                .chunks_exact(CLASSES)
                .map(|weights| weights[class])
                .sum()
        };
        // 200 of 200 on average, with a deviation of about 12.
        assert!((0..CLASSES).all(|class| (140..260).contains(&drawn(class))));
    }

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy.quantile([1, 2, 4, 8], [0.025, 0.5, 0.975])
        let values = [1.0, 2.0, 4.0, 8.0];
        let quantiles = [0.025, 0.5, 0.975].map(|share| quantile(&values, share));
        assert!(
            quantiles
                .iter()
                .zip([1.075, 3.0, 7.7])
                .all(|(a, b)| close(*a, b)),
            "{quantiles:?}"
        );
    }

    #[test]
    fn a_mean_leaves_out_what_is_undefined() {
        let part = |point, replicates: [f64; 2]| Replicated {
            point,
            replicates: replicates.to_vec(),
        };
        let (a, b) = (part(1.0, [1.0, f64::NAN]), part(3.0, [5.0, 2.0]));
        let mean = Replicated::mean(&[&a, &b]);
        assert_eq!((mean.point, mean.replicates), (2.0, vec![3.0, 2.0]));
        let undefined = part(f64::NAN, [f64::NAN; 2]);
        assert_eq!(Replicated::mean(&[&undefined]).interval(), None);
    }

    #[test]
    fn pairing_removes_what_both_methods_share() {
        // Two methods whose recalls differ by 0.1 in every class, although classes differ widely.
        let request = request(4, &[0, 1, 2, 3]);
        let images = |extra: usize| {
            let mut images = CellImages::default();
            for class in 0..4 {
                for image in 0..10 {
                    let correct = image < 2 * class + extra;
                    images.labels.push(class);
                    images
                        .predictions
                        .push(if correct { class } else { (class + 1) % 4 });
                    images.confidences.push(0.5);
                    images.scaled_confidences.push(0.5);
                }
            }
            ClassStatistics::of(&request, &images)
        };
        let resampling = ClassResampling::new(&request.known, 4, 100);
        let (a, b) = (
            resampling.replicate(&images(2)),
            resampling.replicate(&images(1)),
        );
        let interval = a.accuracy.minus(&b.accuracy).interval().unwrap();
        assert!(
            close(interval.low, 0.1) && close(interval.high, 0.1),
            "{interval:?}"
        );
        assert!(interval.rises() && !interval.falls());
        let alone = a.accuracy.interval().unwrap();
        assert!(alone.high - alone.low > 0.2, "{alone:?}");
        assert_eq!(a.auroc.interval(), None);
    }
}
