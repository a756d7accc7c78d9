//! Directories that other packages read.

use std::io::Write;
use std::path::Path;

use serde_json::json;
use ueo::checkpoint::{self, Layout, TextArchitecture, VisionConfig};
use ueo::image::CropRule;
use ueo::text::{END_OF_TEXT, START_OF_TEXT, TextCleaning};

use crate::ExportError;
use crate::onnx::{self, OnnxOptions};
use crate::subject::Subject;

/// Where web and edge runtimes look for graphs.
const ONNX: &str = "onnx";

/// The two towers with what transformers.js reads beside them.
///
/// # Errors
///
/// [`ExportError`].
pub fn write_encoders(
    subject: &mut Subject,
    options: &OnnxOptions,
    directory: &Path,
    notes: &mut Vec<String>,
) -> Result<(), ExportError> {
    notes.extend(checkpoint::save_descriptions(
        directory,
        &subject.checkpoint,
    )?);
    write_tokenizer_config(subject, directory)?;
    let graphs = directory.join(ONNX);
    ueo::disk::create_directories(&graphs).map_err(ExportError::write(&graphs))?;
    onnx::write_encoders(subject, options, &graphs)?;
    notes.push(
        "text_model.onnx encodes whole texts; the learned context is in the class embeddings of classifier.safetensors alone"
            .to_owned(),
    );
    Ok(())
}

/// Names the special tokens for a CLIP's tokenizer whose own description is not there.
fn write_tokenizer_config(subject: &Subject, directory: &Path) -> Result<(), ExportError> {
    let path = directory.join("tokenizer_config.json");
    let is_clip = subject.checkpoint.config.text.architecture == TextArchitecture::Causal;
    if !is_clip || path.exists() || !directory.join("tokenizer.json").is_file() {
        return Ok(());
    }
    let config = json!({
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": subject.checkpoint.config.text.context_length,
        "bos_token": START_OF_TEXT,
        "eos_token": END_OF_TEXT,
        // Nothing after the first end of text matters.
        "pad_token": END_OF_TEXT,
        "unk_token": END_OF_TEXT,
    });
    let text = serde_json::to_string_pretty(&config)? + "\n";
    ueo::write_atomically(&path, |file| file.write_all(text.as_bytes()))
        .map_err(ExportError::write(&path))
}

/// Full weights for open_clip.
///
/// # Errors
///
/// [`ExportError`].
pub fn write_open_clip(
    subject: &mut Subject,
    directory: &Path,
    notes: &mut Vec<String>,
) -> Result<(), ExportError> {
    let checkpoint = &mut subject.checkpoint;
    if checkpoint.preprocessing.crop_rule != CropRule::Torchvision {
        checkpoint.preprocessing.crop_rule = CropRule::Torchvision;
        notes.push(
            "open_clip crops an image with an odd number of pixels to spare one pixel further than the base checkpoint does"
                .to_owned(),
        );
    }
    if checkpoint.tokenizer.cleaning.open_clip_name().is_none() {
        let (cleaning, note) = match checkpoint.config.text.architecture {
            TextArchitecture::Causal => (
                TextCleaning::Whitespace,
                "open_clip repairs texts and their white space before the tokenizer, which the base checkpoint does not",
            ),
            TextArchitecture::Padded { .. } => (
                TextCleaning::Canonicalize,
                "open_clip repairs texts, lowers their case and removes their punctuation before the tokenizer, as it does for every \
                 SigLIP; the base checkpoint cleans them in another way",
            ),
        };
        checkpoint.tokenizer.cleaning = cleaning;
        notes.push(note.to_owned());
    }
    let saved = checkpoint::save_as(directory, checkpoint, Layout::OpenClip)?;
    notes.extend(saved.notes);
    Ok(())
}

/// Full weights for transformers.
///
/// # Errors
///
/// [`ExportError`].
pub fn write_hugging_face(
    subject: &mut Subject,
    directory: &Path,
    notes: &mut Vec<String>,
) -> Result<(), ExportError> {
    let saved = checkpoint::save_as(directory, &subject.checkpoint, Layout::HuggingFace)?;
    notes.extend(saved.notes);
    write_tokenizer_config(subject, directory)?;
    let crops = !matches!(subject.checkpoint.config.vision, VisionConfig::Siglip(_));
    if crops && subject.checkpoint.preprocessing.crop_rule == CropRule::Torchvision {
        notes.push(
            "transformers crops an image with an odd number of pixels to spare up to one pixel off the base checkpoint's crop"
                .to_owned(),
        );
    }
    Ok(())
}
