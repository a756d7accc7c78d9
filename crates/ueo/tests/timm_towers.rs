//! Image towers of timm against open_clip: features, and six steps of adaptation against PyTorch.
//!
//! `tools/fixtures/timm_towers.py` made the fixtures. Their configurations are tested beside the reader, since the towers are in no list
//! of timm's.

mod fixtures;
#[path = "fixtures/trajectory.rs"]
mod trajectory;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use ueo::model::{Clip, Engine, Prompts};

use fixtures::{Fixture, TIMM_TOWERS, assert_close};
use trajectory::{Recording, TOLERANCE, Trajectory};

/// `[SOS]` and `[EOS]` of the fixtures.
const MARKERS: [u32; 2] = [126, 127];

fn clip(name: &str, engine: Engine) -> Clip {
    let checkpoint = fixtures::timm_checkpoint(name);
    let device = Device::flex();
    Clip::with_engine(checkpoint.config, checkpoint.tensors, &device, engine).unwrap()
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

#[test]
fn features_equal_open_clip() {
    for name in TIMM_TOWERS {
        let expected = Fixture::open(&format!("timm/{name}/expected.safetensors"));
        for engine in [Engine::Fused, Engine::Composed] {
            let clip = clip(name, engine);
            let pixels = expected.tensor("pixels");
            let shape: [usize; 4] = pixels.shape.clone().try_into().unwrap();
            let pixels = Tensor::from_data(TensorData::new(pixels.data, shape), clip.device());
            let images = clip.image_features(pixels, clip.zero_shot_affine());
            let expected_images = expected.tensor("image_features").data;
            assert_close(name, &values(images), &expected_images, TOLERANCE);

            let [start, end] = MARKERS;
            let own = expected.integers("token_ids").into_iter().map(|row| {
                let length = row.iter().position(|&id| id == end).unwrap();
                row[1..=length].to_vec()
            });
            let prompts = Prompts::new(Some(start), 0, own.collect());
            let texts = clip.text().features(&prompts, None);
            let expected_texts = expected.tensor("text_features").data;
            assert_close(name, &values(texts), &expected_texts, TOLERANCE);
        }
    }
}

/// Six recorded steps.
fn follow_pytorch(name: &str, engine: Engine, micro_batch: Option<usize>) {
    let recording = Recording::open(&format!("timm/{name}/training"));
    let facts = &recording.facts;
    let tokens = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
    let context_tokens = tokens(&facts["context_token_ids"]);
    let [start, end] = MARKERS;
    let classes = facts["class_token_ids"].as_array().unwrap().iter();
    let own = classes.map(|class| [tokens(class), vec![end]].concat());
    let prompts = Prompts::new(Some(start), context_tokens.len(), own.collect());
    let clip = clip(name, engine);
    let trajectory = Trajectory::of_six_steps(recording, clip, prompts, &context_tokens);
    trajectory.replay_six_steps(micro_batch);
}

#[test]
fn six_steps_follow_pytorch_with_fused_kernels() {
    for name in TIMM_TOWERS {
        follow_pytorch(name, Engine::Fused, None);
        follow_pytorch(name, Engine::Fused, Some(5));
    }
}

#[test]
fn six_steps_follow_pytorch_with_composed_operations() {
    for name in TIMM_TOWERS {
        follow_pytorch(name, Engine::Composed, None);
    }
}
