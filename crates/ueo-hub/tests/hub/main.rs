//! The whole way from a name to files, against a hub on this machine that fails as it is told to.

mod server;

use std::fs;
use std::path::{Path, PathBuf};

use server::{COMMIT, Faults, Repository, Server, git_blob, sha256};
use tempfile::TempDir;
use ueo_hub::{CachedModel, Hub, HubError, HubSettings, ModelName, Observer};

const NAME: &str = "owner/clip";
/// Large enough for several pieces.
const WEIGHTS_BYTES: usize = 3_000_000;

fn weights() -> Vec<u8> {
    (0..WEIGHTS_BYTES).map(|at| (at * at % 253) as u8).collect()
}

fn repository() -> Repository {
    let mut repository = Repository {
        commit: COMMIT.to_owned(),
        ..Repository::default()
    };
    repository
        .add("README.md", "words")
        .add("open_clip_config.json", "{}")
        .add("open_clip_model.safetensors", weights())
        .add("open_clip_pytorch_model.bin", "a pickle")
        .add("tokenizer.json", "{\"a\": 1}")
        .add("training/args.json", "{}");
    repository
}

/// Remembers what it is told, and stops after so many pieces.
#[derive(Default)]
struct Watcher {
    begun: Vec<(String, u64)>,
    pieces: usize,
    stops_after: Option<usize>,
    cached: Option<String>,
}

impl Observer for Watcher {
    fn begins(&mut self, file: &str, received: u64, _size: u64) {
        self.begun.push((file.to_owned(), received));
    }
    fn received(&mut self, _bytes: u64) {
        self.pieces += 1;
    }
    fn ends(&mut self) {}
    fn waits_for_another_process(&mut self, _file: &str) {}
    fn takes_the_cached(&mut self, _model: &ModelName, commit: &str, reason: &HubError) {
        self.cached = Some(format!("{commit}: {reason}"));
    }
    fn wants_to_stop(&self) -> bool {
        self.stops_after.is_some_and(|pieces| self.pieces >= pieces)
    }
}

struct Place {
    server: Server,
    cache: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            server: Server::start(NAME, repository()),
            cache: tempfile::tempdir().unwrap(),
        }
    }

    fn settings(&self) -> HubSettings {
        HubSettings {
            endpoint: self.server.endpoint.clone(),
            cache: self.cache.path().join("hub"),
            token: None,
            offline: false,
            certificates: None,
        }
    }

    fn fetch_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut HubSettings),
        watcher: &mut Watcher,
    ) -> Result<CachedModel, HubError> {
        let mut settings = self.settings();
        change(&mut settings);
        Hub::new(settings).fetch(&name.parse().unwrap(), watcher)
    }

    fn fetch(&self, name: &str) -> Result<CachedModel, HubError> {
        self.fetch_with(name, |_| {}, &mut Watcher::default())
    }

    fn offline(&self, name: &str) -> Result<CachedModel, HubError> {
        let offline = |settings: &mut HubSettings| settings.offline = true;
        self.fetch_with(name, offline, &mut Watcher::default())
    }

    fn root(&self) -> PathBuf {
        self.cache.path().join("hub/models--owner--clip")
    }

    /// Paths of the requests since the last look, and how many bytes a connection was asked to skip.
    fn asked(&self) -> Vec<String> {
        let requests = self.server.take_requests().into_iter();
        requests.map(|request| request.path).collect()
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_cache_has_the_layout_of_the_python_client() {
    let place = Place::new();
    let model = place.fetch("hf-hub:owner/clip").unwrap();
    assert_eq!(model.commit, COMMIT);
    let snapshot = place.root().join("snapshots").join(COMMIT);
    assert_eq!(model.directory, snapshot);
    assert_eq!(model.path, snapshot.join("open_clip_model.safetensors"));
    assert_eq!(read(&model.path), weights());
    assert_eq!(read(&place.root().join("refs/main")), COMMIT.as_bytes());

    // Only what is needed: no pickle beside tensors, no words, nothing of other folders.
    let mut names: Vec<String> = fs::read_dir(&snapshot)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "open_clip_config.json",
            "open_clip_model.safetensors",
            "tokenizer.json"
        ]
    );
    #[cfg(unix)]
    for (name, digest) in [
        ("open_clip_config.json", git_blob(b"{}")),
        ("open_clip_model.safetensors", sha256(&weights())),
    ] {
        let target = fs::read_link(snapshot.join(name)).unwrap();
        assert_eq!(target, Path::new("../../blobs").join(&digest));
        assert!(place.root().join("blobs").join(&digest).is_file());
        let lock = place.cache.path().join("hub/.locks/models--owner--clip");
        assert!(lock.join(format!("{digest}.lock")).is_file());
    }
    let absent = place.root().join(".no_exist").join(COMMIT);
    assert!(absent.join("preprocessor_config.json").is_file());
    assert!(!absent.join("tokenizer.json").exists());
    let tree = read(&place.root().join(format!("trees/{COMMIT}.json")));
    let tree: serde_json::Value = serde_json::from_slice(&tree).unwrap();
    assert_eq!(tree["format_version"], 1);
    assert_eq!(
        tree["files"]["open_clip_model.safetensors"]["lfs_sha256"],
        sha256(&weights())
    );
    assert!(tree["files"]["training/args.json"]["lfs_sha256"].is_null());
}

#[test]
fn the_second_time_nothing_is_fetched() {
    let place = Place::new();
    let first = place.fetch("hf-hub:owner/clip").unwrap();
    place.asked();
    let second = place.fetch("hf-hub:owner/clip").unwrap();
    assert_eq!(second, first);
    assert_eq!(
        place.asked(),
        ["/api/models/owner/clip/revision/main?blobs=true"]
    );
    // A commit does not change: nobody is asked.
    let pinned = format!("hf-hub:owner/clip@{COMMIT}");
    assert_eq!(place.fetch(&pinned).unwrap(), first);
    assert_eq!(place.offline("hf-hub:owner/clip").unwrap(), first);
    assert_eq!(place.offline(&pinned).unwrap(), first);
    assert!(place.asked().is_empty());
}

#[test]
fn a_newer_commit_is_noticed_and_shares_what_is_the_same() {
    let place = Place::new();
    let first = place.fetch("hf-hub:owner/clip").unwrap();
    let newer = "f".repeat(40);
    place.server.change(NAME, |repository| {
        repository.commit.clone_from(&newer);
        repository.add("tokenizer.json", "{\"a\": 2}");
    });
    place.asked();
    let second = place.fetch("hf-hub:owner/clip").unwrap();
    assert_eq!(second.commit, newer);
    assert_eq!(
        read(&second.directory.join("tokenizer.json")),
        b"{\"a\": 2}"
    );
    assert!(!place.asked().iter().any(|path| path.contains("signed")));
    assert_eq!(place.offline("hf-hub:owner/clip").unwrap(), second);
    let pinned = format!("hf-hub:owner/clip@{COMMIT}");
    assert_eq!(place.offline(&pinned).unwrap(), first);
}

#[test]
fn revisions_are_branches_tags_and_commits() {
    let place = Place::new();
    place.fetch("hf-hub:owner/clip@v1").unwrap();
    assert_eq!(read(&place.root().join("refs/v1")), COMMIT.as_bytes());
    assert!(!place.root().join("refs/main").exists());
    assert!(matches!(
        place.fetch("hf-hub:owner/clip@v2"),
        Err(HubError::NoRevision { revision, .. }) if revision == "v2"
    ));
    assert!(matches!(
        place.offline("hf-hub:owner/clip@v2"),
        Err(HubError::Offline { .. })
    ));
}

#[test]
fn refusals_are_told_apart() {
    let place = Place::new();
    assert!(matches!(
        place.fetch("hf-hub:owner/other"),
        Err(HubError::NoRepository { repository }) if repository == "owner/other"
    ));
    let with = |token: &str| {
        let token = Some(token.to_owned());
        place.fetch_with(
            "hf-hub:owner/clip",
            |settings| settings.token = token,
            &mut Watcher::default(),
        )
    };
    place.server.fail(Faults {
        token: Some("right".to_owned()),
        ..Faults::default()
    });
    assert!(matches!(
        place.fetch("hf-hub:owner/clip"),
        Err(HubError::NoRepository { .. })
    ));
    assert!(matches!(
        with("wrong"),
        Err(HubError::Unauthorized {
            with_token: true,
            ..
        })
    ));
    place.asked();
    with("right").unwrap();
    place.server.fail(Faults {
        gated: true,
        ..Faults::default()
    });
    let fresh = Place {
        server: place.server.clone(),
        cache: tempfile::tempdir().unwrap(),
    };
    assert!(matches!(
        fresh.fetch("hf-hub:owner/clip"),
        Err(HubError::Gated {
            with_token: false,
            ..
        })
    ));
    place.server.fail(Faults {
        missing: vec!["tokenizer.json".to_owned()],
        ..Faults::default()
    });
    assert!(matches!(
        fresh.fetch("hf-hub:owner/clip"),
        Err(HubError::NoFile { file, .. }) if file == "tokenizer.json"
    ));
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let place = Place::new();
    let token = |settings: &mut HubSettings| settings.token = Some("secret".to_owned());
    place
        .fetch_with("hf-hub:owner/clip", token, &mut Watcher::default())
        .unwrap();
    let requests = place.server.take_requests();
    assert!(requests.iter().any(|request| request.to_cdn));
    for request in requests {
        let expected = (!request.to_cdn).then_some("Bearer secret");
        assert_eq!(request.authorization.as_deref(), expected, "{request:?}");
    }
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let place = Place::new();
    place.server.fail(Faults {
        breaks: vec![1_000_000, 0, 500_000],
        ..Faults::default()
    });
    let model = place.fetch("hf-hub:owner/clip").unwrap();
    assert_eq!(read(&model.path), weights());
    let ranges: Vec<Option<String>> = place
        .server
        .take_requests()
        .into_iter()
        .filter(|request| request.to_cdn)
        .map(|request| request.range)
        .collect();
    let from = |bytes: u64| Some(format!("bytes={bytes}-"));
    assert_eq!(
        ranges,
        [None, from(1_000_000), from(1_000_000), from(1_500_000)]
    );
}

#[test]
fn a_server_without_ranges_is_asked_from_the_beginning() {
    let place = Place::new();
    place.server.fail(Faults {
        breaks: vec![1_000_000],
        without_ranges: true,
        ..Faults::default()
    });
    let model = place.fetch("hf-hub:owner/clip").unwrap();
    assert_eq!(read(&model.path), weights());
}

#[test]
fn a_download_that_is_given_up_goes_on_in_the_next_call() {
    let place = Place::new();
    place.server.fail(Faults {
        breaks: vec![2_000_000, 0, 0, 0, 0, 0, 0],
        ..Faults::default()
    });
    let error = place.fetch("hf-hub:owner/clip").unwrap_err();
    assert!(
        matches!(&error, HubError::Broken { file, received: 2_000_000, .. } if file == "open_clip_model.safetensors"),
        "{error:?}"
    );
    let partial = format!("blobs/{}.incomplete", sha256(&weights()));
    assert_eq!(read(&place.root().join(&partial)), weights()[..2_000_000]);
    place.server.fail(Faults::default());
    let mut watcher = Watcher::default();
    let model = place
        .fetch_with("hf-hub:owner/clip", |_| {}, &mut watcher)
        .unwrap();
    assert_eq!(
        watcher.begun,
        [("open_clip_model.safetensors".to_owned(), 2_000_000)]
    );
    assert_eq!(read(&model.path), weights());
    assert!(!place.root().join(partial).exists());
}

#[test]
fn who_stops_keeps_what_was_received() {
    let place = Place::new();
    let mut watcher = Watcher {
        stops_after: Some(5),
        ..Watcher::default()
    };
    let stopped = place.fetch_with("hf-hub:owner/clip", |_| {}, &mut watcher);
    assert!(matches!(stopped, Err(HubError::Stopped)));
    let partial = format!("blobs/{}.incomplete", sha256(&weights()));
    let kept = read(&place.root().join(partial)).len();
    assert!(kept > 0 && kept < WEIGHTS_BYTES, "{kept}");
    assert_eq!(
        read(&place.fetch("hf-hub:owner/clip").unwrap().path),
        weights()
    );
}

#[test]
fn a_damaged_file_gets_no_name() {
    let place = Place::new();
    place.server.fail(Faults {
        damaged: true,
        ..Faults::default()
    });
    let error = place.fetch("hf-hub:owner/clip").unwrap_err();
    assert!(
        matches!(&error, HubError::Digest { expected, algorithm: "SHA-256", .. } if *expected == sha256(&weights())),
        "{error:?}"
    );
    let digest = sha256(&weights());
    for name in [digest.clone(), format!("{digest}.incomplete")] {
        assert!(!place.root().join("blobs").join(name).exists());
    }
    // What an earlier call left damaged is fetched anew within one call.
    place.server.fail(Faults::default());
    let mut half = weights()[..WEIGHTS_BYTES / 2].to_vec();
    half[7] ^= 1;
    fs::write(
        place.root().join(format!("blobs/{digest}.incomplete")),
        half,
    )
    .unwrap();
    assert_eq!(
        read(&place.fetch("hf-hub:owner/clip").unwrap().path),
        weights()
    );
}

#[test]
fn a_hub_that_cannot_be_asked_leaves_the_cache() {
    let place = Place::new();
    let first = place.fetch("hf-hub:owner/clip").unwrap();
    place.server.fail(Faults {
        status: Some(503),
        ..Faults::default()
    });
    let mut watcher = Watcher::default();
    let second = place.fetch_with("hf-hub:owner/clip", |_| {}, &mut watcher);
    assert_eq!(second.unwrap(), first);
    assert!(watcher.cached.unwrap().starts_with(COMMIT));
    let nobody = |settings: &mut HubSettings| settings.endpoint = "http://127.0.0.1:9".to_owned();
    let mut watcher = Watcher::default();
    let second = place.fetch_with("hf-hub:owner/clip", nobody, &mut watcher);
    assert_eq!(second.unwrap(), first);
    assert!(watcher.cached.is_some());
    let unknown = place.fetch_with("hf-hub:owner/other", nobody, &mut Watcher::default());
    assert!(matches!(unknown, Err(HubError::Unreachable { .. })));
}

#[test]
fn a_part_of_a_model_is_not_taken_for_all_of_it() {
    let place = Place::new();
    let model = place.fetch("hf-hub:owner/clip").unwrap();
    fs::remove_file(model.directory.join("tokenizer.json")).unwrap();
    let error = place.offline("hf-hub:owner/clip").unwrap_err();
    assert!(
        matches!(&error, HubError::Incomplete { missing, .. } if missing == &["tokenizer.json"]),
        "{error:?}"
    );
    assert_eq!(place.fetch("hf-hub:owner/clip").unwrap(), model);
    place.offline("hf-hub:owner/clip").unwrap();
}

#[test]
fn a_cache_of_the_python_client_is_found() {
    let place = Place::new();
    // What `hf_hub_download` leaves of three files, by its documentation: no listing, links into blobs/.
    let snapshot = place.root().join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(place.root().join("blobs")).unwrap();
    fs::create_dir_all(place.root().join("refs")).unwrap();
    fs::write(place.root().join("refs/main"), COMMIT).unwrap();
    for (name, content) in repository().files {
        if ![
            "open_clip_config.json",
            "open_clip_pytorch_model.bin",
            "tokenizer.json",
        ]
        .contains(&name.as_str())
        {
            continue;
        }
        let digest = match server::is_large(&name) {
            true => sha256(&content),
            false => git_blob(&content),
        };
        fs::write(place.root().join("blobs").join(&digest), &content).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(format!("../../blobs/{digest}"), snapshot.join(&name)).unwrap();
        #[cfg(not(unix))]
        fs::write(snapshot.join(&name), &content).unwrap();
    }
    let offline = place.offline("hf-hub:owner/clip").unwrap();
    assert_eq!(offline.path, snapshot.join("open_clip_pytorch_model.bin"));
    // Weights that are there are not fetched once more in another format.
    assert_eq!(place.fetch("hf-hub:owner/clip").unwrap(), offline);
    assert!(!place.asked().iter().any(|path| path.contains("signed")));
}

#[test]
fn shards_are_those_that_the_index_names() {
    let place = Place::new();
    place.server.change(NAME, |repository| {
        repository.files.clear();
        repository
            .add("config.json", "{\"model_type\": \"clip\"}")
            .add(
                "model.safetensors.index.json",
                "{\"weight_map\": {\"a\": \"model-1.safetensors\", \"b\": \"model-2.safetensors\"}}",
            )
            .add("model-1.safetensors", "one")
            .add("model-2.safetensors", "two")
            .add("model-3.safetensors", "of something else");
    });
    let model = place.fetch("hf-hub:owner/clip").unwrap();
    assert_eq!(model.path, model.directory);
    assert_eq!(read(&model.path.join("model-2.safetensors")), b"two");
    assert!(!model.path.join("model-3.safetensors").exists());
    place.offline("hf-hub:owner/clip").unwrap();
    place.server.change(NAME, |repository| {
        repository.commit = "a".repeat(40);
        repository.add(
            "model.safetensors.index.json",
            "{\"weight_map\": {\"a\": \"../../../secret\"}}",
        );
    });
    assert!(matches!(
        place.fetch("hf-hub:owner/clip"),
        Err(HubError::NoModel { .. })
    ));
}

#[test]
fn a_repository_without_a_model_is_named_as_one() {
    let place = Place::new();
    place.server.change(NAME, |repository| {
        repository.files.remove("open_clip_config.json");
        repository.add("config.json", "{\"architecture\": \"vit\"}");
        repository.add("model.safetensors", "an image tower");
    });
    let error = place.fetch("hf-hub:owner/clip").unwrap_err();
    assert!(matches!(&error, HubError::NoModel { .. }), "{error:?}");
    assert!(error.to_string().contains("README.md"), "{error}");
    // Found out before hundreds of megabytes were fetched.
    assert!(!place.asked().iter().any(|path| path.contains("signed")));
}

#[test]
fn something_that_is_no_hub_is_named() {
    let place = Place::new();
    place
        .server
        .change(NAME, |repository| repository.commit = "../..".to_owned());
    assert!(matches!(
        place.fetch("hf-hub:owner/clip"),
        Err(HubError::Answer { .. })
    ));
}

#[test]
fn an_endpoint_may_have_a_path() {
    let place = Place {
        server: Server::start_below("/mirror/hf", NAME, repository()),
        cache: tempfile::tempdir().unwrap(),
    };
    assert!(place.server.endpoint.ends_with("/mirror/hf"));
    place.fetch("hf-hub:owner/clip").unwrap();
}
