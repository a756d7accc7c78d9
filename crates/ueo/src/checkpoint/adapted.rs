//! `adapted.safetensors`: only what adaptation changed, and merging it onto the base checkpoint.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use super::error::WrongShape;
use super::store::TensorStore;
use super::write::{self, Entry};
use crate::tensor::{HostTensor, TensorMap};

use super::{CheckpointError, TensorMismatch, safetensors_file};

/// Name of the learned context in the file.
const CONTEXT: &str = "context";
/// Tensor whose rows have the width of the context vectors.
const TOKEN_EMBEDDING: &str = "token_embedding.weight";

/// What adaptation learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapted {
    /// The context vectors, `[context tokens, text width]`.
    pub context: HostTensor,
    /// Affine parameters of the visual normalization layers by OpenAI name (`visual.ln_post.weight`), `[channels]` each.
    pub affine: TensorMap,
    /// Means to subtract before cosines are taken, `centring.*`; empty for methods that do without.
    pub centring: TensorMap,
    /// Free-form strings in the file's header, for example the base checkpoint's SHA-256.
    pub metadata: BTreeMap<String, String>,
}

impl Adapted {
    /// Writes the file completely or not at all; equal content gives equal bytes.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] when the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let context = (CONTEXT.to_owned(), &self.context);
        let affine = self
            .affine
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor));
        let centring = self
            .centring
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor));
        let entries = std::iter::once(context)
            .chain(affine)
            .chain(centring)
            .map(|(name, tensor)| Entry {
                name,
                shape: tensor.shape.clone(),
                data: Cow::Borrowed(&tensor.data),
            })
            .collect();
        write::safetensors(path, entries, &self.metadata)
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] when it cannot be read, [`CheckpointError::Malformed`] when it is no safetensors file, has no
    /// context, or holds anything but affine parameters of visual normalization layers.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let file = safetensors_file::open(path)?;
        let mut tensors = read_all(&file.store)?;
        let context = tensors
            .remove(CONTEXT)
            .filter(|context| context.shape.len() == 2 && !context.shape.contains(&0))
            .ok_or_else(|| {
                CheckpointError::malformed(
                    path,
                    format!("a matrix `{CONTEXT}` of context vectors"),
                    "none",
                )
            })?;
        let (centring, tensors): (TensorMap, TensorMap) = tensors
            .into_iter()
            .partition(|(name, tensor)| name.starts_with(CENTRING) && tensor.shape.len() == 1);
        if let Some((name, tensor)) = tensors
            .iter()
            .find(|(name, tensor)| !is_affine(name, tensor))
        {
            return Err(CheckpointError::malformed(
                path,
                "only affine parameters of visual normalization layers and means beside the context",
                format!("`{}` of shape {:?}", crate::quote::name(name), tensor.shape),
            ));
        }
        Ok(Self {
            context,
            affine: tensors,
            centring,
            metadata: file.metadata.into_iter().collect(),
        })
    }

    /// Replaces the affine parameters in the tensors of the base checkpoint.
    ///
    /// The context has no place among them: it belongs to prompts. Its width is checked all the same.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::AdaptedMismatch`] with every name and shape that does not fit; `base` is then unchanged.
    pub fn merge_into(&self, base: &mut TensorMap) -> Result<(), CheckpointError> {
        let mut mismatch = TensorMismatch::default();
        let embedding = base.get(TOKEN_EMBEDDING).map(|table| &table.shape[..]);
        if let (Some(&[_, width]), &[tokens, found]) = (embedding, &self.context.shape[..])
            && found != width
        {
            mismatch.wrong_shape.push(WrongShape {
                name: CONTEXT.to_owned(),
                expected: vec![tokens, width],
                found: self.context.shape.clone(),
            });
        }
        for (name, tensor) in &self.affine {
            match base.get(name) {
                None => mismatch.unexpected.push(name.clone()),
                Some(current) if current.shape != tensor.shape => {
                    mismatch.wrong_shape.push(WrongShape {
                        name: name.clone(),
                        expected: current.shape.clone(),
                        found: tensor.shape.clone(),
                    });
                }
                Some(_) => {}
            }
        }
        if !mismatch.is_empty() {
            return Err(CheckpointError::AdaptedMismatch { mismatch });
        }
        for (name, tensor) in &self.affine {
            base.insert(name.clone(), tensor.clone());
        }
        Ok(())
    }
}

fn read_all(store: &TensorStore) -> Result<TensorMap, CheckpointError> {
    let mut open = store.open()?;
    store
        .tensors
        .keys()
        .map(|name| Ok((name.clone(), open.read(name)?)))
        .collect()
}

/// What the names of a method's means begin with.
const CENTRING: &str = "centring.";

fn is_affine(name: &str, tensor: &HostTensor) -> bool {
    name.starts_with("visual.")
        && (name.ends_with(".weight") || name.ends_with(".bias"))
        && tensor.shape.len() == 1
}
