//! The towers that are not CLIP's own against open_clip and timm: features, token ids, and six steps of adaptation.
//!
//! `tools/fixtures/towers.py` made the checkpoints, some with towers that are in no list of timm's, so only this crate's own tests can
//! read them.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::checkpoint::{Checkpoint, Layout, TextArchitecture, check_configuration, load, save_as};
use crate::image::{Interpolation, Preprocessing, ResizeRule};
use crate::method::TrainedPart;
use crate::model::{Clip, Engine, ModelError, Precision, Prompts, normalize_rows};
use crate::objective::{UnconfidentWeights, universal_entropy};
use crate::text::{Overlong, PromptSet, Tokenizer, tokenize_text};

use super::{GradientChoices, TrainedBlocks, TrainedParameters, batch_gradient, cosine_annealing};

const TOLERANCE: f64 = 1e-4;

fn towers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/towers")
}

/// A safetensors file.
struct Arrays(Vec<u8>);

impl Arrays {
    fn open(path: &Path) -> Self {
        Self(fs::read(path).unwrap())
    }

    fn floats(&self, name: &str) -> (Vec<f32>, Vec<usize>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap();
        let data = match view.dtype() {
            Dtype::F32 => bytemuck::pod_collect_to_vec(view.data()),
            // Normalized pixels as bytes.
            Dtype::U8 => {
                let pixel = |byte: &u8| (f32::from(*byte) - 128.0) / 64.0;
                view.data().iter().map(pixel).collect()
            }
            other => panic!("{name}: {other:?}"),
        };
        (data, view.shape().to_vec())
    }

    fn rows(&self, name: &str) -> Vec<Vec<u32>> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap();
        let values: Vec<i64> = bytemuck::pod_collect_to_vec(view.data());
        let rows = values.chunks_exact(*view.shape().last().unwrap());
        rows.map(|row| row.iter().map(|&id| id as u32).collect())
            .collect()
    }

    fn names(&self, prefix: &str) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let names = file.names().into_iter().map(str::to_owned);
        names.filter(|name| name.starts_with(prefix)).collect()
    }
}

/// A family's fixture.
struct Family {
    folder: PathBuf,
    facts: Value,
    expected: Arrays,
    images: Arrays,
    start: Option<u32>,
    end: u32,
}

impl Family {
    fn open(name: &str) -> Self {
        let folder = towers().join(name);
        let facts: Value =
            serde_json::from_slice(&fs::read(folder.join("facts.json")).unwrap()).unwrap();
        let images = format!("images-{}.safetensors", facts["image_size"]);
        Self {
            expected: Arrays::open(&folder.join("expected.safetensors")),
            images: Arrays::open(&towers().join(images)),
            start: facts["start"].as_u64().map(|id| id as u32),
            end: facts["end"].as_u64().unwrap() as u32,
            folder,
            facts,
        }
    }

    fn checkpoint(&self) -> Checkpoint {
        load(&self.folder).unwrap()
    }

    fn clip(&self, engine: Engine) -> Clip {
        let Checkpoint {
            config, tensors, ..
        } = self.checkpoint();
        Clip::with_engine(config, tensors, &Device::flex(), engine).unwrap()
    }

    fn close(&self, what: &str, found: &[f32]) {
        let (expected, _) = self.expected.floats(what);
        close(what, found, &expected, TOLERANCE);
    }

    fn pixels(&self, batch: &[u32]) -> Tensor<4> {
        let (data, shape) = self.images.floats("images");
        let [_, channels, height, width]: [usize; 4] = shape.try_into().unwrap();
        let size = channels * height * width;
        let data: Vec<f32> = batch
            .iter()
            .flat_map(|&index| data[index as usize * size..][..size].to_vec())
            .collect();
        let shape = [batch.len(), channels, height, width];
        Tensor::from_data(TensorData::new(data, shape), &Device::flex())
    }

    /// What follows the shared tokens in a padded row, up to the end marker.
    fn own(&self, row: &[u32], shared: usize) -> Vec<u32> {
        let own = &row[shared..];
        let end = own.iter().position(|id| *id == self.end).unwrap();
        own[..=end].to_vec()
    }

    fn prompts(&self, rows: &str, context_len: usize) -> Prompts {
        let shared = usize::from(self.start.is_some()) + context_len;
        let own = self.expected.rows(rows);
        let own = own.iter().map(|row| self.own(row, shared)).collect();
        Prompts::new(self.start, context_len, own)
    }
}

fn close(what: &str, found: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = f64::from((found - expected).abs());
        assert!(
            difference <= tolerance * f64::from(scale),
            "{what}: value {index} is {found}, expected {expected}"
        );
    }
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

fn check_features(family: &Family, engine: Engine) {
    let clip = family.clip(engine);
    let affine = clip.zero_shot_affine();
    let pixels = family.pixels(&[0, 1, 2]);
    let images = values(clip.image_features(pixels.clone(), affine));
    family.close("image_features", &images);
    // The same in two halves, as the training of the last blocks computes it.
    let inputs = clip.block_inputs(1, pixels, affine);
    let [_, tokens, width] = inputs.dims();
    assert_eq!([tokens, width], clip.block_input_shape(1));
    let halves = clip.features_from_block(1, inputs, affine);
    close("halves", &values(halves), &images, 1e-6);

    let prompts = family.prompts("token_ids", 0);
    clip.text().check(&prompts).unwrap();
    let texts = values(clip.text().features(&prompts, None));
    family.close("text_features", &texts);
}

/// Texts give the owner's rows of ids; so do the prompts of the training.
fn check_tokens(family: &Family) {
    let checkpoint = family.checkpoint();
    let Some(texts) = family.facts["texts"].as_array() else {
        return;
    };
    let tokenizer = Tokenizer::load(&checkpoint.tokenizer).unwrap();
    assert_eq!(tokenizer.start_of_text(), family.start);
    assert_eq!(tokenizer.end_of_text(), family.end);
    let padding = family.facts["padding"].as_u64().unwrap() as u32;
    if let TextArchitecture::Padded { padding_token, .. } = checkpoint.config.text.architecture {
        assert_eq!(padding_token, padding);
    }
    let rows = family.expected.rows("token_ids");
    assert_eq!(rows.len(), texts.len());
    for (text, row) in texts.iter().zip(&rows) {
        let text = text.as_str().unwrap();
        let mut found = tokenize_text(&tokenizer, text, row.len(), Overlong::Truncate).unwrap();
        found.resize(row.len(), padding);
        assert_eq!(&found, row, "{text:?}");
    }
    let classes: Vec<String> = serde_json::from_value(family.facts["classes"].clone()).unwrap();
    let set = PromptSet::new(&tokenizer, &classes, rows[0].len()).unwrap();
    for (class, row) in family.expected.rows("prompt_token_ids").iter().enumerate() {
        let prompt = set.tokens(class).unwrap();
        assert_eq!(prompt, row[..prompt.len()], "{}", classes[class]);
    }
}

fn cosines(family: &Family, clip: &Clip, prompts: &Prompts, at: &TrainedParameters) -> Vec<f32> {
    let count = family.images.floats("images").1[0] as u32;
    let all: Vec<u32> = (0..count).collect();
    let images = clip.image_features(family.pixels(&all), &at.affine);
    let texts = clip.text().features(prompts, Some(&at.context));
    values(normalize_rows(images).matmul(normalize_rows(texts).transpose()))
}

/// Losses, gradient norms, and at the end parameters and cosines, of six recorded steps.
fn check_steps(family: &Family, engine: Engine) {
    let clip = family.clip(engine);
    let context = family.expected.rows("context_token_ids").concat();
    let prompts = family.prompts("prompt_token_ids", context.len());
    let order: Vec<String> =
        serde_json::from_value(family.facts["affine_parameters"].clone()).unwrap();
    let affine = clip.zero_shot_affine().clone();
    let found: Vec<String> = affine.to_host().into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, order, "the order of the affine parameters");
    let mut parameters = TrainedParameters {
        context: clip.text().context_from_tokens(&context).unwrap(),
        affine,
        centring: None,
    };
    let before = cosines(family, &clip, &prompts, &parameters);
    family.close("zero_shot_cosine_logits", &before);

    let (all_weights, _) = family.expected.floats("weights");
    let batch_size = family.facts["batch_size"].as_u64().unwrap() as usize;
    let epochs = family.expected.rows("order");
    let batches: Vec<&[u32]> = epochs
        .iter()
        .flat_map(|epoch| epoch.chunks(batch_size))
        .collect();
    let steps = family.facts["steps"].as_array().unwrap();
    assert_eq!((steps.len(), batches.len()), (6, 6));
    for (index, (batch, expected)) in batches.iter().zip(steps).enumerate() {
        let weights: Vec<f32> = batch.iter().map(|&i| all_weights[i as usize]).collect();
        let choices = GradientChoices {
            indices: &[],
            train: TrainedPart::Both,
            blocks: TrainedBlocks::All,
            micro_batch: None,
        };
        let pixels = family.pixels(batch);
        let gradient = batch_gradient(&clip, &prompts, &parameters, &pixels, choices, |features| {
            let probabilities = features.probabilities();
            universal_entropy(probabilities, &weights, UnconfidentWeights::Inverse, 1.0)
        });
        for (quantity, found) in [
            ("loss", gradient.loss),
            ("affine_grad_norm", gradient.affine.norm()),
        ] {
            let expected = expected[quantity].as_f64().unwrap();
            assert!(
                (found - expected).abs() <= TOLERANCE * expected.abs(),
                "step {index}, {quantity}: found {found}, expected {expected}"
            );
        }
        let rate = |initial| cosine_annealing(initial, index, batches.len());
        parameters = parameters.descend(&gradient, rate(0.1), rate(0.03));
    }
    let found = parameters.to_host();
    let finals = family.expected.names("final.");
    assert_eq!(finals.len(), found.len(), "number of trained tensors");
    for name in finals {
        family.close(&name, &found[name.strip_prefix("final.").unwrap()].data);
    }
    let after = cosines(family, &clip, &prompts, &parameters);
    family.close("final_cosine_logits", &after);
}

fn check(name: &str) {
    let family = Family::open(name);
    check_tokens(&family);
    for engine in [Engine::Fused, Engine::Composed] {
        check_features(&family, engine);
        check_steps(&family, engine);
    }
}

#[test]
fn clipa_follows_open_clip() {
    check("clipa");
    let expected = Preprocessing {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        interpolation: Interpolation::Bilinear,
        resize_rule: ResizeRule::Squash,
        ..Preprocessing::clip(32)
    };
    assert_eq!(Family::open("clipa").checkpoint().preprocessing, expected);
}

#[test]
fn worldwide_texts_follow_open_clip() {
    check("worldwide-t5");
    check("worldwide-xlm");
}

#[test]
fn siglip_without_a_text_projection_follows_open_clip() {
    check("siglip-i18n");
}

#[test]
fn mobileclip_follows_open_clip() {
    check("mobileclip");
    check("mobileclip2");
}

#[test]
fn eva_follows_open_clip() {
    check("eva01");
    check("eva02");
    check("eva02-enormous");
}

#[test]
fn the_perception_encoder_follows_open_clip() {
    check("perception");
    check("perception-gigantic");
}

#[test]
fn composed_blocks_refuse_other_precisions() {
    let family = Family::open("eva02");
    assert!(!family.clip(Engine::Fused).offers(Precision::Bf16));
    assert!(
        Family::open("eva01")
            .clip(Engine::Fused)
            .offers(Precision::Bf16)
    );
    let Checkpoint {
        config, tensors, ..
    } = family.checkpoint();
    let error = Clip::with_precision(config, tensors, &Device::flex(), Precision::Bf16);
    assert!(matches!(error, Err(ModelError::BlockPrecision { .. })));
}

/// A copy of a fixture with one value of a file of JSON changed.
fn changed(family: &str, file: &str, pointer: &str, value: Value) -> TempDir {
    let copy = TempDir::new().unwrap();
    for entry in fs::read_dir(towers().join(family)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let path = copy.path().join(file);
    let mut content: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    content.pointer_mut(parent).unwrap()[key] = value;
    fs::write(&path, content.to_string()).unwrap();
    copy
}

#[test]
fn what_changes_results_is_refused_by_name() {
    let model = "open_clip_config.json";
    for (family, file, pointer, value) in [
        (
            "clipa",
            model,
            "/model_cfg/vision_cfg/final_ln_after_pool",
            json!(false),
        ),
        (
            "clipa",
            model,
            "/model_cfg/vision_cfg/pool_type",
            json!("none"),
        ),
        (
            "clipa",
            model,
            "/model_cfg/vision_cfg/pos_embed_type",
            json!("rotary"),
        ),
        (
            "clipa",
            model,
            "/model_cfg/text_cfg/pool_type",
            json!("first"),
        ),
        (
            "clipa",
            model,
            "/model_cfg/text_cfg/tokenizer_kwargs/language",
            json!("en"),
        ),
        (
            "worldwide-t5",
            model,
            "/model_cfg/text_cfg/proj_bias",
            json!(true),
        ),
        (
            "worldwide-t5",
            model,
            "/model_cfg/text_cfg/pool_type",
            json!("last"),
        ),
        (
            "worldwide-t5",
            model,
            "/model_cfg/text_cfg/eos_id",
            json!(2),
        ),
        (
            "worldwide-t5",
            model,
            "/model_cfg/text_cfg/tokenizer_kwargs/strip_sep_token",
            json!(true),
        ),
        (
            "siglip-i18n",
            model,
            "/model_cfg/text_cfg/proj_type",
            json!("mlp"),
        ),
        (
            "mobileclip",
            model,
            "/model_cfg/vision_cfg/timm_pool",
            json!("avg"),
        ),
        (
            "mobileclip",
            model,
            "/model_cfg/vision_cfg/timm_proj",
            json!("linear"),
        ),
        (
            "mobileclip",
            model,
            "/model_cfg/vision_cfg/image_size",
            json!(96),
        ),
        (
            "mobileclip",
            model,
            "/model_cfg/vision_cfg/timm_model_name",
            json!("vit_base_new_224"),
        ),
        (
            "eva02",
            model,
            "/model_cfg/vision_cfg/timm_pool",
            json!("map"),
        ),
        (
            "perception",
            model,
            "/model_cfg/vision_cfg/layers",
            json!(3),
        ),
        (
            "clipa",
            "tokenizer_config.json",
            "/do_lower_case",
            json!(false),
        ),
        (
            "clipa",
            "tokenizer_config.json",
            "/strip_accents",
            json!(true),
        ),
        (
            "clipa",
            "tokenizer_config.json",
            "/tokenizer_class",
            json!("GPT2Tokenizer"),
        ),
        (
            "clipa",
            "tokenizer.json",
            "/normalizer",
            json!({"type": "Lowercase"}),
        ),
        (
            "clipa",
            "tokenizer.json",
            "/pre_tokenizer",
            json!({"type": "Whitespace"}),
        ),
        ("clipa", "tokenizer.json", "/post_processor", Value::Null),
        (
            "clipa",
            "tokenizer.json",
            "/model/max_input_chars_per_word",
            json!(100_000),
        ),
    ] {
        let copy = changed(family, file, pointer, value);
        let error = load(copy.path()).unwrap_err().to_string();
        let (_, key) = pointer.rsplit_once('/').unwrap();
        // A class that does not fit is what `strip_sep_token` is refused for.
        let named = if key == "strip_sep_token" {
            "tokenizer_class"
        } else {
            key
        };
        assert!(error.contains(named), "{family} {pointer}: {error}");
    }
}

#[test]
fn fixed_positions_are_read_as_learned_ones() {
    let pointer = "/model_cfg/vision_cfg/pos_embed_type";
    let copy = changed(
        "clipa",
        "open_clip_config.json",
        pointer,
        json!("sin_cos_2d"),
    );
    let config = check_configuration(&copy.path().join("open_clip_config.json")).unwrap();
    assert_eq!(config, Family::open("clipa").checkpoint().config);
}

#[test]
fn a_text_tower_of_another_vocabulary_needs_its_files() {
    let copy = changed(
        "worldwide-xlm",
        "tokenizer_config.json",
        "/unused",
        Value::Null,
    );
    fs::remove_file(copy.path().join("tokenizer.json")).unwrap();
    let error = load(copy.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
}

#[test]
fn positions_of_another_input_are_resampled_where_open_clip_does_it() {
    let size = "/model_cfg/vision_cfg/image_size";
    let copy = changed("clipa", "open_clip_config.json", size, json!(48));
    let checkpoint = load(copy.path()).unwrap();
    let said = checkpoint.decisions.concat();
    assert!(
        said.contains("resampled from 4 x 4 to 6 x 6 patches"),
        "{said}"
    );
}

#[test]
fn what_no_layout_holds_is_not_written() {
    for (family, named) in [("clipa", "image tower"), ("worldwide-t5", "vocabulary")] {
        let checkpoint = Family::open(family).checkpoint();
        for layout in [Layout::OpenClip, Layout::HuggingFace] {
            let target = TempDir::new().unwrap();
            let error = save_as(target.path(), &checkpoint, layout).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}

#[test]
fn configurations_are_written_and_read_back() {
    for family in [
        "clipa",
        "mobileclip",
        "mobileclip2",
        "eva02",
        "perception-gigantic",
        "siglip-i18n",
    ] {
        let config = Family::open(family).checkpoint().config;
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(config, serde_json::from_str(&text).unwrap());
    }
}
