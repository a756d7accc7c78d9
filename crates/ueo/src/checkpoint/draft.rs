//! From a recognized layout to a checkpoint in memory: every check that does not depend on where the files came from.

use std::path::{Path, PathBuf};

use crate::image::Preprocessing;
use crate::tensor::TensorMap;
use crate::text::{END_OF_TEXT, TokenizerContent, TokenizerSource};

use super::assemble::{Parameter, assemble};
use super::digest::{content_sha256, sha256_of_files};
use super::open_clip::LayerScale;
use super::parameters::parameters;
use super::store::TensorStore;
use super::timm::{self, Recipes};
use super::validate::validate;
use super::{
    Activation, ActivationSource, Checkpoint, CheckpointError, CheckpointKind, ClipConfig,
    LoadOptions, VisionConfig, hugging_face, positions, siglip, state_dict,
};

/// `[EOS]` in OpenAI's vocabulary.
const OPENAI_END_OF_TEXT: u32 = 49_407;
/// Factors `exp(logit_scale)` with which a softmax still says something. CLIP begins at 14 and is kept below 100.
const LOGIT_FACTORS: std::ops::RangeInclusive<f64> = 0.01..=10_000.0;

/// At which token the owning package reads the text feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FeatureToken {
    /// At the highest id of a text.
    HighestId,
    /// At the first token with an id.
    Id {
        /// The key of the configuration that says it.
        key: &'static str,
        id: u64,
    },
    /// The configuration does not say, or no tokenizer is known.
    Unsaid,
}

/// A checkpoint whose tensors are still on disk.
pub(super) struct Draft {
    pub config: ClipConfig,
    pub preprocessing: Preprocessing,
    pub tokenizer: TokenizerSource,
    pub feature_token: FeatureToken,
    pub layer_scale: LayerScale,
    /// Where timm keeps the parameters of its image tower, if it is one.
    pub timm: Option<Recipes>,
    pub activation_source: ActivationSource,
    pub kind: CheckpointKind,
    pub store: TensorStore,
    pub weights_path: PathBuf,
    /// The file that says most about the architecture.
    pub config_path: PathBuf,
    pub decisions: Vec<String>,
    pub warnings: Vec<String>,
}

impl Draft {
    /// Checks everything, then reads the tensors.
    pub(super) fn read(
        mut self,
        path: PathBuf,
        options: &LoadOptions,
    ) -> Result<Checkpoint, CheckpointError> {
        if let Some(activation) = options.activation {
            self.take_activation(activation);
        }
        validate(&self.config, &self.config_path)?;
        let tokenizer = TokenizerContent::read(&self.tokenizer)?;
        self.check_feature_token(&tokenizer)?;
        let placed = self.placed_parameters();
        let is_known_extra = match self.kind {
            CheckpointKind::HuggingFace => hugging_face::is_known_extra,
            _ => state_dict::is_known_extra,
        };
        let tensors = assemble(&self.store, &placed, is_known_extra)?;
        check_values(&tensors, &self.weights_path)?;
        if self.activation_source == ActivationSource::Assumed {
            self.warnings.push(format!(
                "the checkpoint does not say its activation: {} is assumed, and the other one loses accuracy without any error",
                self.config.text.transformer.activation.name()
            ));
        }
        let sha256 = sha256_of_files(&self.store.files)?;
        Ok(Checkpoint {
            content_sha256: content_sha256(&self.config, &self.preprocessing, &tokenizer, &sha256),
            sha256,
            config: self.config,
            preprocessing: self.preprocessing,
            tokenizer: self.tokenizer,
            tensors,
            kind: self.kind,
            path,
            weights_path: self.weights_path,
            activation_source: self.activation_source,
            decisions: self.decisions,
            warnings: self.warnings,
        })
    }

    /// The activation that the user asked for, in place of any other.
    fn take_activation(&mut self, activation: Activation) {
        let former = self.config.text.transformer.activation;
        self.config.text.transformer.activation = activation;
        match &mut self.config.vision {
            VisionConfig::Vit(vit) | VisionConfig::Siglip(vit) => {
                vit.transformer.activation = activation;
            }
            VisionConfig::ModularVit(modular) => {
                modular.vit.transformer.activation = activation;
            }
            _ => {}
        }
        self.decisions
            .retain(|decision| !decision.starts_with("activation: "));
        let source = match self.activation_source {
            ActivationSource::Assumed => "assumed without it",
            _ => "of the checkpoint",
        };
        self.decisions.push(format!(
            "activation: {}, asked for ({source}: {})",
            activation.name(),
            former.name()
        ));
        self.activation_source = ActivationSource::Requested;
    }

    /// Places every parameter in the file, position embeddings of another input size included.
    fn placed_parameters(&mut self) -> Vec<Parameter> {
        let list = parameters(&self.config);
        if let VisionConfig::Siglip(_) = self.config.vision {
            return siglip::place(list, self.kind);
        }
        match self.kind {
            CheckpointKind::HuggingFace => hugging_face::place(list),
            CheckpointKind::OpenClip => {
                let mut placed = state_dict::place(list);
                if let Some(recipes) = self.timm {
                    timm::place(&mut placed, recipes);
                }
                self.layer_scale.fold(&mut placed);
                let said = positions::resize(&mut placed, &self.store, &self.config);
                self.decisions.extend(said);
                placed
            }
            _ => state_dict::place(list),
        }
    }

    /// The text feature is read at `[EOS]`; the owning package must read it there too.
    fn check_feature_token(&self, tokenizer: &TokenizerContent) -> Result<(), CheckpointError> {
        let end = tokenizer.end_of_text();
        let highest = tokenizer.highest_id();
        match self.feature_token {
            FeatureToken::HighestId if end.is_some() && end != highest => {
                let files = self.tokenizer.files();
                Err(CheckpointError::bad_value(
                    files.first().copied().unwrap_or(&self.config_path),
                    END_OF_TEXT,
                    format!(
                        "the highest id of the vocabulary ({}), which is where the text feature is read",
                        highest.unwrap_or_default()
                    ),
                    end.unwrap_or_default(),
                ))
            }
            FeatureToken::Id { key, id } if id != u64::from(end.unwrap_or(OPENAI_END_OF_TEXT)) => {
                Err(CheckpointError::bad_value(
                    &self.config_path,
                    key,
                    format!(
                        "the id of {END_OF_TEXT} ({})",
                        end.unwrap_or(OPENAI_END_OF_TEXT)
                    ),
                    id,
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Values that are finite and still make every result meaningless.
fn check_values(tensors: &TensorMap, path: &Path) -> Result<(), CheckpointError> {
    if let Some(&[scale]) = tensors.get("logit_scale").map(|tensor| &tensor.data[..])
        && !LOGIT_FACTORS.contains(&f64::from(scale).exp())
    {
        return Err(CheckpointError::bad_value(
            path,
            "logit_scale",
            format!(
                "the logarithm of a factor between {} and {}",
                LOGIT_FACTORS.start(),
                LOGIT_FACTORS.end()
            ),
            scale,
        ));
    }
    for (name, tensor) in tensors
        .iter()
        .filter(|(name, _)| name.ends_with(".running_var"))
    {
        if let Some(variance) = tensor.data.iter().find(|variance| **variance < 0.0) {
            let expected = "variances, which are not negative";
            return Err(CheckpointError::bad_value(path, name, expected, variance));
        }
    }
    Ok(())
}
