//! Numbers that no metric is defined for.

use ueo::evaluate::EvaluateError;

use super::Hint;

impl Hint for EvaluateError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NonFiniteCosine { .. } | Self::Confidence { .. } | Self::Probability { .. } => {
                Some(
                    "the model produced values that are no numbers; check the checkpoint and the adaptation's losses",
                )
            }
            Self::NoImages => {
                Some("check the images' folder, and that labels are given where they are needed")
            }
            Self::NoNegativeLabels => {
                Some("choose another --score, or a method whose class scores are cosines to texts")
            }
            Self::NoLogitBias => Some(
                "choose another --score: maximum-logit ranks images in the same order, whatever the bias",
            ),
            Self::NoKnownImages { .. } => Some(
                "choose another --threshold; `ueo adapt` takes labelled images for it with --threshold-images (those of \
                 --images are not used)",
            ),
            Self::Setting { .. }
            | Self::Shape { .. }
            | Self::DifferentImages
            | Self::Lengths { .. }
            | Self::LeftOut { .. }
            | Self::ClassIndex { .. } => None,
        };
        hint.map(str::to_owned)
    }
}
