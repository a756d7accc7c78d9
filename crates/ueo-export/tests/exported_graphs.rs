//! Both shipped models and a tiny SigLIP, adapted to the drawings of the demonstration and exported: a runtime that knows nothing of
//! this project says of every drawing what `ueo predict` says.

use std::fs;
use std::path::{Path, PathBuf};

use rten::{Model as Graph, Value, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};
use tempfile::TempDir;
use ueo::Device;
use ueo::adapt::Settings;
use ueo::checkpoint::{TextArchitecture, load};
use ueo::data::{Dataset, DatasetOptions, LabelChoice};
use ueo::evaluate::{Score, ScoreRule, ThresholdMethod, Verdict};
use ueo::image::{DecodeOptions, Preprocessing, ResizeRule, RgbImage, decode};
use ueo::method::Method;
use ueo::session::{ImagePrediction, Model, embed_texts};
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
        let model = place.path().join("model");
        fs::create_dir(&model).unwrap();
        for (name, content) in files {
            fs::write(model.join(name), content).unwrap();
        }
        let classes = std::str::from_utf8(ueo_demo_images::CLASSES).unwrap();
        let classes = classes.lines().map(str::to_owned).collect();
        Self::adapted(place, model, classes, method, score)
    }

    /// Random weights: what it names is nonsense, and the same nonsense everywhere.
    fn siglip() -> Self {
        let model = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../ueo/tests/fixtures/siglip/hugging-face"
        );
        let classes = [
            "dog",
            "small cat",
            "bird",
            "red car",
            "tree",
            "house near the sea",
        ];
        let classes = classes.map(str::to_owned).to_vec();
        let place = TempDir::with_prefix("ueo-export-").unwrap();
        Self::adapted(place, model.into(), classes, Method::Ueo, Score::Sigmoid)
    }

    fn adapted(
        place: TempDir,
        model: PathBuf,
        classes: Vec<String>,
        method: Method,
        score: Score,
    ) -> Self {
        let path = |name: &str| place.path().join(name);
        fs::write(path("images.tar"), ueo_demo_images::IMAGES).unwrap();
        let preprocessing = load(&model).unwrap().preprocessing;
        let rule = ScoreRule::new(score, None);
        let request = AdaptRequest {
            model,
            images: path("images.tar"),
            image_root: None,
            columns: ueo::data::ParquetColumns::default(),
            classes,
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
            preprocessing,
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
            columns: ueo::data::ParquetColumns::default(),
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
        let images = self.images.iter();
        images
            .map(|image| planes(&self.preprocessing, image))
            .collect()
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

/// Pixels in 0..1 of an image as a tower sees it, `[3, side, side]`.
fn planes(preprocessing: &Preprocessing, image: &RgbImage) -> Vec<f32> {
    let view = preprocessing.test_view(image).unwrap();
    let values = view.pixels();
    (0..3)
        .flat_map(|channel| values.iter().skip(channel).step_by(3))
        .map(|&value| f32::from(value) / 255.0)
        .collect()
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
    verdict: Verdict,
}

/// In the order of the list in the metadata.
const VERDICTS: [Verdict; 3] = [Verdict::Reject, Verdict::Review, Verdict::Accept];

impl Answer {
    fn of(graph: &Graph, input: ValueOrView<'_>) -> Vec<Self> {
        let outputs = run(graph, input);
        let [label, probabilities, confidence, known, verdict, cosines] = &outputs[..] else {
            panic!("expected six outputs, found {}", outputs.len());
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
            .zip(integers(known).into_iter().zip(integers(verdict)))
            .map(
                |((label, (probabilities, confidence)), (known, verdict))| Self {
                    label: label as usize,
                    probability: f64::from(probabilities[label as usize]),
                    confidence: f64::from(confidence),
                    known: known != 0,
                    verdict: VERDICTS[verdict as usize],
                },
            )
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
            && answer.verdict == predicted.verdict
            && close(answer.confidence, predicted.confidence)
            && close(answer.probability, predicted.top[0].1);
        assert!(agrees, "{answer:?}, {predicted:?}");
    }
    // Neither constant nor trivial.
    assert!(answers.iter().any(|answer| answer.known));
    assert!(answers.iter().any(|answer| !answer.known));
    for verdict in VERDICTS {
        assert!(
            answers.iter().any(|answer| answer.verdict == verdict),
            "{verdict:?}"
        );
    }
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

    let eighth = OnnxOptions {
        weights: WeightFormat::Int8,
        ..OnnxOptions::default()
    };
    let graph = demonstration.export(Format::Onnx, "int8.onnx", eighth);
    assert!(bytes("int8.onnx") < 0.35 * bytes("model.onnx"));
    assert_almost_agree(&demonstration.answers(&graph), &predictions, &classes);

    decoded_images_are_resized_as_pillow_does(&demonstration, &predictions, &classes);
    the_towers_apart_give_the_same_features(&demonstration);
}

/// Weights of 8 bits move confidences; docs/export.md has how far.
#[track_caller]
fn assert_almost_agree(answers: &[Answer], predictions: &[ImagePrediction], classes: &[String]) {
    let share = |agrees: fn(&Answer, &ImagePrediction, &[String]) -> bool| {
        let pairs = answers.iter().zip(predictions);
        let agreeing = pairs.filter(|(answer, predicted)| agrees(answer, predicted, classes));
        agreeing.count() as f64 / predictions.len() as f64
    };
    let labels = share(|answer, predicted, classes| classes[answer.label] == predicted.label);
    let decisions = share(|answer, predicted, _| answer.known == predicted.known);
    assert!(labels >= 0.97 && decisions >= 0.97, "{labels}, {decisions}");
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

    let graph = Graph::load_file(directory.join("onnx/vision_model.onnx")).unwrap();
    the_image_tower_gives_the_same_features(demonstration, model, &graph);
}

fn the_image_tower_gives_the_same_features(
    demonstration: &Demonstration,
    model: &Model,
    graph: &Graph,
) {
    let preprocessing = &demonstration.preprocessing;
    let pixels = preprocessing.test_view(&demonstration.images[0]).unwrap();
    let side = preprocessing.crop;
    let normalized = preprocessing.normalize(&pixels);
    let input = Tensor::from_data(&[1, 3, side, side], normalized);
    let found = floats(&run(graph, input.into())[0]);
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
    let (predictions, classes) = (demonstration.predictions(), classes(&demonstration));
    assert_agree(&answers, &predictions, &classes);
    let options = OnnxOptions {
        weights: WeightFormat::Int8,
        ..OnnxOptions::default()
    };
    let graph = demonstration.export(Format::Onnx, "int8.onnx", options);
    assert_almost_agree(&demonstration.answers(&graph), &predictions, &classes);
}

#[test]
fn a_siglip_says_the_same_in_every_form() {
    let demonstration = Demonstration::siglip();
    let predictions = demonstration.predictions();
    let classes = classes(&demonstration);
    let graph = demonstration.export(Format::Onnx, "model.onnx", OnnxOptions::default());
    let answers = demonstration.answers(&graph);
    assert_agree(&answers, &predictions, &classes);
    // Far from 1/2 a sigmoid is small, and so are its differences.
    for (answer, predicted) in answers.iter().zip(&predictions) {
        let apart = (answer.confidence / predicted.confidence).ln().abs();
        assert!(apart < 1e-3, "{answer:?}, {predicted:?}");
    }
    images_that_are_not_square_are_squeezed(&demonstration, &Graph::load_file(graph).unwrap());
    the_towers_of_a_siglip_give_the_same_features(&demonstration);
}

/// The graph that takes decoded images against the one that takes pixels, on the upper halves of drawings.
fn images_that_are_not_square_are_squeezed(demonstration: &Demonstration, graph: &Graph) {
    let options = OnnxOptions {
        preprocess: true,
        ..OnnxOptions::default()
    };
    let decoded = demonstration.export(Format::Onnx, "decoded.onnx", options);
    let decoded = Graph::load_file(decoded).unwrap();
    let squeezed = &demonstration.preprocessing;
    assert_eq!(squeezed.resize_rule, ResizeRule::Squash);
    let cropped = Preprocessing {
        resize_rule: ResizeRule::Shortest,
        ..squeezed.clone()
    };
    let mut apart_when_cropped = 0.0;
    for image in &demonstration.images[..8] {
        let (width, height) = (image.width(), image.height() / 2);
        let pixels = image.pixels()[..3 * width * height].to_vec();
        let input = Tensor::from_data(&[1, height, width, 3], pixels.clone());
        let half = RgbImage::new(width, height, pixels).unwrap();
        let found = Answer::of(&decoded, input.into()).remove(0);
        let apart = |preprocessing: &Preprocessing| {
            let side = preprocessing.crop;
            let view = Tensor::from_data(&[1, 3, side, side], planes(preprocessing, &half));
            let expected = Answer::of(graph, view.into()).remove(0);
            (found.probability - expected.probability).abs()
        };
        // Random weights make much of single levels of single pixels.
        assert!(apart(squeezed) < 5e-3, "{found:?}");
        apart_when_cropped = f64::max(apart_when_cropped, apart(&cropped));
    }
    assert!(apart_when_cropped > 1e-2, "{apart_when_cropped}");
}

fn the_towers_of_a_siglip_give_the_same_features(demonstration: &Demonstration) {
    let directory = demonstration.export(Format::OnnxEncoder, "web", OnnxOptions::default());
    let opened = demonstration.opened();
    let model = &opened.model;
    let config = &model.clip.config().text;
    let TextArchitecture::Padded { padding_token, .. } = config.architecture else {
        panic!("a SigLIP pads its texts");
    };
    let text = "a small bird".to_owned();
    let ids = tokenize_text(
        &model.tokenizer,
        &text,
        config.context_length,
        Overlong::Error,
    );
    let mut ids: Vec<i32> = ids.unwrap().into_iter().map(|id| id as i32).collect();
    ids.resize(config.context_length, padding_token as i32);
    let graph = Graph::load_file(directory.join("onnx/text_model.onnx")).unwrap();
    let ids = Tensor::from_data(&[1, ids.len()], ids);
    let found = floats(&run(&graph, ids.into())[0]);
    let expected = embed_texts(model, &[text], Overlong::Error).unwrap();
    assert_parallel(&found, &expected.features);
    let graph = Graph::load_file(directory.join("onnx/vision_model.onnx")).unwrap();
    the_image_tower_gives_the_same_features(demonstration, model, &graph);
}

#[test]
fn a_siglip_is_a_checkpoint_of_transformers_again() {
    let demonstration = Demonstration::siglip();
    let options = OnnxOptions::default();
    let directory = demonstration.export(Format::HuggingFace, "hf", options);
    let exported = load(&directory).unwrap();
    assert_eq!(exported.preprocessing, demonstration.preprocessing);
    let head = &exported.tensors["visual.attn_pool.ln.weight"];
    let adapted = demonstration.opened().model.parameters.to_adapted();
    let mut expected = load(&demonstration.opened().run.unwrap().base.path).unwrap();
    assert_ne!(*head, expected.tensors["visual.attn_pool.ln.weight"]);
    adapted.merge_into(&mut expected.tensors).unwrap();
    assert_eq!(exported.tensors, expected.tensors);
    let card = fs::read_to_string(directory.join("README.md")).unwrap();
    assert!(card.contains("# SigLIP adapted to 6 classes"), "{card}");

    // Its tower is too small for timm to have a name for it.
    let output = demonstration.path("clip");
    let request = ExportRequest::new(demonstration.path("run"), Format::OpenClip, &output);
    let error = export(&request, &Device::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("timm has under no name"), "{error}");
    assert!(!output.exists());
}

#[test]
fn every_score_is_the_same_in_a_graph() {
    // A sigmoid needs a bias, which these checkpoints do not have.
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
