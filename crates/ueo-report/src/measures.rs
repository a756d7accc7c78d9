//! The measurements of an evaluation as rows of a table: names, meanings and which direction is better.

use maud::{Markup, html};

use super::numbers::{percent, points};
use ueo::evaluate::Evaluation;

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Its name.
    pub name: &'static str,
    /// What it says, in a few words.
    pub meaning: &'static str,
    /// Whether less is better.
    pub lower_is_better: bool,
    /// Its value, a fraction between 0 and 1.
    pub of: fn(&Evaluation) -> Option<f64>,
}

/// Number of measures at the head of [`MEASURES`] that a summary shows.
pub const HEADLINES: usize = 4;

/// In the order in which people read them: recognition, separation, both, details.
pub const MEASURES: [Measure; 12] = [
    Measure {
        name: "Accuracy",
        meaning: "mean over the known classes, nothing rejected",
        lower_is_better: false,
        of: |e| e.per_class_accuracy,
    },
    Measure {
        name: "AUROC",
        meaning: "chance that a known image is more confident than an unknown one",
        lower_is_better: false,
        of: |e| e.auroc,
    },
    Measure {
        name: "H-score",
        meaning: "harmonic mean of known accuracy and unknown recall at the threshold",
        lower_is_better: false,
        of: |e| e.h_score,
    },
    Measure {
        name: "FPR@95",
        meaning: "unknown images that pass where 95 % of the known ones do",
        lower_is_better: true,
        of: |e| e.fpr_at_95_tpr,
    },
    Measure {
        name: "Accuracy, overall",
        meaning: "correct known images over known images",
        lower_is_better: false,
        of: |e| e.overall_accuracy,
    },
    Measure {
        name: "OSCR",
        meaning: "correct and accepted known images over accepted unknown ones, area",
        lower_is_better: false,
        of: |e| e.oscr,
    },
    Measure {
        name: "AUPR, known",
        meaning: "average precision, known images are the positives",
        lower_is_better: false,
        of: |e| e.aupr_known,
    },
    Measure {
        name: "AUPR, unknown",
        meaning: "average precision, unknown images are the positives",
        lower_is_better: false,
        of: |e| e.aupr_unknown,
    },
    Measure {
        name: "FPR@95, unknown positive",
        meaning: "known images rejected where 95 % of the unknown ones are",
        lower_is_better: true,
        of: |e| e.fpr_at_95_tpr_unknown_positive,
    },
    Measure {
        name: "Known accuracy at the threshold",
        meaning: "a rejected image counts as wrong",
        lower_is_better: false,
        of: |e| e.known_accuracy_at_threshold,
    },
    Measure {
        name: "Unknown recall at the threshold",
        meaning: "share of the unknown images that are rejected",
        lower_is_better: false,
        of: |e| e.unknown_recall_at_threshold,
    },
    Measure {
        name: "Harmonic mean of accuracy and AUROC",
        meaning: "as the paper quotes it; not the H-score",
        lower_is_better: false,
        of: |e| e.harmonic_mean_accuracy_auroc,
    },
];

impl Measure {
    /// Name and meaning, one below the other.
    pub fn label(&self) -> Markup {
        html! { (self.name) small { (self.meaning) } }
    }

    /// The difference in points, marked as better or worse by color and sign.
    pub fn change(&self, before: Option<f64>, after: Option<f64>) -> Markup {
        change(before, after, self.lower_is_better)
    }

    /// The value in percent.
    pub fn value(&self, evaluation: Option<&Evaluation>) -> String {
        percent(evaluation.and_then(self.of))
    }
}

/// A difference of two rates in points, marked as better or worse.
pub fn change(before: Option<f64>, after: Option<f64>, lower_is_better: bool) -> Markup {
    let shown = points(before, after);
    let class = match (shown.chars().next(), lower_is_better) {
        (Some('+'), false) | (Some('−'), true) => "better",
        (Some('+'), true) | (Some('−'), false) => "worse",
        _ => "same",
    };
    html! { span class={ "change " (class) } { (shown) } }
}
