//! Input that no metric is defined for.

/// Numbers that do not belong together, or that are no cosines, confidences or settings.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvaluateError {
    /// Cosines that do not fill a matrix.
    #[error("expected cosines of shape [images, {classes}], found {length} values")]
    Shape {
        /// Number of classes.
        classes: usize,
        /// Number of values.
        length: usize,
    },
    /// A setting outside of its range.
    #[error("{name} must be {expected}, found {value}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The allowed range, in words.
        expected: &'static str,
        /// The value that was given.
        value: f64,
    },
    /// A value that is no cosine.
    #[error("the cosines of image {image} contain {value}, expected finite numbers")]
    NonFiniteCosine {
        /// Row of the image.
        image: usize,
        /// The value.
        value: f32,
    },
    /// A confidence that is no number.
    #[error("the confidence of image {image} is {value}, expected a finite number")]
    Confidence {
        /// Index of the image.
        image: usize,
        /// The value.
        value: f64,
    },
    /// A value that is no probability.
    #[error("the probability of image {image} is {value}, expected a number between 0 and 1")]
    Probability {
        /// Index of the image.
        image: usize,
        /// The value.
        value: f64,
    },
    /// A score over negative labels without any.
    #[error("the score negative-labels needs cosines to negative labels, and there are none")]
    NoNegativeLabels,
    /// A score with the logistic function for a model that was not trained with it.
    #[error(
        "the score sigmoid needs a model that was trained with it, and the checkpoint has no `logit_bias`"
    )]
    NoLogitBias,
    /// A threshold that rests on images known to be known, without any.
    #[error(
        "the threshold {method} needs labelled images of known classes beside the images at hand, whose labels it does not use, and \
         there are none"
    )]
    NoKnownImages {
        /// Spelling of the method.
        method: String,
    },
    /// Lists of different lengths.
    #[error(
        "{predictions} predictions, {confidences} confidences and {labels} labels do not belong together"
    )]
    Lengths {
        /// Number of predicted classes.
        predictions: usize,
        /// Number of confidences.
        confidences: usize,
        /// Number of labels.
        labels: usize,
    },
    /// A class index that no name belongs to.
    #[error("image {image} has class index {class}, but there are only {classes} known classes")]
    ClassIndex {
        /// Index of the image.
        image: usize,
        /// The label or prediction.
        class: usize,
        /// Number of known classes.
        classes: usize,
    },
    /// Measurements that were not taken on the same images.
    #[error(
        "expected measurements of the same images: as many known and unknown classes, with as many images in each"
    )]
    DifferentImages,
    /// A reference that does not belong to the confidences.
    #[error("expected one left-out confidence for each of {confidences} images, found {left_out}")]
    LeftOut {
        /// Number of confidences.
        confidences: usize,
        /// Number of left-out confidences.
        left_out: usize,
    },
    /// Nothing to measure.
    #[error("there are no images to measure")]
    NoImages,
}
