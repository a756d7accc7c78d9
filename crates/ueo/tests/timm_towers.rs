//! Image towers of timm against open_clip: features, and six steps of adaptation against PyTorch.
//!
//! `tools/fixtures/timm_towers.py` made the fixtures. Their configurations are tested beside the reader, since the towers are in no list
//! of timm's.

mod fixtures;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use ueo::adapt::{
    GradientChoices, TrainedBlocks, TrainedParameters, batch_gradient, cosine_annealing,
};
use ueo::method::TrainedPart;
use ueo::model::{Clip, Engine, Prompts};
use ueo::objective::{UnconfidentWeights, universal_entropy};
use ueo::session::Classifier;

use fixtures::{Fixture, TIMM_TOWERS, assert_close};

const TOLERANCE: f64 = 1e-4;
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

/// Losses, gradient norms, and at the end parameters and cosines, of six recorded steps.
fn follow_pytorch(name: &str, engine: Engine, micro_batch: Option<usize>) {
    let facts = fixtures::json(&format!("timm/{name}/training.json"));
    let arrays = Fixture::open(&format!("timm/{name}/training.safetensors"));
    let clip = clip(name, engine);
    let list = |key: &str| -> Vec<Value> { facts[key].as_array().unwrap().clone() };
    let tokens = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
    let context_tokens = tokens(&facts["context_token_ids"]);
    let [start, end] = MARKERS;
    let own = list("class_token_ids")
        .iter()
        .map(|class| [tokens(class), vec![end]].concat())
        .collect();
    let prompts = Prompts::new(Some(start), context_tokens.len(), own);
    let affine = clip.zero_shot_affine().clone();
    let found: Vec<Value> = affine
        .to_host()
        .into_iter()
        .map(|(name, _)| name.into())
        .collect();
    assert_eq!(
        found,
        list("affine_parameters"),
        "the order of the affine parameters"
    );
    let mut parameters = TrainedParameters {
        context: clip.text().context_from_tokens(&context_tokens).unwrap(),
        affine,
        centring: None,
    };

    let images = arrays.tensor("images");
    let [count, channels, height, width]: [usize; 4] = images.shape.clone().try_into().unwrap();
    let size = channels * height * width;
    let pixels = |batch: &[u32]| -> Tensor<4> {
        let data: Vec<f32> = batch
            .iter()
            .flat_map(|&index| &images.data[index as usize * size..][..size])
            .map(|byte| (byte - 128.0) / 64.0)
            .collect();
        let shape = [batch.len(), channels, height, width];
        Tensor::from_data(TensorData::new(data, shape), clip.device())
    };
    let cosines = |parameters: &TrainedParameters| {
        let all: Vec<u32> = (0..count as u32).collect();
        let features = clip.image_features(pixels(&all), &parameters.affine);
        values(Classifier::new(&clip, &prompts, parameters).cosine_logits(features))
    };
    let expected = arrays.tensor("zero_shot_cosine_logits").data;
    assert_close(
        "zero-shot cosines",
        &cosines(&parameters),
        &expected,
        TOLERANCE,
    );

    let all_weights = arrays.tensor("weights").data;
    let batch_size = facts["batch_size"].as_u64().unwrap() as usize;
    let order = arrays.integers("order");
    let batches: Vec<&[u32]> = order
        .iter()
        .flat_map(|epoch| epoch.chunks(batch_size))
        .collect();
    let steps = list("steps");
    assert_eq!((steps.len(), batches.len()), (6, 6));
    for (index, (batch, expected)) in batches.iter().zip(&steps).enumerate() {
        let weights: Vec<f32> = batch.iter().map(|&i| all_weights[i as usize]).collect();
        let choices = GradientChoices {
            indices: &[],
            train: TrainedPart::Both,
            blocks: TrainedBlocks::All,
            micro_batch,
        };
        let loss = UnconfidentWeights::Inverse;
        let gradient = batch_gradient(
            &clip,
            &prompts,
            &parameters,
            &pixels(batch),
            choices,
            |features| universal_entropy(features.probabilities(), &weights, loss, 1.0),
        );
        let squares = values(gradient.context.clone())
            .into_iter()
            .map(|x| f64::from(x).powi(2));
        for (quantity, found) in [
            ("loss", gradient.loss),
            ("conditional_entropy", gradient.conditional_entropy),
            ("marginal_entropy", gradient.marginal_entropy),
            ("context_grad_norm", squares.sum::<f64>().sqrt()),
            ("affine_grad_norm", gradient.affine.norm()),
        ] {
            let expected = expected[quantity].as_f64().unwrap();
            assert!(
                (found - expected).abs() <= TOLERANCE * expected.abs(),
                "{name}, step {index}, {quantity}: found {found}, expected {expected}"
            );
        }
        let rate = |initial| cosine_annealing(initial, index, batches.len());
        parameters = parameters.descend(&gradient, rate(0.1), rate(0.03));
    }
    let found = parameters.to_host();
    let finals = arrays.names("final.");
    assert_eq!(finals.len(), found.len(), "number of trained tensors");
    for name in finals {
        let found = &found[name.strip_prefix("final.").unwrap()];
        assert_close(&name, &found.data, &arrays.tensor(&name).data, TOLERANCE);
    }
    let expected = arrays.tensor("final_cosine_logits").data;
    assert_close("final cosines", &cosines(&parameters), &expected, TOLERANCE);
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
