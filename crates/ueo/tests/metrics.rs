//! Predictions, scores, metrics and thresholds against numbers of scikit-learn and pytorch-ood made by
//! `tools/fixtures/metrics.py`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ueo::evaluate::{
    ClassIntervals, Confusion, EvaluateError, Evaluation, Fallback, Predictions, Score, ScoreRule,
    Scores, ThresholdAxis, ThresholdMethod, choose_threshold, evaluate, predictions,
    threshold_accepting,
};

#[derive(Deserialize)]
struct PredictionCase {
    name: String,
    classes: usize,
    temperature: f64,
    cosines: Vec<f32>,
    predictions: Vec<usize>,
    confidences: Vec<f64>,
    probabilities: Vec<f64>,
}

#[derive(Deserialize)]
struct MetricCase {
    name: String,
    classes: usize,
    labels: Vec<Option<usize>>,
    predictions: Vec<usize>,
    confidences: Vec<f64>,
    probabilities: Vec<f64>,
    /// Class, prediction, images.
    confusions: Vec<(usize, usize, usize)>,
    threshold: f64,
    expected: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct ScoreCase {
    classes: usize,
    temperature: f64,
    cosines: Vec<f32>,
    negatives: Vec<f32>,
    scores: BTreeMap<Score, Vec<f64>>,
}

#[derive(Deserialize)]
struct MixtureCase {
    name: String,
    confidences: Vec<f64>,
    weights: [f64; 2],
    means: [f64; 2],
    deviations: [f64; 2],
    best_threshold: f64,
    unknown: usize,
}

fn read<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/metrics")
        .join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance
}

fn class_names(count: usize) -> Vec<String> {
    (0..count)
        .map(|class| format!("class {class:02}"))
        .collect()
}

fn two_classes(confidences: &[f64]) -> Predictions {
    Predictions {
        classes: vec![0; confidences.len()],
        confidences: confidences.to_vec(),
        probabilities: vec![0.5; confidences.len()],
    }
}

#[test]
fn predictions_equal_scipy_softmax() {
    for case in read::<PredictionCase>("predictions.json") {
        let scores = Scores {
            cosine_logits: &case.cosines,
            classes: case.classes,
            logit_scale: case.temperature.recip(),
            logit_bias: None,
            negative_cosines: &[],
        };
        let found = predictions(scores, ScoreRule::msp(case.temperature)).unwrap();
        assert_eq!(found.classes, case.predictions, "{}", case.name);
        for (image, (ours, theirs)) in found.confidences.iter().zip(&case.confidences).enumerate() {
            assert!(
                close(*ours, *theirs, 1e-12),
                "{}: {ours} {theirs}",
                case.name
            );
            assert!(
                close(found.probabilities[image], *theirs, 1e-12),
                "{}",
                case.name
            );
            let top = scores.top(image, case.classes);
            assert_eq!(top.len(), case.classes);
            assert_eq!(top[0].0, case.predictions[image]);
            assert!(top.is_sorted_by(|a, b| a.1 >= b.1));
            for (class, probability) in top {
                let theirs = case.probabilities[image * case.classes + class];
                assert!(
                    close(probability, theirs, 1e-12),
                    "{}: {probability} {theirs}",
                    case.name
                );
            }
        }
        assert_eq!(scores.top(0, 1).len(), 1);
        assert!(scores.top(6, 1).is_empty());
    }
}

#[test]
fn scores_equal_pytorch_ood() {
    for case in read::<ScoreCase>("scores.json") {
        let scores = Scores {
            cosine_logits: &case.cosines,
            classes: case.classes,
            logit_scale: 100.0,
            logit_bias: None,
            negative_cosines: &case.negatives,
        };
        // The sigmoid needs a bias; `tests/siglip.rs` compares it.
        assert_eq!(case.scores.len(), Score::ALL.len() - 1);
        for (score, expected) in &case.scores {
            let rule = ScoreRule::new(*score, Some(case.temperature));
            let found = predictions(scores, rule).unwrap().confidences;
            for (ours, theirs) in found.iter().zip(expected) {
                assert!(close(*ours, *theirs, 1e-12), "{score}: {ours} {theirs}");
            }
        }
    }
}

#[test]
fn scores_are_spelled_the_same_everywhere() {
    for score in Score::ALL {
        assert_eq!(score.name().parse(), Ok(*score));
        assert_eq!(serde_json::to_value(score).unwrap(), score.name());
    }
    let error = "MSP".parse::<Score>().unwrap_err().to_string();
    for score in Score::ALL {
        assert!(error.contains(score.name()), "{error}");
    }
    assert_eq!(
        ScoreRule::default(),
        ScoreRule::new(Score::MaximumLogit, None)
    );
    assert_eq!(ScoreRule::new(Score::Energy, None).temperature, 0.01);
}

#[test]
fn predictions_refuse_what_is_no_matrix_of_cosines() {
    let predict = |cosine_logits: &[f32], classes, temperature| {
        predictions(
            Scores {
                cosine_logits,
                classes,
                logit_scale: 100.0,
                logit_bias: None,
                negative_cosines: &[],
            },
            ScoreRule::msp(temperature),
        )
        .unwrap_err()
        .to_string()
    };
    assert_eq!(
        predict(&[0.1, 0.2, 0.3], 2, 1.0),
        "expected cosines of shape [images, 2], found 3 values"
    );
    assert!(predict(&[], 0, 1.0).contains("[images, 0]"));
    assert!(predict(&[0.1, 0.2], 2, 0.0).contains("score temperature must be positive"));
    assert!(predict(&[0.1, 0.2, 0.3, f32::NAN], 2, 1.0).contains("cosines of image 1 contain NaN"));
    let without_words = Scores {
        cosine_logits: &[0.1, 0.2],
        classes: 2,
        logit_scale: 100.0,
        logit_bias: None,
        negative_cosines: &[],
    };
    let rule = ScoreRule::new(Score::NegativeLabels, None);
    let error = predictions(without_words, rule).unwrap_err();
    assert_eq!(error, EvaluateError::NoNegativeLabels);
}

#[test]
fn metrics_equal_scikit_learn() {
    for case in read::<MetricCase>("metrics.json") {
        let names = class_names(case.classes);
        let found = evaluate(
            &Predictions {
                classes: case.predictions,
                confidences: case.confidences,
                probabilities: case.probabilities,
            },
            &case.labels,
            &names,
            Some(case.threshold),
        )
        .unwrap();
        assert_eq!(
            found.n_known,
            case.labels.iter().flatten().count(),
            "{}",
            case.name
        );
        assert_eq!(
            found.n_known + found.n_unknown,
            case.labels.len(),
            "{}",
            case.name
        );
        let confusions = case.confusions.iter();
        let confusions = confusions.map(|&(class, predicted, images)| Confusion {
            class: names[class].clone(),
            predicted: names[predicted].clone(),
            images,
        });
        assert_eq!(
            found.confusions,
            confusions.collect::<Vec<_>>(),
            "{}",
            case.name
        );
        let json = serde_json::to_value(&found).unwrap();
        for (metric, expected) in &case.expected {
            if metric == "per_class" {
                for (name, recall) in names.iter().zip(expected.as_array().unwrap()) {
                    assert_same(
                        &json[metric][name],
                        recall,
                        &format!("{}: {name}", case.name),
                    );
                }
            } else {
                assert_same(&json[metric], expected, &format!("{}: {metric}", case.name));
            }
        }
        assert_eq!(serde_json::from_value::<Evaluation>(json).unwrap(), found);
    }
}

fn assert_same(ours: &Value, theirs: &Value, what: &str) {
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(a), Some(b)) => assert!(close(a, b, 1e-12), "{what}: {a} {b}"),
        (None, None) => assert!(
            ours.is_null() && theirs.is_null(),
            "{what}: {ours} {theirs}"
        ),
        _ => panic!("{what}: {ours} {theirs}"),
    }
}

#[test]
fn evaluation_has_the_documented_fields_in_order() {
    let evaluation = evaluate(
        &two_classes(&[0.5, 0.5]),
        &[Some(0), None],
        &["a", "b"],
        None,
    )
    .unwrap();
    let json = serde_json::to_value(&evaluation).unwrap();
    let names: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "overall_accuracy",
            "per_class_accuracy",
            "per_class",
            "auroc",
            "fpr_at_95_tpr",
            "fpr_at_95_tpr_convention",
            "fpr_at_95_tpr_unknown_positive",
            "aupr_known",
            "aupr_unknown",
            "harmonic_mean_accuracy_auroc",
            "h_score",
            "oscr",
            "threshold",
            "known_accuracy_at_threshold",
            "unknown_recall_at_threshold",
            "expected_calibration_error",
            "calibration_bins",
            "confusions",
            "intervals",
            "n_known",
            "n_unknown",
        ]
    );
    assert_eq!(json["calibration_bins"], 15);
    assert_eq!(json["fpr_at_95_tpr_convention"], "known-positive");
    assert!(
        json["h_score"].is_null(),
        "without a threshold there is no H-score"
    );
}

#[test]
fn evaluation_refuses_lists_that_do_not_belong_together() {
    let names = ["a", "b"];
    let error = |predictions: &Predictions, labels: &[Option<usize>]| {
        evaluate(predictions, labels, &names, None).unwrap_err()
    };
    assert_eq!(error(&two_classes(&[]), &[]), EvaluateError::NoImages);
    assert_eq!(
        error(&two_classes(&[0.5]), &[None, None]),
        EvaluateError::Lengths {
            predictions: 1,
            confidences: 1,
            labels: 2
        }
    );
    assert_eq!(
        error(&two_classes(&[0.5]), &[Some(2)]).to_string(),
        "image 0 has class index 2, but there are only 2 known classes"
    );
    let not_a_number = error(&two_classes(&[0.5, f64::NAN]), &[None, None]);
    assert!(
        not_a_number
            .to_string()
            .contains("confidence of image 1 is NaN")
    );
    let mut no_probability = two_classes(&[0.5]);
    no_probability.probabilities[0] = 1.5;
    let error = error(&no_probability, &[Some(0)]).to_string();
    assert!(error.contains("probability of image 0 is 1.5"), "{error}");
}

#[test]
fn intervals_surround_the_measurements_and_know_unknown_classes() {
    let case = read::<MetricCase>("metrics.json").swap_remove(0);
    let predictions = Predictions {
        classes: case.predictions,
        confidences: case.confidences,
        probabilities: case.probabilities,
    };
    let names = class_names(case.classes);
    let measured = evaluate(&predictions, &case.labels, &names, None).unwrap();
    let intervals = |unknown: Option<&[usize]>| {
        ClassIntervals::of(&predictions, &case.labels, unknown, case.classes).unwrap()
    };
    let apart = intervals(None);
    for (interval, value) in [
        (apart.per_class_accuracy, measured.per_class_accuracy),
        (apart.auroc, measured.auroc),
    ] {
        let (interval, value) = (interval.unwrap(), value.unwrap());
        assert!(close(interval.estimate, value, 1e-12));
        assert!(interval.lower < value && value < interval.upper);
    }
    // Two classes of unknown images are less evidence than as many classes as images.
    let groups: Vec<usize> = (0..case.labels.len()).map(|image| image % 2).collect();
    let grouped = intervals(Some(&groups));
    assert_eq!(grouped.per_class_accuracy, apart.per_class_accuracy);
    assert_ne!(grouped.auroc, apart.auroc);
}

#[test]
fn mixture_equals_scikit_learn_and_finds_the_best_threshold() {
    for case in read::<MixtureCase>("mixtures.json") {
        let threshold = choose_threshold(
            &case.confidences,
            ThresholdMethod::GaussianMixture,
            ThresholdAxis::Logit,
        )
        .unwrap();
        assert_eq!(threshold.fallback, None, "{}", case.name);
        let mixture = threshold.mixture.unwrap();
        for (ours, theirs) in [
            (mixture.weights, case.weights),
            (mixture.means, case.means),
            (mixture.deviations, case.deviations),
        ] {
            for (a, b) in ours.iter().zip(theirs) {
                assert!(close(*a, b, 1e-4), "{}: {ours:?} {theirs:?}", case.name);
            }
        }
        // The best threshold of the true mixture makes some errors; the estimated one makes hardly more.
        let errors = |value: f64| {
            let is_wrong = |(image, confidence): (usize, &f64)| {
                (*confidence >= value) == (image < case.unknown)
            };
            case.confidences
                .iter()
                .enumerate()
                .filter(|item| is_wrong(*item))
                .count()
        };
        let (ours, best) = (errors(threshold.value), errors(case.best_threshold));
        assert!(
            ours <= best + case.confidences.len() / 100,
            "{}: {ours} errors, {best}",
            case.name
        );
        // The order of the images is of no account.
        let reversed: Vec<f64> = case.confidences.iter().rev().copied().collect();
        assert_eq!(
            choose_threshold(
                &reversed,
                ThresholdMethod::GaussianMixture,
                ThresholdAxis::Logit
            )
            .unwrap(),
            threshold
        );
    }
}

#[test]
fn many_images_give_the_mixture_of_their_quantiles() {
    let case = read::<MixtureCase>("mixtures.json").swap_remove(0);
    // 25 copies of 400 values: the 2,000 quantiles hold each value five times.
    let few = choose_threshold(
        &case.confidences,
        ThresholdMethod::GaussianMixture,
        ThresholdAxis::Logit,
    )
    .unwrap();
    let many = choose_threshold(
        &case.confidences.repeat(25),
        ThresholdMethod::GaussianMixture,
        ThresholdAxis::Logit,
    )
    .unwrap();
    assert_eq!(many.images, 10_000);
    assert!(
        close(few.value, many.value, 1e-9),
        "{} {}",
        few.value,
        many.value
    );
    assert_eq!(few.rejected_fraction, many.rejected_fraction);
}

#[test]
fn otsu_maximizes_the_variance_between_its_sides() {
    let case = read::<MixtureCase>("mixtures.json").swap_remove(1);
    let threshold = choose_threshold(
        &case.confidences,
        ThresholdMethod::Otsu,
        ThresholdAxis::Logit,
    )
    .unwrap();
    let logits: Vec<f64> = case
        .confidences
        .iter()
        .map(|p| (p / (1.0 - p)).ln())
        .collect();
    let cut = (threshold.value / (1.0 - threshold.value)).ln();
    let between = |cut: f64| {
        let (low, high): (Vec<f64>, Vec<f64>) = logits.iter().partition(|value| **value < cut);
        let mean = |side: &[f64]| side.iter().sum::<f64>() / side.len() as f64;
        low.len() as f64 * high.len() as f64 * (mean(&high) - mean(&low)).powi(2)
    };
    let found = between(cut);
    assert!(found > 0.0);
    for other in &logits {
        let variance = between(*other);
        // A cut at the lowest value leaves one side empty, which is no split.
        assert!(
            variance.is_nan() || variance <= found * (1.0 + 1e-12),
            "{variance} {found}"
        );
    }
}

#[test]
fn mixture_falls_back_with_a_reason() {
    let choose = |confidences: &[f64]| {
        choose_threshold(
            confidences,
            ThresholdMethod::GaussianMixture,
            ThresholdAxis::Logit,
        )
        .unwrap()
    };
    let few = choose(&[0.1, 0.11, 0.12, 0.9, 0.91]);
    assert_eq!(
        (few.method, few.fallback),
        (ThresholdMethod::Otsu, Some(Fallback::FewImages))
    );
    assert!(few.value > 0.12 && few.value < 0.9);
    assert_eq!(few.rejected_fraction, 0.6);

    let equal = choose(&[0.25; 50]);
    assert_eq!(
        (equal.fallback, equal.value),
        (Some(Fallback::EqualConfidences), 0.25)
    );
    assert_eq!(equal.rejected_fraction, 0.0);

    // The known images alone are one Gaussian.
    let balanced = read::<MixtureCase>("mixtures.json").swap_remove(0);
    let one = choose(&balanced.confidences[balanced.unknown..]);
    assert_eq!(
        (one.method, one.fallback),
        (ThresholdMethod::Otsu, Some(Fallback::OneGroup))
    );

    let mut outlier = vec![0.01];
    outlier.extend((0..400).map(|index| 0.5 + 1e-4 * f64::from(index)));
    assert_eq!(choose(&outlier).fallback, Some(Fallback::EmptyComponent));

    // A narrow group inside a wide one: no value parts them.
    let mut nested: Vec<f64> = (0..200)
        .map(|index| 0.5 + 1e-6 * f64::from(index))
        .collect();
    nested.extend((1..40).map(|index| f64::from(index) / 40.0));
    let nested = choose(&nested);
    assert_eq!(nested.fallback, Some(Fallback::NoCrossing), "{nested:?}");

    assert!(choose(&[0.0; 30]).value == 0.0 && choose(&[1.0; 30]).value == 1.0);
    let saturated: Vec<f64> = (0..60)
        .map(|index| if index < 20 { 0.0 } else { 1.0 })
        .collect();
    assert_eq!(choose(&saturated).rejected_fraction, 1.0 / 3.0);
}

#[test]
fn target_rejection_rate_rejects_at_most_that_share() {
    let confidences = [0.5, 0.1, 0.3, 0.2, 0.4];
    let choose = |rate| {
        choose_threshold(
            &confidences,
            ThresholdMethod::TargetRejectionRate(rate),
            ThresholdAxis::Logit,
        )
    };
    for (rate, value, rejected) in [
        (0.0, 0.1, 0.0),
        (0.4, 0.3, 0.4),
        (0.59, 0.3, 0.4),
        (1.0, 0.5f64.next_up(), 1.0),
    ] {
        let threshold = choose(rate).unwrap();
        assert_eq!(
            (threshold.value, threshold.rejected_fraction),
            (value, rejected),
            "{rate}"
        );
    }
    let tied = choose_threshold(
        &[0.2, 0.2, 0.2, 0.9],
        ThresholdMethod::TargetRejectionRate(0.5),
        ThresholdAxis::Logit,
    )
    .unwrap();
    assert_eq!(
        tied.rejected_fraction, 0.0,
        "equal confidences are rejected together or not at all"
    );
    assert!(
        choose(1.5)
            .unwrap_err()
            .to_string()
            .contains("between 0 and 1, found 1.5")
    );
    assert_eq!(
        choose_threshold(&[], ThresholdMethod::Otsu, ThresholdAxis::Logit),
        Err(EvaluateError::NoImages)
    );
    assert!(
        choose_threshold(
            &[0.5, f64::NAN],
            ThresholdMethod::Otsu,
            ThresholdAxis::Logit
        )
        .is_err()
    );
}

#[test]
fn target_known_acceptance_accepts_at_least_that_share_of_known_images() {
    let known = [0.9, 0.5, 0.7, 0.8, 0.6];
    let unlabeled = [0.55, 0.65, 0.75, 0.85];
    let choose = |rate| threshold_accepting(&known, rate, &unlabeled);
    for (rate, value, rejected) in [
        (1.0, 0.5, 0.0),
        (0.8, 0.6, 0.25),
        (0.61, 0.6, 0.25),
        (0.2, 0.9, 1.0),
        (0.0, 0.9f64.next_up(), 1.0),
    ] {
        let threshold = choose(rate).unwrap();
        assert_eq!(
            (threshold.value, threshold.rejected_fraction),
            (value, rejected),
            "{rate}"
        );
        let method = ThresholdMethod::TargetKnownAcceptance(rate);
        assert_eq!((threshold.method, threshold.images), (method, 4));
    }
    assert!(choose(1.5).is_err());
    let method = ThresholdMethod::TargetKnownAcceptance(0.9);
    let missing = EvaluateError::NoKnownImages {
        method: "target-known-acceptance=0.9".to_owned(),
    };
    assert_eq!(
        threshold_accepting(&[], 0.9, &unlabeled),
        Err(missing.clone())
    );
    assert_eq!(
        choose_threshold(&unlabeled, method, ThresholdAxis::Logit),
        Err(missing)
    );
}

#[test]
fn logits_on_their_own_axis_reject_the_images_that_probabilities_reject() {
    let case = read::<MixtureCase>("mixtures.json").swap_remove(0);
    for method in [ThresholdMethod::GaussianMixture, ThresholdMethod::Otsu] {
        let probabilities =
            choose_threshold(&case.confidences, method, ThresholdAxis::Logit).unwrap();
        assert_eq!(probabilities.axis, ThresholdAxis::Logit);
        let logits: Vec<f64> = case
            .confidences
            .iter()
            .map(|p| (p / (1.0 - p)).ln())
            .collect();
        let as_they_are = choose_threshold(&logits, method, ThresholdAxis::Identity).unwrap();
        assert_eq!(as_they_are.axis, ThresholdAxis::Identity);
        // Both see the same positions, so they reject the same images.
        assert_eq!(
            as_they_are.rejected_fraction,
            probabilities.rejected_fraction
        );
        assert_eq!(as_they_are.fallback, None);
    }
}

#[test]
fn threshold_methods_are_spelled_the_same_everywhere() {
    for (method, spelling) in [
        (ThresholdMethod::Auto, "auto"),
        (ThresholdMethod::GaussianMixture, "gaussian-mixture"),
        (ThresholdMethod::Otsu, "otsu"),
        (
            ThresholdMethod::TargetRejectionRate(0.25),
            "target-rejection-rate=0.25",
        ),
        (
            ThresholdMethod::TargetKnownAcceptance(0.95),
            "target-known-acceptance=0.95",
        ),
    ] {
        assert_eq!(method.to_string(), spelling);
        assert_eq!(spelling.parse(), Ok(method));
        assert_eq!(serde_json::to_value(method).unwrap(), spelling);
        assert_eq!(
            serde_json::from_value::<ThresholdMethod>(spelling.into()).unwrap(),
            method
        );
    }
    for wrong in [
        "Otsu",
        "target-rejection-rate",
        "target-rejection-rate=2",
        "target-rejection-rate=NaN",
        "target-known-acceptance=-1",
        "",
    ] {
        let error = wrong.parse::<ThresholdMethod>().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("expected auto, gaussian-mixture, otsu, target-rejection-rate"),
            "{error}"
        );
    }
}

#[test]
fn the_axis_is_that_of_the_score_whatever_one_image_says() {
    // Cosines to the classes, all above zero, and one image below.
    let mut cosines: Vec<f64> = (0..40)
        .map(|image| if image % 2 == 0 { 0.2 } else { 0.3 } + 0.001 * f64::from(image % 7))
        .collect();
    let axis = Score::MaximumLogit.axis();
    let choose = |cosines: &[f64]| {
        choose_threshold(cosines, ThresholdMethod::GaussianMixture, axis).unwrap()
    };
    let before = choose(&cosines);
    cosines[0] = -0.001;
    let after = choose(&cosines);
    assert_eq!(
        (before.axis, after.axis),
        (ThresholdAxis::Identity, ThresholdAxis::Identity)
    );
    assert!(0.206 < before.value && before.value < 0.3, "{before:?}");
    for score in [Score::Msp, Score::Margin, Score::NegativeLabels] {
        assert_eq!(score.axis(), ThresholdAxis::Logit);
    }
}
