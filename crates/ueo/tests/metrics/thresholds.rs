//! Thresholds between known and unknown images, and the axis on which they are looked for.

use serde::Deserialize;
use ueo::evaluate::{
    EvaluateError, Fallback, Score, ThresholdAxis, ThresholdMethod, choose_threshold,
    threshold_accepting,
};

use super::{close, read};

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
