//! SigLIP against transformers: features, token ids, views, the sigmoid score, and six steps of adaptation against PyTorch.
//!
//! `tools/fixtures/siglip.py` made the fixtures. open_clip's layout is tested beside its reader, since the fixture's tower is not in
//! timm's list.

mod fixtures;
#[path = "fixtures/trajectory.rs"]
mod trajectory;

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use tempfile::TempDir;
use ueo::checkpoint::{TextArchitecture, VisionConfig, load};
use ueo::evaluate::{EvaluateError, Score, ScoreRule, Scores, predictions};
use ueo::image::{DecodeOptions, RgbImage, decode};
use ueo::model::{Clip, Engine, Prompts, normalize_rows};
use ueo::session::Model;
use ueo::text::{
    Overlong, PromptSet, TextCleaning, Tokenizer, TokenizerSource, Vocabulary, tokenize_text,
};

use fixtures::{Fixture, assert_close};
use trajectory::{Recording, TOLERANCE, Trajectory};

const FOLDER: &str = "siglip/hugging-face";

fn clip(engine: Engine) -> Clip {
    let checkpoint = load(&fixtures::path(FOLDER)).unwrap();
    Clip::with_engine(
        checkpoint.config,
        checkpoint.tensors,
        &Device::flex(),
        engine,
    )
    .unwrap()
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

fn tokenizer(folder: &str, cleaning: TextCleaning) -> Tokenizer {
    let path = fixtures::path(folder).join("tokenizer.json");
    Tokenizer::load(&TokenizerSource {
        vocabulary: Vocabulary::SentencePiece(path),
        cleaning,
    })
    .unwrap()
}

fn texts() -> Vec<String> {
    serde_json::from_value(fixtures::json(&format!("{FOLDER}/texts.json"))).unwrap()
}

/// Rows of padded ids equal ours, text by text.
fn check_ids(tokenizer: &Tokenizer, rows: &[Vec<u32>], padding_token: u32) {
    let texts = texts();
    assert_eq!(texts.len(), rows.len());
    for (text, row) in texts.iter().zip(rows) {
        let mut found = tokenize_text(tokenizer, text, row.len(), Overlong::Truncate).unwrap();
        found.resize(row.len(), padding_token);
        assert_eq!(&found, row, "{text:?}");
    }
}

#[test]
fn features_equal_transformers() {
    let expected = Fixture::open(&format!("{FOLDER}/expected.safetensors"));
    for engine in [Engine::Fused, Engine::Composed] {
        let clip = clip(engine);
        let pixels = expected.tensor("pixels");
        let shape: [usize; 4] = pixels.shape.clone().try_into().unwrap();
        let pixels = Tensor::from_data(TensorData::new(pixels.data, shape), clip.device());
        let images = clip.image_features(pixels.clone(), clip.zero_shot_affine());
        // The same in two halves, as the training of the last blocks computes it.
        let affine = clip.zero_shot_affine();
        let halves = clip.features_from_block(1, clip.block_inputs(1, pixels, affine), affine);
        let whole = values(images.clone());
        assert_close("features in halves", &values(halves), &whole, 1e-6);
        assert_close(
            "image features",
            &values(images),
            &expected.tensor("image_features").data,
            TOLERANCE,
        );
        // Padding is what follows on the end marker in these rows, and the tower adds the same.
        let own = expected.integers("token_ids");
        let prompts = Prompts::new(None, 0, own);
        clip.text().check(&prompts).unwrap();
        assert_close(
            "text features",
            &values(clip.text().features(&prompts, None)),
            &expected.tensor("text_features").data,
            TOLERANCE,
        );
    }
}

#[test]
fn token_ids_equal_transformers() {
    let checkpoint = load(&fixtures::path(FOLDER)).unwrap();
    assert_eq!(checkpoint.tokenizer.cleaning, TextCleaning::Siglip);
    let TextArchitecture::Padded { padding_token, .. } = checkpoint.config.text.architecture else {
        panic!("SigLIP pads its texts");
    };
    // Its padding token is its end marker.
    assert_eq!(padding_token, 1);
    let unigram = Tokenizer::load(&checkpoint.tokenizer).unwrap();
    assert_eq!((unigram.start_of_text(), unigram.end_of_text()), (None, 1));
    let expected = Fixture::open(&format!("{FOLDER}/expected.safetensors"));
    check_ids(&unigram, &expected.integers("token_ids"), padding_token);

    let byte_pairs = tokenizer("siglip/siglip2-tokenizer", TextCleaning::LowerCharacters);
    let rows: Vec<Vec<u32>> =
        serde_json::from_value(fixtures::json("siglip/siglip2-tokenizer/ids.json")).unwrap();
    check_ids(&byte_pairs, &rows, 0);
}

#[test]
fn the_whole_image_is_resized_to_a_square() {
    let preprocessing = load(&fixtures::path(FOLDER)).unwrap().preprocessing;
    let bytes = std::fs::read(fixtures::path("images/source_wide.png")).unwrap();
    let image: RgbImage = decode(&bytes, &DecodeOptions::default()).unwrap();
    let view = preprocessing.test_view(&image).unwrap();
    let expected = Fixture::open(&format!("{FOLDER}/expected.safetensors")).tensor("view");
    let side = expected.shape[1];
    assert_eq!((view.width(), view.height()), (side, side));
    for (position, pixel) in view.pixels().chunks_exact(3).enumerate() {
        for (channel, &value) in pixel.iter().enumerate() {
            let expected = expected.data[channel * side * side + position];
            assert!((f32::from(value) - expected).abs() <= 1.0, "{position}");
        }
    }
}

#[test]
fn the_sigmoid_is_a_score_of_models_with_a_bias() {
    let expected = Fixture::open(&format!("{FOLDER}/expected.safetensors"));
    let clip = clip(Engine::Fused);
    let features = |name: &str| {
        let tensor = expected.tensor(name);
        let shape: [usize; 2] = tensor.shape.clone().try_into().unwrap();
        let tensor = Tensor::<2>::from_data(TensorData::new(tensor.data, shape), clip.device());
        normalize_rows(tensor)
    };
    let texts = features("text_features");
    let [classes, _] = texts.dims();
    let cosines = values(features("image_features").matmul(texts.transpose()));
    let scores = Scores {
        cosine_logits: &cosines,
        classes,
        logit_scale: clip.logit_scale(),
        logit_bias: clip.logit_bias(),
        negative_cosines: &[],
    };
    let rule = ScoreRule::new(Score::Sigmoid, None);
    let found = predictions(scores, rule).unwrap().confidences;
    let found: Vec<f32> = found.into_iter().map(|value| value as f32).collect();
    assert_close(
        "sigmoid",
        &found,
        &expected.tensor("sigmoid").data,
        TOLERANCE,
    );

    let clip_scores = Scores {
        logit_bias: None,
        ..scores
    };
    let error = predictions(clip_scores, rule).unwrap_err();
    assert_eq!(error, EvaluateError::NoLogitBias);
}

#[test]
fn prompts_begin_with_the_context_and_class_names_follow() {
    let model = Model::open(fixtures::path(FOLDER)).unwrap();
    let set = PromptSet::new(&model.tokenizer, &["red_car"], 16).unwrap();
    assert_eq!((set.start_of_text(), set.prefix_len()), (None, 4));
    let whole = model.tokenizer.encode("a photo of a red car").unwrap();
    assert_eq!(set.tokens(0).unwrap(), [&whole[..], &[1]].concat());
    assert_eq!(model.parameters.context.dims(), [4, 24]);
    let cosines = model.classifier(&["dog".to_owned(), "red_car".to_owned()]);
    assert_eq!(cosines.unwrap().classes(), 2);
}

/// Six recorded steps.
fn follow_pytorch(engine: Engine, micro_batch: Option<usize>) {
    let recording = Recording::open("siglip/training");
    let facts = &recording.facts;
    let context_tokens: Vec<u32> =
        serde_json::from_value(facts["context_token_ids"].clone()).unwrap();
    let names: Vec<String> = serde_json::from_value(facts["classes"].clone()).unwrap();
    let tokenizer = Tokenizer::load(&load(&fixtures::path(FOLDER)).unwrap().tokenizer).unwrap();
    let set = PromptSet::new(&tokenizer, &names, 16).unwrap();
    assert_eq!(set.context(), context_tokens);
    let recorded = recording.arrays.integers("prompt_token_ids");
    for (class, row) in recorded.iter().enumerate() {
        let prompt = set.tokens(class).unwrap();
        assert_eq!(prompt, row[..prompt.len()], "{}", names[class]);
    }
    let prompts = Prompts::new(None, 4, set.suffixes().to_vec());
    let trajectory = Trajectory::of_six_steps(recording, clip(engine), prompts, &context_tokens);
    trajectory.replay_six_steps(micro_batch);
}

#[test]
fn six_steps_follow_pytorch_with_fused_kernels() {
    follow_pytorch(Engine::Fused, None);
    follow_pytorch(Engine::Fused, Some(5));
}

#[test]
fn six_steps_follow_pytorch_with_composed_operations() {
    follow_pytorch(Engine::Composed, None);
}

/// A copy of the checkpoint with one file of JSON changed.
fn changed(file: &str, change: impl FnOnce(&mut Value)) -> TempDir {
    let copy = TempDir::new().unwrap();
    for entry in std::fs::read_dir(fixtures::path(FOLDER)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let path = copy.path().join(file);
    let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(&path, value.to_string()).unwrap();
    copy
}

fn refusal(path: &Path) -> String {
    load(path).unwrap_err().to_string()
}

#[test]
fn what_changes_results_is_refused_by_name() {
    for (file, pointer, value, named) in [
        ("config.json", "/model_type", json!("siglip2"), "NaFlex"),
        (
            "config.json",
            "/vision_config/vision_use_head",
            json!(false),
            "vision_use_head",
        ),
        (
            "config.json",
            "/vision_config/num_patches",
            json!(256),
            "num_patches",
        ),
        (
            "config.json",
            "/vision_config/hidden_act",
            json!("relu"),
            "hidden_act",
        ),
        (
            "config.json",
            "/text_config/projection_size",
            json!(24),
            "text features",
        ),
        (
            "preprocessor_config.json",
            "/do_center_crop",
            json!(true),
            "do_center_crop",
        ),
        (
            "preprocessor_config.json",
            "/size",
            json!({"shortest_edge": 36}),
            "size",
        ),
        (
            "preprocessor_config.json",
            "/size",
            json!({"height": 40, "width": 40}),
            "input size 36",
        ),
        (
            "preprocessor_config.json",
            "/max_num_patches",
            json!(256),
            "max_num_patches",
        ),
        (
            "tokenizer_config.json",
            "/padding_side",
            json!("left"),
            "padding_side",
        ),
        (
            "tokenizer_config.json",
            "/tokenizer_class",
            json!("BertTokenizer"),
            "tokenizer_class",
        ),
        (
            "tokenizer_config.json",
            "/do_lower_case",
            json!(false),
            "do_lower_case",
        ),
        (
            "tokenizer_config.json",
            "/add_bos_token",
            json!(true),
            "add_bos_token",
        ),
        (
            "tokenizer_config.json",
            "/pad_token",
            json!("<none>"),
            "pad_token",
        ),
        (
            "tokenizer.json",
            "/post_processor",
            Value::Null,
            "post_processor",
        ),
        (
            "tokenizer.json",
            "/pre_tokenizer",
            json!({"type": "Whitespace"}),
            "pre_tokenizer",
        ),
        (
            "tokenizer.json",
            "/normalizer",
            json!({"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}),
            "normalizer",
        ),
        (
            "tokenizer.json",
            "/model/type",
            json!("WordPiece"),
            "model.type",
        ),
        ("tokenizer.json", "/model/unk_id", json!(55), "unk_id"),
        (
            "tokenizer.json",
            "/model/dropout",
            json!(0.5),
            "model.dropout",
        ),
        (
            "tokenizer.json",
            "/model/vocab/3",
            json!(["", 0.0]),
            "piece",
        ),
    ] {
        let copy = changed(file, |config| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let parent = config.pointer_mut(parent).unwrap();
            match key.parse::<usize>() {
                Ok(index) => parent[index] = value.clone(),
                Err(_) => parent[key] = value.clone(),
            }
            // Either names the kind of model.
            if key == "model_type" {
                parent["architectures"] = json!(["Siglip2Model"]);
            }
        });
        let error = refusal(copy.path());
        assert!(error.contains(named), "{file} {pointer}: {error}");
    }
}

/// A character map may make of each character of a text as much as its longest replacement.
#[test]
fn character_maps_are_bounded() {
    use base64::Engine as _;
    let mut map = 0_u32.to_le_bytes().to_vec();
    map.extend([b'x'; 300]);
    let map = base64::engine::general_purpose::STANDARD.encode(map);
    let copy = changed("tokenizer.json", |file| {
        file["normalizer"]["precompiled_charsmap"] = map.into();
    });
    let error = refusal(copy.path());
    assert!(error.contains("256 bytes in a replacement"), "{error}");

    let copy = changed("tokenizer.json", |file| {
        file["normalizer"]["precompiled_charsmap"] = "/////w==".into();
    });
    let error = refusal(copy.path());
    assert!(error.contains("end too early"), "{error}");
}

#[test]
fn a_vocabulary_without_tokenizer_json_says_how_to_make_it() {
    let copy = changed("config.json", |_| {});
    std::fs::rename(
        copy.path().join("tokenizer.json"),
        copy.path().join("spiece.model"),
    )
    .unwrap();
    let error = refusal(copy.path());
    assert!(error.contains("spiece.model alone"), "{error}");
}

#[test]
fn the_architecture_is_written_and_read_back() {
    let config = load(&fixtures::path(FOLDER)).unwrap().config;
    assert!(matches!(config.vision, VisionConfig::Siglip(_)));
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(config, serde_json::from_str(&text).unwrap());
}
