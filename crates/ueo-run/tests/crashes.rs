//! The process dies at every change that a job makes on the disk, by a kill and by a power loss. The same command, or
//! the same command with `--resume`, then ends with the files of a job that was never disturbed.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use support::faults::{End, Faults};
use support::{Place, StopAfter, adapt, begin, content, copy_tree, resume, resume_as};
use ueo::Device;
use ueo_run::{AdaptRequest, OpenedModel, RunDirectory, RunError, Start};

/// A job and what was in its place before.
struct Job<'a> {
    name: &'static str,
    /// The directory before the job, `None` where nothing is there.
    before: Option<&'a Path>,
    start: Start,
    /// What the whole command would ask for.
    request: AdaptRequest,
    /// The files of a job that was never disturbed.
    expected: BTreeMap<String, String>,
}

#[test]
fn wherever_a_job_dies_the_same_command_ends_with_the_same_bytes() {
    let faults = Faults::install();
    // More than one batch of the zero-shot pass.
    let place = Place::new(4);
    let request = place.request();
    let undisturbed = place.path("undisturbed");
    adapt(begin(&request, false), &undisturbed).unwrap();

    let interrupted = place.path("interrupted");
    let mut stop = StopAfter::steps(2);
    let start = begin(&request, false);
    ueo_run::adapt(start, &interrupted, &Device::cpu(), &mut stop).unwrap();

    let old = place.path("old");
    let mut other = request.clone();
    other.settings.seed += 1;
    adapt(begin(&other, false), &old).unwrap();

    let mut longer = request.clone();
    longer.settings = longer.settings.epochs(3).restart_after(vec![2]);
    let extended = place.path("extended");
    adapt(begin(&longer, false), &extended).unwrap();

    let job = |name, before, start| Job {
        name,
        before,
        start,
        request: request.clone(),
        expected: content(&undisturbed),
    };
    let jobs = [
        job("adapt", None, begin(&request, false)),
        job("resume", Some(interrupted.as_path()), resume()),
        job("overwrite", Some(old.as_path()), begin(&request, true)),
        Job {
            name: "extend",
            before: Some(undisturbed.as_path()),
            start: Start::Resume {
                request: None,
                base: None,
                epochs: Some(3),
            },
            request: longer,
            expected: content(&extended),
        },
    ];
    let mut deaths = 0;
    for job in &jobs {
        for end in [End::Killed, End::PowerLoss] {
            let count = die_everywhere(&faults, &place, job, end);
            println!("{}, {end:?}: died at each of {count} changes", job.name);
            assert!(count > 30, "{}: {count} changes", job.name);
            deaths += count;
        }
    }
    println!("{deaths} deaths in all");
}

/// Lets the job die at each of its changes, and returns their number.
fn die_everywhere(faults: &Faults, place: &Place, job: &Job<'_>, end: End) -> usize {
    let mut last_found = BTreeMap::new();
    for at in 0.. {
        let root = place.path("root");
        let run = root.join("run");
        fs::create_dir(&root).unwrap();
        if let Some(before) = job.before {
            copy_tree(before, &run);
        }
        let (result, died) = faults.during(end, at, &root, || adapt(job.start.clone(), &run));
        let told = format!("{}, {end:?} at change {at}", job.name);
        if !died {
            result.unwrap();
            assert!(content(&run) == job.expected, "{told}");
            fs::remove_dir_all(&root).unwrap();
            return at;
        }
        // Many changes leave the disk as it was: to open and to sync in front of a kill, all between two syncs in front of a
        // power loss.
        let found = anonymous(content(&root));
        if found != last_found {
            if let Some(before) = job.before {
                expect_one_of_both(&run, before, &job.expected, &told);
            }
            recover(at, &root, &run, job, &told);
            last_found = found;
        }
        fs::remove_dir_all(&root).unwrap();
    }
    unreachable!()
}

/// Files with names that do not tell how many temporary files there were before.
fn anonymous(files: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let digits = |name: &str| name.chars().filter(|c| !c.is_ascii_digit()).collect();
    let files = files.into_iter();
    files
        .map(|(name, content)| match name.contains(".ueo-") {
            true => (digits(&name), content),
            false => (name, content),
        })
        .collect()
}

/// One of the ways on that a user may think of, all of which end with the same files.
fn recover(at: usize, root: &Path, run: &Path, job: &Job<'_>, told: &str) {
    let request = &job.request;
    let (way, result) = match at % 3 {
        0 => (
            "the same with --overwrite",
            adapt(begin(request, true), run),
        ),
        1 => ("the same with --resume", adapt(resume_as(request), run)),
        _ => ("the same command", adapt(job.start.clone(), run)),
    };
    let result = match result {
        // The run has begun, and is not begun again without being told so.
        Err(RunError::OutputExists { is_run: true, .. }) => adapt(resume(), run),
        // The old run was asked to do something else, and the user is told so.
        Err(RunError::OtherSetting { setting, .. }) if job.name == "overwrite" => {
            assert_eq!(setting, "seed", "{told}");
            adapt(begin(request, true), run)
        }
        // To extend is asked for in words.
        Err(RunError::OtherSetting { setting, .. }) if job.name == "extend" => {
            assert_eq!(setting, "epochs", "{told}");
            adapt(job.start.clone(), run)
        }
        // Nothing had been made yet.
        Err(RunError::NotARun { .. }) if at < 5 => adapt(begin(request, false), run),
        result => result,
    };
    result.unwrap_or_else(|error| panic!("{told}, then {way}: {error}"));
    let found = content(run);
    for (name, expected) in &job.expected {
        assert!(
            found.get(name) == Some(expected),
            "{told}, then {way}: {name}"
        );
    }
    let names = found.keys();
    let left: Vec<_> = names
        .filter(|name| !job.expected.contains_key(*name))
        .collect();
    assert!(left.is_empty(), "{told}, then {way}: {left:?} are left");
    assert_eq!(fs::read_dir(root).unwrap().count(), 1, "{told}");
}

/// A run that is to be replaced is whole until the new one stands.
fn expect_one_of_both(run: &Path, before: &Path, after: &BTreeMap<String, String>, told: &str) {
    if !RunDirectory::open(before).unwrap().has_adapted() {
        return;
    }
    match OpenedModel::open(run, None, &Device::cpu(), None) {
        Ok(opened)
            if opened.run.as_ref().unwrap().request.settings
                == OpenedModel::open(before, None, &Device::cpu(), None)
                    .unwrap()
                    .run
                    .unwrap()
                    .request
                    .settings =>
        {
            let found = content(run);
            for (name, old) in content(before) {
                assert!(
                    found.get(&name) == Some(&old),
                    "{told}: {name} of the old run"
                );
            }
        }
        Ok(_) => assert!(
            content(run)["adapted.safetensors"] == after["adapted.safetensors"],
            "{told}"
        ),
        Err(RunError::Unfinished { .. }) => {}
        Err(error) => panic!("{told}: {error}"),
    }
}
