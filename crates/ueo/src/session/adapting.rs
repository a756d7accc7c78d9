//! Adaptation without a run directory: model, images and zero-shot pass are there already and may serve many
//! adaptations.
//!
//! ```text
//! encode_images -> ImageFeatures -> zero_shot -> ZeroShotPass -> adapt_in_memory -> TrainedParameters
//!                                                                        |
//!               encode_images (adapted) -> class_scores <- Classifier::of_method
//! ```

use crate::adapt::{AdaptError, AdaptState, Adaptation, Observer, Outcome, PixelSource, Settings};
use crate::guard::Scoring;
use crate::method::ZeroShotPass;
use crate::model::Prompts;

use super::model::Model;

/// Adapts a model's parameters to some images; a method without training returns them as they are.
///
/// `images` and `pass` belong together: row `i` of the pass is image `i`. [`Subset`](super::Subset) and
/// [`ZeroShotPass::subset`] restrict both to the images that are adapted to.
///
/// # Errors
///
/// As [`Adaptation::run`].
///
/// # Panics
///
/// When the pass is not over as many images.
pub fn adapt_in_memory(
    model: &Model,
    prompts: &Prompts,
    images: &dyn PixelSource,
    pass: &ZeroShotPass,
    settings: &Settings,
    observer: &mut dyn Observer,
) -> Result<Outcome, AdaptError> {
    assert_eq!(pass.images(), images.len(), "one row of the pass per image");
    settings.validate()?;
    let parameters = model.parameters.clone();
    let Some(objective) = settings.objective() else {
        return Ok(Outcome::Finished(AdaptState::untrained(parameters)));
    };
    let adaptation = Adaptation {
        clip: &model.clip,
        prompts,
        objective: &*objective,
        settings,
        scoring: Scoring::new(model.clip.logit_scale()),
    };
    let state = adaptation.begin(parameters, pass)?;
    adaptation.run(state, images, observer)
}
