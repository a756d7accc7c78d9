//! Adaptation step by step against PyTorch: losses, gradient norms, first gradients, final parameters, final cosines.
//!
//! `tools/fixtures/training.py` made the trajectories with the plain reference in `tools/fixtures/reference.py`.

mod fixtures;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use ueo::adapt::{
    BatchGradient, GradientChoices, GroupNorms, Settings, StepSize, TrainedBlocks,
    TrainedParameters, batch_gradient,
};
use ueo::checkpoint::ClipConfig;
use ueo::method::TrainedPart;
use ueo::model::{Clip, Engine, ModelError, Precision, Prompts};
use ueo::objective::{
    ConfidenceWeights, UnconfidentWeights, confidence_weights, universal_entropy,
};
use ueo::session::Classifier;
use ueo::tensor::TensorMap;

use fixtures::{Fixture, assert_close};

/// Relative tolerance of everything that is compared.
const TOLERANCE: f64 = 1e-4;

struct Trajectory {
    facts: Value,
    arrays: Fixture,
    clip: Clip,
    prompts: Prompts,
    start: TrainedParameters,
    device: Device,
    tolerance: f64,
}

impl Trajectory {
    fn open(name: &str, engine: Engine) -> Self {
        Self::build(
            name,
            Device::flex(),
            TOLERANCE,
            |config, tensors, device| Clip::with_engine(config, tensors, device, engine),
        )
    }

    #[cfg(feature = "wgpu")]
    fn open_on(name: &str, device: Device) -> Self {
        let tolerance = fixtures::DEVICE_TOLERANCE;
        Self::build(name, device, tolerance, Clip::from_tensors)
    }

    fn open_with_precision(name: &str, precision: Precision) -> Self {
        Self::build(
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
    ) -> Self {
        let facts = fixtures::json(&format!("training/{name}.json"));
        let arrays = Fixture::open(&format!("training/{name}.safetensors"));
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
        let start = TrainedParameters {
            context: clip.text().context_from_tokens(&context_tokens).unwrap(),
            affine: clip.zero_shot_affine().clone(),
            centring: None,
        };
        Self {
            facts,
            arrays,
            clip,
            prompts,
            start,
            device,
            tolerance,
        }
    }

    fn pixels(&self, indices: &[u32]) -> Tensor<4> {
        let images = self.arrays.tensor("images");
        let size = images.shape[1..].iter().product::<usize>();
        let data: Vec<f32> = indices
            .iter()
            .flat_map(|&index| &images.data[index as usize * size..(index as usize + 1) * size])
            .map(|byte| (byte - 128.0) / 64.0)
            .collect();
        let shape = [
            indices.len(),
            images.shape[1],
            images.shape[2],
            images.shape[3],
        ];
        Tensor::from_data(TensorData::new(data, shape), &self.device)
    }

    fn cosine_logits(&self, parameters: &TrainedParameters) -> Vec<f32> {
        let images: Vec<u32> = (0..self.arrays.tensor("images").shape[0] as u32).collect();
        let features = self
            .clip
            .image_features(self.pixels(&images), &parameters.affine);
        let classifier = Classifier::new(&self.clip, &self.prompts, parameters);
        let cosines = classifier.cosine_logits(features);
        cosines.try_into_vec_as::<f32>().unwrap()
    }

    /// The gradient of one batch of images.
    fn gradient(
        &self,
        parameters: &TrainedParameters,
        batch: &[u32],
        weights: &[f32],
        trade_off: f64,
        micro_batch: Option<usize>,
    ) -> BatchGradient {
        let choices = GradientChoices {
            indices: &[],
            train: TrainedPart::Both,
            blocks: TrainedBlocks::All,
            micro_batch,
        };
        batch_gradient(
            &self.clip,
            &self.prompts,
            parameters,
            &self.pixels(batch),
            choices,
            |features| {
                universal_entropy(
                    features.probabilities(),
                    weights,
                    UnconfidentWeights::Inverse,
                    trade_off,
                )
            },
        )
    }

    /// How the recorded cases descend.
    fn settings(&self) -> Settings {
        let rate = |name: &str| self.facts[name].as_f64().unwrap();
        let step_size = match self.facts["step_size"].as_str() {
            Some("relative") => StepSize::Relative,
            _ => StepSize::Gradient,
        };
        Settings::default()
            .epochs(self.facts["epochs"].as_u64().unwrap() as usize)
            .step_size(step_size)
            .context_learning_rate(rate("context_learning_rate"))
            .affine_learning_rate(rate("affine_learning_rate"))
    }

    /// Replays a recorded case and compares every step.
    fn replay(&self, case: &str, micro_batch: Option<usize>) {
        let facts = &self.facts["cases"][case];
        let steps = facts["steps"].as_array().unwrap();
        let weights = self
            .arrays
            .tensor(&format!("{case}.confidence_weights"))
            .data;
        let order = self.arrays.integers("order");
        let batch_size = self.facts["batch_size"].as_u64().unwrap() as usize;
        let batches: Vec<Vec<u32>> = order
            .iter()
            .flat_map(|epoch| epoch.chunks(batch_size).map(<[u32]>::to_vec))
            .collect();
        let total = batches.len();
        let settings = self.settings();
        let per_epoch = total / order.len();
        let trade_off = facts["trade_off"].as_f64().unwrap();

        let mut parameters = self.start.clone();
        for (index, (batch, expected)) in batches.iter().zip(steps).enumerate() {
            let weights: Vec<f32> = batch.iter().map(|&image| weights[image as usize]).collect();
            let gradient = self.gradient(&parameters, batch, &weights, trade_off, micro_batch);
            let what = |quantity: &str| format!("{case}, step {index}: {quantity}");
            let check = |quantity: &str, found: f64| {
                let expected = expected[quantity].as_f64().unwrap();
                let difference = (found - expected).abs();
                assert!(
                    difference <= self.tolerance * expected.abs(),
                    "{}: found {found}, expected {expected}",
                    what(quantity)
                );
            };
            check("loss", gradient.loss);
            check("conditional_entropy", gradient.conditional_entropy);
            check("marginal_entropy", gradient.marginal_entropy);
            let context_gradient = gradient.context.clone().try_into_vec_as::<f32>().unwrap();
            let norm = context_gradient
                .iter()
                .map(|x| f64::from(*x).powi(2))
                .sum::<f64>();
            check("context_grad_norm", norm.sqrt());
            check("affine_grad_norm", gradient.affine.norm());
            let first = format!("{case}.first_gradient.context");
            if index == 0 && !self.arrays.names(&first).is_empty() {
                let expected = self.arrays.tensor(&first).data;
                assert_close(
                    &what("context gradient"),
                    &context_gradient,
                    &expected,
                    self.tolerance,
                );
            }
            let norms = |parameters: f64, gradient: f64| GroupNorms {
                parameters,
                gradient,
            };
            let context = parameters.context.clone().try_into_vec_as::<f32>().unwrap();
            let context = context.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            let rates = settings.rates(
                index,
                per_epoch,
                norms(context.sqrt(), norm.sqrt()),
                norms(parameters.affine.length(0), gradient.affine.norm()),
            );
            check("context_learning_rate", rates.context);
            check("affine_learning_rate", rates.affine);
            parameters = parameters.descend(&gradient, rates.context, rates.affine);
        }
        if steps.len() < total {
            return;
        }
        self.compare_final(case, &parameters);
    }

    fn compare_final(&self, case: &str, parameters: &TrainedParameters) {
        let prefix = format!("{case}.final.");
        let mut found: TensorMap = parameters.affine.to_host().into_iter().collect();
        let context = parameters.context.clone();
        found.insert(
            "context".to_owned(),
            ueo::tensor::HostTensor {
                shape: context.dims().to_vec(),
                data: context.try_into_vec_as::<f32>().unwrap(),
            },
        );
        let names = self.arrays.names(&prefix);
        assert_eq!(
            names.len(),
            found.len(),
            "{case}: number of trained tensors"
        );
        for name in names {
            let expected = self.arrays.tensor(&name);
            let found = &found[name.strip_prefix(&prefix).unwrap()];
            assert_close(&name, &found.data, &expected.data, self.tolerance);
        }
        let cosines = self.cosine_logits(parameters);
        let expected = self
            .arrays
            .tensor(&format!("{case}.final_cosine_logits"))
            .data;
        assert_close(
            &format!("{case}: final cosines"),
            &cosines,
            &expected,
            self.tolerance,
        );
    }
}

/// Every recorded case of an architecture, with whole batches and with micro-batches.
fn replay_all(trajectory: &Trajectory) {
    let cosines = trajectory.cosine_logits(&trajectory.start);
    let expected = trajectory.arrays.tensor("zero_shot_cosine_logits").data;
    let tolerance = trajectory.tolerance;
    assert_close("zero-shot cosines", &cosines, &expected, tolerance);
    for (case, facts) in trajectory.facts["cases"].as_object().unwrap() {
        let source = match facts["confidence_weights"].as_str().unwrap() {
            "zero-shot" => ConfidenceWeights::ZeroShot,
            "uniform" => ConfidenceWeights::Uniform,
            "oracle" => ConfidenceWeights::Oracle,
            other => panic!("unknown confidence weights {other}"),
        };
        let known = trajectory.arrays.tensor("known").data;
        let known: Vec<bool> = known.iter().map(|&known| known > 0.0).collect();
        let temperature = facts["weight_temperature"].as_f64().unwrap_or(1.0);
        let weights = confidence_weights(
            source,
            &cosines,
            trajectory.prompts.len(),
            temperature,
            &known,
        );
        let expected = trajectory
            .arrays
            .tensor(&format!("{case}.confidence_weights"))
            .data;
        assert_close(&format!("{case}: weights"), &weights, &expected, tolerance);

        trajectory.replay(case, None);
        trajectory.replay(case, Some(5));
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
    let [fused, composed] =
        [Engine::Fused, Engine::Composed].map(|engine| Trajectory::open("vit", engine));
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
    replay_all(&Trajectory::open("vit", Engine::Fused));
}

#[test]
fn vision_transformer_follows_pytorch_with_composed_operations() {
    replay_all(&Trajectory::open("vit", Engine::Composed));
}

#[test]
fn relative_steps_follow_pytorch() {
    replay_all(&Trajectory::open("vit-relative", Engine::Fused));
}

#[test]
fn modified_resnet_follows_pytorch_with_fused_kernels() {
    replay_all(&Trajectory::open("resnet", Engine::Fused));
}

#[test]
fn modified_resnet_follows_pytorch_with_composed_operations() {
    replay_all(&Trajectory::open("resnet", Engine::Composed));
}

#[cfg(feature = "wgpu")]
#[test]
fn vision_transformer_follows_pytorch_on_a_graphics_processor() {
    replay_all(&Trajectory::open_on(
        "vit",
        fixtures::graphics_processor().burn().clone(),
    ));
}

#[cfg(feature = "wgpu")]
#[test]
fn modified_resnet_follows_pytorch_on_a_graphics_processor() {
    replay_all(&Trajectory::open_on(
        "resnet",
        fixtures::graphics_processor().burn().clone(),
    ));
}

/// Where the CPU has AMX; everywhere else this is f32 itself.
#[test]
fn vision_transformer_follows_pytorch_in_split_f32() {
    replay_all(&Trajectory::open_with_precision("vit", Precision::F32Split));
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
