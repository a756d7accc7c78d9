//! The benchmark's tables as HTML, and the sections that consist of them.

use maud::{Markup, html};

use crate::page::{Section, table};
use ueo_benchmark::{Results, Table};

/// Columns that fit on paper without line breaks in their cells.
const MANY: usize = 8;

/// A table of texts; its best cells are bold.
pub fn html_table(content: &Table) -> Markup {
    let head: Vec<&str> = content.header.iter().map(String::as_str).collect();
    let words = (0..head.len())
        .take_while(|&column| !content.is_numeric(column))
        .count();
    let cell = |row, column, content_of: &String| {
        html! {
            @if content.best.contains(&(row, column)) { b { (content_of) } } @else { (content_of) }
        }
    };
    let rows: Vec<Vec<Markup>> = content
        .rows
        .iter()
        .enumerate()
        .map(|(row, cells)| {
            let cells = cells.iter().enumerate();
            cells
                .map(|(column, text)| cell(row, column, text))
                .collect()
        })
        .collect();
    html! { div.texts.many[head.len() > MANY] { (table(&head, words.max(1), &rows)) } }
}

/// Tables below each other, with what is written above them.
pub fn html_tables(tables: &[Table]) -> Markup {
    html! {
        @for table in tables {
            @if !table.title.is_empty() { h3 { (table.title) } }
            p.quiet { (note(&table.note)) }
            (html_table(table))
        }
    }
}

/// The note of a table, in which names stand between backticks.
fn note(note: &str) -> Markup {
    html! {
        @for (position, part) in note.split('`').enumerate() {
            @if position % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// The tables of all groups of domains, with the main settings; those without rows are left out.
pub fn of_groups(results: &Results, table: fn(&Results, &str, &str) -> Table) -> Vec<Table> {
    let groups = results.groups();
    let tables = groups.iter().map(|group| {
        let mut table = table(results, results.main_variant(), group);
        if groups.len() == 1 {
            // The title would be the name of the only group.
            table.title.clear();
        }
        table
    });
    tables.filter(|table| !table.rows.is_empty()).collect()
}

/// A section of tables, unless there are none.
fn section(id: &'static str, title: &'static str, tables: &[Table]) -> Option<Section> {
    (!tables.is_empty()).then(|| Section {
        id,
        title,
        body: html_tables(tables),
    })
}

/// Methods by category shifts.
pub fn shifts(results: &Results) -> Option<Section> {
    let tables = of_groups(results, ueo_benchmark::by_shift);
    section("shifts", "Category shifts", &tables)
}

/// Methods by domains: the benchmark's table on its side, because there are fewer domains than methods.
pub fn domains(results: &Results) -> Option<Section> {
    let tables = of_groups(results, |results, variant, group| {
        ueo_benchmark::by_domain(results, variant, group).transposed()
    });
    section("domains", "Domains", &tables)
}

/// Settings beside the defaults, and variants beside the main settings.
pub fn settings(results: &Results) -> Section {
    let chosen = ueo_benchmark::chosen_settings(results);
    let variants = ueo_benchmark::variants(results, results.main_variant());
    Section {
        id: "settings",
        title: "Settings",
        body: html! {
            @if chosen.rows.is_empty() { p { "No method that trains was run." } } @else { (html_table(&chosen)) }
            (html_tables(&variants))
        },
    }
}

/// How long a cell takes.
pub fn time(results: &Results) -> Option<Section> {
    let time = ueo_benchmark::time(results, results.main_variant());
    (!time.rows.is_empty()).then(|| Section {
        id: "time",
        title: "Time",
        body: html! { p.quiet { (time.note) } (html_table(&time)) },
    })
}
