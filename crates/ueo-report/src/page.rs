//! What all pages share: the skeleton, and the pieces that sections are made of.
//!
//! A page is one file without scripts that loads nothing. Everything that comes from users (class names, paths, labels) is
//! escaped by the template engine, and the content security policy forbids what should slip through nevertheless.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::plot::Ink;

const STYLE: &str = include_str!("report.css");

/// Only the inline style sheet and embedded pictures.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// A part of the page with a title and an address within it.
#[derive(Clone, Debug)]
pub struct Section {
    /// Address, such as `summary`.
    pub id: &'static str,
    /// Title, which also stands in the table of contents.
    pub title: &'static str,
    /// Content.
    pub body: Markup,
}

/// A whole page.
///
/// `kind` says what the page is, `title` what it is about, `lead` stands below the title.
pub fn page(kind: &str, title: &str, lead: &Markup, sections: &[Section]) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(CONTENT_SECURITY_POLICY);
                title { (title) " · " (kind) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.kind { (kind) }
                    h1 { (title) }
                    (lead)
                    nav aria-label="Sections" {
                        @for section in sections { a href={ "#" (section.id) } { (section.title) } }
                    }
                }
                main {
                    @for section in sections {
                        section id=(section.id) { h2 { (section.title) } (section.body) }
                    }
                }
                footer { p { "Written by ueo " (env!("CARGO_PKG_VERSION")) ". This page is complete in itself: it loads nothing." } }
            }
        }
    }
    .into_string()
}

/// A plot with its title, legend and a sentence that says how to read it.
pub fn figure(title: &str, legend: &[(Ink, &str)], plot: &Markup, note: &Markup) -> Markup {
    html! {
        figure.plot {
            figcaption.title { (title) }
            @if !legend.is_empty() {
                p.legend { @for (ink, name) in legend { span { (swatch(*ink)) (name) } } }
            }
            (plot)
            figcaption.note { (note) }
        }
    }
}

/// A patch of a color.
pub fn swatch(ink: Ink) -> Markup {
    html! { i.swatch style={ "background:var(--" (ink.name()) ")" } {} }
}

/// Something long that opens on demand.
pub fn folded(summary: &str, content: &Markup) -> Markup {
    html! { details { summary { (summary) } (content) } }
}

/// A table that may be wider than a small screen; the page itself never is.
///
/// The first `words` columns hold text and are aligned to the left, the others hold numbers.
pub fn table(head: &[&str], words: usize, rows: &[Vec<Markup>]) -> Markup {
    let class = |column: usize| (column < words).then_some("words-column");
    html! {
        div.wide {
            table {
                thead { tr { @for (column, title) in head.iter().enumerate() { th scope="col" class=[class(column)] { (title) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (column, cell) in row.iter().enumerate() {
                                @if column == 0 { th scope="row" class=[class(column)] { (cell) } }
                                @else { td class=[class(column)] { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Names and values, one below the other.
pub fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, Markup)>) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts { div { dt { (name) } dd { (value) } } }
        }
    }
}

/// Text as it is, escaped.
pub fn text(content: impl AsRef<str>) -> Markup {
    html! { (content.as_ref()) }
}
