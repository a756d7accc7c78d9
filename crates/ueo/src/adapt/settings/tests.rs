use crate::objective::UnconfidentWeights;

use super::*;

#[test]
fn settings_of_one_method_can_be_taken_to_every_other() {
    let settings = Settings::default().universal_entropy(
        UniversalEntropySettings::default()
            .trade_off(0.5)
            .weight_temperature(0.02)
            .unconfident_weights(UnconfidentWeights::Exponential)
            .refresh_weights(true),
    );
    settings.validate().unwrap();
    for &method in Method::ALL {
        let moved = settings.with_method(method);
        moved.validate().unwrap();
        let unchanged = settings.clone().method(method);
        assert_eq!(
            unchanged.validate().is_ok(),
            method == Method::Ueo,
            "{method}"
        );
    }
    assert_eq!(settings.with_method(Method::Ueo), settings);
}

#[test]
fn weights_that_never_change_cannot_be_refreshed() {
    let weights = UniversalEntropySettings::default()
        .confidence_weights(ConfidenceWeights::Uniform)
        .refresh_weights(true);
    let settings = Settings::default().universal_entropy(weights);
    let error = settings.validate().unwrap_err().to_string();
    assert!(error.contains("refresh-weights"), "{error}");
}

#[test]
fn labels_are_needed_by_the_setting_and_by_the_method() {
    assert!(!Settings::default().needs_labels());
    assert!(Settings::new(Method::UeoOracle).needs_labels());
    let weights = UniversalEntropySettings::default().confidence_weights(ConfidenceWeights::Oracle);
    assert!(
        Settings::default()
            .universal_entropy(weights)
            .needs_labels()
    );
}

#[test]
fn the_schedule_starts_anew_where_it_is_told_to() {
    let settings = Settings::default().epochs(6).restart_after(vec![2, 5]);
    settings.validate().unwrap();
    let rates: Vec<f64> = (0..12)
        .map(|step| settings.learning_rate(1.0, step, 2))
        .collect();
    for (begin, end) in [(0, 4), (4, 10), (10, 12)] {
        let plain = (begin..end).map(|step| cosine_annealing(1.0, step - begin, end - begin));
        assert_eq!(rates[begin..end], plain.collect::<Vec<_>>());
    }
    for wrong in [vec![0], vec![6], vec![3, 3], vec![4, 2]] {
        let error = settings.clone().restart_after(wrong).validate();
        assert!(error.unwrap_err().to_string().contains("restart-after"));
    }
}

#[test]
fn relative_steps_are_a_path_of_the_rates_length_whatever_the_scale() {
    let walk = |epochs: usize, scale: f64, settings: Settings| {
        let settings = settings.epochs(epochs);
        let norms = |parameters| GroupNorms {
            parameters: Some(parameters),
            gradient: scale,
        };
        (0..epochs * 3)
            .map(|step| settings.rates(step, 3, norms(2.0), norms(5.0)))
            .fold([0.0, 0.0], |[context, affine], rates| {
                [
                    context + rates.context * scale / 2.0,
                    affine + rates.affine * scale / 5.0,
                ]
            })
    };
    let relative = Settings::default()
        .step_size(StepSize::Relative)
        .context_learning_rate(0.3)
        .affine_learning_rate(0.02);
    for (epochs, scale) in [(40, 1e-6), (400, 1e6)] {
        let [context, affine] = walk(epochs, scale, relative.clone());
        // The first step is not annealed at all, so the sum is a step's part above the integral.
        let steps = (epochs * 3) as f64;
        assert!(
            (context / 0.3 - 1.0 - 1.0 / steps).abs() < 1e-9,
            "{context}"
        );
        assert!((affine / 0.02 - 1.0 - 1.0 / steps).abs() < 1e-9, "{affine}");
        let own = Method::Auto.path_lengths().unwrap();
        let [context, affine] = walk(epochs, scale, Settings::new(Method::Auto));
        assert!((context / own.context - 1.0).abs() < 0.01, "{context}");
        assert!((affine / own.affine - 1.0).abs() < 0.01, "{affine}");
    }
    let still = GroupNorms {
        parameters: Some(1.0),
        gradient: 0.0,
    };
    let rates = relative.rates(0, 3, still, still);
    assert_eq!((rates.context, rates.affine), (0.0, 0.0));
}

#[test]
fn only_relative_steps_need_the_norms_of_the_parameters() {
    let unread = GroupNorms {
        parameters: None,
        gradient: 1.0,
    };
    for (settings, relative) in [
        (Settings::new(Method::Ueo), false),
        (
            Settings::new(Method::Ueo).step_size(StepSize::Relative),
            true,
        ),
        (Settings::new(Method::Auto), true),
    ] {
        assert_eq!(settings.has_relative_steps(), relative);
        let rates = std::panic::catch_unwind(|| settings.rates(0, 3, unread, unread));
        assert_eq!(rates.is_err(), relative);
    }
}

#[test]
fn a_method_that_finds_its_steps_takes_no_rate() {
    let auto = Settings::new(Method::Auto);
    auto.validate().unwrap();
    for chosen in [
        auto.clone().context_learning_rate(0.1),
        auto.clone().affine_learning_rate(0.1),
        auto.clone().step_size(StepSize::Relative),
    ] {
        let error = chosen.validate().unwrap_err().to_string();
        assert!(error.contains("auto"), "{error}");
        chosen.with_method(Method::Auto).validate().unwrap();
    }
}

#[test]
fn templates_are_one_or_several_and_not_for_a_method_with_its_own() {
    let read = |text: &str| serde_json::from_str::<Settings>(text);
    let one = read(r#"{"template":"an icon of {}"}"#).unwrap();
    assert_eq!(one, read(r#"{"template":["an icon of {}"]}"#).unwrap());
    assert!(
        serde_json::to_string(&one)
            .unwrap()
            .contains("\"template\":[\"an icon of {}\"]")
    );
    let error = read(r#"{"template":["an icon"]}"#).unwrap_err().to_string();
    assert!(
        error.contains("`an icon`") && error.contains("{}"),
        "{error}"
    );
    assert!(
        one.clone()
            .method(Method::ZeroShotEnsemble)
            .validate()
            .is_err()
    );
    assert_eq!(one.with_method(Method::ZeroShotEnsemble).templates, []);
}

/// What a run has in `run.json`, in its order.
const OF_A_RUN: &str = r#"{"method":"ueo","train":null,"epochs":50,"train_blocks":"all","batch_size":64,"micro_batch":null,"context_learning_rate":0.0001,"affine_learning_rate":0.0001,"trade_off":1.0,"confidence_weights":"zero-shot","weight_temperature":1.0,"unconfident_weights":"inverse","refresh_weights":false,"augmentation":"crop-flip","views":null,"reduce_images":null,"shuffle":true,"seed":2023,"keep":"last"}"#;

#[test]
fn files_have_all_settings_side_by_side_in_their_old_order() {
    let settings = Settings::default();
    assert_eq!(serde_json::to_string(&settings).unwrap(), OF_A_RUN);
    let mut other: Value = serde_json::from_str(OF_A_RUN).unwrap();
    other["trade_off"] = 0.1.into();
    other["seed"] = u64::MAX.into();
    let read: Settings = serde_json::from_value(other).unwrap();
    assert_eq!(read.method_settings.universal_entropy.trade_off, 0.1);
    assert_eq!(read.seed, u64::MAX);
}

#[test]
fn what_older_runs_do_not_say_is_as_it_was() {
    let mut old: Value = serde_json::from_str(OF_A_RUN).unwrap();
    for younger in ["train_blocks", "views"] {
        old.as_object_mut().unwrap().remove(younger);
    }
    let read: Settings = serde_json::from_value(old).unwrap();
    assert_eq!(read, Settings::default());
}

#[test]
fn views_come_again_when_there_is_a_number_of_them() {
    let epochs = |settings: &Settings| {
        [0, 1, 2, 3].map(|epoch| match settings.view(epoch) {
            ViewKind::Training { epoch, .. } => Some(epoch),
            ViewKind::Test => None,
        })
    };
    let settings = Settings::default();
    assert_eq!(epochs(&settings), [0, 1, 2, 3].map(Some));
    assert_eq!(settings.fixed_views(), None);
    let two = settings.clone().views(Some(2));
    assert_eq!(epochs(&two), [0, 1, 0, 1].map(Some));
    let none = settings.augmentation(Augmentation::None);
    assert_eq!(epochs(&none), [None; 4]);
    assert_eq!(none.fixed_views(), Some(1));
    none.clone().views(Some(1)).validate().unwrap();
    let refused = [
        none.views(Some(2)),
        Settings::default().views(Some(0)),
        Settings::default()
            .train(Some(TrainedPart::Context))
            .train_blocks(TrainedBlocks::last(4).unwrap()),
    ];
    for settings in refused {
        assert!(settings.validate().is_err(), "{settings:?}");
    }
}

#[test]
fn a_name_that_is_no_setting_is_refused_wherever_it_stands() {
    let read = serde_json::from_str::<Settings>;
    assert_eq!(read("{}").unwrap(), Settings::default());
    for wrong in [r#"{"epoch":3}"#, r#"{"universal_entropy":{"trade_off":1}}"#] {
        let error = read(wrong).unwrap_err().to_string();
        assert!(
            error.contains("unknown field") && error.contains("`epochs`"),
            "{error}"
        );
    }
}
