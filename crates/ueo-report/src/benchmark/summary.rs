//! Which method is best at what, and whether UEO beats zero-shot.

use maud::{Markup, html};

use super::group::{Averages, Group, HEADLINES};
use super::tables::{html_tables, of_groups};
use crate::numbers::{counted, percent};
use crate::page::{Section, folded};
use ueo::evaluate::Interval;
use ueo::method::Method;
use ueo_benchmark::{Comparison, Metric, Results};

/// The section.
pub fn section(results: &Results, groups: &[Group]) -> Section {
    let means = of_groups(results, ueo_benchmark::means);
    let body = html! {
        @if groups.is_empty() {
            p.words { "There are no measurements under a category shift that leaves unknown images, so nothing is averaged." }
        }
        @for group in groups {
            (group.heading())
            (words(results, group))
            (cards(results, group))
        }
        @if results.failed > 0 {
            p.notice { "The training of " (counted(results.failed, "cell")) " ended in infinities: these are in no average." }
        }
        p.quiet {
            "Settings " code { (results.main_variant()) } ". In brackets: 95 % intervals of a paired bootstrap over classes. "
            "Percentages are means over domains, category shifts and seeds; † means that cells are missing which they should be taken over. "
            @if groups.iter().any(|group| group.methods.iter().any(|method| method.sees_labels)) {
                "A method whose training sees labels is an upper bound and is not ranked."
            }
        }
        @if !means.is_empty() { (folded("All measurements", &html_tables(&means))) }
    };
    Section {
        id: "summary",
        title: "Summary",
        body,
    }
}

fn words(results: &Results, group: &Group) -> Markup {
    let [accuracy, auroc] = [Metric::Accuracy, Metric::Auroc]
        .map(|metric| Some((metric, group.best(results, metric)?)));
    let same = match (accuracy, auroc) {
        (Some((_, first)), Some((_, second))) => first.number == second.number,
        _ => false,
    };
    let lacking: Vec<&str> = group
        .methods
        .iter()
        .filter(|method| !group.has_all(method))
        .map(|method| method.series.method.title())
        .collect();
    html! {
        p.words {
            "Averaged over " (counted(group.scope.domains.len(), "domain")) " and " (counted(group.scope.shifts.len(), "category shift"))
            @match (accuracy, auroc) {
                (Some((metric, method)), Some((other, _))) if same => {
                    ", " strong { (method.series.method.title()) } " is best at both: accuracy " (mean(method, metric)) ", AUROC " (mean(method, other)) ". "
                }
                (Some((metric, method)), Some((other_metric, other))) => {
                    ", " strong { (method.series.method.title()) } " has the best accuracy, " (mean(method, metric)) ", and "
                    strong { (other.series.method.title()) } " the best AUROC, " (mean(other, other_metric)) ". "
                }
                (Some((metric, method)), None) | (None, Some((metric, method))) => {
                    ", " strong { (method.series.method.title()) } " has the best " (metric.title()) ", " (mean(method, metric)) ". "
                }
                (None, None) => { ", nothing was measured. " }
            }
            @match group.method(Method::Ueo).and_then(|ueo| ueo.over_zero_shot) {
                Some(comparison) => { (verdict(&comparison)) }
                None => { "UEO and zero-shot do not both have results, so they are not compared." }
            }
        }
        @if !lacking.is_empty() {
            p.notice { "Some domains or category shifts are missing for " (lacking.join(", ")) ": the means of these are over fewer of them and not comparable with the others." }
        }
    }
}

/// Whether UEO beats zero-shot, at both metrics.
fn verdict(comparison: &Comparison) -> Markup {
    let intervals: Vec<(Metric, Interval)> = HEADLINES
        .into_iter()
        .filter_map(|metric| Some((metric, comparison.of(metric)?)))
        .collect();
    html! {
        "UEO " (answer(&intervals)) ": "
        @for (number, (metric, interval)) in intervals.iter().enumerate() {
            @if number > 0 { ", " }
            (metric.title()) " " (ueo_benchmark::interval(Some(*interval))) " points" @if comparison.partial { " †" }
        }
        "."
    }
}

/// The verdict in a few words; a difference counts where its whole interval is on one side of zero.
fn answer(intervals: &[(Metric, Interval)]) -> String {
    let names = |holds: fn(&Interval) -> bool| -> Vec<&str> {
        let held = intervals.iter().filter(|(_, interval)| holds(interval));
        held.map(|(metric, _)| metric.title()).collect()
    };
    let (above, below) = (names(Interval::rises), names(Interval::falls));
    match (above.as_slice(), below.as_slice()) {
        ([], []) => "cannot be told from zero-shot".to_owned(),
        (above, []) if above.len() == intervals.len() && above.len() > 1 => {
            "beats zero-shot at both".to_owned()
        }
        ([], below) if below.len() == intervals.len() && below.len() > 1 => {
            "is worse than zero-shot at both".to_owned()
        }
        ([above], []) => format!("clearly beats zero-shot at {above} only"),
        ([], [below]) => format!("is clearly worse than zero-shot at {below} only"),
        (above, below) => format!(
            "beats zero-shot at {} and is worse at {}",
            above.join(" and "),
            below.join(" and ")
        ),
    }
}

fn mean(method: &Averages, metric: Metric) -> String {
    let value = method.summary.values.get(&metric);
    let mark = if value.is_some_and(|value| value.partial) {
        " †"
    } else {
        ""
    };
    format!("{}{mark}", percent(value.map(|value| value.mean)))
}

fn cards(results: &Results, group: &Group) -> Markup {
    let ueo = group.method(Method::Ueo).and_then(|ueo| ueo.over_zero_shot);
    html! {
        div.cards {
            @for metric in HEADLINES {
                @if let Some(best) = group.best(results, metric) {
                    div.card {
                        p.name { "Best " (metric.title()) }
                        p.value { (mean(best, metric)) }
                        p.from { (best.series.method.title()) }
                    }
                }
            }
            @for metric in HEADLINES {
                @if let Some(interval) = ueo.and_then(|ueo| ueo.of(metric)) {
                    div.card {
                        p.name { "UEO over zero-shot, " (metric.title()) }
                        p.value { (ueo_benchmark::points(interval.estimate)) }
                        p.from { "points " (ueo_benchmark::range(interval)) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_a_whole_interval_on_one_side() {
        let around = |low, high| Interval {
            estimate: (low + high) / 2.0,
            lower: low,
            upper: high,
        };
        let (up, down, unclear) = (around(0.1, 0.2), around(-0.2, -0.1), around(-0.1, 0.2));
        let of = |accuracy, auroc| answer(&[(Metric::Accuracy, accuracy), (Metric::Auroc, auroc)]);
        assert_eq!(of(up, up), "beats zero-shot at both");
        assert_eq!(of(up, unclear), "clearly beats zero-shot at accuracy only");
        assert_eq!(of(unclear, unclear), "cannot be told from zero-shot");
        assert_eq!(
            of(unclear, down),
            "is clearly worse than zero-shot at AUROC only"
        );
        assert_eq!(
            of(down, up),
            "beats zero-shot at AUROC and is worse at accuracy"
        );
        assert_eq!(of(down, down), "is worse than zero-shot at both");
        assert_eq!(
            answer(&[(Metric::Accuracy, up)]),
            "clearly beats zero-shot at accuracy only"
        );
    }
}
