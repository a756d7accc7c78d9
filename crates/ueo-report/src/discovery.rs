//! The page of a discovery: what the rejected images show, in groups with names.

use std::collections::BTreeSet;
use std::path::Path;

use maud::{Markup, html};

use ueo::data::DatasetOptions;
use ueo::session::{CutBasis, SimilarName};
use ueo_run::{DiscoveredGroup, DiscoveredImage, DiscoveryRecord};

use super::numbers::{count, counted, percent, significant};
use super::page::{Section, facts, folded, page, table, text};
use super::thumbnails::Thumbnails;
use super::{ReportError, WrittenReport, write};

/// Images of a group that are shown before the others are only counted.
const SHOWN: usize = 12;
/// Groups whose images are shown; the table has all.
const GROUPS_SHOWN: usize = 60;

/// Writes the page of a discovery. `name` stands as its title.
///
/// # Errors
///
/// [`ReportError::Write`].
pub fn write_discovery(
    record: &DiscoveryRecord,
    name: &str,
    path: &Path,
) -> Result<WrittenReport, ReportError> {
    let groups = record.groups.iter().take(GROUPS_SHOWN);
    let of_groups = groups.flat_map(|group| group.images.iter().take(SHOWN));
    let shown: BTreeSet<&str> = of_groups
        .chain(record.alone.iter().take(SHOWN))
        .map(|image| image.path.as_str())
        .collect();
    let thumbnails = Thumbnails::draw(
        &record.images,
        &DatasetOptions {
            image_root: record.image_root.clone(),
            columns: record.columns.clone(),
        },
        record.exif_orientation,
        &shown,
    );
    let mut parts = vec![summary(record)];
    if !record.groups.is_empty() {
        parts.push(overview(record));
        parts.push(galleries(record, &thumbnails));
    }
    if !record.alone.is_empty() {
        parts.push(alone(record, &thumbnails));
    }
    parts.push(how(record));
    let lead = html! {
        p.lead {
            (counted(record.looked_at, "image")) ", " (counted(record.known_classes.len(), "known class")) ", "
            (count(record.rejected())) " rejected as unknown"
        }
    };
    write(
        path,
        &page("What the unknown images show", name, &lead, &parts),
    )?;
    Ok(WrittenReport {
        path: path.to_owned(),
        missing_images: thumbnails.missing(),
    })
}

/// The groups with their names, as the report of a run shows them too.
pub fn groups_table(record: &DiscoveryRecord) -> Markup {
    let rows: Vec<Vec<Markup>> = record
        .groups
        .iter()
        .enumerate()
        .map(|(number, group)| {
            vec![
                html! { (number + 1) " · " (proposal(group)) },
                text(names(&group.names)),
                html! { (group.nearest_known.name) " " span.quiet { (two_digits(group.nearest_known.similarity)) } },
                text(count(group.images.len())),
                text(significant(group.mean_confidence())),
            ]
        })
        .collect();
    let head = [
        "group, proposed",
        "names, nearest first",
        "nearest known class",
        "images",
        "mean confidence",
    ];
    html! { div.texts { (table(&head, 3, &rows)) } }
}

fn summary(record: &DiscoveryRecord) -> Section {
    let proposals: Vec<&str> = record.proposals().collect();
    let rejected = record.rejected();
    let share = rejected as f64 / record.looked_at.max(1) as f64;
    let grouped = rejected - record.alone.len();
    let cards = [
        (
            "Rejected",
            count(rejected),
            percent(share) + " of the images",
        ),
        (
            "Groups",
            count(record.groups.len()),
            format!("with {}", counted(grouped, "image")),
        ),
        (
            "Alone",
            count(record.alone.len()),
            "like no other rejected image".to_owned(),
        ),
        (
            "Proposed names",
            count(proposals.len()),
            format!("of groups of {} or more", record.smallest),
        ),
    ];
    Section {
        id: "summary",
        title: "Summary",
        body: html! {
            p.words {
                @if rejected == 0 {
                    "No image was rejected as unknown, so nothing is missing from the class list as far as these images tell."
                } @else if proposals.is_empty() {
                    "No name is proposed for the class list: no group of rejected images is large enough."
                } @else {
                    "Perhaps the class list lacks " strong { (proposals.join(", ")) } ". Look at the groups before you believe it: \
                    names come from a vocabulary, and what it has no word for gets the name of something similar. The file "
                    code { "classes.txt" } " beside this page holds the known classes and these names."
                }
            }
            div.cards {
                @for (name, value, note) in &cards {
                    div.card { p.name { (name) } p.value { (value) } p.from { (note) } }
                }
            }
        },
    }
}

fn overview(record: &DiscoveryRecord) -> Section {
    Section {
        id: "groups",
        title: "Groups",
        body: html! {
            p.quiet {
                "The largest first. Numbers are similarities of a group to a name, comparable within this page only. A group that is \
                about as near to a known class as to any name may show that class, rejected by mistake."
            }
            (groups_table(record))
        },
    }
}

fn galleries(record: &DiscoveryRecord, thumbnails: &Thumbnails) -> Section {
    let left = record.groups.len().saturating_sub(GROUPS_SHOWN);
    Section {
        id: "images",
        title: "Images of the groups",
        body: html! {
            p.quiet { "Of each group the most similar to its mean first. Below the path's last part stand the confidence and the known class that is nearest." }
            @if thumbnails.missing() > 0 {
                p.notice { (counted(thumbnails.missing(), "image")) " could not be shown: no longer there or not readable." }
            }
            @for (number, group) in record.groups.iter().enumerate().take(GROUPS_SHOWN) {
                h3 {
                    "Group " (number + 1) ": " (proposal(group))
                    span.quiet { " · " (counted(group.images.len(), "image")) " · " (names(&group.names)) }
                }
                div.gallery { @for image in group.images.iter().take(SHOWN) { (picture(image, thumbnails)) } }
                (rest(&group.images))
            }
            @if left > 0 { p.quiet { (counted(left, "smaller group")) " without pictures here; groups.csv lists their images." } }
        },
    }
}

fn alone(record: &DiscoveryRecord, thumbnails: &Thumbnails) -> Section {
    Section {
        id: "alone",
        title: "Alone",
        body: html! {
            p.quiet { "Rejected images that no other rejected image is near to." }
            div.gallery { @for image in record.alone.iter().take(SHOWN) { (picture(image, thumbnails)) } }
            (rest(&record.alone))
        },
    }
}

fn how(record: &DiscoveryRecord) -> Section {
    let basis = match record.cut_basis {
        CutBasis::PredictedClasses => {
            "where groups of all images agree best with their predicted classes"
        }
        CutBasis::Default => {
            "a default, because the predicted classes of these images say nothing about it"
        }
    };
    let vocabulary = &record.vocabulary;
    let mut lines = vec![
        ("model", text(record.model.display().to_string())),
        ("images", text(record.images.display().to_string())),
        (
            "rejected below",
            html! { (significant(record.threshold)) " by " (record.score.score.to_string()) },
        ),
        (
            "joined within",
            html! { "a mean cosine distance of " (significant(record.cut)) ": " (basis) },
        ),
        (
            "vocabulary",
            html! {
                (counted(vocabulary.names, "name"))
                @if vocabulary.known > 0 { ", without " (counted(vocabulary.known, "known class")) }
                @if vocabulary.too_long > 0 { ", without " (counted(vocabulary.too_long, "name")) " too long for the text tower" }
            },
        ),
    ];
    if !record.skipped.is_empty() {
        lines.push(("skipped", text(counted(record.skipped.len(), "input"))));
    }
    Section {
        id: "how",
        title: "How this was found",
        body: facts(lines),
    }
}

/// What is proposed for a group, or that nothing is.
fn proposal(group: &DiscoveredGroup) -> Markup {
    html! {
        @match &group.proposal {
            Some(name) => b { (name) },
            None => span.quiet { "nothing proposed" },
        }
    }
}

fn names(names: &[SimilarName]) -> String {
    let names = names.iter();
    let names: Vec<String> = names
        .map(|name| format!("{} {}", name.name, two_digits(name.similarity)))
        .collect();
    names.join(", ")
}

fn two_digits(similarity: f64) -> String {
    format!("{similarity:.2}").replace('-', "−")
}

/// The paths of images that are not shown as pictures.
fn rest(images: &[DiscoveredImage]) -> Markup {
    let more = images.get(SHOWN..).unwrap_or_default();
    html! {
        @if !more.is_empty() {
            (folded(&format!("and {}", counted(more.len(), "more image")), &html! {
                p.names { @for image in more { (image.path) br; } }
            }))
        }
    }
}

fn picture(image: &DiscoveredImage, thumbnails: &Thumbnails) -> Markup {
    html! {
        figure.image title=(image.path) {
            @match thumbnails.uri(&image.path) {
                Some(uri) => img src=(uri) alt=(image.path);,
                None => div.missing { "not found" },
            }
            figcaption {
                span.line { (image.path.rsplit('/').next().unwrap_or(&image.path)) }
                span.line.quiet { (significant(image.confidence)) " " (image.predicted) }
                @if let Some(label) = &image.true_label { span.line.other { "○ is " (label) } }
            }
        }
    }
}
