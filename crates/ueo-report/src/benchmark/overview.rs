//! Several suites, models and protocols: the table of a paper for each suite, and where the page of each of its parts is.

use maud::{Markup, html};

use crate::numbers::counted;
use crate::page::{Section, facts, page, table, text};
use ueo_benchmark::{
    PAPER_METRICS, PaperBlock, PaperTable, PaperValue, PublishedNumbers, Rank, Results,
    paper_tables,
};

/// Columns that fit on paper without line breaks in their cells.
const MANY: usize = 8;

/// The page about all results; `files` are the pages of each.
pub fn overview(all: &[Results], files: &[String]) -> String {
    let tables = paper_tables(all, &PublishedNumbers::default());
    let sections = [
        Section {
            id: "parts",
            title: "Suites, models, protocols",
            body: parts(all, files),
        },
        Section {
            id: "tables",
            title: "Tables",
            body: html! { @for table in &tables { (paper_table(table)) } },
        },
    ];
    let mut suites: Vec<&str> = all.iter().map(|results| results.suite.as_str()).collect();
    suites.dedup();
    let lead =
        html! { p.lead { (counted(suites.len(), "suite")) ", " (counted(all.len(), "page")) } };
    page("Benchmark reports", &suites.join(", "), &lead, &sections)
}

fn parts(all: &[Results], files: &[String]) -> Markup {
    html! {
        p.quiet { "A page for each suite, model and protocol." }
        @for (results, file) in all.iter().zip(files) {
            h3 { a href=(file) { (results.name()) } }
            (facts([
                ("cells", html! { (results.cells) @if results.failed > 0 { ", " (results.failed) " of them failed" } }),
                ("domains", text(results.domains.iter().map(|domain| domain.name.as_str()).collect::<Vec<_>>().join(", "))),
                ("settings", text(results.variants.join(", "))),
            ]))
        }
    }
}

fn paper_table(content: &PaperTable) -> Markup {
    html! {
        h3 { (content.title()) ", " (content.protocol) " protocol" }
        p.quiet { (content.caption) }
        @for block in &content.blocks { (block_table(content, block)) }
    }
}

fn block_table(content: &PaperTable, block: &PaperBlock) -> Markup {
    let names = content
        .columns
        .iter()
        .flat_map(|column| PAPER_METRICS.map(|(_, metric)| format!("{column} {metric}")));
    let head: Vec<String> = std::iter::once("method".to_owned()).chain(names).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let rows: Vec<Vec<Markup>> = block
        .rows
        .iter()
        .map(|row| {
            let values = row
                .values
                .iter()
                .flatten()
                .map(|value| number(value.as_ref()));
            std::iter::once(text(&row.method)).chain(values).collect()
        })
        .collect();
    html! {
        h4 { (block.shift) ", " (block.model) }
        div.texts.many[head.len() > MANY] { (table(&head, 1, &rows)) }
    }
}

fn number(value: Option<&PaperValue>) -> Markup {
    let Some(value) = value else {
        return text("–");
    };
    let mean = format!("{:.1}", 100.0 * value.mean);
    html! {
        @match value.rank {
            Rank::Best => b { (mean) },
            Rank::Second => u { (mean) },
            Rank::Other => (mean),
        }
        @if let Some(deviation) = value.deviation { " ± " (format!("{:.1}", 100.0 * deviation)) }
        @if value.partial { " †" }
    }
}
