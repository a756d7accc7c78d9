//! Cells that are there are kept: finished ones, those of an interrupted benchmark, of other settings and of earlier versions.

use std::collections::BTreeMap;
use std::fs;
#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;

use super::{BENCHMARK, SUITE, cell_path, cells, files, place, short};
#[cfg(unix)]
use crate::support::Report;

/// Cells without what depends on the machine.
fn without_timing(mut cells: BTreeMap<PathBuf, Value>) -> BTreeMap<PathBuf, Value> {
    for cell in cells.values_mut() {
        cell.as_object_mut().unwrap().remove("timing");
    }
    cells
}

#[test]
fn finished_cells_are_kept_and_only_new_ones_run() {
    let place = place();
    // More jobs than there are cells: so many threads no machine has.
    let jobs = "benchmark --suite tiny.toml --data . --model model --output two --jobs 100000";
    place.run(jobs, 0);
    place.run(BENCHMARK, 0);
    let first = cells(&place, "out");
    assert_eq!(
        without_timing(first.clone()),
        without_timing(cells(&place, "two")),
        "jobs"
    );

    place
        .run(BENCHMARK, 0)
        .says(&["12 cells, 12 done, 0 to do"]);
    assert_eq!(cells(&place, "out"), first, "not even the timing changes");

    let twice = "--methods ueo,ueo --seeds 2,2 --shifts open-partial,open-partial --list";
    let list = place.run(&format!("{BENCHMARK} {twice}"), 0);
    assert_eq!(list.stdout.lines().count(), 2, "a cell for each domain");

    let all = place.run(&format!("{BENCHMARK} --methods all --list"), 0);
    for method in ueo::method::Method::ALL {
        assert!(
            all.stdout.contains(&format!("\tlight\tclosed\t{method}\t")),
            "{method}"
        );
    }

    fs::remove_file(place.path(cell_path(&place, "suite/dark/closed/ueo-2.json"))).unwrap();
    place.write(&cell_path(&place, "suite/dark/closed/zero-shot.json"), "{");
    let list = place.run(&format!("{BENCHMARK} --list"), 0);
    assert_eq!(list.stdout.lines().count(), 12);
    assert!(
        list.stdout.contains("to do\tsuite\tdark\tclosed\tueo\t2\n"),
        "{}",
        list.stdout
    );
    assert!(
        list.stdout
            .contains("damaged\tsuite\tdark\tclosed\tzero-shot\t-\n")
    );
    list.says(&["12 cells, 2 to do"]);
    place
        .run(BENCHMARK, 0)
        .says(&["12 cells, 10 done, 2 to do, 1 of them because"]);
    assert_eq!(
        without_timing(cells(&place, "out")),
        without_timing(first.clone())
    );

    place
        .run(&format!("{BENCHMARK} --seeds 1,2,3"), 0)
        .says(&["16 cells, 12 done, 4 to do"]);
    assert!(!place.path("out/cells/suite").exists());
}

#[test]
fn results_of_other_settings_shifts_or_images_are_never_replaced() {
    let place = place();
    let small = format!("{BENCHMARK} --domains light --shifts closed");
    place.run(&small, 0);
    let before = files(&place.path("out"));
    let refused = |suite: String, expected: &[&str]| {
        place.write("tiny.toml", suite);
        // More cells than there are: those that would be new are not run either.
        place.run(BENCHMARK, 2).says(expected);
        assert_eq!(files(&place.path("out")), before);
        place.write("tiny.toml", SUITE);
    };
    refused(
        SUITE.replace("epochs = 2", "epochs = 3"),
        &[
            "were made with other settings",
            "ueo: epochs 2, now 3",
            "--variant NAME",
        ],
    );
    refused(
        SUITE.replace("closed = \"0-2\"", "closed = \"0-1\""),
        &[
            "about other data",
            "present classes under the closed shift: 0-2, now 0-1",
            "--output",
        ],
    );
    refused(
        SUITE.replace("known = \"0-2\"", "known = \"0-1\""),
        &["listed classes under the closed shift: 0-2, now 0-1"],
    );
    fs::copy(
        place.path("sets/light/cat/0.png"),
        place.path("sets/light/cat/9.png"),
    )
    .unwrap();
    refused(SUITE.to_owned(), &["images of light: 24, now 25"]);
    fs::remove_file(place.path("sets/light/cat/9.png")).unwrap();

    // The same settings under a name of their own stand beside; the old cells stay.
    place.write("tiny.toml", SUITE.replace("epochs = 2", "epochs = 3"));
    place.run(&format!("{small} --variant long"), 0);
    let after = files(&place.path("out/cells"));
    let kept = before
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "json"));
    assert!(
        kept.into_iter()
            .all(|(path, content)| after[path] == *content)
    );

    // A file of a later version is not replaced.
    let path = cell_path(&place, "suite/light/closed/ueo-1.json");
    let text = fs::read_to_string(place.path(&path)).unwrap();
    place.write("tiny.toml", SUITE);
    place.write(
        &path,
        text.replace("\"format_version\":2", "\"format_version\":99"),
    );
    place
        .run(&small, 2)
        .says(&["expected format version 1 to 2, found 99"]);
}

#[test]
fn results_of_earlier_versions_are_read_and_their_cells_are_done() {
    let place = place();
    let small = format!("{BENCHMARK} --domains light");
    place.run(&small, 0);
    let csv = fs::read(place.path("out/tables/results.csv")).unwrap();
    // As they were written before protocols: other places, other fields.
    for (path, mut cell) in cells(&place, "out") {
        let old = place.path("out/cells").join(short(&path));
        fs::create_dir_all(old.parent().unwrap()).unwrap();
        let object = cell.as_object_mut().unwrap();
        object["format_version"] = 1.into();
        object.remove("model");
        object["request"]
            .as_object_mut()
            .unwrap()
            .remove("protocol");
        object["results"]
            .as_object_mut()
            .unwrap()
            .remove("auroc_matched");
        for field in ["adapted_to", "halves"] {
            object["images"].as_object_mut().unwrap().remove(field);
        }
        fs::write(old, cell.to_string()).unwrap();
    }
    fs::remove_dir_all(place.path("out/cells/tiny")).unwrap();
    place.run(&small, 0).says(&["6 cells, 6 done, 0 to do"]);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let again = text(&fs::read(place.path("out/tables/results.csv")).unwrap());
    // The model has no name any more; every number is the same.
    let digits = again
        .lines()
        .nth(1)
        .unwrap()
        .split(',')
        .nth(1)
        .unwrap()
        .to_owned();
    assert_eq!(
        again.replace(&format!("tiny,{digits},"), "tiny,model,"),
        text(&csv)
    );
    place
        .run(
            &small.replace("tiny.toml", "tiny.toml --set epochs=5 --variant x"),
            0,
        )
        .says(&["6 cells done"]);

    // Both files of one cell would count twice.
    let path = cell_path(&place, "x/light/closed/ueo-1.json");
    fs::copy(place.path(&path), place.path("out/cells/copy.json")).unwrap();
    place
        .run("benchmark --suite tiny.toml --output out --tables-only", 2)
        .says(&["are about the same cell"]);
}

/// Paths of the finished cells below a folder, relative to it.
#[cfg(unix)]
fn paths(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(root).unwrap().to_owned()),
            }
        }
    }
    found
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_finished_cells_and_the_same_command_goes_on() {
    use std::process::{Command, Stdio};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    let place = place();
    place.write("tiny.toml", SUITE.replace("epochs = 2", "epochs = 40"));
    let child = place
        .ueo(BENCHMARK)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    let first = Path::new("suite/light/closed/ueo-1.json");
    let finished = |path: &PathBuf| short(path) == first;
    while !place.path("out/cells").exists() || !paths(&place.path("out/cells")).iter().any(finished)
    {
        assert!(Instant::now() < patience, "no cell is finished");
        sleep(Duration::from_millis(1));
    }
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    Report::of(child.wait_with_output().unwrap())
        .expect_code(130, BENCHMARK)
        .says(&["of 12 cells done; the same command continues"]);
    let kept = cells(&place, "out");
    assert!((2..12).contains(&kept.len()), "{:?}", kept.keys());
    place
        .run(BENCHMARK, 0)
        .says(&[&format!("12 cells, {} done", kept.len())]);
    let resumed = cells(&place, "out");
    assert!(kept.iter().all(|(path, cell)| resumed[path] == *cell));
    place.run(&BENCHMARK.replace("--output out", "--output whole"), 0);
    assert_eq!(
        without_timing(resumed),
        without_timing(cells(&place, "whole"))
    );
}

#[test]
fn one_process_at_a_time_runs_cells_into_a_directory() {
    let place = place();
    fs::create_dir(place.path("out")).unwrap();
    let held = ueo::disk::Lock::acquire(&place.path("out")).unwrap();
    let this = format!("out is in use by process {}", std::process::id());
    let small = format!("{BENCHMARK} --methods zero-shot --shifts closed");
    place.run(&small, 2).says(&[&this, "--jobs"]);
    assert!(!place.path("out/cells").exists());
    // Who only reads needs no lock.
    place.run(&format!("{small} --list"), 0);
    drop(held);
    place.run(&small, 0);
}
