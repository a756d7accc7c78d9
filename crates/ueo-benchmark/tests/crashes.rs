//! The process dies at every change that a benchmark makes on the disk, by a kill and by a power loss. The same command then
//! ends with the cells of a benchmark that was never disturbed, and runs no cell again that was finished.

#[path = "../../ueo-run/tests/support/faults.rs"]
mod faults;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use faults::{End, Faults, temporary_directory};
use ueo::Model;
use ueo_benchmark::{
    BenchmarkError, BenchmarkReporter, Cell, ModelId, Overrides, Plan, ProfileName, Protocol,
    RunOptions, Selection, Suite, locate, read_results, run, write_tables,
};

const SUITE: &str = r#"
name = "tiny"
about = "Stripes"
obtain = "make them"
roots = [""]
classes = 3
known = "0-1"
methods = ["zero-shot", "ueo"]
seeds = [1]

[shifts]
open = "0-2"

[settings]
epochs = 1
batch-size = 4

[published]
epochs = 1

[[domains]]
name = "light"
folders = ["light"]
images = 9

[[domains]]
name = "dark"
folders = ["dark"]
images = 6
"#;

struct Silent;

impl BenchmarkReporter for Silent {
    fn progress(&self, _: usize, _: usize) {}

    fn finished(&self, _: &Cell) {}

    fn interrupted(&self) -> bool {
        false
    }
}

/// The drawings of the run fixtures, in two domains of 9 and 6 images.
fn write_images(place: &Path) {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let drawings = crates.join("ueo-run/tests/fixtures/version-0.1.0/images");
    for (domain, count) in [("light", 3), ("dark", 2)] {
        for (drawn, class) in [("cat", "cat"), ("dog", "dog"), ("submarine", "zoo")] {
            let folder = place.join(domain).join(class);
            fs::create_dir_all(&folder).unwrap();
            for number in 0..count {
                let name = format!("{number}.png");
                fs::copy(drawings.join(drawn).join(&name), folder.join(name)).unwrap();
            }
        }
    }
}

/// What the command does, but for printing; the number of cells that were run.
fn benchmark(place: &Path, model: &Model, output: &Path) -> Result<usize, BenchmarkError> {
    let suite = Suite::parse(SUITE, Path::new("tiny.toml"))?;
    let data = locate(&suite, place, &suite.select(&[])?)?;
    let id = ModelId {
        name: "tiny".to_owned(),
        sha256: model.base.sha256.clone(),
        precision: Default::default(),
    };
    let selection = Selection {
        shifts: Vec::new(),
        methods: Vec::new(),
        seeds: Vec::new(),
        protocol: Protocol::default(),
        profile: ProfileName::Suite,
        overrides: Overrides::default(),
        variant: None,
    };
    let plan = Plan::new(&suite, data, &id, &selection, output)?;
    let options = RunOptions {
        jobs: 1,
        threads: 1,
        image_cache_bytes: 0,
    };
    let finished = run(&plan, model, options, &Silent)?.finished;
    write_tables(&read_results(output, Some(&suite))?, output)?;
    Ok(finished)
}

/// All cells, without what depends on the machine.
fn cells(output: &Path) -> BTreeMap<String, serde_json::Value> {
    let cells = Cell::read_all(output).unwrap().into_iter();
    cells
        .map(|cell| {
            let path = cell.request.path(output);
            let name = path.strip_prefix(output).unwrap().display().to_string();
            let mut cell = serde_json::to_value(cell).unwrap();
            cell.as_object_mut().unwrap().remove("timing");
            (name, cell)
        })
        .collect()
}

#[test]
fn wherever_a_benchmark_dies_the_same_command_ends_with_the_same_cells() {
    let faults = Faults::install();
    let temporary = temporary_directory();
    let place = fs::canonicalize(temporary.path()).unwrap();
    write_images(&place);
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let fixture = crates.join("ueo/tests/fixtures/checkpoints/hf-vit/model");
    let model = Model::open(fixture).unwrap();
    let undisturbed = place.join("undisturbed");
    assert_eq!(benchmark(&place, &model, &undisturbed).unwrap(), 4);
    let expected = cells(&undisturbed);

    let mut deaths = 0;
    for end in [End::Killed, End::PowerLoss] {
        for at in 0.. {
            let root = place.join("root");
            let output = root.join("out");
            fs::create_dir(&root).unwrap();
            let job = || benchmark(&place, &model, &output);
            let (result, died) = faults.during(end, at, &root, job);
            if died {
                assert!(result.is_err(), "{end:?} at change {at}");
                let kept = cells(&output);
                let run_now = benchmark(&place, &model, &output).unwrap();
                assert_eq!(
                    run_now + kept.len(),
                    expected.len(),
                    "{end:?} at change {at}"
                );
            }
            assert!(cells(&output) == expected, "{end:?} at change {at}");
            fs::remove_dir_all(&root).unwrap();
            if !died {
                println!("benchmark, {end:?}: died at each of {at} changes");
                deaths += at;
                break;
            }
        }
    }
    println!("{deaths} deaths in all");
    assert!(deaths > 60, "{deaths} deaths");
}
