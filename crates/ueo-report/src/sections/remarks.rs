//! What the reader should know: images that were left out.

use maud::html;

use crate::numbers::counted;
use crate::page::{Section, folded, table, text};
use crate::run_data::RunData;

/// Skipped images that are listed before they are only counted.
const LISTED: usize = 200;

/// The section, unless nothing was left out.
pub fn section(run: &RunData) -> Option<Section> {
    let skipped = &run.record.images.skipped;
    if skipped.is_empty() {
        return None;
    }
    let rows: Vec<_> = skipped
        .iter()
        .take(LISTED)
        .map(|image| vec![text(&image.id), text(&image.reason)])
        .collect();
    let list = html! {
        (table(&["input", "reason"], 2, &rows))
        @if skipped.len() > LISTED { p.quiet { "and " (skipped.len() - LISTED) " more, in run.json" } }
    };
    Some(Section {
        id: "skipped",
        title: "Skipped inputs",
        body: html! {
            p { (counted(skipped.len(), "input")) " could not be used and had no part in any of the numbers." }
            (folded("Which, and why", &list))
        },
    })
}
