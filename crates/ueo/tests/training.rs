//! Adaptation step by step against PyTorch: losses, gradient norms, first gradients, final parameters, final cosines.
//!
//! `tools/fixtures/training.py` made the trajectories with the plain reference in `tools/fixtures/reference.py`.

mod fixtures;
#[path = "fixtures/trajectory.rs"]
mod trajectory;

use burn::tensor::Device;
use serde_json::Value;
use ueo::adapt::{Settings, StepSize, TrainedParameters};
use ueo::checkpoint::ClipConfig;
use ueo::model::{Clip, Engine, ModelError, Precision, Prompts};
use ueo::objective::{ConfidenceWeights, confidence_weights};
use ueo::tensor::TensorMap;

use fixtures::assert_close;
use trajectory::{Case, Recording, TOLERANCE, Trajectory};

fn open(name: &str, engine: Engine) -> Trajectory {
    build(
        name,
        Device::flex(),
        TOLERANCE,
        |config, tensors, device| Clip::with_engine(config, tensors, device, engine),
    )
}

#[cfg(feature = "wgpu")]
fn open_on(name: &str, device: Device) -> Trajectory {
    let tolerance = fixtures::DEVICE_TOLERANCE;
    build(name, device, tolerance, Clip::from_tensors)
}

fn open_with_precision(name: &str, precision: Precision) -> Trajectory {
    build(
        name,
        Device::flex(),
        TOLERANCE,
        |config, tensors, device| Clip::with_precision(config, tensors, device, precision),
    )
}

fn build(
    name: &str,
    device: Device,
    tolerance: f64,
    clip: impl FnOnce(ClipConfig, TensorMap, &Device) -> Result<Clip, ModelError>,
) -> Trajectory {
    let recording = Recording::open(&format!("training/{name}"));
    let Recording { facts, arrays } = &recording;
    let path = fixtures::path("checkpoints").join(facts["checkpoint"].as_str().unwrap());
    let checkpoint = ueo::checkpoint::load(&path).unwrap();
    let clip = clip(checkpoint.config, checkpoint.tensors, &device).unwrap();

    let tokens = arrays.integers("prompt_token_ids");
    let context_tokens = arrays.integers("context_token_ids").concat();
    let ends = fixtures::integers(&facts["eot_positions"]);
    let own_tokens = tokens
        .iter()
        .zip(ends)
        .map(|(row, end)| row[1 + context_tokens.len()..=end].to_vec())
        .collect();
    let prompts = Prompts::new(tokens[0][0], context_tokens.len(), own_tokens);
    Trajectory {
        start: trajectory::start(&clip, &context_tokens),
        settings: settings(facts),
        recording,
        clip,
        prompts,
        tolerance,
    }
}

/// How the recorded cases descend.
fn settings(facts: &Value) -> Settings {
    let rate = |name: &str| facts[name].as_f64().unwrap();
    let step_size = match facts["step_size"].as_str() {
        Some("relative") => StepSize::Relative,
        _ => StepSize::Gradient,
    };
    Settings::default()
        .epochs(facts["epochs"].as_u64().unwrap() as usize)
        .step_size(step_size)
        .context_learning_rate(rate("context_learning_rate"))
        .affine_learning_rate(rate("affine_learning_rate"))
}

/// Every recorded case of an architecture, with whole batches and with micro-batches.
fn replay_all(trajectory: &Trajectory) {
    let cosines = trajectory.check_zero_shot();
    let Recording { facts, arrays } = &trajectory.recording;
    for (case, facts) in facts["cases"].as_object().unwrap() {
        let source = match facts["confidence_weights"].as_str().unwrap() {
            "zero-shot" => ConfidenceWeights::ZeroShot,
            "uniform" => ConfidenceWeights::Uniform,
            "oracle" => ConfidenceWeights::Oracle,
            other => panic!("unknown confidence weights {other}"),
        };
        let known = arrays.tensor("known").data;
        let known: Vec<bool> = known.iter().map(|&known| known > 0.0).collect();
        let temperature = facts["weight_temperature"].as_f64().unwrap_or(1.0);
        let classes = trajectory.prompts.len();
        let weights = confidence_weights(source, &cosines, classes, temperature, &known);
        let expected = arrays.tensor(&format!("{case}.confidence_weights")).data;
        let tolerance = trajectory.tolerance;
        assert_close(&format!("{case}: weights"), &weights, &expected, tolerance);

        let case = Case {
            prefix: &format!("{case}."),
            steps: facts["steps"].as_array().unwrap(),
            weights: &expected,
            trade_off: facts["trade_off"].as_f64().unwrap(),
        };
        trajectory.replay(&case, None);
        trajectory.replay(&case, Some(5));
    }
}

/// Every trained number by name.
fn trained(parameters: &TrainedParameters) -> Vec<(String, Vec<f32>)> {
    let context = parameters.context.clone().try_into_vec_as::<f32>().unwrap();
    let affine = parameters.affine.to_host().into_iter();
    affine
        .map(|(name, tensor)| (name, tensor.data))
        .chain([("context".to_owned(), context)])
        .collect()
}

/// The kernels compute nothing in the last block that only unread tokens need; the composition computes all of it.
#[test]
fn fused_kernels_follow_the_composition_in_values_gradients_and_steps() {
    // The order of sums alone differs; 2e-5 is seen in the third step.
    const TOLERANCE: f64 = 5e-5;
    // So long a step that what is left of the start lies below the rounding of the gradient.
    const LONG_STEP: f64 = 1e6;
    let [fused, composed] = [Engine::Fused, Engine::Composed].map(|engine| open("vit", engine));
    let batch = [0, 1, 2, 3, 4, 5];
    let weights = [0.9, 0.2, 0.7, 0.4, 0.6, 0.1];
    let mut parameters = [fused.start.clone(), composed.start.clone()];
    for step in 0..3 {
        let found = fused.cosine_logits(&parameters[0]);
        let expected = composed.cosine_logits(&parameters[1]);
        assert_close(
            &format!("step {step}: cosines"),
            &found,
            &expected,
            TOLERANCE,
        );
        let gradients = [(&fused, &parameters[0]), (&composed, &parameters[1])]
            .map(|(engine, parameters)| engine.gradient(parameters, &batch, &weights, 1.0, None));
        let far = [0, 1].map(|engine: usize| {
            let start = &parameters[engine];
            trained(&start.descend(&gradients[engine], LONG_STEP, LONG_STEP))
        });
        for ((name, found), (_, expected)) in far[0].iter().zip(&far[1]) {
            let what = format!("step {step}: gradient of {name}");
            assert_close(&what, found, expected, TOLERANCE);
        }
        parameters =
            [0, 1].map(|engine: usize| parameters[engine].descend(&gradients[engine], 0.05, 0.05));
        let [found, expected] = [0, 1].map(|engine: usize| trained(&parameters[engine]));
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            assert_close(&format!("step {step}: {name}"), found, expected, TOLERANCE);
        }
    }
}

#[test]
fn vision_transformer_follows_pytorch_with_fused_kernels() {
    replay_all(&open("vit", Engine::Fused));
}

#[test]
fn vision_transformer_follows_pytorch_with_composed_operations() {
    replay_all(&open("vit", Engine::Composed));
}

#[test]
fn relative_steps_follow_pytorch() {
    replay_all(&open("vit-relative", Engine::Fused));
}

#[test]
fn modified_resnet_follows_pytorch_with_fused_kernels() {
    replay_all(&open("resnet", Engine::Fused));
}

#[test]
fn modified_resnet_follows_pytorch_with_composed_operations() {
    replay_all(&open("resnet", Engine::Composed));
}

#[cfg(feature = "wgpu")]
#[test]
fn vision_transformer_follows_pytorch_on_a_graphics_processor() {
    replay_all(&open_on(
        "vit",
        fixtures::graphics_processor().burn().clone(),
    ));
}

#[cfg(feature = "wgpu")]
#[test]
fn modified_resnet_follows_pytorch_on_a_graphics_processor() {
    replay_all(&open_on(
        "resnet",
        fixtures::graphics_processor().burn().clone(),
    ));
}

/// Where the CPU has AMX; everywhere else this is f32 itself.
#[test]
fn vision_transformer_follows_pytorch_in_split_f32() {
    replay_all(&open_with_precision("vit", Precision::F32Split));
}

/// An instruction set is chosen once in a process, so each gets processes of its own, which run the tests above.
#[test]
fn every_instruction_set_follows_pytorch() {
    for capability in ueo_kernels::Capability::available() {
        let name = capability.instruction_set().name();
        for test in [
            "vision_transformer_follows_pytorch_with_fused_kernels",
            "vision_transformer_follows_pytorch_in_split_f32",
            "modified_resnet_follows_pytorch_with_fused_kernels",
        ] {
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", test])
                .env("UEO_INSTRUCTION_SET", name)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && text.contains("1 passed"),
                "{name}: {text}"
            );
        }
    }
}
