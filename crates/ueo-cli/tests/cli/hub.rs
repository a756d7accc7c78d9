//! Models by name, against a hub on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::hub_server::{COMMIT, Faults, Repository, Server, git_blob, sha256};
use crate::support::{ADAPT, Report, Workplace, fixture};

const NAME: &str = "owner/clip";
const MODEL: &str = "--model hf-hub:owner/clip";

/// A workplace, and a hub that has a model.
struct Place {
    workplace: Workplace,
    server: Server,
}

impl Place {
    /// With a fixture that is fast to open.
    fn new() -> Self {
        Self::of(&fixture("openclip-vit/model"))
    }

    fn of(model: &Path) -> Self {
        Self {
            workplace: Workplace::new(),
            server: Server::start(NAME, Repository::of(model)),
        }
    }

    /// The program with nothing in its environment but the hub.
    fn ueo(&self, arguments: &str) -> Command {
        let mut command = self.workplace.ueo(arguments);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().to_uppercase();
            if name.starts_with("HF_") || name.ends_with("_PROXY") {
                command.env_remove(&*name).env_remove(name.to_lowercase());
            }
        }
        command
            .env("HF_ENDPOINT", &self.server.endpoint)
            .env("HF_HOME", self.workplace.path("hf"))
            .env_remove("TRANSFORMERS_OFFLINE")
            .env_remove("SSL_CERT_FILE");
        command
    }

    fn run(&self, arguments: &str, environment: &[(&str, &str)], code: i32) -> Report {
        let mut command = self.ueo(arguments);
        command.envs(environment.iter().copied());
        Report::of(command.output().unwrap()).expect_code(code, arguments)
    }

    fn inspect(&self, environment: &[(&str, &str)], code: i32) -> Report {
        self.run(&format!("inspect {MODEL}"), environment, code)
    }

    fn fail(&self, faults: Faults) {
        self.server.fail(faults);
    }

    fn blob(&self, name: &str) -> std::path::PathBuf {
        let blobs = "hf/hub/models--owner--clip/blobs";
        self.workplace.path(blobs).join(name)
    }

    /// The digest of the model's weights.
    fn weights(&self) -> String {
        let weights = fs::read(fixture("openclip-vit/model/open_clip_model.safetensors"));
        sha256(&weights.unwrap())
    }
}

const OFFLINE: &[(&str, &str)] = &[("HF_HUB_OFFLINE", "1")];

#[test]
fn the_whole_way_works_twice_the_second_time_offline() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/iconclip-resnet");
    let place = Place::of(&shipped);
    let adapt = ADAPT.replace("--model model", MODEL);
    let first = place.run(&format!("{adapt} --verbose"), &[], 0);
    first.says(&["fetching hf-hub:owner/clip", "open_clip_model.safetensors"]);
    let requests = place.server.take_requests();
    assert!(!requests.is_empty());
    let second = place.run(&adapt.replace("--output run", "--output again"), OFFLINE, 0);
    assert!(!second.stderr.contains("fetching"), "{}", second.stderr);
    assert!(place.server.take_requests().is_empty());
    let adapted =
        |run: &str| fs::read(place.workplace.path(run).join("adapted.safetensors")).unwrap();
    assert!(adapted("run") == adapted("again"));

    // The run knows its checkpoint: neither the name nor the hub is needed again.
    let record = place.workplace.json("run/run.json");
    let base = record["base"]["path"].as_str().unwrap();
    let expected = format!("models--owner--clip/snapshots/{COMMIT}/open_clip_model.safetensors");
    assert!(base.ends_with(&expected), "{base}");
    place.run(
        "predict --model run --images images --output p.csv",
        OFFLINE,
        0,
    );

    // Every command that takes a model takes a name.
    for command in [
        "predict --classes classes.txt --images images --output zero-shot.csv",
        "embed --images images --output features.safetensors",
        "inspect --json",
    ] {
        place.run(&format!("{command} {MODEL}"), OFFLINE, 0);
    }
    let table = place
        .run("evaluate hf-hub:owner/clip run --images images", OFFLINE, 0)
        .stdout;
    assert!(table.lines().nth(1).unwrap().contains("clip"), "{table}");
    place.run("run move run --base hf-hub:owner/clip", OFFLINE, 0);
    place.run(
        "predict --model run --base hf-hub:owner/clip --images images --output based.csv",
        OFFLINE,
        0,
    );
}

#[test]
fn refusals_say_what_to_do() {
    let place = Place::new();
    place
        .run("inspect --model hf-hub:owner/clop", &[], 2)
        .says(&[
            "error: the hub has no repository owner/clop",
            "hint:",
            "ueo models",
        ]);
    place
        .run("inspect --model hf-hub:clip", &[], 2)
        .says(&["error: hf-hub:clip: expected hf-hub:OWNER/NAME", "hint:"]);
    place
        .run("inspect --model hf-hub:owner/clip@v9", &[], 2)
        .says(&[
            "error: the repository owner/clip has no revision v9",
            "hint:",
        ]);
    place.fail(Faults {
        token: Some("right".to_owned()),
        ..Faults::default()
    });
    let wrong = place.inspect(&[("HF_TOKEN", "hf_secret")], 2);
    wrong.says(&[
        "error:",
        "401",
        "token is not accepted",
        "hint:",
        "HF_TOKEN",
    ]);
    assert!(!wrong.stderr.contains("hf_secret"), "the token is shown");
    place.fail(Faults {
        gated: true,
        ..Faults::default()
    });
    place.inspect(&[], 2).says(&[
        "error: owner/clip: access denied (403)",
        "hint:",
        "page of owner/clip",
    ]);
    place.fail(Faults {
        missing: vec!["open_clip_config.json".to_owned()],
        ..Faults::default()
    });
    place.inspect(&[], 2).says(&[
        "error: the repository owner/clip has no file open_clip_config.json",
        "hint:",
    ]);
    place.fail(Faults {
        damaged: true,
        ..Faults::default()
    });
    place.inspect(&[], 2).says(&[
        "error: open_clip_model.safetensors is damaged: expected SHA-256",
        "hint:",
    ]);
    place.fail(Faults {
        token: Some("right".to_owned()),
        ..Faults::default()
    });
    // The token of a login.
    fs::write(place.workplace.path("hf/token"), "right\n").unwrap();
    place.inspect(&[], 0);
}

#[test]
fn weights_of_an_architecture_that_is_not_known_are_not_fetched() {
    let place = Place::new();
    place.server.change(NAME, |repository| {
        repository.add(
            "open_clip_config.json",
            "{\"model_cfg\": {\"embed_dim\": 8, \"vision_cfg\": {\"timm_model_name\": \"swin_base_patch4_window7_224\"}, \"text_cfg\": {}}}",
        );
    });
    place
        .inspect(&[], 2)
        .says(&["error:", "timm_model_name", "not supported", "hint:"]);
    let requests = place.server.take_requests().into_iter();
    assert_eq!(requests.filter(|request| request.to_cdn).count(), 0);
}

#[test]
fn what_is_not_in_the_cache_is_not_there_offline() {
    let place = Place::new();
    place.inspect(OFFLINE, 2).says(&[
        "error: hf-hub:owner/clip is not in the cache",
        "hint:",
        "HF_HUB_OFFLINE",
    ]);
    assert!(place.server.take_requests().is_empty());
    place
        .inspect(&[("HF_ENDPOINT", "http://127.0.0.1:9")], 2)
        .says(&["error: http://127.0.0.1:9/api/models/owner/clip", "hint:"]);
    place.inspect(&[], 0);
    place.inspect(OFFLINE, 0);
    place
        .inspect(&[("HF_ENDPOINT", "http://127.0.0.1:9")], 0)
        .says(&["warning: hf-hub:owner/clip is taken from the cache"]);
    let pinned = format!("inspect --model hf-hub:owner/clip@{COMMIT}");
    place.run(&pinned, OFFLINE, 0);
}

#[test]
fn a_broken_connection_is_taken_up() {
    let place = Place::new();
    place.fail(Faults {
        breaks: vec![1_000, 0, 0, 0, 0, 0],
        ..Faults::default()
    });
    place.inspect(&[], 2).says(&[
        "error: the download of open_clip_model.safetensors broke off at 1000 of",
        "hint:",
        "same command again",
    ]);
    place.fail(Faults {
        breaks: vec![2_000],
        ..Faults::default()
    });
    place.server.take_requests();
    place.inspect(&[], 0);
    let ranges = place.server.take_requests().into_iter();
    let ranges: Vec<String> = ranges.filter_map(|request| request.range).collect();
    // The range goes to the hub and to the file server that it redirects to.
    assert_eq!(
        ranges,
        ["bytes=1000-", "bytes=1000-", "bytes=3000-", "bytes=3000-"]
    );
}

/// A file that has no room, as a full disk has none.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_the_next_call_goes_on() {
    let place = Place::new();
    let partial = place.blob(&format!("{}.incomplete", place.weights()));
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
    place.inspect(&[], 2).says(&[
        "error:",
        "cannot be written",
        "No space left on device",
        "hint: free some space and run the same command again",
    ]);
    // Space was made.
    fs::remove_file(&partial).unwrap();
    place.inspect(&[], 0);
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_was_received() {
    const RECEIVED: u64 = 10_000;
    let place = Place::new();
    place.fail(Faults {
        slow: true,
        ..Faults::default()
    });
    let arguments = format!("inspect {MODEL}");
    let mut command = place.ueo(&arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let process = command.spawn().unwrap();
    let partial = place.blob(&format!("{}.incomplete", place.weights()));
    let received = || fs::metadata(&partial).map_or(0, |file| file.len());
    while received() < RECEIVED {
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = process.id().to_string();
    Command::new("kill").args(["-INT", &id]).status().unwrap();
    Report::of(process.wait_with_output().unwrap())
        .expect_code(130, &arguments)
        .says(&["stopped; what was received is kept"]);
    let kept = received();
    assert!(kept >= RECEIVED);
    place.fail(Faults::default());
    place.server.take_requests();
    place.inspect(&[], 0);
    let mut requests = place.server.take_requests().into_iter();
    let range = requests.find_map(|request| request.range);
    assert_eq!(range, Some(format!("bytes={kept}-")));
}

#[test]
fn two_processes_fetch_once() {
    let place = Place::new();
    let arguments = format!("inspect {MODEL}");
    let processes: Vec<_> = (0..2)
        .map(|_| {
            let mut command = place.ueo(&arguments);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for process in processes {
        Report::of(process.wait_with_output().unwrap()).expect_code(0, &arguments);
    }
    let requests = place.server.take_requests().into_iter();
    let of_weights = requests.filter(|request| request.to_cdn);
    assert_eq!(of_weights.count(), 1);
}

#[test]
fn an_endpoint_with_a_path_and_a_cache_of_its_own_work() {
    let repository = Repository::of(&fixture("openclip-vit/model"));
    let place = Place {
        workplace: Workplace::new(),
        server: Server::start_below("/mirror", NAME, repository),
    };
    let cache = place.workplace.path("elsewhere");
    let cache = cache.to_str().unwrap();
    place.inspect(&[("HF_HUB_CACHE", cache)], 0);
    assert!(
        place
            .workplace
            .path("elsewhere/models--owner--clip")
            .is_dir()
    );
    assert!(!place.workplace.path("hf").exists());
}

/// What `huggingface_hub` leaves behind, by its documentation (`tools/hub/cache.py` tries it with the real one).
#[cfg(unix)]
#[test]
fn a_cache_of_the_python_client_is_a_model() {
    let place = Place::new();
    let root = place.workplace.path("hf/hub/models--owner--clip");
    let snapshot = root.join("snapshots").join(COMMIT);
    for directory in [&root.join("refs"), &root.join("blobs"), &snapshot] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(root.join("refs/main"), COMMIT).unwrap();
    for entry in fs::read_dir(fixture("openclip-vit/model")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let content = fs::read(&path).unwrap();
        let digest = match name.ends_with(".safetensors") {
            true => sha256(&content),
            false => git_blob(&content),
        };
        fs::write(root.join("blobs").join(&digest), content).unwrap();
        let target = format!("../../blobs/{digest}");
        std::os::unix::fs::symlink(target, snapshot.join(name)).unwrap();
    }
    place.inspect(OFFLINE, 0);
    // The directory itself is a model, as before.
    place.run(&format!("inspect --model {}", root.display()), OFFLINE, 0);
}

#[test]
fn names_that_work_are_listed() {
    let place = Place::new();
    let report = place.run("models", &[], 0);
    let b32 = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K";
    let row = |report: &Report| {
        let row = report.stdout.lines().find(|line| line.contains(b32));
        row.unwrap().to_owned()
    };
    for fact in ["224", "151", "66.6", "MIT"] {
        assert!(row(&report).contains(fact), "{}", row(&report));
    }
    report.says(&["--model hf-hub:NAME"]);
    assert!(place.server.take_requests().is_empty());
    let json: Value = serde_json::from_str(&place.run("models --output -", &[], 0).stdout).unwrap();
    let listed = json.as_array().unwrap();
    let of_b32 = listed
        .iter()
        .find(|model| model["repository"] == b32)
        .unwrap();
    assert_eq!(of_b32["name"], format!("hf-hub:{b32}"));
    assert_eq!(of_b32["cached"], false);
    place.run("models --output models.json", &[], 0);
    assert_eq!(place.workplace.json("models.json"), json);
    place
        .run("models --output models.csv", &[], 2)
        .says(&["error:", ".json"]);
}

#[test]
fn every_listed_model_has_a_configuration_that_loads() {
    let place = Workplace::new();
    // tools/hub/catalog.py wrote it with the list.
    let listed = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/listed_models.json"
    );
    let configurations: BTreeMap<String, Value> =
        serde_json::from_slice(&fs::read(listed).unwrap()).unwrap();
    let mut files = String::new();
    for (number, (name, configuration)) in configurations.iter().enumerate() {
        assert!(name.contains('/'), "{name}");
        let file = match configuration.get("model_cfg") {
            Some(_) => format!("{number}/open_clip_config.json"),
            None => format!("{number}/config.json"),
        };
        place.write(&file, configuration.to_string());
        files += &format!(" {file}");
    }
    let report = place.run(&format!("inspect --configuration{files}"), 0);
    assert_eq!(
        report.stdout.matches(": loads (").count(),
        configurations.len()
    );
    let models: Value = serde_json::from_str(&place.run("models --output -", 0).stdout).unwrap();
    let mut names: Vec<&str> = models
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["repository"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    let checked: Vec<&String> = configurations.keys().collect();
    assert_eq!(names, checked);
}

#[test]
fn configurations_are_judged_without_weights() {
    let place = Workplace::new();
    let good = fixture("openclip-vit/model/open_clip_config.json");
    let of_transformers = fixture("hf-vit/model/config.json");
    let report = place.run(
        &format!(
            "inspect --configuration {} {}",
            good.display(),
            of_transformers.display()
        ),
        0,
    );
    assert_eq!(report.stdout.matches(": loads (ViT").count(), 2);
    place.write(
        "other.json",
        "{\"embed_dim\": 512, \"vision_cfg\": {\"timm_model_name\": \"swin_base_patch4_window7_224\"}, \"text_cfg\": {}}",
    );
    let report = place.run(
        &format!(
            "inspect --json --configuration {} other.json",
            good.display()
        ),
        1,
    );
    let json: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(json[0]["loads"], true);
    assert_eq!(json[1]["loads"], false);
    let reason = json[1]["reason"].as_str().unwrap();
    assert!(reason.contains("timm_model_name"), "{reason}");
}
