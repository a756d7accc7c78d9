//! What follows from the numbers by rule: what rises and what does not, and what it costs.

use super::measurements::Metric;
use super::results::{Comparison, Results, Series};
use super::shift::Shift;
use super::table::{Table, difference, value};
use super::tables::{DIFFERENCES, series};
use ueo::evaluate::Interval;
use ueo::method::Method;

/// All metrics of the zero-shot model on each domain.
pub fn zero_shot(results: &Results) -> Table {
    let series = Series::new(results.main_variant(), Method::ZeroShot);
    let mut table = Table::new("Zero-shot", &["domain"]);
    table.note = "Percent.".to_owned();
    table
        .header
        .extend(Metric::ALL.map(|metric| metric.title().to_owned()));
    for (position, domain) in results.domains.iter().enumerate() {
        // The listed classes are the same under all ordinary shifts, and so are zero-shot predictions.
        let pairs: Vec<_> = results
            .ordinary_shifts()
            .into_iter()
            .map(|shift| (position, shift))
            .collect();
        if let Some(summary) = results.summary(&series, &pairs) {
            let mut row = vec![domain.name.clone()];
            row.extend(Metric::ALL.map(|metric| value(summary.values.get(&metric))));
            table.rows.push(row);
        }
    }
    table.explained()
}

/// In how many pairs of domain and shift each method is above or below zero-shot, and in sentences, on average.
pub fn rises(results: &Results, variant: &str, group: &str) -> Table {
    let zero_shot = Series::new(variant, Method::ZeroShot);
    let pairs: Vec<_> = results.group(group).pairs().collect();
    let mut table = Table::new(
        Results::group_title(group),
        &[
            "method",
            "pairs",
            "accuracy rises",
            "unclear",
            "falls",
            "AUROC rises",
            "unclear",
            "falls",
            "both rise",
        ],
    );
    let mut sentences = Vec::new();
    for series in series(results, variant) {
        let each: Vec<Comparison> = pairs
            .iter()
            .filter_map(|&pair| results.compare(&series, &zero_shot, &[pair]))
            .collect();
        let together = results.compare(&series, &zero_shot, &pairs);
        let (Some(together), true) = (together, series != zero_shot) else {
            continue;
        };
        let mut row = vec![series.method.title().to_owned(), each.len().to_string()];
        for metric in [Metric::Accuracy, Metric::Auroc] {
            row.extend(tally(
                each.iter().filter_map(|comparison| comparison.of(metric)),
            ));
        }
        let both = |comparison: &&Comparison| {
            let rises = |metric| comparison.of(metric).is_some_and(|i| i.rises());
            rises(Metric::Accuracy) && rises(Metric::Auroc)
        };
        row.push(each.iter().filter(both).count().to_string());
        table.rows.push(row);
        sentences.push(verdict(series.method.title(), "zero-shot", &together));
    }
    table.note = sentences.join(" ");
    table.explained()
}

/// How many intervals lie above zero, contain it, and lie below.
fn tally(intervals: impl Iterator<Item = Interval>) -> [String; 3] {
    let mut counts = [0; 3];
    for interval in intervals {
        let place = match interval {
            interval if interval.rises() => 0,
            interval if interval.falls() => 2,
            _ => 1,
        };
        counts[place] += 1;
    }
    counts.map(|count| count.to_string())
}

/// One sentence about an average difference.
fn verdict(method: &str, reference: &str, comparison: &Comparison) -> String {
    let part = |name: &str, metric: Metric| {
        let found = comparison.of(metric)?;
        let word = match found {
            found if found.rises() => "rises",
            found if found.falls() => "falls",
            _ => "does not clearly change",
        };
        Some(format!(
            "{name} {word} ({})",
            difference(comparison, metric)
        ))
    };
    let parts: Vec<String> = [
        part("accuracy", Metric::Accuracy),
        part("AUROC", Metric::Auroc),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!("{method} over {reference}: {}.", parts.join(", "))
}

/// UEO minus InfoMax, shift by shift and on average.
pub fn against_info_max(results: &Results, variant: &str) -> Table {
    let (ueo, info_max) = (
        Series::new(variant, Method::Ueo),
        Series::new(variant, Method::InfoMax),
    );
    let mut table = Table::new(
        "UEO against InfoMax",
        &[
            "group",
            "shift",
            "pairs",
            "accuracy",
            "AUROC",
            "AUROC, matched",
            "AUROC, scaled",
        ],
    );
    table.note = "UEO minus InfoMax in percentage points, 95 % intervals of a paired bootstrap over classes.".to_owned();
    for group in results.groups() {
        let scope = results.group(group);
        let mut parts: Vec<(String, Vec<Shift>)> = scope
            .shifts
            .iter()
            .map(|shift| (shift.to_string(), vec![*shift]))
            .collect();
        parts.push(("all".to_owned(), scope.shifts.clone()));
        for (name, shifts) in parts {
            let pairs: Vec<_> = scope
                .pairs()
                .filter(|(_, shift)| shifts.contains(shift))
                .collect();
            if let Some(comparison) = results.compare(&ueo, &info_max, &pairs) {
                let mut row = vec![group.to_owned(), name, comparison.pairs.to_string()];
                let metrics = DIFFERENCES;
                row.extend(metrics.map(|metric| difference(&comparison, metric)));
                table.rows.push(row);
            }
        }
    }
    table.explained()
}

/// How long a cell of each method takes.
pub fn time(results: &Results, variant: &str) -> Table {
    let mut table = Table::new("Time", &["method", "seconds per cell"]);
    table.note = "Mean wall-clock time of a cell, whatever ran beside it on the machine; features of the zero-shot model \
                  are shared by all cells of a domain and not counted."
        .to_owned();
    let pairs: Vec<_> = results
        .groups()
        .iter()
        .flat_map(|group| results.group(group).pairs().collect::<Vec<_>>())
        .collect();
    for series in series(results, variant) {
        if let Some(summary) = results.summary(&series, &pairs) {
            table.rows.push(vec![
                series.method.title().to_owned(),
                format!("{:.1}", summary.mean_secs),
            ]);
        }
    }
    table.explained()
}
