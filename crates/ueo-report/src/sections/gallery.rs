//! Images to look at: the most confident, the most changed, those near the threshold and those rejected.

use std::collections::BTreeSet;

use maud::{Markup, html};

use crate::numbers::{counted, percent, significant};
use crate::page::Section;
use crate::run_data::{ReportedImage, RunData, Side};
use crate::thumbnails::Thumbnails;

/// Images per gallery.
const SHOWN: usize = 12;

/// A row of images with a reason.
#[derive(Clone, Debug)]
pub struct Gallery<'a> {
    title: &'static str,
    note: String,
    images: Vec<&'a ReportedImage>,
}

/// The galleries of a run; no gallery is empty.
pub fn galleries(run: &RunData) -> Vec<Gallery<'_>> {
    let threshold = run.threshold(Side::Adapted);
    let confidence = |image: &ReportedImage| image.adapted.confidence;
    let rejected = |image: &&ReportedImage| run.rejects(Side::Adapted, image);
    let images = || run.images.iter();
    let galleries = [
        Gallery {
            title: "Most confident",
            note: "Highest confidence first.".to_owned(),
            images: first(images(), |image| -confidence(image)),
        },
        Gallery {
            title: "Most changed",
            note: "Another class than before, most probable ones first.".to_owned(),
            images: first(images().filter(|image| image.moved()), |image| {
                -image.adapted.probability()
            }),
        },
        Gallery {
            title: "Near the threshold",
            note: format!("Confidence closest to {}.", significant(threshold)),
            images: first(images(), |image| (confidence(image) - threshold).abs()),
        },
        Gallery {
            title: "Rejected as unknown",
            note: "Lowest confidence first.".to_owned(),
            images: first(images().filter(rejected), confidence),
        },
    ];
    galleries
        .into_iter()
        .filter(|gallery| !gallery.images.is_empty())
        .collect()
}

/// The first few images in order of a key; of equal ones those whose path comes first.
fn first<'a>(
    images: impl Iterator<Item = &'a ReportedImage>,
    key: impl Fn(&ReportedImage) -> f64,
) -> Vec<&'a ReportedImage> {
    let mut images: Vec<&ReportedImage> = images.collect();
    images.sort_by(|a, b| key(a).total_cmp(&key(b)).then_with(|| a.path.cmp(&b.path)));
    images.truncate(SHOWN);
    images
}

/// Paths of all images that the galleries show.
pub fn paths<'a>(galleries: &[Gallery<'a>]) -> BTreeSet<&'a str> {
    let images = galleries.iter().flat_map(|gallery| &gallery.images);
    images.map(|image| image.path.as_str()).collect()
}

/// The section.
pub fn section(run: &RunData, galleries: &[Gallery], thumbnails: &Thumbnails) -> Section {
    Section {
        id: "images",
        title: "Images",
        body: html! {
            p.quiet {
                "The confidence decides: below the threshold of " (significant(run.threshold(Side::Adapted)))
                ", an image is rejected as unknown. Percentages are softmax probabilities at the checkpoint's logit scale, which \
                decide nothing."
            }
            @if thumbnails.missing() > 0 {
                p.notice {
                    (counted(thumbnails.missing(), "image")) " could not be shown: no longer where the run found "
                    @if thumbnails.missing() == 1 { "it." } @else { "them." }
                }
            }
            @for gallery in galleries {
                h3 { (gallery.title) span.quiet { " · " (gallery.note) } }
                div.gallery { @for image in &gallery.images { (picture(run, image, thumbnails)) } }
            }
        },
    }
}

/// The last part of a path; the whole path stands in the title.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn picture(run: &RunData, image: &ReportedImage, thumbnails: &Thumbnails) -> Markup {
    let name = |class: usize| &run.classes()[class];
    let others = image.adapted.top.iter().skip(1);
    let alternatives: Vec<String> = others
        .map(|(class, probability)| format!("{} {}", name(*class), percent(*probability)))
        .collect();
    html! {
        figure.image title={ (image.path) "\nnext: " (alternatives.join(", ")) } {
            @match thumbnails.uri(&image.path) {
                Some(uri) => img src=(uri) alt=(image.path);,
                None => div.missing { "not found" },
            }
            figcaption {
                b { (name(image.adapted.class)) } " " span.quiet { (percent(image.adapted.probability())) }
                span.line {
                    "confidence " (significant(image.adapted.confidence))
                    @if run.rejects(Side::Adapted, image) { ": rejected" } @else { ": accepted" }
                }
                @if image.moved() { span.line { "was " (name(image.zero_shot.class)) } }
                @if let Some(label) = &image.label {
                    @match image.correct(Side::Adapted) {
                        Some(true) => span.line.better { "✓ right" },
                        Some(false) => span.line.worse { "✗ is " (label.name) },
                        None => span.line.other { "○ unknown: " (label.name) },
                    }
                }
                span.line.quiet { (file_name(&image.path)) }
            }
        }
    }
}
