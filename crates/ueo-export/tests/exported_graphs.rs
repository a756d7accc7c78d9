//! Both shipped models, adapted to the drawings of the demonstration and exported: a runtime that knows nothing of this project
//! says of every drawing what `ueo predict` says.

use std::fs;
use std::path::{Path, PathBuf};

use rten::{Model as Graph, Value, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};
use tempfile::TempDir;
use ueo::Device;
use ueo::adapt::Settings;
use ueo::data::{Dataset, DatasetOptions, LabelChoice};
use ueo::evaluate::{Score, ScoreRule, ThresholdMethod};
use ueo::image::{DecodeOptions, Preprocessing, RgbImage, decode};
use ueo::method::Method;
use ueo::session::{ImagePrediction, embed_texts};
use ueo::text::{Overlong, tokenize_text};
use ueo_export::{ExportError, ExportRequest, Format, OnnxOptions, WeightFormat, export};
use ueo_run::{AdaptRequest, OpenedModel, PredictRequest, Start, ThresholdRequest, adapt, predict};

/// How far confidences, probabilities and cosines may be apart.
const TOLERANCE: f64 = 1e-4;
/// Images that the runtime gets at a time; the last batch is smaller.
const BATCH: usize = 64;

type Files = [(&'static str, &'static [u8]); 3];

/// A run of a shipped model on the demonstration's drawings.
struct Demonstration {
    place: TempDir,
    preprocessing: Preprocessing,
    images: Vec<RgbImage>,
}

impl Demonstration {
    fn new(files: Files, method: Method, score: Score) -> Self {
        let place = TempDir::with_prefix("ueo-export-").unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir(path("model")).unwrap();
        for (name, content) in files {
            fs::write(path("model").join(name), content).unwrap();
        }
        fs::write(path("images.tar"), ueo_demo_images::IMAGES).unwrap();
        let classes = std::str::from_utf8(ueo_demo_images::CLASSES).unwrap();
        let rule = ScoreRule::new(score, None);
        let request = AdaptRequest {
            model: path("model"),
            images: path("images.tar"),
            image_root: None,
            classes: classes.lines().map(str::to_owned).collect(),
            class_ids: None,
            labels: LabelChoice::default(),
            oracle_labels: None,
            settings: Settings::new(method)
                .epochs(1)
                .context_learning_rate(5e-2)
                .affine_learning_rate(5e-2),
            score: rule.score,
            score_temperature: rule.temperature,
            threshold_method: ThresholdMethod::default(),
            threshold_images: None,
            tensorboard: false,
            standalone: false,
            checkpoint_every: 100,
            image_cache_bytes: 64 << 20,
            strict: true,
            threads: 2,
            device: "cpu".to_owned(),
            precision: ueo::model::Precision::F32,
            activation: None,
            exif_orientation: ueo::image::ExifOrientation::Ignore,
        };
        let start = Start::New {
            request: Box::new(request),
            overwrite: false,
        };
        adapt(start, &path("run"), &Device::default(), &mut ()).unwrap();
        let dataset = Dataset::open(&path("images.tar"), &DatasetOptions::default()).unwrap();
        let images = (0..dataset.len())
            .map(|index| {
                let bytes = dataset.read_bytes(index).unwrap();
                decode(&bytes, &DecodeOptions::default()).unwrap()
            })
            .collect();
        Self {
            preprocessing: Preprocessing::clip(64),
            images,
            place,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn opened(&self) -> OpenedModel {
        OpenedModel::open(&self.path("run"), None, &Device::default(), None).unwrap()
    }

    fn predictions(&self) -> Vec<ImagePrediction> {
        let request = PredictRequest {
            images: self.path("images.tar"),
            image_root: None,
            labels: LabelChoice::default(),
            classes: None,
            score: None,
            score_temperature: None,
            threshold: ThresholdRequest::Stored,
            top_k: 1,
            strict: true,
        };
        predict(&self.opened(), &request, &mut ()).unwrap().images
    }

    fn export(&self, format: Format, name: &str, onnx: OnnxOptions) -> PathBuf {
        let output = self.path(name);
        let request = ExportRequest {
            onnx,
            ..ExportRequest::new(self.path("run"), format, &output)
        };
        export(&request, &Device::default()).unwrap();
        output
    }

    /// Pixels in 0..1 of all images, `[images, 3, side, side]`.
    fn pixels(&self) -> Vec<Vec<f32>> {
        let plain = |image: &RgbImage| {
            let view = self.preprocessing.test_view(image).unwrap();
            let values = view.pixels();
            (0..3)
                .flat_map(|channel| values.iter().skip(channel).step_by(3))
                .map(|&value| f32::from(value) / 255.0)
                .collect()
        };
        self.images.iter().map(plain).collect()
    }

    /// What the graph says of pixels of all images.
    fn answers(&self, graph: &Path) -> Vec<Answer> {
        let side = self.preprocessing.crop;
        let graph = Graph::load_file(graph).unwrap();
        let batches = self.pixels();
        let answers = batches.chunks(BATCH).flat_map(|batch| {
            let input = Tensor::from_data(&[batch.len(), 3, side, side], batch.concat());
            Answer::of(&graph, input.into())
        });
        answers.collect()
    }
}

/// All outputs of a graph with one input, in their order.
fn run(graph: &Graph, input: ValueOrView<'_>) -> Vec<Value> {
    let [id] = graph.input_ids() else {
        panic!("expected one input");
    };
    graph
        .run(vec![(*id, input)], graph.output_ids(), None)
        .unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    let tensor: Tensor<f32> = value.clone().try_into().unwrap();
    tensor.to_vec()
}

/// Whole numbers and truth values are numbers of 32 bits in this runtime.
fn integers(value: &Value) -> Vec<i32> {
    let tensor: NdTensor<i32, 1> = value.clone().try_into().unwrap();
    tensor.to_vec()
}

/// What a graph says of an image.
#[derive(Debug)]
struct Answer {
    label: usize,
    probability: f64,
    confidence: f64,
    known: bool,
}

impl Answer {
    fn of(graph: &Graph, input: ValueOrView<'_>) -> Vec<Self> {
        let outputs = run(graph, input);
        let [label, probabilities, confidence, known, cosines] = &outputs[..] else {
            panic!("expected five outputs, found {}", outputs.len());
        };
        let (probabilities, confidences) = (floats(probabilities), floats(confidence));
        let classes = probabilities.len() / confidences.len();
        for (cosines, label) in floats(cosines).chunks_exact(classes).zip(integers(label)) {
            assert!(
                cosines
                    .iter()
                    .all(|&cosine| cosine <= cosines[label as usize])
            );
        }
        let per_image = probabilities.chunks_exact(classes).zip(confidences);
        integers(label)
            .into_iter()
            .zip(per_image)
            .zip(integers(known))
            .map(|((label, (probabilities, confidence)), known)| Self {
                label: label as usize,
                probability: f64::from(probabilities[label as usize]),
                confidence: f64::from(confidence),
                known: known != 0,
            })
            .collect()
    }
}

/// Labels and decisions are equal, numbers within the tolerance.
#[track_caller]
fn assert_agree(answers: &[Answer], predictions: &[ImagePrediction], classes: &[String]) {
    assert_eq!(answers.len(), predictions.len());
    for (answer, predicted) in answers.iter().zip(predictions) {
        let close = |a: f64, b: f64| (a - b).abs() <= TOLERANCE;
        let agrees = classes[answer.label] == predicted.label
            && answer.known == predicted.known
            && close(answer.confidence, predicted.confidence)
            && close(answer.probability, predicted.top[0].1);
        assert!(agrees, "{answer:?}, {predicted:?}");
    }
    // Neither constant nor trivial.
    assert!(answers.iter().any(|answer| answer.known));
    assert!(answers.iter().any(|answer| !answer.known));
}

fn classes(demonstration: &Demonstration) -> Vec<String> {
    demonstration.opened().run.unwrap().request.classes
}

#[test]
fn the_vision_transformer_says_the_same_in_every_form() {
    let demonstration = Demonstration::new(ueo_iconclip_vit::FILES, Method::Ueo, Score::Msp);
    let predictions = demonstration.predictions();
    let classes = classes(&demonstration);
    let graph = demonstration.export(Format::Onnx, "model.onnx", OnnxOptions::default());
    assert_agree(&demonstration.answers(&graph), &predictions, &classes);

    let apart = OnnxOptions {
        inline_limit: 1 << 20,
        ..OnnxOptions::default()
    };
    let graph = demonstration.export(Format::Onnx, "apart.onnx", apart);
    assert!(fs::metadata(&graph).unwrap().len() < 1 << 20);
    assert!(demonstration.path("apart.onnx.data").is_file());
    assert_agree(&demonstration.answers(&graph), &predictions, &classes);

    let half = OnnxOptions {
        weights: WeightFormat::F16,
        ..OnnxOptions::default()
    };
    let graph = demonstration.export(Format::Onnx, "half.onnx", half);
    let bytes = |name: &str| fs::metadata(demonstration.path(name)).unwrap().len() as f64;
    assert!(bytes("half.onnx") < 0.6 * bytes("model.onnx"));
    // Rounded weights move confidences a little; the shipped ones are stored in this format, and only the norms are not.
    let answers = demonstration.answers(&graph);
    let same = answers.iter().zip(&predictions);
    let same = same.filter(|(answer, predicted)| classes[answer.label] == predicted.label);
    assert!(same.count() as f64 >= 0.98 * predictions.len() as f64);

    decoded_images_are_resized_as_pillow_does(&demonstration, &predictions, &classes);
    the_towers_apart_give_the_same_features(&demonstration);
}

/// The graph that takes decoded images, of any size.
fn decoded_images_are_resized_as_pillow_does(
    demonstration: &Demonstration,
    predictions: &[ImagePrediction],
    classes: &[String],
) {
    let options = OnnxOptions {
        preprocess: true,
        ..OnnxOptions::default()
    };
    let path = demonstration.export(Format::Onnx, "decoded.onnx", options);
    let graph = Graph::load_file(path).unwrap();
    let answers: Vec<Answer> = demonstration
        .images
        .iter()
        .flat_map(|image| {
            let shape = [1, image.height(), image.width(), 3];
            Answer::of(
                &graph,
                Tensor::from_data(&shape, image.pixels().to_vec()).into(),
            )
        })
        .collect();
    assert_agree(&answers, predictions, classes);
}

fn the_towers_apart_give_the_same_features(demonstration: &Demonstration) {
    let directory = demonstration.export(Format::OnnxEncoder, "web", OnnxOptions::default());
    for name in [
        "config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "README.md",
    ] {
        assert!(directory.join(name).is_file(), "{name}");
    }
    let opened = demonstration.opened();
    let model = &opened.model;
    let text = "a drawing of an apple tree".to_owned();
    let mut ids: Vec<i32> = tokenize_text(&model.tokenizer, &text, 32, Overlong::Error)
        .unwrap()
        .into_iter()
        .map(|id| id as i32)
        .collect();
    // What follows the end of a text changes nothing.
    ids.extend([model.tokenizer.end_of_text() as i32; 3]);
    let graph = Graph::load_file(directory.join("onnx/text_model.onnx")).unwrap();
    let ids = Tensor::from_data(&[1, ids.len()], ids);
    let found = floats(&run(&graph, ids.into())[0]);
    let expected = embed_texts(model, &[text], Overlong::Error)
        .unwrap()
        .features;
    assert_parallel(&found, &expected);

    let pixels = demonstration
        .preprocessing
        .test_view(&demonstration.images[0])
        .unwrap();
    let graph = Graph::load_file(directory.join("onnx/vision_model.onnx")).unwrap();
    let normalized = demonstration.preprocessing.normalize(&pixels);
    let input = Tensor::from_data(&[1, 3, 64, 64], normalized);
    let found = floats(&run(&graph, input.into())[0]);
    let images = model.pixels([demonstration.images[0].clone()]);
    let expected = model.encode(&images).unwrap().features;
    assert_parallel(&found, &expected);
}

/// Equal but for their lengths.
#[track_caller]
fn assert_parallel(found: &[f32], unit: &[f32]) {
    let norm = found.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert_eq!(found.len(), unit.len());
    for (found, expected) in found.iter().zip(unit) {
        assert!(
            (found / norm - expected).abs() < 1e-5,
            "{found} / {norm}, {expected}"
        );
    }
}

#[test]
fn the_resnet_says_the_same() {
    let demonstration = Demonstration::new(ueo_iconclip_resnet::FILES, Method::Ueo, Score::Msp);
    let graph = demonstration.export(Format::Onnx, "model.onnx", OnnxOptions::default());
    let answers = demonstration.answers(&graph);
    assert_agree(
        &answers,
        &demonstration.predictions(),
        &classes(&demonstration),
    );
}

#[test]
fn every_score_is_the_same_in_a_graph() {
    // A sigmoid needs a bias, which these checkpoints do not have; those that do are not exported.
    let others = |score: &&Score| **score != Score::Msp && !score.needs_logit_bias();
    for &score in Score::ALL.iter().filter(others) {
        let files = ueo_iconclip_resnet::FILES;
        let demonstration = Demonstration::new(files, Method::ZeroShot, score);
        let graph = demonstration.export(Format::Onnx, "model.onnx", OnnxOptions::default());
        let answers = demonstration.answers(&graph);
        assert_agree(
            &answers,
            &demonstration.predictions(),
            &classes(&demonstration),
        );
    }
}

#[test]
fn centred_features_are_centred_in_a_graph() {
    let files = ueo_iconclip_resnet::FILES;
    let demonstration = Demonstration::new(files, Method::HalfCentring, Score::MaximumLogit);
    let graph = demonstration.export(Format::Onnx, "model.onnx", OnnxOptions::default());
    let answers = demonstration.answers(&graph);
    assert_agree(
        &answers,
        &demonstration.predictions(),
        &classes(&demonstration),
    );
}

#[test]
fn a_method_that_judges_all_images_together_is_refused() {
    let files = ueo_iconclip_resnet::FILES;
    let demonstration = Demonstration::new(files, Method::TransductiveGaussians, Score::Msp);
    for format in Format::ALL {
        let request = ExportRequest::new(
            demonstration.path("run"),
            format,
            demonstration.path("out.onnx"),
        );
        let error = export(&request, &Device::default()).unwrap_err();
        assert!(matches!(error, ExportError::Rescored { .. }), "{error}");
        assert!(!demonstration.path("out.onnx").exists());
    }
}
