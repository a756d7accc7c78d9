//! Curves, calibration and class bootstrap against scikit-learn, torchmetrics and scipy (`tools/fixtures/metrics.py`).

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ueo::evaluate::{
    BootstrapSettings, CALIBRATION_BINS, ClassDraw, ClassMeasure, ClassStatistics, EvaluateError,
    KnownClass, Predictions, Replicated, ScoredClasses, auroc, expected_calibration_error,
    reliability_bins, risk_coverage, roc_points,
};

const MEASURES: [ClassMeasure; 3] = [
    ClassMeasure::OverallAccuracy,
    ClassMeasure::PerClassAccuracy,
    ClassMeasure::Auroc,
];

#[derive(Deserialize)]
struct CurveCase {
    name: String,
    known: Vec<f64>,
    unknown: Vec<f64>,
    roc_thresholds: Vec<f64>,
    unknown_accepted: Vec<f64>,
    known_accepted: Vec<f64>,
    risk_thresholds: Vec<f64>,
    coverage: Vec<f64>,
    risk: Vec<f64>,
}

#[derive(Deserialize)]
struct CalibrationCase {
    name: String,
    bins: usize,
    confidences: Vec<f64>,
    correct: Vec<bool>,
    error: f64,
    images: Vec<usize>,
    hits: Vec<usize>,
}

#[derive(Deserialize)]
struct BootstrapCase {
    known_classes: usize,
    methods: Vec<Vec<SeedCase>>,
    draws: Vec<DrawCase>,
    intervals_of_second: Vec<[f64; 2]>,
    intervals_of_difference: Vec<[f64; 2]>,
}

#[derive(Deserialize)]
struct SeedCase {
    correct: Vec<usize>,
    scores: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct DrawCase {
    known: Vec<f64>,
    unknown: Vec<f64>,
    /// Per method, in the order of [`MEASURES`].
    measures: Vec<[f64; 3]>,
}

fn read<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/metrics")
        .join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[track_caller]
fn assert_all_close(ours: impl Iterator<Item = f64>, theirs: &[f64], what: &str) {
    let ours: Vec<f64> = ours.collect();
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() < 1e-12, "{what}: {ours:?} {theirs:?}");
    }
}

#[test]
fn curves_equal_scikit_learn_and_the_definition() {
    for case in read::<CurveCase>("curves.json") {
        let points = roc_points(&case.known, &case.unknown);
        assert_eq!(points[0].threshold, f64::INFINITY);
        assert_all_close(
            points.iter().skip(1).map(|point| point.threshold),
            &case.roc_thresholds,
            &case.name,
        );
        let unknown = points.iter().map(|point| point.unknown_accepted);
        assert_all_close(unknown, &case.unknown_accepted, &case.name);
        let known = points.iter().map(|point| point.known_accepted);
        assert_all_close(known, &case.known_accepted, &case.name);
        let area: f64 = points
            .windows(2)
            .map(|pair| {
                let width = pair[1].unknown_accepted - pair[0].unknown_accepted;
                width * (pair[1].known_accepted + pair[0].known_accepted) / 2.0
            })
            .sum();
        assert!((area - auroc(&case.known, &case.unknown).unwrap()).abs() < 1e-12);

        let points = risk_coverage(&case.known, &case.unknown);
        let thresholds = points.iter().map(|point| point.threshold);
        assert_all_close(thresholds, &case.risk_thresholds, &case.name);
        let coverage = points.iter().map(|point| point.coverage);
        assert_all_close(coverage, &case.coverage, &case.name);
        assert_all_close(
            points.iter().map(|point| point.risk),
            &case.risk,
            &case.name,
        );
    }
    assert!(roc_points(&[], &[0.5]).is_empty() && roc_points(&[0.5], &[]).is_empty());
    assert!(risk_coverage(&[], &[]).is_empty());
}

#[test]
fn calibration_error_equals_torchmetrics() {
    for case in read::<CalibrationCase>("calibration.json") {
        let bins = reliability_bins(&case.confidences, &case.correct, case.bins).unwrap();
        assert_eq!(bins.len(), case.bins);
        for (index, bin) in bins.iter().enumerate() {
            assert_eq!(bin.images, case.images[index], "{}: bin {index}", case.name);
            let hits = bin.accuracy.map(|rate| rate * bin.images as f64);
            assert!((hits.unwrap_or(0.0) - case.hits[index] as f64).abs() < 1e-9);
        }
        let error = expected_calibration_error(&bins).unwrap();
        // torchmetrics adds in f32.
        assert!(
            (error - case.error).abs() < 1e-6,
            "{}: {error} {}",
            case.name,
            case.error
        );
    }
}

#[test]
fn calibration_bins_include_their_lower_edges_and_one() {
    let on_edges = [0.0, 0.2, 0.6, 0.8, 1.0];
    let bins = reliability_bins(&on_edges, &[true; 5], 5).unwrap();
    let images: Vec<usize> = bins.iter().map(|bin| bin.images).collect();
    assert_eq!(images, [1, 1, 0, 1, 2]);
    assert_eq!((bins[0].lower, bins[4].upper), (0.0, 1.0));
    assert_eq!(bins[2].accuracy, None);
    // Every multiple of 1/15 belongs to the bin that it opens, whatever its digits round to.
    for edge in 0..CALIBRATION_BINS {
        let value = edge as f64 / CALIBRATION_BINS as f64;
        let bins = reliability_bins(&[value], &[true], CALIBRATION_BINS).unwrap();
        assert_eq!(bins[edge].images, 1, "{edge}");
    }
    let none = reliability_bins(&[], &[], 5).unwrap();
    assert_eq!(expected_calibration_error(&none), None);
    assert!(reliability_bins(&[1.1], &[true], 5).is_err());
    assert!(reliability_bins(&[0.5], &[], 5).is_err());
    assert!(reliability_bins(&[0.5], &[true], 0).is_err());
}

fn statistics(case: &BootstrapCase) -> Vec<ClassStatistics> {
    let method = |seeds: &Vec<SeedCase>| {
        let seeds: Vec<ScoredClasses> = seeds
            .iter()
            .map(|seed| {
                let (known, unknown) = seed.scores.split_at(case.known_classes);
                ScoredClasses {
                    known: known
                        .iter()
                        .zip(&seed.correct)
                        .map(|(scores, &correct)| KnownClass {
                            correct,
                            scores: scores.clone(),
                        })
                        .collect(),
                    unknown: unknown.to_vec(),
                }
            })
            .collect();
        ClassStatistics::of_seeds(&seeds).unwrap()
    };
    case.methods.iter().map(method).collect()
}

#[test]
fn measures_of_a_draw_equal_those_of_the_images_drawn() {
    let case = read::<BootstrapCase>("bootstraps.json").swap_remove(0);
    let methods = statistics(&case);
    for draw in &case.draws {
        let classes = ClassDraw {
            known: draw.known.clone(),
            unknown: draw.unknown.clone(),
        };
        for (method, expected) in methods.iter().zip(&draw.measures) {
            let found = MEASURES.map(|measure| method.measure(measure, &classes).unwrap());
            assert_all_close(found.into_iter(), expected, "draw");
        }
    }
}

#[test]
fn intervals_equal_scipy_up_to_chance() {
    let case = read::<BootstrapCase>("bootstraps.json").swap_remove(0);
    let methods = statistics(&case);
    let settings = BootstrapSettings {
        draws: 20_000,
        ..BootstrapSettings::default()
    };
    // 20,000 draws place a 2.5 % quantile within 0.02 standard deviations, half a percent of the interval's width.
    let chance = |[low, high]: [f64; 2]| 0.02 * (high - low);
    for (index, measure) in MEASURES.into_iter().enumerate() {
        let replicated = |method| Replicated::new(&methods[method], measure, settings).unwrap();
        let (first, second) = (replicated(0), replicated(1));
        let found = second.interval().unwrap();
        let expected = case.intervals_of_second[index];
        assert!(
            (found.lower - expected[0]).abs() < chance(expected),
            "{found:?} {expected:?}"
        );
        assert!(
            (found.upper - expected[1]).abs() < chance(expected),
            "{found:?} {expected:?}"
        );

        let paired = second.minus(&first).interval().unwrap();
        let expected = case.intervals_of_difference[index];
        assert!(
            (paired.lower - expected[0]).abs() < chance(expected),
            "{paired:?} {expected:?}"
        );
        assert!(
            (paired.upper - expected[1]).abs() < chance(expected),
            "{paired:?} {expected:?}"
        );
        assert!(paired.lower <= paired.estimate && paired.estimate <= paired.upper);
        assert_eq!(
            replicated(1).minus(&replicated(0)).interval(),
            Some(paired),
            "the same seed gives the same interval"
        );
        // The mean over two equal sets is that of one; the order of the methods is the sign.
        let twice = |set| Replicated::mean(&[set, set]).unwrap();
        let same = twice(&second).minus(&twice(&first)).interval().unwrap();
        assert!((same.upper - paired.upper).abs() < 1e-12);
        let swapped = first.minus(&second).interval().unwrap();
        assert!((swapped.estimate + paired.estimate).abs() < 1e-12);
    }
}

#[test]
fn a_method_does_not_differ_from_itself() {
    let case = read::<BootstrapCase>("bootstraps.json").swap_remove(0);
    let settings = BootstrapSettings::default();
    let method = Replicated::new(&statistics(&case)[0], ClassMeasure::Auroc, settings).unwrap();
    let found = method.minus(&method).interval().unwrap();
    assert_eq!((found.lower, found.upper), (0.0, 0.0));
    assert!(!found.rises() && !found.falls());
}

#[test]
fn predictions_are_grouped_by_true_class() {
    let predictions = Predictions {
        classes: vec![0, 1, 1, 0, 1],
        confidences: vec![0.5, 0.6, 0.7, 0.8, 0.9],
        probabilities: vec![0.5; 5],
    };
    let labels = [Some(0), Some(0), None, None, None];
    let grouped = ScoredClasses::group(&predictions, &labels, Some(&[9, 9, 1, 0, 1]), 2).unwrap();
    let first = KnownClass {
        correct: 1,
        scores: vec![0.5, 0.6],
    };
    assert_eq!(grouped.known, [first, KnownClass::default()]);
    assert_eq!(grouped.unknown, [vec![0.8], vec![0.7, 0.9]]);

    let apart = ScoredClasses::group(&predictions, &labels, None, 2).unwrap();
    assert_eq!(apart.unknown, [vec![0.7], vec![0.8], vec![0.9]]);
    let other = ClassStatistics::of_seeds(&[grouped, apart]);
    assert_eq!(other, Err(EvaluateError::DifferentImages));
    assert!(ScoredClasses::group(&predictions, &labels[1..], None, 2).is_err());
    assert!(ScoredClasses::group(&predictions, &[Some(2); 5], None, 2).is_err());
}

#[test]
fn what_no_interval_is_defined_for() {
    let known = ScoredClasses {
        known: vec![KnownClass {
            correct: 1,
            scores: vec![0.5, 0.6],
        }],
        unknown: Vec::new(),
    };
    let set = ClassStatistics::of_seeds(&[known]).unwrap();
    let settings = BootstrapSettings::default();
    let measured = |measure| Replicated::new(&set, measure, settings).unwrap().interval();
    assert_eq!(measured(ClassMeasure::Auroc), None);
    assert_eq!(
        measured(ClassMeasure::PerClassAccuracy).map(|interval| interval.estimate),
        Some(0.5)
    );
    let with = |draws, level| BootstrapSettings {
        draws,
        level,
        ..settings
    };
    for wrong in [
        with(0, 0.95),
        with(10, 0.0),
        with(10, 1.0),
        with(10, f64::NAN),
    ] {
        assert!(Replicated::new(&set, ClassMeasure::Auroc, wrong).is_err());
    }
    assert_eq!(Replicated::mean(&[]), None);
    assert!(ClassStatistics::of_seeds(&[]).is_err());
}
