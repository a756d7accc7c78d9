//! The decision between known and unknown against numbers of `tools/fixtures/metrics.py`, and by its own rules.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ueo::evaluate::{
    ClassDraw, ClassMeasure, ClassStatistics, CosinesOf, EvaluateError, Finding, GroupTest, Groups,
    Predictions, Reference, ReviewErrors, Score, ScoreRule, ScoredClasses, Scores, Threshold,
    ThresholdAxis, ThresholdMethod, Verdict, auroc, choose_threshold, decide, left_out_confidences,
    matched_auroc, predictions,
};

#[derive(Deserialize)]
struct DecisionCase {
    name: String,
    classes: usize,
    cosines: Vec<f32>,
    negatives: Vec<f32>,
    share_below: f64,
    margin: f64,
    groups: Groups,
    scores: BTreeMap<Score, ScoreCase>,
}

#[derive(Deserialize)]
struct ScoreCase {
    left_out: Vec<f64>,
    /// Where "reject" ends, the threshold, where "accept" begins.
    cuts: [f64; 3],
    rejected: usize,
}

#[derive(Deserialize)]
struct MatchedCase {
    known: Vec<(f64, bool)>,
    unknown: Vec<(f64, bool)>,
    matched: Option<f64>,
}

fn read<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/metrics")
        .join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

impl DecisionCase {
    fn scores(&self) -> Scores<'_> {
        Scores {
            cosine_logits: &self.cosines,
            classes: self.classes,
            logit_scale: 100.0,
            logit_bias: None,
            negative_cosines: &self.negatives,
        }
    }

    fn threshold(&self, score: Score) -> Threshold {
        let rule = ScoreRule::new(score, None);
        let confidences = predictions(self.scores(), rule).unwrap().confidences;
        let left_out = left_out_confidences(self.scores(), rule).unwrap();
        let reference = Reference {
            left_out: &left_out,
            group_test: GroupTest::of(&self.cosines, self.classes, CosinesOf::ZeroShot).unwrap(),
            axis: score.axis(),
        };
        decide(&confidences, reference).unwrap()
    }
}

#[test]
fn decisions_equal_numpy() {
    for case in read::<DecisionCase>("decisions.json") {
        let test = GroupTest::of(&case.cosines, case.classes, CosinesOf::ZeroShot).unwrap();
        assert!(
            (test.share_below - case.share_below).abs() < 1e-12,
            "{}",
            case.name
        );
        assert!((test.margin - case.margin).abs() < 1e-12, "{}", case.name);
        assert_eq!(test.groups(), case.groups, "{}", case.name);
        for (score, expected) in &case.scores {
            let rule = ScoreRule::new(*score, None);
            let left_out = left_out_confidences(case.scores(), rule).unwrap();
            for (ours, theirs) in left_out.iter().zip(&expected.left_out) {
                assert!(
                    (ours - theirs).abs() < 1e-9,
                    "{} {score}: {ours} {theirs}",
                    case.name
                );
            }
            let threshold = case.threshold(*score);
            let review = threshold.review.unwrap();
            let cuts = [review.reject_below, threshold.value, review.accept_from];
            for (ours, theirs) in cuts.iter().zip(&expected.cuts) {
                assert!(
                    (ours - theirs).abs() < 1e-9,
                    "{} {score}: {cuts:?}",
                    case.name
                );
            }
            let rejected = expected.rejected as f64 / threshold.images as f64;
            assert!((threshold.rejected_fraction - rejected).abs() < 1e-12);
            assert_eq!(threshold.method, ThresholdMethod::Auto);
        }
    }
}

#[test]
fn a_finding_is_one_sentence_and_survives_a_file() {
    let cases = read::<DecisionCase>("decisions.json");
    let sentence = |case: &DecisionCase| {
        let threshold = case.threshold(Score::MaximumLogit);
        let json = serde_json::to_string(&threshold).unwrap();
        assert_eq!(serde_json::from_str::<Threshold>(&json).unwrap(), threshold);
        threshold.finding_in_words().unwrap().to_string()
    };
    let sentences: Vec<String> = cases.iter().map(sentence).collect();
    assert!(
        sentences[0].starts_with("no second group among 60 images: all"),
        "{sentences:?}"
    );
    let rejected = cases[1].scores[&Score::MaximumLogit].rejected;
    assert_eq!(
        sentences[1],
        format!("a second group among 75 images: {rejected} rejected")
    );
    assert!(sentences[2].starts_with("13 images are too few to look for a second group: all"));
    let otsu = choose_threshold(
        &[0.1, 0.2, 0.8],
        ThresholdMethod::Otsu,
        ThresholdAxis::Logit,
    )
    .unwrap();
    assert!(otsu.finding_in_words().is_none() && otsu.review.is_none());
    let json = serde_json::to_value(otsu).unwrap();
    assert!(json.get("finding").is_none() && json.get("review").is_none());
}

#[test]
fn where_the_groups_are_far_apart_both_aims_hold() {
    // Images that match one class of 20 by far, beside 0, 5, 10, 25 and 50 % that match none.
    let classes = 20;
    let noise = |image: usize, class: usize| {
        let hashed = (image * 7_919 + class * 104_729 + 13) * 2_654_435_761 % 1_000_003;
        0.06 * (hashed as f32 / 1_000_003.0 - 0.5)
    };
    let known = 200;
    for unknown in [0, 11, 22, 67, 200] {
        let cosines: Vec<f32> = (0..known + unknown)
            .flat_map(|image| {
                let matches = move |class| image < known && image % classes == class;
                (0..classes).map(move |class| {
                    0.2 + noise(image, class) + if matches(class) { 0.15 } else { 0.0 }
                })
            })
            .collect();
        let scores = Scores {
            cosine_logits: &cosines,
            classes,
            logit_scale: 100.0,
            logit_bias: None,
            negative_cosines: &[],
        };
        let rule = ScoreRule::new(Score::MaximumLogit, None);
        let confidences = predictions(scores, rule).unwrap().confidences;
        let left_out = left_out_confidences(scores, rule).unwrap();
        let group_test = GroupTest::of(&cosines, classes, CosinesOf::ZeroShot).unwrap();
        let reference = Reference {
            left_out: &left_out,
            group_test,
            axis: Score::MaximumLogit.axis(),
        };
        let threshold = decide(&confidences, reference).unwrap();
        let below = |images: &[f64]| images.iter().filter(|c| **c < threshold.value).count();
        assert_eq!(below(&confidences[..known]), 0, "{unknown} unknown");
        assert_eq!(below(&confidences[known..]), unknown, "{unknown} unknown");
        let expected = if unknown > 0 {
            Groups::Two
        } else {
            Groups::One
        };
        assert_eq!(
            threshold.finding.unwrap().groups(),
            expected,
            "{unknown} unknown"
        );
    }
}

#[test]
fn small_sets_have_a_defined_answer() {
    for images in 1..=50 {
        let cosines: Vec<f32> = (0..images)
            .flat_map(|image| [0.3 + 0.001 * image as f32, 0.2, 0.1])
            .collect();
        let scores = Scores {
            cosine_logits: &cosines,
            classes: 3,
            logit_scale: 100.0,
            logit_bias: None,
            negative_cosines: &[],
        };
        let rule = ScoreRule::new(Score::MaximumLogit, None);
        let confidences = predictions(scores, rule).unwrap().confidences;
        let left_out = left_out_confidences(scores, rule).unwrap();
        let group_test = GroupTest::of(&cosines, 3, CosinesOf::Adapted).unwrap();
        let expected = if images < 20 {
            Groups::TooFewImages
        } else {
            Groups::One
        };
        assert_eq!(group_test.groups(), expected);
        let reference = Reference {
            left_out: &left_out,
            group_test,
            axis: Score::MaximumLogit.axis(),
        };
        let threshold = decide(&confidences, reference).unwrap();
        assert_eq!(threshold.rejected_fraction, 0.0, "{images} images");
        let short = Reference {
            left_out: &left_out[1..],
            group_test,
            axis: Score::MaximumLogit.axis(),
        };
        assert!(decide(&confidences, short).is_err());
    }
    let test = |cosines: &[f32], classes| GroupTest::of(cosines, classes, CosinesOf::ZeroShot);
    assert_eq!(test(&[], 3), Err(EvaluateError::NoImages));
    assert!(test(&[0.1, 0.2], 1).is_err() && test(&[0.1, 0.2, 0.3], 2).is_err());
    assert!(test(&[0.1, f32::NAN], 2).is_err());
}

#[test]
fn verdicts_follow_the_band_and_labels_tell_its_errors() {
    let mut threshold = read::<DecisionCase>("decisions.json")[1].threshold(Score::MaximumLogit);
    let review = threshold.review.unwrap();
    assert!(review.reject_below < threshold.value && threshold.value < review.accept_from);
    assert_eq!(
        threshold.verdict(review.reject_below - 1e-9),
        Verdict::Reject
    );
    assert_eq!(threshold.verdict(review.reject_below), Verdict::Review);
    assert_eq!(threshold.verdict(threshold.value), Verdict::Review);
    assert_eq!(threshold.verdict(review.accept_from), Verdict::Accept);
    let (low, high) = (review.reject_below - 1.0, review.accept_from + 1.0);
    let known = [low, high, high, high, high, high, high, high];
    let errors = review
        .calibrated(&known, &[low, high])
        .unwrap()
        .errors
        .unwrap();
    let found = |errors: ReviewErrors| (errors.known_rejected, errors.unknown_accepted);
    assert_eq!(found(errors), (Some(0.2), Some(0.5)));
    let of = |known: &[f64], unknown: &[f64]| {
        let review = review.calibrated(known, unknown).unwrap();
        found(review.errors.unwrap())
    };
    assert_eq!(
        of(&known, &[]),
        (Some(0.2), None),
        "from no image follows nothing"
    );
    assert_eq!(of(&[], &[low, high]), (None, Some(0.5)));
    let written = serde_json::from_str(r#"{"known_rejected": 0.2, "unknown_accepted": 0.5}"#);
    assert_eq!(
        written.map(found).unwrap(),
        (Some(0.2), Some(0.5)),
        "runs of earlier versions"
    );
    assert!(review.calibrated(&[f64::NAN], &[]).is_err());
    threshold.review = None;
    assert_eq!(threshold.verdict(threshold.value), Verdict::Accept);
    assert_eq!(threshold.verdict(threshold.value - 1e-9), Verdict::Reject);
}

#[test]
fn without_a_reference_the_shape_decides() {
    let choose = |confidences: &[f64]| {
        choose_threshold(confidences, ThresholdMethod::Auto, ThresholdAxis::Logit).unwrap()
    };
    let groups = |threshold: &Threshold| match threshold.finding {
        Some(Finding::Shape { groups }) => groups,
        other => panic!("{other:?}"),
    };
    // Sums of three numbers that hardly depend on each other: nearly a bell.
    let bell = |image: u32| f64::from(image * 7 % 31 + image * 11 % 37 + image * 5 % 29) / 500.0;
    let apart: Vec<f64> = (0..200)
        .map(|image| bell(image) + if image < 60 { 0.2 } else { 0.7 })
        .collect();
    let two = choose(&apart);
    assert_eq!((groups(&two), two.rejected_fraction), (Groups::Two, 0.3));
    let one = choose(&apart[60..]);
    assert_eq!((groups(&one), one.rejected_fraction), (Groups::One, 0.0));
    let few = choose(&apart[55..65]);
    assert_eq!(
        (groups(&few), few.rejected_fraction),
        (Groups::TooFewImages, 0.0)
    );
    let equal = choose(&[0.5; 30]);
    assert_eq!(
        (groups(&equal), equal.rejected_fraction),
        (Groups::One, 0.0)
    );
}

#[test]
fn matched_pairs_are_alike_in_having_been_adapted_to() {
    for case in read::<MatchedCase>("matched.json") {
        let found = matched_auroc(&case.known, &case.unknown);
        match (found, case.matched) {
            (Some(found), Some(expected)) => assert!((found - expected).abs() < 1e-12),
            (found, expected) => assert_eq!(found, expected),
        }
        // The statistics by class say the same of all classes together.
        let images: Vec<(f64, bool)> = case.known.iter().chain(&case.unknown).copied().collect();
        let labels: Vec<Option<usize>> = (0..images.len())
            .map(|image| (image < case.known.len()).then_some(image % 3))
            .collect();
        let predicted = Predictions {
            classes: vec![0; images.len()],
            confidences: images.iter().map(|image| image.0).collect(),
            probabilities: vec![0.5; images.len()],
        };
        let ids: Vec<usize> = (0..images.len()).map(|image| image % 4).collect();
        let part = |adapted: bool| {
            let chosen: Vec<usize> = (0..images.len())
                .filter(|image| images[*image].1 == adapted)
                .collect();
            let of = |values: &[f64]| chosen.iter().map(|image| values[*image]).collect();
            let own = Predictions {
                classes: vec![0; chosen.len()],
                confidences: of(&predicted.confidences),
                probabilities: of(&predicted.probabilities),
            };
            let labels: Vec<_> = chosen.iter().map(|image| labels[*image]).collect();
            let ids: Vec<_> = chosen.iter().map(|image| ids[*image]).collect();
            let mut part = ScoredClasses::group(&own, &labels, Some(&ids), 3).unwrap();
            part.unknown.resize(4, Vec::new());
            part
        };
        let strata = vec![part(true), part(false)];
        let statistics = ClassStatistics::of_matched_seeds(&[strata]).unwrap();
        let measured = statistics.measure(ClassMeasure::Auroc, &ClassDraw::once(3, 4));
        match (measured, found) {
            (Some(measured), Some(found)) => assert!((measured - found).abs() < 1e-12),
            (measured, found) => assert_eq!(measured, found),
        }
    }
}

#[test]
fn adapting_to_known_images_alone_is_no_separation() {
    // Every image that was adapted to scores one higher; known and unknown images are alike otherwise.
    let score = |image: usize, adapted: bool| {
        ((image * 37 % 101) as f64 / 101.0) + f64::from(u8::from(adapted))
    };
    let known: Vec<(f64, bool)> = (0..200).map(|i| (score(i, i < 100), i < 100)).collect();
    let unknown: Vec<(f64, bool)> = (0..101).map(|i| (score(i, false), false)).collect();
    let plain = |images: &[(f64, bool)]| images.iter().map(|image| image.0).collect::<Vec<_>>();
    assert!(auroc(&plain(&known), &plain(&unknown)).unwrap() > 0.7);
    assert!((matched_auroc(&known, &unknown).unwrap() - 0.5).abs() < 0.02);
}
