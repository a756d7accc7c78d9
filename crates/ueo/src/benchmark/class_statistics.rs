//! What a cell says about each class: enough to measure it again with every class counted a number of times.

use super::cell::{CellImages, CellRequest};

/// Recall of each known class, and how often its images win against those of each unknown class.
///
/// With class `c` counted `w_c` times,
///
/// ```text
/// accuracy(w) = sum_k w_k recall_k / sum_k w_k                             over known classes k that occur
/// auroc(w)    = sum_ku w_k w_u wins_ku / (sum_k w_k n_k  sum_u w_u n_u)    u over unknown classes
/// ```
///
/// where `wins_ku` is the number of pairs (image of `k`, image of `u`) in which the first has the higher confidence, ties
/// counting one half. With all weights one these are the measurements of the cell.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassStatistics {
    /// Known classes that occur.
    known: Vec<KnownClass>,
    /// Unknown classes that occur.
    unknown: Vec<UnknownClass>,
    /// Pairs won at temperature 1, `[known, unknown]`, row-major.
    wins: Vec<f64>,
    /// Pairs won at the model's own temperature, `[known, unknown]`, row-major.
    scaled_wins: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq)]
struct KnownClass {
    class: usize,
    images: f64,
    recall: f64,
}

#[derive(Clone, Debug, PartialEq)]
struct UnknownClass {
    class: usize,
    images: f64,
}

/// Measurements that classes can be resampled for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resampled {
    /// Mean recall over the known classes.
    pub accuracy: Option<f64>,
    /// Area under the ROC curve at temperature 1.
    pub auroc: Option<f64>,
    /// Area under the ROC curve at the model's own temperature.
    pub auroc_scaled: Option<f64>,
}

impl ClassStatistics {
    /// The statistics of one cell.
    pub fn of(request: &CellRequest, images: &CellImages) -> Self {
        let rows_of = |class: usize| -> Vec<usize> {
            (0..images.labels.len())
                .filter(|&row| images.labels[row] == class)
                .collect()
        };
        let occurring = |classes: &[usize]| -> Vec<(usize, Vec<usize>)> {
            let rows = classes.iter().map(|&class| (class, rows_of(class)));
            rows.filter(|(_, rows)| !rows.is_empty()).collect()
        };
        let (known, unknown) = (occurring(&request.known), occurring(&request.unknown()));
        let pairs_won = |confidences: &[f64]| -> Vec<f64> {
            let pairs = known.iter().flat_map(|(_, rows)| {
                unknown
                    .iter()
                    .map(move |(_, others)| pairs_won(confidences, rows, others))
            });
            pairs.collect()
        };
        let recall = |class: usize, rows: &[usize]| {
            let correct = rows
                .iter()
                .filter(|&&row| images.predictions[row] == class)
                .count();
            correct as f64 / rows.len() as f64
        };
        Self {
            wins: pairs_won(&images.confidences),
            scaled_wins: pairs_won(&images.scaled_confidences),
            known: known
                .iter()
                .map(|(class, rows)| KnownClass {
                    class: *class,
                    images: rows.len() as f64,
                    recall: recall(*class, rows),
                })
                .collect(),
            unknown: unknown
                .iter()
                .map(|(class, rows)| UnknownClass {
                    class: *class,
                    images: rows.len() as f64,
                })
                .collect(),
        }
    }

    /// The mean over several seeds, class by class; `None` if they are not of the same images.
    pub fn mean(seeds: &[Self]) -> Option<Self> {
        let mut mean = seeds.first()?.clone();
        let same_classes = |other: &Self| {
            let known = |s: &Self| {
                s.known
                    .iter()
                    .map(|k| (k.class, k.images))
                    .collect::<Vec<_>>()
            };
            known(other) == known(&mean) && other.unknown == mean.unknown
        };
        if !seeds.iter().all(same_classes) {
            return None;
        }
        let count = seeds.len() as f64;
        for (position, class) in mean.known.iter_mut().enumerate() {
            class.recall = seeds
                .iter()
                .map(|seed| seed.known[position].recall)
                .sum::<f64>()
                / count;
        }
        for position in 0..mean.wins.len() {
            mean.wins[position] = seeds.iter().map(|seed| seed.wins[position]).sum::<f64>() / count;
            let scaled = seeds.iter().map(|seed| seed.scaled_wins[position]);
            mean.scaled_wins[position] = scaled.sum::<f64>() / count;
        }
        Some(mean)
    }

    /// The measurements with class `c` counted `weights[c]` times.
    pub fn weighted(&self, weights: &[u32]) -> Resampled {
        let weight = |class: usize| f64::from(weights[class]);
        let (mut total, mut hits, mut n_known) = (0.0, 0.0, 0.0);
        for class in &self.known {
            let w = weight(class.class);
            total += w;
            hits += w * class.recall;
            n_known += w * class.images;
        }
        let unknown_weights: Vec<f64> = self.unknown.iter().map(|u| weight(u.class)).collect();
        let n_unknown: f64 = self
            .unknown
            .iter()
            .zip(&unknown_weights)
            .map(|(u, w)| w * u.images)
            .sum();
        let pairs = n_known * n_unknown;
        let area = |wins: &[f64]| -> Option<f64> {
            if pairs == 0.0 {
                return None;
            }
            let rows = self.known.iter().zip(wins.chunks_exact(self.unknown.len()));
            let won: f64 = rows
                .map(|(class, row)| {
                    let won: f64 = row
                        .iter()
                        .zip(&unknown_weights)
                        .map(|(wins, w)| wins * w)
                        .sum();
                    weight(class.class) * won
                })
                .sum();
            Some(won / pairs)
        };
        Resampled {
            accuracy: (total > 0.0).then(|| hits / total),
            auroc: area(&self.wins),
            auroc_scaled: area(&self.scaled_wins),
        }
    }
}

/// Pairs in which the first image has the higher confidence, ties counting one half.
fn pairs_won(confidences: &[f64], rows: &[usize], others: &[usize]) -> f64 {
    let mut won = 0.0;
    for &row in rows {
        for &other in others {
            let (a, b) = (confidences[row], confidences[other]);
            if a > b {
                won += 1.0;
            } else if a == b {
                won += 0.5;
            }
        }
    }
    won
}
