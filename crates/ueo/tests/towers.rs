//! Features of both towers against the Python package that owns each checkpoint layout.
//!
//! `tools/fixtures/checkpoints.py` made the checkpoints and the expected features.

mod fixtures;

use burn::tensor::{Device, Tensor, TensorData};
use ueo::model::{Clip, Engine, Precision, Prompts};

use fixtures::{Fixture, assert_close};

/// Largest difference relative to the largest expected feature.
const TOLERANCE: f64 = 1e-4;

#[test]
fn every_layout_gives_the_features_of_its_own_package() {
    let names = [
        "hf-vit",
        "hf-vit-bin",
        "openai-rn-torchscript-f16",
        "openai-vit-state-dict",
        "openai-vit-torchscript-f16",
        "openai-vit-torchscript-f32",
        "openclip-custom-text",
        "openclip-rn",
        "openclip-training-checkpoint",
        "openclip-vit",
        "openclip-vit-layer-scale",
        "openclip-vit-quickgelu-bin",
    ];
    for name in names {
        for engine in [Engine::Fused, Engine::Composed] {
            compare_features(name, engine, &Device::flex(), TOLERANCE);
        }
    }
}

#[cfg(feature = "wgpu")]
#[test]
fn a_graphics_processor_gives_the_features_of_each_package() {
    let device = fixtures::graphics_processor().burn().clone();
    for name in [
        "hf-vit",
        "openai-rn-torchscript-f16",
        "openai-vit-torchscript-f32",
        "openclip-rn",
        "openclip-vit-layer-scale",
    ] {
        compare_features(name, Engine::Composed, &device, fixtures::DEVICE_TOLERANCE);
    }
}

fn compare_features(name: &str, engine: Engine, device: &Device, tolerance: f64) {
    let fixture = Fixture::open(&format!("checkpoints/{name}/expected.safetensors"));
    let checkpoint = ueo::checkpoint::load(&fixtures::checkpoint_path(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let clip = Clip::with_engine(checkpoint.config, checkpoint.tensors, device, engine)
        .unwrap_or_else(|error| panic!("{name}: {error}"));

    let pixels = fixture.tensor("pixels");
    let pixels = Tensor::<4>::from_data(TensorData::new(pixels.data, pixels.shape), device);
    let found = clip.image_features(pixels, clip.zero_shot_affine());
    let expected = fixture.tensor("image_features");
    assert_close(
        &format!("{name}: image features"),
        &values(found),
        &expected.data,
        tolerance,
    );

    let end = fixtures::eot_positions(name);
    let token_ids = fixture.integers("token_ids");
    let own_tokens = token_ids
        .iter()
        .zip(&end)
        .map(|(row, &end)| row[1..=end].to_vec())
        .collect();
    let prompts = Prompts::new(token_ids[0][0], 0, own_tokens);
    let found = clip.text().features(&prompts, None);
    let expected = fixture.tensor("text_features");
    assert_close(
        &format!("{name}: text features"),
        &values(found),
        &expected.data,
        tolerance,
    );

    let expected = fixture.tensor("logit_scale").data;
    let found = [clip.logit_scale() as f32];
    assert_close(&format!("{name}: logit scale"), &found, &expected, 1e-6);
}

#[test]
fn bf16_features_point_where_those_of_the_package_do() {
    for name in ["openai-vit-torchscript-f32", "openclip-rn"] {
        compare_rounded_features(name);
    }
}

fn compare_rounded_features(name: &str) {
    let fixture = Fixture::open(&format!("checkpoints/{name}/expected.safetensors"));
    let expected = fixture.tensor("image_features");
    let features = |precision| {
        let checkpoint = ueo::checkpoint::load(&fixtures::checkpoint_path(name)).unwrap();
        let (config, tensors, device) = (checkpoint.config, checkpoint.tensors, Device::flex());
        let clip = Clip::with_precision(config, tensors, &device, precision).unwrap();
        let pixels = fixture.tensor("pixels");
        let pixels = Tensor::<4>::from_data(TensorData::new(pixels.data, pixels.shape), &device);
        values(clip.image_features(pixels, clip.zero_shot_affine()))
    };
    assert_close("f32", &features(Precision::F32), &expected.data, TOLERANCE);
    let split = features(Precision::F32Split);
    assert_close("f32-split", &split, &expected.data, TOLERANCE);
    // Two blocks with four roundings of at most 2^-9 in each; the largest difference of all features, not the typical one.
    let rounded = features(Precision::Bf16);
    assert_close("bf16", &rounded, &expected.data, 3e-2);
    let largest = expected.data.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    let difference = rounded.iter().zip(&expected.data);
    let difference = difference.fold(0.0_f32, |sum, (a, b)| sum.max((a - b).abs()));
    assert!(
        difference > 1e-4 * largest,
        "bf16 has not rounded anything: {difference}"
    );
}

#[test]
fn splitting_the_prompt_into_context_and_own_tokens_changes_nothing() {
    let name = "openai-vit-torchscript-f32";
    let fixture = Fixture::open(&format!("checkpoints/{name}/expected.safetensors"));
    let checkpoint = ueo::checkpoint::load(&fixtures::checkpoint_path(name)).unwrap();
    let clip = Clip::from_checkpoint(checkpoint, &Device::flex()).unwrap();
    let end = fixtures::eot_positions(name);
    let token_ids = fixture.integers("token_ids");
    let expected = fixture.tensor("text_features");
    let embed_dim = expected.shape[1];
    let mut checked = 0;
    for (row, (tokens, &end)) in token_ids.iter().zip(&end).enumerate() {
        for context_len in 1..end.min(5) {
            let context = clip
                .text()
                .context_from_tokens(&tokens[1..=context_len])
                .unwrap();
            let own_tokens = vec![tokens[1 + context_len..=end].to_vec()];
            let prompts = Prompts::new(tokens[0], context_len, own_tokens);
            let found = clip.text().features(&prompts, Some(&context));
            let expected = &expected.data[row * embed_dim..(row + 1) * embed_dim];
            assert_close("text features", &values(found), expected, TOLERANCE);
            checked += 1;
        }
    }
    assert!(
        checked > 3,
        "the fixture's prompts are too short to be split"
    );
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}
