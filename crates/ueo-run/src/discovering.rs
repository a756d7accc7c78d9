//! What a model on disk rejects among images on disk, in groups with names.

use std::path::{Path, PathBuf};

use ueo::checkpoint::sha256_of_file;
use ueo::session::{DiscoverQuestion, NamedGroup, PredictionSet, Reporter, Vocabulary};

use super::RunError;
use super::directory::ADAPTED;
use super::discovery::{
    DISCOVERY_FORMAT_VERSION, DiscoveredGroup, DiscoveredImage, DiscoveryRecord,
};
use super::opening::OpenedModel;
use super::predicting::PredictRequest;

/// What to look for and how.
#[derive(Clone, Debug)]
pub struct DiscoverRequest {
    /// The model, as an absolute path.
    pub model: PathBuf,
    /// Which images, and which of them are rejected.
    pub predict: PredictRequest,
    /// Names that groups may get; `None` takes the nouns that come with the program.
    pub vocabulary: Option<Vec<String>>,
    /// Images that a group has at least for a name of it to be proposed.
    pub smallest: usize,
}

/// Groups the images that a model rejects as unknown and names the groups.
///
/// # Errors
///
/// [`RunError`].
pub fn discover(
    opened: &OpenedModel,
    request: &DiscoverRequest,
    reporter: &mut dyn Reporter,
) -> Result<DiscoveryRecord, RunError> {
    let known = request.predict.known_classes(opened)?;
    let classes = known.names().to_vec();
    let images = request.predict.open_images(opened, &known, reporter)?;
    let question = DiscoverQuestion {
        prediction: request.predict.question(opened, &classes),
        vocabulary: match &request.vocabulary {
            Some(names) => Vocabulary::Names(names),
            None => Vocabulary::Shipped,
        },
        smallest: request.smallest,
    };
    let found = ueo::session::discover(&opened.model, &images, question, reporter)?;
    let predictions = &found.predictions;
    let alone = found.alone.iter().map(|row| image(predictions, *row, None));
    let groups = found.groups.iter();
    Ok(DiscoveryRecord {
        format_version: DISCOVERY_FORMAT_VERSION,
        ueo_version: env!("CARGO_PKG_VERSION").to_owned(),
        model: request.model.clone(),
        adapted_sha256: adapted_sha256(&request.model)?,
        base: opened.model.base.clone(),
        images: std::path::absolute(&request.predict.images)
            .unwrap_or_else(|_| request.predict.images.clone()),
        image_root: request.predict.image_root.clone(),
        columns: request.predict.columns.clone(),
        exif_orientation: opened.model.preprocessing.exif_orientation,
        score: predictions.rule,
        threshold: predictions.threshold,
        looked_at: predictions.images.len(),
        skipped: predictions.skipped.clone(),
        cut: found.cut,
        cut_basis: found.cut_basis,
        vocabulary: found.vocabulary,
        smallest: request.smallest,
        known_classes: classes,
        groups: groups.map(|group| of_group(predictions, group)).collect(),
        alone: alone.collect(),
    })
}

fn of_group(predictions: &PredictionSet, group: &NamedGroup) -> DiscoveredGroup {
    let members = group.members.iter();
    DiscoveredGroup {
        names: group.names.clone(),
        nearest_known: group.nearest_known.clone(),
        proposal: group.proposal.clone(),
        images: members
            .map(|member| image(predictions, member.row, Some(member.similarity)))
            .collect(),
    }
}

fn image(predictions: &PredictionSet, row: usize, similarity: Option<f64>) -> DiscoveredImage {
    let predicted = &predictions.images[row];
    DiscoveredImage {
        path: predicted.path.clone(),
        confidence: predicted.confidence,
        predicted: predicted.label.clone(),
        similarity,
        true_label: predicted
            .true_label
            .as_ref()
            .map(|label| label.name.clone()),
    }
}

/// SHA-256 of what a run has trained; `None` for a plain checkpoint.
pub(crate) fn adapted_sha256(model: &Path) -> Result<Option<String>, RunError> {
    let adapted = model.join(ADAPTED);
    match adapted.is_file() {
        true => Ok(Some(sha256_of_file(&adapted)?)),
        false => Ok(None),
    }
}
