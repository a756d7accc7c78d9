//! What `ueo discover` found in the rejected images, where it has looked.

use maud::html;

use ueo_run::DiscoveryRecord;

use crate::discovery::groups_table;
use crate::numbers::counted;
use crate::page::Section;

/// The section, unless nobody has looked or nothing was rejected.
pub fn section(found: Option<&DiscoveryRecord>) -> Option<Section> {
    let record = found.filter(|record| !record.groups.is_empty())?;
    let proposals: Vec<&str> = record.proposals().collect();
    Some(Section {
        id: "discovered",
        title: "What the class list may lack",
        body: html! {
            p {
                (counted(record.rejected(), "rejected image")) " of " (record.images.display().to_string()) " in "
                (counted(record.groups.len(), "group"))
                @if !proposals.is_empty() { ". Proposed: " strong { (proposals.join(", ")) } }
                ". The page " code { "discovered/discovered.html" } " in the run directory shows the images."
            }
            (groups_table(record))
        },
    })
}
