//! Configurations of open_clip with image towers of timm. `tools/fixtures/timm_towers.py` made the fixtures; features are compared in
//! `tests/timm_towers.rs`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::checkpoint::parameters::parameters;
use crate::checkpoint::validate::validate;
use crate::checkpoint::{
    CheckpointKind, Layout, check_configuration, load, open_clip, save, save_as,
};
use crate::image::Preprocessing;

use super::*;

/// Those of the fixtures, which are too small for timm's lists.
pub(super) const CONVNEXT_TOWERS: &[convnext::Tower] = &[convnext::tower_of(
    "convnext_fixture",
    [1, 1, 2, 1],
    8,
    1e-6,
)];
pub(super) const VITAMIN_TOWERS: &[vitamin::Tower] = &[vitamin::Tower {
    name: "vitamin_fixture_64",
    image_size: 64,
    layers: [1, 2],
    widths: [8, 16],
    width: 32,
    blocks: 2,
    heads: 2,
    has_positions: true,
}];

const NAMES: [&str; 2] = ["convnext", "vitamin"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/timm")
        .join(name)
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn parameters_are_those_of_open_clip_in_every_configuration() {
    let entries = json_of(&folder("configurations.json"));
    let entries = entries.as_array().unwrap();
    assert_eq!(entries.len(), 26);
    for entry in entries {
        let (name, path) = (&entry["name"], Path::new("config.json"));
        let object = entry["config"].as_object().unwrap();
        let config = open_clip::config(object, path).unwrap().architecture;
        validate(&config, path).unwrap();
        let mut lines = Vec::new();
        let mut numbers = 0;
        for (name, shape) in parameters(&config) {
            let axes: Vec<String> = shape.iter().map(ToString::to_string).collect();
            lines.push(format!("{name} {}", axes.join(",")));
            numbers += shape.iter().product::<usize>();
        }
        lines.sort();
        assert_eq!(entry["parameters"], numbers, "{name}");
        let digest: String = Sha256::digest(lines.join("\n"))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(entry["state_dict_sha256"], digest, "{name}");
        let named = section(&config.vision).unwrap();
        let asked = &entry["config"]["vision_cfg"];
        for key in ["timm_pool", "timm_proj"] {
            assert_eq!(named[key], asked[key], "{name}");
        }
        let (named, asked) = (
            named["timm_model_name"].as_str(),
            asked["timm_model_name"].as_str(),
        );
        // These towers differ by name alone.
        let equal = asked.unwrap().replace("large2", "large");
        let equal = match equal.starts_with("vitamin_xlarge") {
            true => "vitamin_xlarge_256",
            false => &equal,
        };
        assert_eq!(named.unwrap(), equal);
    }
}

#[test]
fn a_directory_is_read_and_written_again() {
    for name in NAMES {
        let folder = folder(name);
        let checkpoint = load(&folder).unwrap();
        assert_eq!(checkpoint.kind, CheckpointKind::OpenClip);
        assert_eq!(checkpoint.preprocessing, Preprocessing::clip(64));
        let config = serde_json::to_value(&checkpoint.config).unwrap();
        assert_eq!(config, json_of(&folder.join("config.json")), "{name}");
        let said = checkpoint.decisions.join("\n");
        assert!(
            said.contains("exact GELU in the image tower, which is timm's"),
            "{said}"
        );

        let written = tempfile::tempdir().unwrap();
        save(written.path(), &checkpoint).unwrap();
        let again = load(written.path()).unwrap();
        assert_eq!(again.config, checkpoint.config);
        assert_eq!(again.preprocessing, checkpoint.preprocessing);
        assert_eq!(again.tensors, checkpoint.tensors);
        let error = save_as(written.path(), &checkpoint, Layout::HuggingFace).unwrap_err();
        assert!(
            error.to_string().contains("Hugging Face's layout"),
            "{error}"
        );
    }
}

#[test]
fn a_tower_without_its_configuration_is_refused() {
    let copy = tempfile::tempdir().unwrap();
    let file = "open_clip_model.safetensors";
    std::fs::copy(folder("convnext").join(file), copy.path().join(file)).unwrap();
    let error = load(&copy.path().join(file)).unwrap_err().to_string();
    assert!(
        error.contains("without the open_clip_config.json"),
        "{error}"
    );
}

#[test]
fn settings_that_change_results_are_refused_by_name() {
    let changes = [
        (
            "/vision_cfg/timm_model_name",
            json!("convnext_large_mlp"),
            "timm_model_name",
        ),
        ("/vision_cfg/timm_pool", json!("rot_attn"), "timm_pool"),
        ("/vision_cfg/timm_proj", json!("none"), "timm_proj"),
        ("/vision_cfg/timm_proj", json!(""), "timm_proj"),
        ("/vision_cfg/unheard_of", json!(1), "vision_cfg.unheard_of"),
        ("/vision_cfg/image_size", json!(100), "image size"),
        ("/text_cfg/pool_type", json!("last"), "text_cfg.pool_type"),
        ("/init_logit_bias", json!(-10), "init_logit_bias"),
    ];
    for name in NAMES {
        let config = json_of(&folder(name).join("open_clip_config.json"));
        for (pointer, value, named) in &changes {
            let mut config = config["model_cfg"].clone();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap()[key] = value.clone();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), config.to_string()).unwrap();
            let error = check_configuration(file.path()).unwrap_err().to_string();
            assert!(
                error.contains(named) || error.contains("image_size"),
                "{pointer}: {error}"
            );
        }
    }
}

#[test]
fn another_input_size_is_taken_where_there_are_no_positions() {
    for (name, size, is_taken) in [
        ("convnext_base", 384, true),
        ("convnext_base.clip_laion2b", 384, true),
        ("vitamin_xlarge_384", 256, true),
        ("vitamin_large_384", 256, false),
    ] {
        let object = json!({"timm_model_name": name, "image_size": size});
        let object = object.as_object().unwrap();
        let read = tower(&Section::new(
            object,
            Path::new("config.json"),
            "vision_cfg.",
        ));
        match read {
            Ok(found) if is_taken => assert_eq!(found.unwrap().vision.image_size(), size),
            Err(error) if !is_taken => assert!(error.to_string().contains("image_size"), "{error}"),
            other => panic!("{name}: {}", other.is_ok()),
        }
    }
}
