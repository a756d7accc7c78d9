//! What `ueo` has adapted, in the formats of other programs: one ONNX graph that takes an image and answers with class and
//! decision, the two towers apart, or a full checkpoint of open_clip or Hugging Face with the classifier beside it.
//!
//! ```text
//! run directory -> Subject (adapted weights, class embeddings, score, threshold) -> onnx | packages
//! ```

#![forbid(unsafe_code)]

mod card;
mod classifier_file;
mod destination;
mod error;
mod onnx;
mod packages;
mod subject;

use std::path::{Path, PathBuf};

use ueo::Device;
use ueo::checkpoint::{Checkpoint, TextArchitecture, TextProjection, VisionConfig};
use ueo::text::Vocabulary;

use destination::Destination;
use subject::Subject;

pub use error::ExportError;
pub use onnx::{OnnxOptions, WeightFormat};

/// What an export is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One ONNX file: image in, class and decision out.
    Onnx,
    /// The two towers as ONNX files, in the layout that web and edge runtimes read.
    OnnxEncoder,
    /// A directory that open_clip reads.
    OpenClip,
    /// A directory that transformers reads.
    HuggingFace,
}

impl Format {
    /// All formats, in the order in which help lists them.
    pub const ALL: [Self; 4] = [
        Self::Onnx,
        Self::OnnxEncoder,
        Self::OpenClip,
        Self::HuggingFace,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::OnnxEncoder => "onnx-encoder",
            Self::OpenClip => "open_clip",
            Self::HuggingFace => "hugging-face",
        }
    }

    /// What it is, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Onnx => {
                "one ONNX file: an image in; label, probabilities, confidence and decision out"
            }
            Self::OnnxEncoder => {
                "a directory with the two towers as ONNX files, for web and edge runtimes"
            }
            Self::OpenClip => "a directory with full weights for open_clip",
            Self::HuggingFace => "a directory with full weights for transformers",
        }
    }

    /// Whether the result is a directory.
    pub fn is_directory(self) -> bool {
        self != Self::Onnx
    }
}

/// What to export, and how.
#[derive(Clone, Debug)]
pub struct ExportRequest {
    /// The run directory.
    pub run: PathBuf,
    /// Base checkpoint of the run, where it has moved since.
    pub base: Option<PathBuf>,
    /// What for.
    pub format: Format,
    /// How ONNX is written; the other formats have the defaults only.
    pub onnx: OnnxOptions,
    /// File or directory to write.
    pub output: PathBuf,
    /// Whether an earlier export in the same place may be replaced.
    pub overwrite: bool,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Exported {
    /// All files.
    pub files: Vec<PathBuf>,
    /// What a user should know about them, one sentence each.
    pub notes: Vec<String>,
}

impl ExportRequest {
    /// A request with the defaults, for a place where nothing is.
    pub fn new(run: impl Into<PathBuf>, format: Format, output: impl Into<PathBuf>) -> Self {
        Self {
            run: run.into(),
            base: None,
            format,
            onnx: OnnxOptions::default(),
            output: output.into(),
            overwrite: false,
        }
    }

    fn check(&self) -> Result<(), ExportError> {
        let onnx = &self.onnx;
        let other = |choice, expected| {
            Err(ExportError::OtherFormat {
                choice,
                expected,
                found: self.format,
            })
        };
        match self.format {
            Format::Onnx => Ok(()),
            _ if onnx.preprocess => other("--preprocess", "--to onnx"),
            Format::OnnxEncoder => Ok(()),
            _ if onnx.weights != WeightFormat::F32 => {
                other("--weights", "--to onnx and --to onnx-encoder")
            }
            _ => Ok(()),
        }
    }
}

/// Exports a finished run. A directory appears completely or not at all, and so does each file.
///
/// # Errors
///
/// [`ExportError`]; what was in the output's place is then still there.
pub fn export(request: &ExportRequest, device: &Device) -> Result<Exported, ExportError> {
    request.check()?;
    let destination = Destination::check(request)?;
    let mut subject = Subject::open(&request.run, request.base.as_deref(), device)?;
    refuse_architecture(&subject.checkpoint, request.format)?;
    if let (Some(tower), Format::Onnx | Format::OnnxEncoder) = (
        onnx::without_graph(&subject.checkpoint.config.vision),
        request.format,
    ) {
        return Err(ExportError::NoGraph { tower });
    }
    let mut notes = subject.notes();
    let files = match request.format {
        Format::Onnx => destination
            .fill_file(|path| onnx::write_classifier(&mut subject, &request.onnx, path))?,
        format => destination.fill_directory(|directory| {
            write_directory(&mut subject, format, &request.onnx, directory, &mut notes)
        })?,
    };
    Ok(Exported { files, notes })
}

/// Refuses what no graph is written for. What the layouts of other packages cannot hold is refused where they are written.
fn refuse_architecture(checkpoint: &Checkpoint, format: Format) -> Result<(), ExportError> {
    if let VisionConfig::ModularVit(_) = checkpoint.config.vision {
        return Err(ExportError::Architecture {
            part: "an image tower whose parts are not all CLIP's (CLIPA, EVA, MobileCLIP)",
        });
    }
    let text = checkpoint.config.text.architecture;
    let is_written = match checkpoint.config.vision {
        VisionConfig::Siglip(_) => text.projection() == TextProjection::Affine,
        _ => {
            text == TextArchitecture::Causal
                && !matches!(
                    checkpoint.tokenizer.vocabulary,
                    Vocabulary::SentencePiece(_) | Vocabulary::WordPiece { .. }
                )
        }
    };
    // One graph holds class embeddings in place of texts.
    if format != Format::Onnx && !is_written {
        return Err(ExportError::Architecture {
            part: "a text tower with another vocabulary than CLIP's kind, or a SigLIP's without a projection,",
        });
    }
    Ok(())
}

fn write_directory(
    subject: &mut Subject,
    format: Format,
    options: &OnnxOptions,
    directory: &Path,
    notes: &mut Vec<String>,
) -> Result<(), ExportError> {
    classifier_file::write(subject, &directory.join(classifier_file::NAME))?;
    match format {
        Format::OnnxEncoder => packages::write_encoders(subject, options, directory, notes)?,
        Format::OpenClip => packages::write_open_clip(subject, directory, notes)?,
        Format::HuggingFace | Format::Onnx => {
            packages::write_hugging_face(subject, directory, notes)?;
        }
    }
    card::write(subject, format, notes, &directory.join(card::NAME))
}
