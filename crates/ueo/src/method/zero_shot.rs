//! Zero-shot classification: nothing is trained. With one prompt per class, or with the mean of several sentences:
//!
//! ```text
//! t_k = normalized mean over the templates of the normalized text features
//! ```
//!
//! Radford et al. 2021, section 3.1.4.

use super::{ClassPrompts, Description};

pub(super) const DESCRIPTION: Description = Description {
    name: "zero-shot",
    title: "zero-shot",
    about: "The checkpoint as it is; nothing is trained",
    source: "Radford et al., Learning transferable visual models from natural language supervision, ICML 2021",
    ..Description::NOTHING
};

pub(super) const ENSEMBLE: Description = Description {
    name: "zero-shot-ensemble",
    title: "zero-shot, ensemble",
    about: "The checkpoint with the mean of seven prompts per class; nothing is trained",
    source: "Radford et al., Learning transferable visual models from natural language supervision, ICML 2021",
    class_prompts: ClassPrompts::Templates,
    ..Description::NOTHING
};

/// The seven templates that CLIP's authors found to do nearly as well as all of their eighty; `{}` is the class name.
pub const TEMPLATES: [&str; 7] = [
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
];
