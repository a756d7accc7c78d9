//! How far the results of a method's seeds lie apart.

use maud::{Markup, html};

use super::group::{Group, HEADLINES};
use super::strip::{Dots, StripRow, strip_table};
use crate::numbers::counted;
use crate::page::Section;
use ueo_benchmark::Value;

/// The section, unless no method has several seeds.
pub fn section(groups: &[Group]) -> Option<Section> {
    let strips: Vec<Markup> = groups.iter().filter_map(strips).collect();
    if strips.is_empty() {
        return None;
    }
    Some(Section {
        id: "seeds",
        title: "Seeds",
        body: html! {
            p.quiet {
                "Each dot is a seed, averaged over domains and category shifts: how many percentage points it lies above or below \
                 the mean of the method's seeds. Beside it, mean and standard deviation in percent."
            }
            @for strips in &strips { (strips) }
        },
    })
}

/// A row per method with several seeds.
fn strips(group: &Group) -> Option<Markup> {
    let dots = |value: &Value| Dots {
        values: value
            .by_seed
            .values()
            .map(|of_seed| 100.0 * (of_seed - value.mean))
            .collect(),
        interval: None,
        text: ueo_benchmark::value(Some(value)),
    };
    let methods = group.methods.iter();
    let rows: Vec<StripRow> = methods
        .filter(|method| method.summary.seeds > 1)
        .map(|method| StripRow {
            name: html! { (method.label()) small { (counted(method.summary.seeds, "seed")) } },
            ink: method.ink(),
            cells: HEADLINES.map(|metric| method.summary.values.get(&metric).map(dots)),
        })
        .collect();
    (!rows.is_empty()).then(|| html! { (group.heading()) (strip_table(&rows)) })
}
