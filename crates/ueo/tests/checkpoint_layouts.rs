//! Less usual checkpoints against what the packages that own their layouts make of them (`tools/fixtures/checkpoint_layouts.py`
//! and `checkpoint_wrappers.py`).

mod fixtures;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use ueo::checkpoint::{
    Activation, ActivationSource, Checkpoint, LoadOptions, VisionConfig, load, load_with, save,
};
use ueo::image::RgbImage;
use ueo::text::{TextCleaning, Tokenizer, TokenizerSource, Vocabulary};

use fixtures::{Fixture, assert_close};

/// A copy of a directory of fixtures in which one JSON file is edited.
fn edited(source: &str, file: &str, edit: impl Fn(&mut Value)) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixtures::path(source)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = directory.path().join(file);
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(&path, value.to_string()).unwrap();
    directory
}

fn open_clip(edit: impl Fn(&mut Value)) -> tempfile::TempDir {
    edited(
        "checkpoints/openclip-vit/model",
        "open_clip_config.json",
        edit,
    )
}

fn refusal(path: &Path) -> String {
    load(path).expect_err("this must not load").to_string()
}

fn said(checkpoint: &Checkpoint, words: &[&str]) -> bool {
    let mut decisions = checkpoint.decisions.iter();
    decisions.any(|decision| words.iter().all(|word| decision.contains(word)))
}

#[test]
fn position_embeddings_are_resampled_as_open_clip_does() {
    for (name, image_size, context_length) in [("larger", 56, 24), ("smaller", 24, 11)] {
        let directory = open_clip(|config| {
            config["model_cfg"]["vision_cfg"]["image_size"] = image_size.into();
            config["model_cfg"]["text_cfg"]["context_length"] = context_length.into();
        });
        let checkpoint = load(directory.path()).unwrap();
        let expected = Fixture::open(&format!("checkpoint_layouts/resized/{name}.safetensors"));
        for (tensor, table) in [
            ("visual.positional_embedding", "image_positions"),
            ("positional_embedding", "text_positions"),
        ] {
            let (found, expected) = (&checkpoint.tensors[tensor], expected.tensor(table));
            assert_eq!(found.shape, expected.shape, "{name} {tensor}");
            // PyTorch computes places and weights in f32.
            assert_close(tensor, &found.data, &expected.data, 3e-6);
        }
        let patches = format!("from 4 x 4 to {0} x {0} patches", image_size / 8);
        assert!(said(&checkpoint, &[&patches]), "{:?}", checkpoint.decisions);
        assert!(said(
            &checkpoint,
            &[&format!("from 16 to {context_length} tokens")]
        ));
    }
    // Another width is another model, and transformers resamples nothing.
    let directory = open_clip(|config| config["model_cfg"]["text_cfg"]["width"] = 64.into());
    assert!(
        refusal(directory.path())
            .contains("positional_embedding: expected [16, 64], found [16, 32]")
    );
    let directory = edited("checkpoints/hf-vit/model", "config.json", |config| {
        config["text_config"]["max_position_embeddings"] = 20.into();
    });
    assert!(refusal(directory.path()).contains("expected [20, 32], found [16, 32]"));
    let bomb = open_clip(|config| {
        config["model_cfg"]["vision_cfg"]["image_size"] = 16_384.into();
    });
    assert!(refusal(bomb.path()).contains("wrongly shaped"));
}

#[test]
fn crops_and_pixel_values_are_those_of_transformers() {
    let cases = fixtures::json("checkpoint_layouts/crops.json");
    for case in cases.as_array().unwrap() {
        let side = case["shape"][1].as_u64().unwrap();
        let preprocessing = preprocessing(side, &case["preprocessor_config"]);
        let (width, height) = (
            case["width"].as_u64().unwrap(),
            case["height"].as_u64().unwrap(),
        );
        let pixels = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (x, y, c))))
            .map(|(x, y, channel)| ((7 * x + 31 * y + 97 * channel) % 256) as u8)
            .collect();
        let image = RgbImage::new(width as usize, height as usize, pixels).unwrap();
        let values = preprocessing.normalize(&preprocessing.test_view(&image).unwrap());
        let expected: Vec<f32> = case["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap() as f32)
            .collect();
        assert_close(
            &format!("{} {width} x {height}", case["name"]),
            &values,
            &expected,
            2e-6,
        );
    }
}

/// What a tiny model whose tower takes `side` pixels reads from a `preprocessor_config.json`.
fn preprocessing(side: u64, config: &Value) -> ueo::image::Preprocessing {
    let mut model = load(&wrapper("open_clip_model.safetensors")).unwrap();
    let VisionConfig::Vit(vit) = &mut model.config.vision else {
        panic!("a ViT")
    };
    let side = side as usize;
    (vit.image_size, vit.patch_size) = (side, side);
    model.preprocessing = ueo::image::Preprocessing::clip(side);
    let tensors = &mut model.tensors;
    let positions = tensors.get_mut("visual.positional_embedding").unwrap();
    positions.shape[0] = 2;
    positions.data.truncate(16);
    let patches = tensors.get_mut("visual.conv1.weight").unwrap();
    patches.shape = vec![8, 3, side, side];
    patches.data = vec![0.1; 8 * 3 * side * side];
    let tokenizer = fixtures::path("checkpoints/hf-vit/model/tokenizer.json");
    model.tokenizer = TokenizerSource::tokenizer_json(tokenizer);
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path();
    save(target, &model).unwrap();
    fs::write(target.join("preprocessor_config.json"), config.to_string()).unwrap();
    // Nothing of this library's own: what transformers itself does is compared.
    let path = target.join("config.json");
    let mut written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    written.as_object_mut().unwrap().remove("ueo").unwrap();
    fs::write(path, written.to_string()).unwrap();
    load(target).unwrap().preprocessing
}

#[test]
fn flags_of_the_preprocessing_are_honoured_or_refused_by_name() {
    for (key, value) in [
        ("do_resize", json!(false)),
        ("do_center_crop", json!(false)),
        ("do_pad", json!(true)),
        ("use_square_size", json!(true)),
        ("image_processor_type", json!("ViTImageProcessor")),
        ("resample", json!(0)),
        ("rescale_factor", json!(0)),
        ("image_std", json!([0.2, 0.0, 0.2])),
        ("image_std", json!([0.2, -1.0, 0.2])),
        ("image_mean", json!([0.2, 1e300, 0.2])),
        ("image_std", json!([1e-30, 1.0, 1.0])),
    ] {
        let directory = edited(
            "checkpoints/hf-vit/model",
            "preprocessor_config.json",
            |config| {
                config[key] = value.clone();
            },
        );
        let message = refusal(directory.path());
        let named = message.contains(&format!("`{key}`")) || message.contains("standard deviation");
        assert!(named, "{key}: {message}");
    }
    for (key, value) in [
        ("std", json!([0, 1, 1])),
        ("mode", json!("L")),
        ("resize_mode", json!("longest")),
    ] {
        let directory = open_clip(|config| config["preprocess_cfg"][key] = value.clone());
        assert!(refusal(directory.path()).contains(&format!("`preprocess_cfg.{key}`")));
    }
    // Python writes what JSON has not: the line shows under which key.
    let directory = edited(
        "checkpoints/hf-vit/model",
        "preprocessor_config.json",
        |_| (),
    );
    let path = directory.path().join("preprocessor_config.json");
    fs::write(&path, "{\n  \"image_std\": [NaN, 1.0, 1.0]\n}").unwrap();
    assert!(refusal(directory.path()).contains("\"image_std\": [NaN"));
}

#[test]
fn texts_are_cleaned_as_by_open_clip() {
    let path = fixtures::path("checkpoints/openclip-vit/model/tokenizer.json");
    let cases = fixtures::json("checkpoint_layouts/cleaning.json");
    for case in cases.as_array().unwrap() {
        let (clean, text) = (case["clean"].as_str(), case["text"].as_str().unwrap());
        let cleaning = |default| match clean {
            None => default,
            Some("whitespace") => TextCleaning::Whitespace,
            Some("lower") => TextCleaning::Lower,
            _ => TextCleaning::Canonicalize,
        };
        for (vocabulary, default, column) in [
            (
                Vocabulary::TokenizerJson(path.clone()),
                TextCleaning::Whitespace,
                "hugging_face",
            ),
            (Vocabulary::OpenAi, TextCleaning::Lower, "openai"),
        ] {
            let source = TokenizerSource {
                vocabulary,
                cleaning: cleaning(default),
            };
            let ids = Tokenizer::load(&source).unwrap().encode(text).unwrap();
            assert_eq!(json!(ids), case[column], "{clean:?} {column} {text:?}");
        }
    }
}

#[test]
fn arguments_of_the_tokenizer_are_honoured_or_refused_by_name() {
    for (name, cleaning) in [
        ("canonicalize", TextCleaning::Canonicalize),
        ("lower", TextCleaning::Lower),
    ] {
        let directory = open_clip(|config| {
            config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "tiny".into();
            config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = json!({"clean": name});
        });
        assert_eq!(load(directory.path()).unwrap().tokenizer.cleaning, cleaning);
    }
    for (key, value) in [
        ("tokenizer_kwargs", json!({"clean": "shuffle"})),
        ("tokenizer_kwargs", json!({"strip_sep_token": true})),
        ("tokenizer_kwargs", json!({"reduction_mask": "syntax"})),
        ("tokenizer_mode", json!("clips")),
        ("a_key_of_the_future", json!(0.5)),
    ] {
        let directory = open_clip(|config| config["model_cfg"]["text_cfg"][key] = value.clone());
        let message = refusal(directory.path());
        assert!(
            message.contains(key) && message.contains("not supported"),
            "{message}"
        );
    }
    for (section, key) in [("vision_cfg", "rotary"), ("model_cfg", "siglip")] {
        let directory = open_clip(|config| match section {
            "vision_cfg" => config["model_cfg"][section][key] = true.into(),
            _ => config[section][key] = true.into(),
        });
        assert!(refusal(directory.path()).contains(key));
    }
    // A tokenizer that is named and not there is replaced with a warning, for images need none.
    let directory = open_clip(|config| {
        config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "tiny".into();
    });
    assert!(load(directory.path()).unwrap().warnings.is_empty());
    fs::remove_file(directory.path().join("tokenizer.json")).unwrap();
    let warnings = load(directory.path()).unwrap().warnings;
    assert!(
        warnings[0].contains("`tiny`") && warnings[0].contains("tokenized wrongly"),
        "{warnings:?}"
    );
    for (key, value) in [("tokenizer_class", "BertTokenizer"), ("eos_token", "</s>")] {
        let directory = edited("checkpoints/hf-vit/model", "config.json", |_| ());
        let path = directory.path().join("tokenizer_config.json");
        fs::write(path, json!({key: value}).to_string()).unwrap();
        let message = refusal(directory.path());
        assert!(
            message.contains(key) && message.contains(value),
            "{message}"
        );
    }
}

fn wrapper(name: &str) -> PathBuf {
    fixtures::path("checkpoint_wrappers").join(name)
}

#[test]
fn the_model_is_found_in_what_training_frameworks_save() {
    let model = load(&wrapper("open_clip_model.safetensors")).unwrap();
    for (file, words) in [
        ("compiled.pt", &[][..]),
        ("trainer.pt", &[]),
        (
            "lightning.ckpt",
            &["1 tensors beside the model", "`loss.weight`"],
        ),
        ("teacher.ckpt", &["under `model`", "`teacher`", "not used"]),
        ("mp_rank_00_model_states.pt", &[]),
        ("average_only.pt", &["under `model_ema`"]),
        (
            "average_beside.pt",
            &["under `state_dict`", "`state_dict_ema`"],
        ),
        ("flat_with_counter.pt", &["1 entries", "`epoch`"]),
    ] {
        let found = load(&wrapper(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(found.tensors, model.tensors, "{file}");
        assert_eq!(found.config, model.config, "{file}");
        let weights = found
            .decisions
            .iter()
            .filter(|decision| decision.starts_with("weights: "));
        assert_eq!(
            weights.count(),
            usize::from(!words.is_empty()),
            "{file}: {:?}",
            found.decisions
        );
        assert!(
            words.is_empty() || said(&found, words),
            "{file}: {:?}",
            found.decisions
        );
    }
    let message = refusal(&wrapper("ambiguous.pt"));
    assert!(
        message.contains("several models: `student`, `teacher`"),
        "{message}"
    );
}

#[test]
fn a_prefix_is_found_in_safetensors_too() {
    let bytes = fs::read(wrapper("open_clip_model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let renamed = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (format!("clip.{name}"), view));
    let directory = edited("checkpoint_wrappers", "open_clip_config.json", |_| ());
    let path = directory.path().join("fine-tuned.safetensors");
    safetensors::serialize_to_file(renamed, None, &path).unwrap();
    let model = load(&wrapper("open_clip_model.safetensors")).unwrap();
    assert_eq!(load(&path).unwrap().tensors, model.tensors);
}

#[test]
fn an_activation_that_is_assumed_is_a_warning_and_can_be_named() {
    let plain = fixtures::checkpoint_path("openai-vit-state-dict");
    let checkpoint = load(&plain).unwrap();
    assert_eq!(checkpoint.activation_source, ActivationSource::Assumed);
    let assumed = |checkpoint: &Checkpoint| {
        let mut warnings = checkpoint.warnings.iter();
        warnings.any(|warning| warning.contains("QuickGELU is assumed"))
    };
    assert!(assumed(&checkpoint), "{:?}", checkpoint.warnings);

    let options = LoadOptions::new().activation(Some(Activation::Gelu));
    let named = load_with(&plain, &options).unwrap();
    assert_eq!(named.activation_source, ActivationSource::Requested);
    assert!(!assumed(&named), "{:?}", named.warnings);
    assert_eq!(named.config.text.transformer.activation, Activation::Gelu);
    let VisionConfig::Vit(vit) = &named.config.vision else {
        panic!("a ViT")
    };
    assert_eq!(vit.transformer.activation, Activation::Gelu);
    assert!(said(&named, &["exact GELU, asked for", "QuickGELU"]));
    assert_ne!(named.content_sha256, checkpoint.content_sha256);
    assert_eq!(named.sha256, checkpoint.sha256);

    for (name, source) in [
        ("hf-vit", ActivationSource::Configuration),
        ("openclip-vit", ActivationSource::Configuration),
        ("openai-vit-torchscript-f16", ActivationSource::Distribution),
        ("openclip-training-checkpoint", ActivationSource::Assumed),
    ] {
        let checkpoint = load(&fixtures::checkpoint_path(name)).unwrap();
        assert_eq!(checkpoint.activation_source, source, "{name}");
    }
}

#[test]
fn the_content_digest_changes_with_what_is_computed_and_with_nothing_else() {
    let base = load(&fixtures::path("checkpoints/hf-vit/model")).unwrap();
    // Digests are in run directories: this one may never change.
    assert_eq!(
        base.content_sha256,
        "d8a3e6bf06cb791d770ba8fd17b53f47a7e7b85780745732ada2bce1aa601806"
    );
    let digest = |file: &str, edit: &dyn Fn(&mut Value)| {
        let directory = edited("checkpoints/hf-vit/model", file, edit);
        let checkpoint = load(directory.path()).unwrap();
        assert_eq!(checkpoint.sha256, base.sha256);
        checkpoint.content_sha256
    };
    assert_eq!(
        digest("config.json", &|config| config["_name_or_path"] =
            "moved".into()),
        base.content_sha256
    );
    assert_eq!(
        digest("tokenizer.json", &|file| file["version"] = "1.1".into()),
        base.content_sha256
    );
    type Edit = (&'static str, fn(&mut Value));
    let different: [Edit; 4] = [
        ("config.json", |config| {
            config["vision_config"]["hidden_act"] = "gelu".into()
        }),
        ("config.json", |config| {
            config["text_config"]["layer_norm_eps"] = 1e-6.into()
        }),
        ("preprocessor_config.json", |config| {
            config["image_mean"][0] = 0.5.into()
        }),
        ("tokenizer.json", |file| {
            // Two letters exchanged.
            file["model"]["vocab"]["a"] = 65.into();
            file["model"]["vocab"]["b"] = 64.into();
        }),
    ];
    let mut digests = vec![base.content_sha256.clone()];
    digests.extend(different.iter().map(|(file, edit)| digest(file, edit)));
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), different.len() + 1);
}

#[test]
fn rotated_token_ids_are_refused() {
    let rotate = |vocab: &mut Value| {
        for id in vocab.as_object_mut().unwrap().values_mut() {
            *id = ((id.as_u64().unwrap() + 1) % 520).into();
        }
    };
    let json = edited("checkpoints/hf-vit/model", "tokenizer.json", |file| {
        rotate(&mut file["model"]["vocab"]);
        file["added_tokens"][0]["id"] = 519.into();
        file["added_tokens"][1]["id"] = 0.into();
    });
    let pair = edited("checkpoints/hf-vit-bin/model", "vocab.json", rotate);
    for (directory, words) in [(json, "eos_token_id"), (pair, "the highest id")] {
        let message = refusal(directory.path());
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_saved_checkpoint_keeps_the_cleaning_and_the_crop_rule() {
    let directory = open_clip(|config| {
        config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = json!({"clean": "canonicalize"});
    });
    for path in [
        directory.path(),
        &fixtures::path("checkpoints/hf-vit/model"),
        &fixtures::path("checkpoints/openclip-rn/model"),
    ] {
        let checkpoint = load(path).unwrap();
        let target = tempfile::tempdir().unwrap();
        save(target.path(), &checkpoint).unwrap();
        let saved = load(target.path()).unwrap();
        assert_eq!(saved.tokenizer.cleaning, checkpoint.tokenizer.cleaning);
        assert_eq!(saved.preprocessing, checkpoint.preprocessing);
    }
}
