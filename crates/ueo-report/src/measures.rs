//! The measurements of an evaluation as rows of a table: names, meanings and which direction is better.

use maud::{Markup, html};

use super::numbers::{percent, points, points_in};
use ueo::evaluate::{ClassIntervals, Evaluation, Interval};

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
    /// Its interval over classes, where it has one.
    pub interval: fn(&ClassIntervals) -> Option<Interval>,
}

impl Measure {
    const fn new(
        name: &'static str,
        meaning: &'static str,
        of: fn(&Evaluation) -> Option<f64>,
    ) -> Self {
        Self {
            name,
            meaning,
            lower_is_better: false,
            of,
            interval: |_| None,
        }
    }
}

/// Number of measures at the head of [`MEASURES`] that a summary shows.
pub const HEADLINES: usize = 4;

/// In the order in which people read them: recognition, separation, both, details.
pub const MEASURES: [Measure; 12] = [
    Measure {
        interval: |intervals| intervals.per_class_accuracy,
        ..Measure::new(
            "Accuracy",
            "mean over the known classes, nothing rejected",
            |e| e.per_class_accuracy,
        )
    },
    Measure {
        interval: |intervals| intervals.auroc,
        ..Measure::new(
            "AUROC",
            "chance that a known image is more confident than an unknown one",
            |e| e.auroc,
        )
    },
    Measure::new(
        "H-score",
        "harmonic mean of known accuracy and unknown recall at the threshold",
        |e| e.h_score,
    ),
    Measure {
        lower_is_better: true,
        ..Measure::new(
            "FPR@95",
            "unknown images that pass where 95 % of the known ones do",
            |e| e.fpr_at_95_tpr,
        )
    },
    Measure::new(
        "Accuracy, overall",
        "correct known images over known images",
        |e| e.overall_accuracy,
    ),
    Measure::new(
        "OSCR",
        "correct and accepted known images over accepted unknown ones, area",
        |e| e.oscr,
    ),
    Measure::new(
        "AUPR, known",
        "average precision, known images are the positives",
        |e| e.aupr_known,
    ),
    Measure::new(
        "AUPR, unknown",
        "average precision, unknown images are the positives",
        |e| e.aupr_unknown,
    ),
    Measure {
        lower_is_better: true,
        ..Measure::new(
            "FPR@95, unknown positive",
            "known images rejected where 95 % of the unknown ones are",
            |e| e.fpr_at_95_tpr_unknown_positive,
        )
    },
    Measure::new(
        "Known accuracy at the threshold",
        "a rejected image counts as wrong",
        |e| e.known_accuracy_at_threshold,
    ),
    Measure::new(
        "Unknown recall at the threshold",
        "share of the unknown images that are rejected",
        |e| e.unknown_recall_at_threshold,
    ),
    Measure::new(
        "Harmonic mean of accuracy and AUROC",
        "as the paper quotes it; not the H-score",
        |e| e.harmonic_mean_accuracy_auroc,
    ),
];

impl Measure {
    /// Name and meaning, one below the other.
    pub fn label(&self) -> Markup {
        html! { (self.name) small { (self.meaning) } }
    }

    /// The difference in points, marked as better or worse by color and sign, with its interval where there is one.
    pub fn change(
        &self,
        before: Option<f64>,
        after: Option<f64>,
        changes: Option<&ClassIntervals>,
    ) -> Markup {
        match changes.and_then(self.interval) {
            Some(interval) => change_in(interval, self.lower_is_better),
            None => change(before, after, self.lower_is_better),
        }
    }

    /// The value in percent.
    pub fn value(&self, evaluation: Option<&Evaluation>) -> String {
        percent(evaluation.and_then(self.of))
    }
}

/// A difference of two rates in points with its interval; better or worse only where the interval does not hold zero.
pub fn change_in(interval: Interval, lower_is_better: bool) -> Markup {
    let class = match (interval.rises(), interval.falls(), lower_is_better) {
        (true, _, false) | (_, true, true) => "better",
        (true, _, true) | (_, true, false) => "worse",
        _ => "same",
    };
    html! { span class={ "change " (class) } { (points_in(interval)) } }
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
