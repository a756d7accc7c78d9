//! Files that are no checkpoints, or not good ones: each message says what was expected, what was found and what to do.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ueo::checkpoint::{CheckpointError, load};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/checkpoints")
        .join(name)
}

fn refused(name: &str) -> PathBuf {
    fixture("refused").join(name)
}

/// Loads what must not load, and checks that the message holds the words.
fn assert_refused(path: &Path, words: &[&str]) -> CheckpointError {
    let error = load(path).expect_err("this must not load");
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
    error
}

/// A file of its own directory.
fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

/// A copy of a fixture's directory in which one JSON file is edited.
fn edited(name: &str, file: &str, edit: impl Fn(&mut serde_json::Value)) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = directory.path().join(file);
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(&path, value.to_string()).unwrap();
    directory
}

#[test]
fn no_such_path() {
    let path = refused("nothing-here");
    let error = assert_refused(&path, &["no such file", "nothing-here"]);
    assert!(matches!(error, CheckpointError::NotFound { .. }));
}

#[test]
fn a_directory_with_nothing_in_it_or_something_else() {
    let directory = tempfile::tempdir().unwrap();
    assert_refused(
        directory.path(),
        &["config.json", "open_clip_config.json", "an empty directory"],
    );
    fs::write(directory.path().join("holiday.jpg"), "x").unwrap();
    assert_refused(directory.path(), &["found holiday.jpg"]);
    fs::write(directory.path().join("config.json"), "{}").unwrap();
    assert_refused(directory.path(), &["config.json without weights"]);
}

#[test]
fn pickles_that_ask_for_more_than_tensors_are_named_and_not_executed() {
    for name in ["malicious.pt", "malicious-plain-pickle.pt"] {
        let error = assert_refused(&refused(name), &["posix.system", "nothing was executed"]);
        assert!(matches!(
            error,
            CheckpointError::ForbiddenPickle { requested, .. } if requested == "posix.system"
        ));
    }
    // The textual form that no PyTorch wrote, with an instruction that comes after the name.
    let (_directory, path) = written("text.pt", b"cos\nsystem\n(S'true'\ntR.");
    assert_refused(&path, &["os.system"]);
    assert!(!Path::new("ueo-ran-a-command-from-a-pickle").exists());
}

#[test]
fn a_saved_python_object_is_refused_with_its_class() {
    let (_directory, path) = written("model.pt", b"\x80\x02cclip.model\nCLIP\n)\x81.");
    let error = assert_refused(&path, &["clip.model.CLIP"]);
    assert!(matches!(error, CheckpointError::ForbiddenPickle { .. }));
}

#[test]
fn truncated_files() {
    assert_refused(&refused("truncated.pt"), &["a complete zip archive"]);

    let whole = fs::read(fixture("hf-vit/model/model.safetensors")).unwrap();
    for (length, words) in [
        (whole.len() - 100, "truncated"),
        (1_000, "safetensors header"),
        (9, "safetensors header"),
    ] {
        let (_directory, path) = written("model.safetensors", &whole[..length]);
        assert_refused(&path, &["is damaged", words]);
    }
    let (_directory, path) = written("model.pt", b"");
    assert_refused(&path, &["an empty file"]);
}

#[test]
fn lengths_that_the_file_does_not_have() {
    let mut header = u64::MAX.to_le_bytes().to_vec();
    header.extend(b"{\"a\":1}");
    let (_directory, path) = written("model.safetensors", &header);
    assert_refused(
        &path,
        &["a safetensors header of 18446744073709551615 bytes"],
    );

    let json = br#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}"#;
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes.extend([0; 4]);
    let (_directory, path) = written("model.safetensors", &bytes);
    assert_refused(&path, &["is damaged"]);
}

#[test]
fn files_of_another_format() {
    let (_directory, path) = written("model.bin", b"\x89PNG\r\n\x1a\n and so on");
    assert_refused(
        &path,
        &["a safetensors file or a PyTorch file", "a PNG image"],
    );
    let (_directory, path) = written("model.bin", b"\x01\x02 and so on");
    assert_refused(&path, &["a file that begins with \"\\x01\\x02 and so on\""]);
    let (_directory, path) = written("model.bin", b"version https://git-lfs.github.com/spec/v1\n");
    assert_refused(&path, &["git lfs pull"]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.pt");
    let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    archive
        .start_file("readme.txt", zip::write::SimpleFileOptions::default())
        .unwrap();
    archive.write_all(b"hello").unwrap();
    archive.finish().unwrap();
    assert_refused(&path, &["a PyTorch archive with `data.pkl`"]);
}

#[test]
fn tensors_of_another_model() {
    let error = assert_refused(
        &refused("not-a-clip.safetensors"),
        &[
            "not a CLIP model",
            "`positional_embedding`",
            "fc.bias, fc.weight",
        ],
    );
    assert!(matches!(error, CheckpointError::NotClip { .. }));
}

#[test]
fn missing_unexpected_and_wrongly_shaped_tensors_are_listed() {
    assert_refused(
        &refused("missing-tensor"),
        &["1 missing tensor:", "vision_model.post_layernorm.bias"],
    );
    assert_refused(
        &refused("unexpected-tensor"),
        &[
            "1 unexpected tensor:",
            "vision_model.encoder.layers.0.adapter.weight",
        ],
    );
    assert_refused(
        &refused("wrong-shape"),
        &[
            "1 wrongly shaped tensor:",
            "text_model.encoder.layers.0.mlp.fc1.weight: expected [16, 8], found [16, 7]",
        ],
    );
}

#[test]
fn a_configuration_of_another_size_lists_what_differs() {
    let directory = edited("hf-vit/model", "config.json", |config| {
        config["text_config"]["num_hidden_layers"] = 3.into();
        config["vision_config"]["intermediate_size"] = 100.into();
    });
    assert_refused(
        directory.path(),
        &[
            "16 missing tensors:",
            "and 4 more",
            "vision_model.encoder.layers.0.mlp.fc1.weight: expected [100, 48], found [96, 48]",
        ],
    );
}

#[test]
fn impossible_configurations_are_refused_before_anything_is_allocated() {
    for (key, value, words) in [
        (
            "num_hidden_layers",
            1_u64 << 60,
            "text layers between 1 and 1000",
        ),
        ("num_attention_heads", 5, "multiple of the number of heads"),
        ("vocab_size", u64::MAX, "vocabulary size"),
        (
            "hidden_size",
            0,
            "a positive integer in `text_config.hidden_size`",
        ),
    ] {
        let directory = edited("hf-vit/model", "config.json", |config| {
            config["text_config"][key] = value.into();
        });
        assert_refused(directory.path(), &[words]);
    }
}

#[test]
fn other_architectures_are_named() {
    let directory = edited("hf-vit/model", "config.json", |config| {
        config["model_type"] = "blip".into();
        config["architectures"] = serde_json::json!(["BlipModel"]);
    });
    assert_refused(directory.path(), &["\"blip\"", "not supported"]);
    for (tower, key, value) in [
        ("text_config", "hidden_act", serde_json::json!("relu")),
        ("vision_config", "hidden_act", serde_json::json!("gelu_new")),
    ] {
        let directory = edited("hf-vit/model", "config.json", |config| {
            config[tower][key] = value.clone();
        });
        assert_refused(directory.path(), &[key, "not supported"]);
    }
    for (tower, key, value) in [
        (
            "vision_cfg",
            "timm_model_name",
            serde_json::json!("vit_base_patch16_224"),
        ),
        ("vision_cfg", "attentional_pool", serde_json::json!(true)),
        (
            "vision_cfg",
            "act_kwargs",
            serde_json::json!({"approximate": "tanh"}),
        ),
        ("vision_cfg", "ls_init_value", serde_json::json!(true)),
        (
            "vision_cfg",
            "norm_kwargs",
            serde_json::json!({"elementwise_affine": false}),
        ),
        (
            "text_cfg",
            "hf_model_name",
            serde_json::json!("xlm-roberta-base"),
        ),
        ("text_cfg", "no_causal_mask", serde_json::json!(true)),
        ("text_cfg", "pool_type", serde_json::json!("last")),
    ] {
        let directory = edited("openclip-vit/model", "open_clip_config.json", |config| {
            config["model_cfg"][tower][key] = value.clone();
        });
        assert_refused(directory.path(), &[key, "not supported"]);
    }
    for (key, value) in [
        ("init_logit_bias", serde_json::json!(-10)),
        ("multimodal_cfg", serde_json::json!({"layers": 12})),
    ] {
        let directory = edited("openclip-vit/model", "open_clip_config.json", |config| {
            config["model_cfg"][key] = value.clone();
        });
        assert_refused(directory.path(), &[key, "not supported"]);
    }
}

#[test]
fn damaged_configuration_files() {
    let directory = edited("hf-vit/model", "config.json", |_| ());
    fs::write(directory.path().join("config.json"), "{\"model_type\": ").unwrap();
    assert_refused(directory.path(), &["config.json is damaged: expected JSON"]);

    let directory = edited("hf-vit/model", "preprocessor_config.json", |config| {
        config["crop_size"] = 40.into();
    });
    assert_refused(
        directory.path(),
        &["the crop size 32 of the image tower", "40"],
    );

    let directory = edited("hf-vit/model", "config.json", |_| ());
    fs::remove_file(directory.path().join("tokenizer.json")).unwrap();
    assert_refused(
        directory.path(),
        &["tokenizer.json, or vocab.json and merges.txt", "520 tokens"],
    );
}

#[test]
fn shards_stay_in_their_directory() {
    let directory = edited("hf-vit/model", "config.json", |_| ());
    fs::remove_file(directory.path().join("model.safetensors")).unwrap();
    fs::write(
        directory.path().join("model.safetensors.index.json"),
        r#"{"weight_map": {"logit_scale": "../../etc/passwd"}}"#,
    )
    .unwrap();
    assert_refused(directory.path(), &["names of files in the same directory"]);
}
