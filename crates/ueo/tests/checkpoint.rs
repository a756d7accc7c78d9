//! Checkpoints of every layout, as Python packages wrote them (`fixtures/checkpoints/README.md`), and what a reader must
//! find out about them.

use std::path::{Path, PathBuf};

use serde_json::Value;
use ueo::checkpoint::{
    Activation, Checkpoint, CheckpointKind, TransformerConfig, VisionConfig, load,
};
use ueo::image::ResizeRule;
use ueo::text::{TextCleaning, TokenizerSource, Vocabulary};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/checkpoints")
        .join(name)
}

fn facts(name: &str) -> Value {
    let text = std::fs::read_to_string(fixture(name).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn size(facts: &Value, key: &str) -> usize {
    facts[key].as_u64().unwrap_or_else(|| panic!("{key}")) as usize
}

fn check_transformer(found: &TransformerConfig, facts: &Value, tower: &str) {
    assert_eq!(found.width, size(facts, &format!("{tower}_width")));
    assert_eq!(found.layers, size(facts, &format!("{tower}_layers")));
    assert_eq!(found.heads, size(facts, &format!("{tower}_heads")));
    if let Some(width) = facts[format!("{tower}_mlp_width")].as_u64() {
        assert_eq!(found.mlp_width, width as usize);
    }
    let activation = match facts["activation"].as_str().unwrap() {
        "quick_gelu" => Activation::QuickGelu,
        _ => Activation::Gelu,
    };
    assert_eq!(found.activation, activation);
    assert_eq!(
        found.layer_norm_epsilon,
        facts["layer_norm_epsilon"].as_f64().unwrap()
    );
}

/// Loads a fixture, compares everything that its facts name, and returns it for what they do not name.
fn load_and_check(name: &str) -> Checkpoint {
    let facts = facts(name);
    let path = fixture(name).join(facts["model"].as_str().unwrap());
    let checkpoint = load(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let config = &checkpoint.config;
    assert_eq!(config.embed_dim, size(&facts, "embed_dim"));
    assert_eq!(config.text.context_length, size(&facts, "context_length"));
    assert_eq!(config.text.vocab_size, size(&facts, "vocab_size"));
    check_transformer(&config.text.transformer, &facts, "text");
    assert_eq!(config.vision.image_size(), size(&facts, "image_size"));
    match &config.vision {
        VisionConfig::Vit(vit) => {
            assert_eq!(facts["vision"], "vit");
            assert_eq!(vit.patch_size, size(&facts, "patch_size"));
            check_transformer(&vit.transformer, &facts, "vision");
        }
        VisionConfig::ResNet(resnet) => {
            assert_eq!(facts["vision"], "resnet");
            assert_eq!(resnet.width, size(&facts, "vision_width"));
            assert_eq!(resnet.heads, size(&facts, "vision_heads"));
            assert_eq!(
                facts["vision_layers"],
                serde_json::json!(resnet.layers.to_vec())
            );
        }
        _ => panic!("these fixtures are CLIP's"),
    }
    let numbers = |key: &str| -> Vec<f32> {
        let items = facts[key].as_array().unwrap();
        items.iter().map(|x| x.as_f64().unwrap() as f32).collect()
    };
    assert_eq!(checkpoint.preprocessing.mean.to_vec(), numbers("mean"));
    assert_eq!(checkpoint.preprocessing.std.to_vec(), numbers("std"));
    assert_eq!(checkpoint.preprocessing.crop, size(&facts, "image_size"));
    assert_eq!(checkpoint.preprocessing.resize, size(&facts, "image_size"));
    for (name, tensor) in &checkpoint.tensors {
        assert_eq!(
            tensor.data.len(),
            tensor.shape.iter().product::<usize>(),
            "{name}"
        );
        assert!(tensor.data.iter().all(|x| x.is_finite()), "{name}");
    }
    assert!(checkpoint.path.is_absolute());
    assert_eq!(
        checkpoint.sha256,
        ueo::checkpoint::sha256_of_file(&checkpoint.weights_path).unwrap()
    );
    checkpoint
}

fn has_decision(checkpoint: &Checkpoint, words: &[&str]) -> bool {
    checkpoint
        .decisions
        .iter()
        .any(|decision| words.iter().all(|word| decision.contains(word)))
}

#[test]
fn openai_archives() {
    for name in ["openai-vit-torchscript-f16", "openai-vit-torchscript-f32"] {
        let checkpoint = load_and_check(name);
        assert_eq!(checkpoint.kind, CheckpointKind::OpenAiTorchScript);
        assert_eq!(checkpoint.tokenizer, TokenizerSource::OPENAI);
        assert!(has_decision(&checkpoint, &["QuickGELU", "TorchScript"]));
        assert_eq!(checkpoint.tensors["text_projection"].shape, [64, 32]);
        assert_eq!(checkpoint.tensors["logit_scale"].shape, [0_usize; 0]);
    }
}

#[test]
fn openai_resnet_archive() {
    let checkpoint = load_and_check("openai-rn-torchscript-f16");
    assert_eq!(checkpoint.kind, CheckpointKind::OpenAiTorchScript);
    assert!(
        checkpoint
            .tensors
            .contains_key("visual.layer3.1.bn3.running_var")
    );
    assert!(
        !checkpoint
            .tensors
            .keys()
            .any(|name| name.ends_with("num_batches_tracked"))
    );
}

#[test]
fn plain_state_dict_takes_openai_conventions_and_says_so() {
    let checkpoint = load_and_check("openai-vit-state-dict");
    assert_eq!(checkpoint.kind, CheckpointKind::StateDict);
    assert!(has_decision(
        &checkpoint,
        &["activation: QuickGELU", "does not say"]
    ));
}

#[test]
fn training_checkpoint_takes_open_clip_conventions_and_says_so() {
    let checkpoint = load_and_check("openclip-training-checkpoint");
    assert_eq!(checkpoint.kind, CheckpointKind::OpenClip);
    assert!(has_decision(
        &checkpoint,
        &["activation: exact GELU", "trainer"]
    ));
}

#[test]
fn hugging_face_directories() {
    let checkpoint = load_and_check("hf-vit");
    assert_eq!(checkpoint.kind, CheckpointKind::HuggingFace);
    assert_eq!(
        checkpoint.tokenizer,
        TokenizerSource::tokenizer_json(checkpoint.path.join("tokenizer.json"))
    );
    let checkpoint = load_and_check("hf-vit-bin");
    assert_eq!(
        checkpoint.weights_path,
        checkpoint.path.join("pytorch_model.bin")
    );
    assert_eq!(
        checkpoint.tokenizer.vocabulary,
        Vocabulary::VocabAndMerges {
            vocab: checkpoint.path.join("vocab.json"),
            merges: checkpoint.path.join("merges.txt"),
        }
    );
}

#[test]
fn open_clip_directories() {
    for name in ["openclip-vit", "openclip-vit-quickgelu-bin"] {
        let checkpoint = load_and_check(name);
        assert_eq!(checkpoint.kind, CheckpointKind::OpenClip);
        assert!(matches!(
            checkpoint.tokenizer.vocabulary,
            Vocabulary::TokenizerJson(_)
        ));
        assert_eq!(checkpoint.tokenizer.cleaning, TextCleaning::Whitespace);
        assert!(has_decision(&checkpoint, &["activation", "quick_gelu"]));
    }
    let VisionConfig::Vit(vit) = load_and_check("openclip-vit").config.vision else {
        panic!("a ViT")
    };
    assert_eq!(vit.transformer.mlp_width, 144, "mlp_ratio 3");
    load_and_check("openclip-rn");
    load_and_check("openclip-custom-text");
}

#[test]
fn a_weights_file_finds_the_configuration_beside_it() {
    for (file, kind) in [
        (
            "hf-vit/model/model.safetensors",
            CheckpointKind::HuggingFace,
        ),
        (
            "openclip-vit/model/open_clip_model.safetensors",
            CheckpointKind::OpenClip,
        ),
    ] {
        let by_file = load(&fixture(file)).unwrap();
        let by_directory = load(fixture(file).parent().unwrap()).unwrap();
        assert_eq!(by_file.kind, kind);
        assert_eq!(by_file.config, by_directory.config);
        assert_eq!(by_file.tensors, by_directory.tensors);
        assert_eq!(by_file.sha256, by_directory.sha256);
    }
}

#[test]
fn hugging_face_layouts_are_converted_exactly() {
    // The same values in transformers' layout, straight from the file.
    let bytes = std::fs::read(fixture("hf-vit/model/model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let raw = |name: &str| -> Vec<f32> {
        let data = file.tensor(name).unwrap().data();
        data.as_chunks::<4>()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect()
    };
    let checkpoint = load(&fixture("hf-vit/model")).unwrap();
    let layer = "vision_model.encoder.layers.1.self_attn";
    let stacked: Vec<f32> = ["q", "k", "v"]
        .iter()
        .flat_map(|part| raw(&format!("{layer}.{part}_proj.weight")))
        .collect();
    let in_proj = &checkpoint.tensors["visual.transformer.resblocks.1.attn.in_proj_weight"];
    assert_eq!(in_proj.shape, [144, 48]);
    assert_eq!(in_proj.data, stacked);
    let projection = raw("visual_projection.weight");
    let proj = &checkpoint.tensors["visual.proj"];
    assert_eq!(proj.shape, [48, 24]);
    for row in 0..48 {
        for column in 0..24 {
            assert_eq!(proj.data[row * 24 + column], projection[column * 48 + row]);
        }
    }
}

/// The tiny model of `fixtures/checkpoint_variants` with the given weights files.
fn variant(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json"] {
        let source = fixture("refused/unexpected-tensor").join(name);
        std::fs::copy(source, directory.path().join(name)).unwrap();
    }
    for (source, target) in files {
        let source = fixture("../checkpoint_variants").join(source);
        std::fs::copy(source, directory.path().join(target)).unwrap();
    }
    directory
}

const SHARDS: [&str; 2] = [
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
];
const INDEX: &str = "model.safetensors.index.json";

#[test]
fn shards_and_the_old_stream_format_hold_the_same_model() {
    let stream = variant(&[("stream.bin", "pytorch_model.bin")]);
    let sharded = variant(&[
        (SHARDS[0], SHARDS[0]),
        (SHARDS[1], SHARDS[1]),
        (INDEX, INDEX),
    ]);
    let stream = load(stream.path()).unwrap();
    let sharded = load(sharded.path()).unwrap();
    assert_eq!(stream.tensors, sharded.tensors);
    assert_eq!(stream.tensors["visual.conv1.weight"].shape, [8, 3, 8, 8]);
    assert!(sharded.weights_path.ends_with(INDEX));
    assert_ne!(stream.sha256, sharded.sha256);
    assert!(has_decision(
        &sharded,
        &["preprocessing", "preprocessor_config.json"]
    ));
}

#[test]
fn a_missing_shard_is_named() {
    let directory = variant(&[(SHARDS[0], SHARDS[0]), (INDEX, INDEX)]);
    let message = load(directory.path()).unwrap_err().to_string();
    assert!(message.contains(SHARDS[1]), "{message}");
}

#[test]
fn a_truncated_stream_is_damaged() {
    let directory = variant(&[("stream.bin", "pytorch_model.bin")]);
    let path = directory.path().join("pytorch_model.bin");
    let whole = std::fs::read(&path).unwrap();
    for length in [whole.len() - 1, whole.len() / 2, 2_000, 40] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let message = load(directory.path()).unwrap_err().to_string();
        assert!(message.contains("is damaged"), "{length}: {message}");
    }
}

#[test]
fn old_forms_of_the_preprocessing() {
    let directory = variant(&[("stream.bin", "pytorch_model.bin")]);
    let path = directory.path().join("preprocessor_config.json");
    let size = load(directory.path()).unwrap().config.vision.image_size();
    std::fs::write(
        &path,
        format!(
            r#"{{"size": 40, "crop_size": {size}, "image_mean": [0.1, 0.2, 0.3], "resample": 2}}"#
        ),
    )
    .unwrap();
    let preprocessing = load(directory.path()).unwrap().preprocessing;
    assert_eq!((preprocessing.resize, preprocessing.crop), (40, size));
    assert_eq!(preprocessing.mean, [0.1, 0.2, 0.3]);
    assert_eq!(
        preprocessing.interpolation,
        ueo::image::Interpolation::Bilinear
    );
    assert_eq!(preprocessing.resize_rule, ResizeRule::Shortest);
    // Both sides: transformers squeezes images that are not square.
    let squeezed =
        format!(r#"{{"size": {{"height": {size}, "width": {size}}}, "crop_size": {size}}}"#);
    std::fs::write(&path, squeezed).unwrap();
    let preprocessing = load(directory.path()).unwrap().preprocessing;
    assert_eq!(preprocessing.resize_rule, ResizeRule::Squash);
    assert_eq!((preprocessing.resize, preprocessing.crop), (size, size));
    for (text, words) in [
        (r#"{"size": {"height": 32, "width": 40}}"#, "`size`"),
        (r#"{"do_center_crop": false}"#, "`do_center_crop`: false"),
    ] {
        std::fs::write(&path, text).unwrap();
        let message = load(directory.path()).unwrap_err().to_string();
        assert!(
            message.contains(words) && message.contains("not supported"),
            "{message}"
        );
    }
}
