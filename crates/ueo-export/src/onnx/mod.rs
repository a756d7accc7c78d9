//! Graphs in the ONNX format: the whole classifier, or the two towers apart.

mod file;
mod graph;
mod int8;
mod preprocessing;
mod proto;
mod scores;
mod siglip;
mod text;
mod transformer;
mod vision;
mod weights;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ueo::checkpoint::TextArchitecture;

use crate::ExportError;
use crate::subject::Subject;

use file::About;
use graph::{Axis, Graph};
use proto::ElementType;
use weights::Weights;

pub use vision::without_graph;

/// Number format of the weights in a file. Computing is in f32 with all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightFormat {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 16-bit floating point: half the file, weights of 11 significant bits.
    F16,
    /// Matrices and kernels as 8-bit integers times a factor per output: a quarter of the file. The table of tokens and other tensors
    /// are as in [`WeightFormat::F16`].
    Int8,
}

impl WeightFormat {
    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// All formats, in the order in which help lists them.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Int8];

    /// What it is, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Self::F32 => "As the checkpoint has them, or rounded to that",
            Self::F16 => "Half the size, 11 significant bits",
            Self::Int8 => {
                "A quarter of the size, 8 bits and a factor per output; slower, see docs/export.md"
            }
        }
    }

    /// What runtimes look for at the end of a file's name.
    fn file_ending(self) -> &'static str {
        match self {
            Self::F32 => "",
            Self::F16 => "_fp16",
            Self::Int8 => "_int8",
        }
    }
}

/// What runtimes call the features of SigLIP's towers, which have no projection behind their pooling.
const POOLED: &str = "pooler_output";

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
            "{} adapted to {} classes by ueo: {} in, label, probabilities, confidence, known, verdict and cosines out",
            subject.family(),
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
    let ending = options.weights.file_ending();
    let mut files = Vec::new();
    for (name, tower) in [
        ("vision_model", vision_graph as fn(&mut Graph, &mut Subject)),
        ("text_model", text_graph),
    ] {
        let mut graph = Graph::new(options.weights);
        tower(&mut graph, subject);
        let about = About {
            name,
            text: format!("The {name} of a {} adapted by ueo", subject.family()),
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
    let name = match checkpoint.config.has_logit_bias() {
        true => POOLED,
        false => "image_embeds",
    };
    let mut weights = Weights(&mut checkpoint.tensors);
    let features = vision::image_features(graph, &mut weights, &checkpoint.config, &pixels);
    graph.output(
        name,
        &features,
        ElementType::Float,
        &[batch, Axis::Fixed(checkpoint.config.embed_dim)],
        "Not normalized",
    );
}

fn text_graph(graph: &mut Graph, subject: &mut Subject) {
    let batch = Axis::Free("batch_size");
    let checkpoint = &mut subject.checkpoint;
    let config = &checkpoint.config;
    let (length, about, name) = match config.text.architecture {
        TextArchitecture::Causal => (
            Axis::Free("sequence_length"),
            "Whole texts, special tokens included; the feature is read at the first end of text",
            "text_embeds",
        ),
        TextArchitecture::Padded { .. } => (
            Axis::Fixed(config.text.context_length),
            "Whole texts, special tokens included, padded to this length; the feature is read at the last token",
            POOLED,
        ),
    };
    let ids = graph.input("input_ids", ElementType::Int64, &[batch, length], about);
    let mut weights = Weights(&mut checkpoint.tensors);
    let features =
        text::text_features(graph, &mut weights, &config.text, subject.end_of_text, &ids);
    graph.output(
        name,
        &features,
        ElementType::Float,
        &[batch, Axis::Fixed(config.embed_dim)],
        "Not normalized",
    );
}
