//! From what the results come: suite, checkpoint, images, versions.

use maud::html;

use super::tables::html_table;
use crate::numbers::count;
use crate::page::{Section, facts, text};
use ueo_benchmark::Results;

/// The section.
pub fn section(results: &Results) -> Section {
    let about = results.about.clone();
    let origin = [
        ("suite", text(&results.suite)),
        (
            "what it is",
            text(about.unwrap_or_else(|| "not known to this program".to_owned())),
        ),
        ("model", text(&results.model)),
        (
            "checkpoint's SHA-256",
            html! { code { (results.model_sha256) } },
        ),
        ("precision", text(results.precision.to_string())),
        ("protocol", text(results.protocol.name())),
        ("classes", text(count(results.classes))),
        ("listed classes", text(count(results.known))),
        ("settings", text(results.variants.join(", "))),
        (
            "cells",
            html! {
                (count(results.cells))
                @if results.failed > 0 { ", " (count(results.failed)) " of them failed" }
            },
        ),
        ("ueo", text(results.versions.join(", "))),
    ];
    Section {
        id: "origin",
        title: "Origin",
        body: html! {
            div.pair {
                (facts(origin))
                p.quiet { (ueo_benchmark::protocol(results)) }
            }
            h3 { "Images" }
            (html_table(&ueo_benchmark::domain_images(results)))
        },
    }
}
