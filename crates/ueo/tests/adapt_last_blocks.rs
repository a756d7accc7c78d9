//! Training the last blocks only: the same gradients as those of the whole tower, and the same bits whether what comes before them was
//! computed once or in every step. What a run will cost.

mod fixtures;

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use ueo::Method;
use ueo::adapt::{
    ActivationCache, Adaptation, Augmentation, BatchGradient, Cost, GradientChoices, PixelSource,
    Saving, Settings, TrainedBlocks, batch_gradient,
};
use ueo::checkpoint::{self, Checkpoint, VisionConfig};
use ueo::exchange::Alone;
use ueo::guard::{Criterion, Keep, Scoring};
use ueo::image::ViewKind;
use ueo::method::TrainedPart;
use ueo::model::{Clip, Engine, Precision};
use ueo::objective::mutual_information;
use ueo::session::{Classifier, Model, Stage, encode_images};
use ueo::tensor::TensorMap;

use fixtures::noise::{CLASSES, Noise, Sessions, bits};

const IMAGES: usize = 10;
const EPOCHS: usize = 5;

/// The first images of noise, `[images, 3, size, size]`.
fn pixels(images: usize, model: &Model) -> Tensor<4> {
    let noise = Noise::new(IMAGES, model);
    let size = noise.image_size();
    let pixels = (0..images).flat_map(|image| noise.pixels(image, ViewKind::Test));
    let data = TensorData::new(pixels.collect::<Vec<f32>>(), [images, 3, size, size]);
    Tensor::from_data(data, &Device::flex())
}

/// The trained tensors that an adaptation in sessions of so many steps ends with, and the images that its sessions asked for.
fn adapted(
    model: &Model,
    settings: &Settings,
    cache: &ActivationCache,
    steps: usize,
) -> (TensorMap, usize) {
    let sessions = Sessions {
        model,
        settings,
        cache,
        images: IMAGES,
        steps,
        is_knowing: false,
    };
    sessions.run()
}

fn last(count: usize) -> TrainedBlocks {
    TrainedBlocks::last(count).unwrap()
}

fn settings(blocks: usize) -> Settings {
    let mut settings = Settings::new(Method::Ueo)
        .train_blocks(last(blocks))
        .augmentation(Augmentation::None)
        .epochs(EPOCHS)
        .batch_size(4);
    settings.context_learning_rate = 0.05;
    settings.affine_learning_rate = 0.02;
    settings
}

/// A vision transformer, a ResNet and towers of timm.
fn checkpoints() -> impl Iterator<Item = Checkpoint> {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/iconclip-resnet");
    let transformer = fixtures::path("checkpoints").join("hf-vit/model");
    let loaded = [transformer, shipped.into()].map(|path| checkpoint::load(&path).unwrap());
    let towers = fixtures::TIMM_TOWERS.map(fixtures::timm_checkpoint);
    loaded.into_iter().chain(towers)
}

/// All of them in a precision.
fn models(precision: Precision) -> impl Iterator<Item = Model> {
    checkpoints().map(move |checkpoint| {
        Model::from_checkpoint(checkpoint, &ueo::Device::default(), precision).unwrap()
    })
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.clone().try_into_vec_as::<f32>().unwrap()
}

/// Norm of the difference relative to the norm.
fn error(found: &[f32], expected: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|value| f64::from(value).powi(2)).sum::<f64>()
    };
    let difference = square(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    (difference / square(&mut expected.iter().copied())).sqrt()
}

#[test]
fn both_halves_of_a_tower_give_what_the_whole_gives() {
    for model in models(Precision::F32) {
        let (clip, affine) = (&model.clip, &model.parameters.affine);
        let pixels = pixels(5, &model);
        let whole = values(&clip.image_features(pixels.clone(), affine));
        for block in 0..clip.image_blocks() {
            let inputs = clip.block_inputs(block, pixels.clone(), affine);
            let [images, tokens, width] = inputs.dims();
            assert_eq!(
                (images, [tokens, width]),
                (5, clip.block_input_shape(block))
            );
            let features = values(&clip.features_from_block(block, inputs, affine));
            assert!(features == whole, "block {block}");
        }
    }
    for model in models(Precision::Bf16) {
        let (clip, affine) = (&model.clip, &model.parameters.affine);
        let pixels = pixels(5, &model);
        let whole = values(&clip.image_features(pixels.clone(), affine));
        let inputs = clip.block_inputs(1, pixels, affine);
        let all = values(&inputs);
        assert!(
            all.iter().all(|value| value.to_bits() & 0xffff == 0),
            "not bf16"
        );
        let features = values(&clip.features_from_block(1, inputs, affine));
        assert!(error(&features, &whole) < 1e-2);
    }
}

/// The gradient of a batch of five images of one loss.
fn gradient(
    model: &Model,
    clip: &Clip,
    blocks: TrainedBlocks,
    micro: Option<usize>,
) -> BatchGradient {
    let prompts = model.prompts(&CLASSES.map(str::to_owned)).unwrap();
    let choices = GradientChoices {
        indices: &[0, 1, 2, 3, 4],
        train: TrainedPart::Both,
        blocks,
        micro_batch: micro,
    };
    let pixels = pixels(5, model);
    batch_gradient(
        clip,
        &prompts,
        &model.parameters,
        &pixels,
        choices,
        |features| mutual_information(features.probabilities()),
    )
}

/// What a step of each gradient changes, by name.
fn steps(model: &Model, gradient: &BatchGradient) -> TensorMap {
    model.parameters.descend(gradient, 1.0, 1.0).to_host()
}

/// Whether a layer of a tower with so many blocks is among its last ones.
fn is_trained(model: &Model, name: &str, blocks: usize) -> bool {
    let first = model.clip.image_blocks() - blocks;
    let norms = model.parameters.affine.norms();
    let last = &norms[model.clip.first_norm(first)..];
    name == "context"
        || last
            .iter()
            .any(|norm| name.starts_with(&format!("{}.", norm.name)))
}

#[test]
fn gradients_are_those_of_the_whole_tower() {
    for model in models(Precision::F32) {
        let before = model.parameters.to_host();
        let whole = steps(
            &model,
            &gradient(&model, &model.clip, TrainedBlocks::All, None),
        );
        for blocks in 1..=model.clip.image_blocks() {
            for micro in [None, Some(2)] {
                let found = gradient(&model, &model.clip, last(blocks), micro);
                let found = steps(&model, &found);
                let mut trained = 0;
                for (name, found) in &found {
                    let expected = match is_trained(&model, name, blocks) {
                        true => &whole[name],
                        false => &before[name],
                    };
                    trained += usize::from(expected.data != before[name].data);
                    if !is_trained(&model, name, blocks) {
                        assert!(found == expected, "last-{blocks}: {name}");
                        continue;
                    }
                    // Burn's first normalization rounds otherwise where it is part of a graph.
                    let error = error(&found.data, &expected.data);
                    assert!(error < 1e-5, "last-{blocks}: {name} differs by {error:e}");
                }
                assert!(trained > 2 * blocks, "{trained} tensors of last-{blocks}");
            }
        }
    }
}

#[test]
fn composed_blocks_agree_with_the_fused_ones() {
    for (checkpoint, model) in checkpoints().zip(models(Precision::F32)) {
        let composed = Clip::with_engine(
            checkpoint.config,
            checkpoint.tensors,
            &Device::flex(),
            Engine::Composed,
        )
        .unwrap();
        let fused = gradient(&model, &model.clip, last(1), None);
        let composed = gradient(&model, &composed, last(1), None);
        assert!((fused.loss - composed.loss).abs() < 1e-5);
        assert!((fused.affine.norm() / composed.affine.norm() - 1.0).abs() < 1e-4);
        let [fused, composed] = [fused, composed].map(|gradient| steps(&model, &gradient));
        for (name, fused) in &fused {
            let error = error(&fused.data, &composed[name].data);
            assert!(error < 1e-4, "{name} differs by {error:e}");
        }
    }
}

#[test]
fn what_comes_before_the_trained_blocks_is_computed_once_and_changes_no_bit() {
    let place = tempfile::tempdir().unwrap();
    let memory = ActivationCache::default();
    let nothing = ActivationCache {
        memory_bytes: 0,
        directory: None,
    };
    let file = ActivationCache {
        memory_bytes: 0,
        directory: Some(place.path().into()),
    };
    for precision in [Precision::F32, Precision::Bf16] {
        for model in models(precision) {
            let views = settings(1)
                .augmentation(Augmentation::CropFlip)
                .views(Some(2));
            for (settings, views) in [(settings(1), 1), (views, 2)] {
                let (whole, delivered) = adapted(&model, &settings, &memory, usize::MAX);
                assert_eq!(delivered, views * IMAGES, "{precision}");
                let (from_file, delivered) = adapted(&model, &settings, &file, usize::MAX);
                assert_eq!(delivered, views * IMAGES, "{precision}");
                let (computed, delivered) = adapted(&model, &settings, &nothing, usize::MAX);
                assert_eq!(delivered, EPOCHS * IMAGES, "{precision}");
                // A session of one step knows nothing of the others.
                let (pieces, _) = adapted(&model, &settings, &memory, 1);
                let whole = bits(&whole);
                assert!(whole == bits(&from_file), "{precision}: file");
                assert!(whole == bits(&computed), "{precision}: nothing kept");
                assert!(whole == bits(&pieces), "{precision}: in pieces");
            }
        }
    }
}

#[test]
fn new_views_are_encoded_in_every_epoch() {
    let cache = ActivationCache::default();
    for model in models(Precision::F32) {
        let settings = settings(1).augmentation(Augmentation::CropFlip);
        let (whole, delivered) = adapted(&model, &settings, &cache, usize::MAX);
        assert_eq!(delivered, EPOCHS * IMAGES);
        assert!(bits(&whole) == bits(&adapted(&model, &settings, &cache, 3).0));
    }
}

#[test]
fn passes_between_epochs_use_what_is_known() {
    let cache = ActivationCache::default();
    let mut settings = settings(1);
    settings.keep = Keep::BestBy(Criterion::SoftNeighborhoodDensity);
    for model in models(Precision::F32) {
        for micro_batch in [None, Some(3)] {
            settings.micro_batch = micro_batch;
            let (whole, delivered) = adapted(&model, &settings, &cache, usize::MAX);
            // Burn's products round otherwise for other numbers of rows: there, parts of each size are known for themselves.
            let is_composed = matches!(
                model.base.config.vision,
                VisionConfig::ConvNext(_) | VisionConfig::ViTamin(_)
            );
            let limit = if is_composed { 4 * IMAGES } else { IMAGES };
            assert!((IMAGES..=limit).contains(&delivered), "{delivered}");
            assert!(bits(&whole) == bits(&adapted(&model, &settings, &cache, 2).0));
        }
    }
}

#[test]
fn only_the_last_blocks_change() {
    let cache = ActivationCache::default();
    for model in models(Precision::F32) {
        let before = model.parameters.to_host();
        let (after, _) = adapted(&model, &settings(1), &cache, usize::MAX);
        for (name, after) in &after {
            let changed = *after != before[name];
            assert_eq!(changed, is_trained(&model, name, 1), "{name}");
        }
    }
}

#[test]
fn more_blocks_than_there_are_is_an_error() {
    for model in models(Precision::F32) {
        let blocks = model.clip.image_blocks();
        let settings = settings(blocks + 1);
        let error = settings.train_blocks.check(&model.clip).unwrap_err();
        let expected = format!("at most last-{blocks}");
        assert!(error.to_string().contains(&expected), "{error}");
    }
}

/// What an adaptation of a shipped model with five blocks will cost.
fn cost(model: &Model, settings: &Settings) -> Option<Cost> {
    let prompts = model.prompts(&CLASSES.map(str::to_owned)).unwrap();
    let objective = settings.objective().unwrap();
    let clip = &*model.clip;
    let images = Noise::new(IMAGES, model);
    let affine = &model.parameters.affine;
    let features = encode_images(clip, affine, &images, Stage::ZeroShot, &mut ()).unwrap();
    let classifier = Classifier::new(clip, &prompts, &model.parameters);
    let adaptation = Adaptation {
        clip,
        prompts: &prompts,
        objective: &*objective,
        settings,
        scoring: Scoring::new(clip.logit_scale()),
        activation_cache: ActivationCache::default(),
        exchange: &Alone,
    };
    let pass = features.zero_shot(clip, &classifier);
    let state = adaptation.begin(model.parameters.clone(), &pass).unwrap();
    adaptation
        .cost(&features.features, &state, &images)
        .unwrap()
}

#[test]
fn a_long_run_is_told_what_would_be_shorter() {
    for name in ["iconclip-vit", "iconclip-resnet"] {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models")).join(name);
        let model = Model::open(path).unwrap();
        let settings = Settings::new(Method::Ueo).batch_size(4);
        assert_eq!(cost(&model, &settings.clone().epochs(6)), None, "18 steps");
        let short = cost(&model, &settings.clone().epochs(7)).unwrap();
        assert_eq!((short.steps, short.epochs, short.kept_bytes), (21, 7, 0));
        assert!(short.secs > 0.0 && short.cheaper.is_empty());

        let long = cost(&model, &settings.clone().epochs(100_000_000)).unwrap();
        let times: Vec<f64> = long.cheaper.iter().map(|&(_, secs)| secs).collect();
        assert!(times.is_sorted() && times.iter().all(|&secs| secs < long.secs));
        let ways: Vec<Saving> = long.cheaper.iter().map(|&(saving, _)| saving).collect();
        assert!(ways.contains(&Saving::Epochs(5)), "{name}: {ways:?}");
        let is_context = |way: &Saving| *way == Saving::Context { views: Some(4) };
        assert!(ways.iter().any(is_context), "{name}: {ways:?}");

        let [tokens, width] = model.clip.block_input_shape(4);
        let last = settings
            .train_blocks(last(1))
            .augmentation(Augmentation::None)
            .epochs(7);
        let last = cost(&model, &last).unwrap();
        assert_eq!(last.kept_bytes, (4 * IMAGES * tokens * width) as u64);
    }
}
