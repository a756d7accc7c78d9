//! Models that are known to work, from `models.csv`, which `tools/hub/catalog.py` writes.

use serde::Serialize;

/// Facts about a model, as their authors state them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KnownModel {
    /// `OWNER/NAME` at the hub.
    pub repository: &'static str,
    /// Name of the architecture in open_clip.
    pub architecture: &'static str,
    /// Name of the training data in open_clip.
    pub training: &'static str,
    /// Side of the square input image in pixels.
    pub image_size: u32,
    /// Parameters of both towers, in millions. In 32 bits each takes four bytes of a download.
    pub parameters_millions: f64,
    /// Zero-shot accuracy on ImageNet-1k, in percent.
    pub imagenet_accuracy_percent: f64,
    /// Who measured it: `open_clip`, with the prompts of that package, or the `authors` of the weights.
    pub accuracy_source: &'static str,
    /// Licence of the weights.
    pub licence: &'static str,
}

/// All of them, the smallest first.
pub fn known_models() -> Vec<KnownModel> {
    let rows = include_str!("models.csv").lines().skip(1);
    rows.filter_map(parsed).collect()
}

fn parsed(row: &'static str) -> Option<KnownModel> {
    let mut fields = row.split(',');
    let model = KnownModel {
        repository: fields.next()?,
        architecture: fields.next()?,
        training: fields.next()?,
        image_size: fields.next()?.parse().ok()?,
        parameters_millions: fields.next()?.parse().ok()?,
        imagenet_accuracy_percent: fields.next()?.parse().ok()?,
        accuracy_source: fields.next()?,
        licence: fields.next()?,
    };
    fields.next().is_none().then_some(model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ModelName, PREFIX};

    #[test]
    fn every_row_is_a_model_with_a_name() {
        let models = known_models();
        assert_eq!(models.len(), include_str!("models.csv").lines().count() - 1);
        assert!(models.len() > 30);
        for model in &models {
            let name: ModelName = format!("{PREFIX}{}", model.repository).parse().unwrap();
            assert_eq!(name.repository(), model.repository);
            assert!((20.0..90.0).contains(&model.imagenet_accuracy_percent));
            let is_siglip2 = model.architecture.contains("SigLIP2");
            let source = if is_siglip2 { "authors" } else { "open_clip" };
            assert_eq!(model.accuracy_source, source, "{}", model.repository);
        }
        for family in ["google/siglip-", "google/siglip2-", "timm/ViT-B-16-SigLIP2"] {
            assert!(
                models.iter().any(|m| m.repository.starts_with(family)),
                "{family}"
            );
        }
        let sizes: Vec<f64> = models.iter().map(|m| m.parameters_millions).collect();
        assert!(sizes.is_sorted());
    }
}
