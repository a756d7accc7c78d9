//! How far every method is above or below zero-shot, and UEO above or below InfoMax.

use maud::{Markup, html};

use super::group::{Group, HEADLINES};
use super::strip::{Dots, StripRow, strip_table};
use super::tables::{html_table, html_tables, of_groups};
use crate::page::{Section, folded};
use ueo::evaluate::Interval;
use ueo_benchmark::Results;

/// The section, unless there is nothing to compare.
pub fn section(results: &Results, groups: &[Group]) -> Option<Section> {
    let base = results.main_variant();
    let strips: Vec<Markup> = groups.iter().filter_map(strips).collect();
    let info_max = ueo_benchmark::against_info_max(results, base);
    if strips.is_empty() && info_max.rows.is_empty() {
        return None;
    }
    let details = |table| html_tables(&of_groups(results, table));
    let body = html! {
        @if !strips.is_empty() {
            p.quiet {
                "Percentage points above (right) or below (left) zero-shot. The line is the 95 % interval of a paired bootstrap \
                 over classes; a difference is clear where the line does not touch zero."
            }
            @for strips in &strips { (strips) }
            @for table in of_groups(results, ueo_benchmark::harm) {
                h3 { "Harm" @if !table.title.is_empty() { ", " (table.title) } }
                p.quiet { (table.note) }
                (html_table(&table))
            }
            (folded("All differences in numbers", &details(ueo_benchmark::differences)))
            (folded("In how many pairs of domain and shift each method is clearly above or below zero-shot", &details(ueo_benchmark::rises)))
        }
        @if !info_max.rows.is_empty() {
            h3 { (info_max.title) }
            p.quiet { (info_max.note) }
            (html_table(&info_max))
        }
    };
    Some(Section {
        id: "differences",
        title: "Difference to zero-shot",
        body,
    })
}

/// A row per method with its differences.
fn strips(group: &Group) -> Option<Markup> {
    let points = |fraction: f64| 100.0 * fraction;
    let rows: Vec<StripRow> = group
        .methods
        .iter()
        .filter_map(|method| {
            let comparison = method.over_zero_shot?;
            let dots = |interval: Interval| Dots {
                values: vec![points(interval.estimate)],
                interval: Some((points(interval.lower), points(interval.upper))),
                text: match comparison.partial {
                    true => format!("{} †", ueo_benchmark::interval(Some(interval))),
                    false => ueo_benchmark::interval(Some(interval)),
                },
            };
            Some(StripRow {
                name: method.label(),
                ink: method.ink(),
                cells: HEADLINES.map(|metric| comparison.of(metric).map(dots)),
            })
        })
        .collect();
    (!rows.is_empty()).then(|| html! { (group.heading()) (strip_table(&rows)) })
}
