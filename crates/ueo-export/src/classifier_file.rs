//! `classifier.safetensors`: what a program needs beside the weights to name images and to decide as the run does.

use std::path::Path;

use ueo::checkpoint;

use crate::ExportError;
use crate::subject::Subject;

/// Name of the file.
pub const NAME: &str = "classifier.safetensors";

/// Writes the class embeddings, with everything else in the metadata as strings.
///
/// - `class_embeddings` `[classes, embed_dim]`, unit L2 norm, with the learned context
/// - `negative_embeddings` `[words, embed_dim]`, unit L2 norm, for the score `negative-labels` only
///
/// # Errors
///
/// [`ExportError::Checkpoint`] when the file cannot be written.
pub fn write(subject: &Subject, path: &Path) -> Result<(), ExportError> {
    let mut tensors = vec![("class_embeddings", &subject.class_embeddings)];
    if let Some(embeddings) = &subject.negative_embeddings {
        tensors.push(("negative_embeddings", embeddings));
    }
    let metadata = subject.metadata()?.into_iter().collect();
    Ok(checkpoint::save_tensors(path, &tensors, &metadata)?)
}
