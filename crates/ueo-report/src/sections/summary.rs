//! What happened, in words and in a few numbers.

use maud::{Markup, html};

use crate::measures::{HEADLINES, MEASURES, Measure};
use crate::numbers::{count, counted, duration, percent, points_in};
use crate::page::{Section, folded, table, text};
use crate::run_data::{RunData, Side, effective_classes};
use ueo::evaluate::{ClassIntervals, Evaluation, Interval};

/// The section.
pub fn section(run: &RunData) -> Section {
    let body = match (
        run.evaluation(Side::ZeroShot),
        run.evaluation(Side::Adapted),
    ) {
        (Some(before), Some(after)) => with_labels(run, before, after),
        _ => without_labels(run),
    };
    Section {
        id: "summary",
        title: "Summary",
        body,
    }
}

fn with_labels(run: &RunData, before: &Evaluation, after: &Evaluation) -> Markup {
    let rejected = run.share(|image| run.rejects(Side::Adapted, image));
    let change = |of: fn(&ClassIntervals) -> Option<Interval>| run.changes.as_ref().and_then(of);
    html! {
        p.words {
            (begun(run)) " "
            @if let (Some(from), Some(to)) = (before.per_class_accuracy, after.per_class_accuracy) {
                "Accuracy on the known classes " (movement(from, to, change(|changes| changes.per_class_accuracy)))
                (against_chance(to, after.intervals.and_then(|i| i.per_class_accuracy), 1.0 / run.classes().len() as f64)) ". "
            }
            @if let (Some(from), Some(to)) = (before.auroc, after.auroc) {
                "How well confidence tells known from unknown images (AUROC) " (movement(from, to, change(|changes| changes.auroc)))
                (against_chance(to, after.intervals.and_then(|i| i.auroc), 0.5)) ". "
            }
            "At the threshold, " (percent(rejected)) " of the images are rejected as unknown"
            @if let Some(recall) = after.unknown_recall_at_threshold {
                ", among them " (percent(recall)) " of those that really are"
            }
            "."
        }
        div.cards {
            @for measure in &MEASURES[..HEADLINES] { (card(run, measure, before, after)) }
        }
        p.quiet {
            (counted(after.n_known, "image")) " of known classes and " (count(after.n_unknown)) " of others have labels. "
            @if run.record.request.settings.needs_labels() { "The labels were used for training, as the settings ask: this is an upper bound, not a result." }
            @else { "The labels were used for measuring only." }
        }
        (folded("All measurements", &measurements(run, before, after)))
    }
}

fn card(run: &RunData, measure: &Measure, before: &Evaluation, after: &Evaluation) -> Markup {
    let (from, to) = ((measure.of)(before), (measure.of)(after));
    html! {
        div.card title=(measure.meaning) {
            p.name { (measure.name) @if measure.lower_is_better { span.quiet { " · lower is better" } } }
            p.value { (percent(to)) }
            p.from { "from " (percent(from)) " " (measure.change(from, to, run.changes.as_ref())) }
        }
    }
}

fn measurements(run: &RunData, before: &Evaluation, after: &Evaluation) -> Markup {
    let rows = MEASURES.map(|measure| {
        vec![
            measure.label(),
            text(measure.value(Some(before))),
            text(measure.value(Some(after))),
            measure.change(
                (measure.of)(before),
                (measure.of)(after),
                run.changes.as_ref(),
            ),
        ]
    });
    table(&["", "zero-shot", "adapted", "change"], 1, &rows)
}

fn without_labels(run: &RunData) -> Markup {
    let moved = run.share(|image| image.moved());
    let counts = Side::BOTH.map(|side| run.predicted_counts(side));
    let diversity = counts.each_ref().map(|counts| effective_classes(counts));
    let used = counts.map(|counts| counts.iter().filter(|images| **images > 0).count());
    let rejected = Side::BOTH.map(|side| run.share(|image| run.rejects(side, image)));
    let certainty = Side::BOTH.map(|side| {
        let probabilities = run
            .images
            .iter()
            .map(|image| image.answer(side).probability());
        probabilities.sum::<f64>() / run.images.len().max(1) as f64
    });
    let plain = |values: [f64; 2]| values.map(|value| format!("{value:.1}"));
    let cards = [
        (
            "Mean probability",
            certainty.map(percent),
            "of the predicted class",
        ),
        (
            "Rejected as unknown",
            rejected.map(percent),
            "below the threshold",
        ),
        (
            "Classes predicted",
            used.map(count),
            "for at least one image",
        ),
        (
            "Effective classes",
            plain(diversity),
            "exp(entropy) of the predictions",
        ),
    ];
    html! {
        p.words {
            (begun(run)) " The images have no labels that name known classes, so this report shows what changed, not whether it is right. "
            (percent(moved)) " of the images have another class than before, and "
            (percent(rejected[1])) " are rejected as unknown."
        }
        div.cards {
            @for (name, [from, to], meaning) in &cards {
                div.card {
                    p.name { (name) span.quiet { " · " (meaning) } }
                    p.value { (to) }
                    p.from { "from " (from) }
                }
            }
        }
    }
}

/// What was done.
fn begun(run: &RunData) -> Markup {
    let record = &run.record;
    let classes = counted(run.classes().len(), "class");
    html! {
        "The model was adapted by " (run.record.request.settings.method.title()) " to " (counted(record.images.used, "image")) " with the names of " (classes)
        @if record.total_steps > 0 { ", in " (counted(record.total_steps, "step")) " and " (duration(record.adaptation_secs)) }
        "."
    }
}

/// What became of a rate. Only a change that the choice of classes does not explain is said to be one.
fn movement(from: f64, to: f64, change: Option<Interval>) -> Markup {
    let (from, to) = (percent(from), percent(to));
    html! {
        @match change {
            Some(change) if change.rises() || change.falls() => {
                (if change.rises() { "rose" } else { "fell" }) " from " (from) " to " strong { (to) }
                " (" (points_in(change)) " points)"
            },
            Some(change) => {
                "was " (from) " and is " strong { (to) } " (" (points_in(change)) " points: no more than noise)"
            },
            None => { "was " (from) " and is " strong { (to) } },
        }
    }
}

/// Says so where a rate is no better than guessing, and adds nothing elsewhere.
fn against_chance(rate: f64, interval: Option<Interval>, chance: f64) -> String {
    let surely = interval.is_some_and(|interval| interval.upper < chance);
    match rate <= chance {
        true if surely => format!(", which is worse than chance ({})", percent(chance)),
        true => format!(", which is no better than chance ({})", percent(chance)),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(lower: f64, upper: f64) -> Interval {
        Interval {
            estimate: f64::midpoint(lower, upper),
            lower,
            upper,
        }
    }

    #[test]
    fn a_change_within_its_interval_did_not_rise() {
        let words = |change| movement(0.62, 0.622, change).into_string();
        let noise = words(Some(interval(-0.03, 0.04)));
        assert!(
            noise.contains("no more than noise") && !noise.contains("rose"),
            "{noise}"
        );
        assert!(words(Some(interval(0.01, 0.03))).starts_with("rose from"));
        assert!(words(Some(interval(-0.03, -0.01))).starts_with("fell from"));
        assert!(!words(None).contains("rose"));
    }

    #[test]
    fn what_is_no_better_than_chance_is_said_to_be() {
        assert_eq!(against_chance(0.6, None, 0.5), "");
        assert!(against_chance(0.4, Some(interval(0.3, 0.45)), 0.5).contains("worse than chance"));
        assert!(against_chance(0.48, Some(interval(0.4, 0.55)), 0.5).contains("no better than"));
    }
}
