//! A run that gets more epochs than it was begun with.

mod support;

use std::fs;

use support::{Place, StopAfter, adapt, begin, content, copy_tree, resume, resume_as};
use ueo::Device;
use ueo::adapt::Settings;
use ueo::guard::{Criterion, Keep};
use ueo::method::{Method, UniversalEntropySettings};
use ueo_run::{RunDirectory, RunError, RunStatus, Start};

fn extend(epochs: usize) -> Start {
    Start::Resume {
        request: None,
        base: None,
        epochs: Some(epochs),
    }
}

/// Extending is the same as having begun with as many epochs and a restart of the schedule, whatever interrupts it.
#[test]
fn an_extended_run_has_the_bytes_of_one_that_was_begun_so() {
    let place = Place::new(1);
    let refreshing = UniversalEntropySettings::default().refresh_weights(true);
    let variants = [
        Settings::default(),
        Settings::default().universal_entropy(refreshing),
        Settings::default().keep(Keep::BestBy(Criterion::SoftNeighborhoodDensity)),
        Settings::new(Method::Upl),
    ];
    for (number, settings) in variants.into_iter().enumerate() {
        let mut request = place.request();
        request.settings = settings
            .epochs(2)
            .batch_size(5)
            .context_learning_rate(0.05)
            .affine_learning_rate(0.02);
        let short = place.path(format!("{number}-short"));
        adapt(begin(&request, false), &short).unwrap();
        let mut longer = request.clone();
        longer.settings = longer.settings.epochs(4).restart_after(vec![2]);
        let expected = place.path(format!("{number}-expected"));
        let report = adapt(begin(&longer, false), &expected).unwrap();

        let extended = place.path(format!("{number}-extended"));
        copy_tree(&short, &extended);
        adapt(extend(4), &extended).unwrap();
        assert!(content(&extended) == content(&expected), "variant {number}");

        // Stopped at each of the further steps; what continues it need not say how long it is to be.
        let further = report.record.total_steps / 2;
        for steps in 1..further {
            let run = place.path(format!("{number}-{steps}"));
            copy_tree(&short, &run);
            let mut stop = StopAfter::steps(steps);
            ueo_run::adapt(extend(4), &run, &Device::cpu(), &mut stop).unwrap();
            let directory = RunDirectory::open(&run).unwrap();
            let record = directory.read_record().unwrap();
            assert_eq!(record.status, RunStatus::Incomplete);
            assert_eq!(record.threshold, None);
            adapt(resume(), &run).unwrap();
            assert!(
                content(&run) == content(&expected),
                "variant {number}, {steps} steps"
            );
            fs::remove_dir_all(run).unwrap();
        }
    }
}

#[test]
fn a_run_that_is_not_finished_ends_its_schedule_first() {
    let place = Place::new(1);
    let mut request = place.request();
    request.settings.batch_size = 5;
    let run = place.path("run");
    let mut stop = StopAfter::steps(3);
    ueo_run::adapt(begin(&request, false), &run, &Device::cpu(), &mut stop).unwrap();
    adapt(extend(3), &run).unwrap();
    // And once more, with the whole command.
    let mut longer = request.clone();
    longer.settings.epochs = 4.into();
    let start = Start::Resume {
        request: Some(Box::new(longer.clone())),
        base: None,
        epochs: Some(4),
    };
    adapt(start, &run).unwrap();
    let mut whole = request;
    whole.settings = whole.settings.epochs(4).restart_after(vec![2, 3]);
    let expected = place.path("expected");
    adapt(begin(&whole, false), &expected).unwrap();
    assert!(content(&run) == content(&expected));
    // The command that has extended it can be started again, as any other.
    adapt(resume_as(&longer), &run).unwrap();
    assert!(content(&run) == content(&expected));
}

#[test]
fn fewer_epochs_and_methods_without_any_are_refused() {
    let place = Place::new(1);
    let request = place.request();
    let run = place.path("run");
    adapt(begin(&request, false), &run).unwrap();
    let before = content(&run);
    adapt(extend(2), &run).unwrap();
    for epochs in [0, 1] {
        let error = adapt(extend(epochs), &run).unwrap_err();
        assert!(
            matches!(error, RunError::NotExtended { method: None, .. }),
            "{error}"
        );
    }
    assert!(content(&run) == before);
    let mut untrained = request;
    untrained.settings = Settings::new(Method::ZeroShot);
    let run = place.path("untrained");
    adapt(begin(&untrained, false), &run).unwrap();
    let error = adapt(extend(60), &run).unwrap_err().to_string();
    assert!(error.contains("zero-shot trains nothing"), "{error}");
}
