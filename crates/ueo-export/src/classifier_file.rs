//! `classifier.safetensors`: what a program needs beside the weights to name images and to decide as the run does.

use std::path::Path;

use ueo::checkpoint;
use ueo::tensor::HostTensor;

use crate::ExportError;
use crate::subject::Subject;

/// Name of the file.
pub const NAME: &str = "classifier.safetensors";

/// Writes the class embeddings, with everything else in the metadata as strings.
///
/// - `class_embeddings` `[classes, embed_dim]`, unit L2 norm, with the learned context
/// - `image_offset` `[embed_dim]`, to be subtracted from image features of unit L2 norm before they get that again; zeros for most
///   methods
/// - `negative_embeddings` `[words, embed_dim]`, unit L2 norm, for the score `negative-labels` only
///
/// # Errors
///
/// [`ExportError::Checkpoint`] when the file cannot be written.
pub fn write(subject: &Subject, path: &Path) -> Result<(), ExportError> {
    let embed_dim = subject.class_embeddings.shape[1];
    let nothing = HostTensor {
        shape: vec![embed_dim],
        data: vec![0.0; embed_dim],
    };
    let offset = subject.image_offset.as_ref().unwrap_or(&nothing);
    let mut tensors = vec![
        ("class_embeddings", &subject.class_embeddings),
        ("image_offset", offset),
    ];
    if let Some(embeddings) = &subject.negative_embeddings {
        tensors.push(("negative_embeddings", embeddings));
    }
    let metadata = subject.metadata()?.into_iter().collect();
    Ok(checkpoint::save_tensors(path, &tensors, &metadata)?)
}
