//! Graphs in the ONNX format: the whole classifier, or the two towers apart.

mod file;
mod graph;
mod preprocessing;
mod proto;
mod scores;
mod text;
mod transformer;
mod vision;
mod weights;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ExportError;
use crate::subject::Subject;

use file::About;
use graph::{Axis, Graph};
use proto::ElementType;
use weights::Weights;

/// Number format of the weights in a file. Computing is in f32 with both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightFormat {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 16-bit floating point: half the file, weights of 11 significant bits.
    F16,
}

impl WeightFormat {
    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Number format of the weights.
    pub weights: WeightFormat,
    /// Whether resizing and cropping belong to the graph.
    pub preprocess: bool,
    /// Bytes of weights up to which one file holds all; more go into a second one.
    pub inline_limit: usize,
}

impl OnnxOptions {
    /// Protocol buffers end at 2 GiB; the graph itself takes a few megabytes at most.
    pub const INLINE_LIMIT: usize = (2 << 30) - (64 << 20);
}

impl Default for OnnxOptions {
    fn default() -> Self {
        Self {
            weights: WeightFormat::default(),
            preprocess: false,
            inline_limit: Self::INLINE_LIMIT,
        }
    }
}

/// Writes the classifier: an image in, class and decision out. Returns the files.
pub fn write_classifier(
    subject: &mut Subject,
    options: &OnnxOptions,
    path: &Path,
) -> Result<Vec<PathBuf>, ExportError> {
    let mut graph = Graph::new(options.weights);
    let pixels = preprocessing::input(
        &mut graph,
        &subject.checkpoint.preprocessing,
        options.preprocess,
    );
    let checkpoint = &mut subject.checkpoint;
    let mut weights = Weights(&mut checkpoint.tensors);
    let features = vision::image_features(&mut graph, &mut weights, &checkpoint.config, &pixels);
    scores::outputs(&mut graph, subject, &features)?;
    let mut metadata = subject.metadata()?;
    metadata.push(("weights".to_owned(), options.weights.name().to_owned()));
    let about = About {
        name: "classifier",
        text: format!(
            "CLIP adapted to {} classes by ueo: {} in, label, probabilities, confidence, known and cosines out",
            subject.classes().len(),
            match options.preprocess {
                true => "decoded image",
                false => "pixels",
            }
        ),
        metadata,
    };
    file::write(path, graph, about, options.inline_limit)
}

/// Writes the two towers apart into `directory`. Returns the files.
pub fn write_encoders(
    subject: &mut Subject,
    options: &OnnxOptions,
    directory: &Path,
) -> Result<Vec<PathBuf>, ExportError> {
    let ending = match options.weights {
        WeightFormat::F32 => "",
        WeightFormat::F16 => "_fp16",
    };
    let mut files = Vec::new();
    for (name, tower) in [
        ("vision_model", vision_graph as fn(&mut Graph, &mut Subject)),
        ("text_model", text_graph),
    ] {
        let mut graph = Graph::new(options.weights);
        tower(&mut graph, subject);
        let about = About {
            name,
            text: format!("The {name} of a CLIP adapted by ueo"),
            metadata: subject.metadata()?,
        };
        let path = directory.join(format!("{name}{ending}.onnx"));
        files.extend(file::write(&path, graph, about, options.inline_limit)?);
    }
    Ok(files)
}

fn vision_graph(graph: &mut Graph, subject: &mut Subject) {
    let checkpoint = &mut subject.checkpoint;
    let side = Axis::Fixed(checkpoint.preprocessing.crop);
    let batch = Axis::Free("batch_size");
    let pixels = graph.input(
        "pixel_values",
        ElementType::Float,
        &[batch, Axis::Fixed(3), side, side],
        "Preprocessed and normalized as preprocessor_config.json says",
    );
    let mut weights = Weights(&mut checkpoint.tensors);
    let features = vision::image_features(graph, &mut weights, &checkpoint.config, &pixels);
    graph.output(
        "image_embeds",
        &features,
        ElementType::Float,
        &[batch, Axis::Fixed(checkpoint.config.embed_dim)],
        "Not normalized",
    );
}

fn text_graph(graph: &mut Graph, subject: &mut Subject) {
    let batch = Axis::Free("batch_size");
    let ids = graph.input(
        "input_ids",
        ElementType::Int64,
        &[batch, Axis::Free("sequence_length")],
        "Whole texts, special tokens included; the feature is read at the first end of text",
    );
    let checkpoint = &mut subject.checkpoint;
    let mut weights = Weights(&mut checkpoint.tensors);
    let config = &checkpoint.config;
    let features =
        text::text_features(graph, &mut weights, &config.text, subject.end_of_text, &ids);
    graph.output(
        "text_embeds",
        &features,
        ElementType::Float,
        &[batch, Axis::Fixed(config.embed_dim)],
        "Not normalized",
    );
}
