//! Predictions, scores, metrics and thresholds against numbers of scikit-learn and pytorch-ood made by
//! `tools/fixtures/metrics.py`.

mod thresholds;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ueo::evaluate::{
    ClassIntervals, Confusion, EvaluateError, Evaluation, Predictions, Score, ScoreRule, Scores,
    evaluate, predictions,
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
