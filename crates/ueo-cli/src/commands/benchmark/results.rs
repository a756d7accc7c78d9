//! What is made from the cells of an output directory: tables, pages and a report, and the means on the screen.

use ueo_benchmark::{
    BenchmarkError, CellFilter, Metric, PaperText, PublishedNumbers, Results, Suite,
};
use ueo_report::write_benchmark_report;

use super::BenchmarkArgs;
use crate::error::CliError;
use crate::printer::Printer;
use crate::tables;
use crate::words::wrapped;

/// Writes tables, and pages and a report if they are wanted, from all cells of the output directory or those of a filter, and
/// shows the means of some.
///
/// With `suite`, page and table of a paper are about that suite alone.
///
/// # Errors
///
/// [`CliError::Benchmark`], [`CliError::Report`] and [`CliError::Stdout`].
pub fn write(
    args: &BenchmarkArgs,
    suite: Option<&Suite>,
    filter: &CellFilter,
    shown: impl Fn(&Results) -> bool,
    printer: &Printer,
) -> Result<(), CliError> {
    let all = ueo_benchmark::read_chosen_results(&args.output, suite, filter)?;
    warn_of_unknown_suites(&all, printer);
    ueo_benchmark::write_tables(&all, &args.output)?;
    let of_suite = |results: &&Results| suite.is_none_or(|suite| suite.name == results.suite);
    let of_suite: Vec<Results> = all.iter().filter(of_suite).cloned().collect();
    if let Some(page) = &args.page {
        ueo_benchmark::write_page(&of_suite, page)?;
    }
    write_paper(args, &of_suite, printer)?;
    if args.report {
        let path = write_benchmark_report(&all, &args.output)?;
        printer.message(format_args!("report: {}", path.display()));
    }
    for results in of_suite.iter().filter(|results| shown(results)) {
        show_means(results, printer)?;
    }
    printer.message(format_args!(
        "tables: {}",
        args.output.join("tables").display()
    ));
    Ok(())
}

fn warn_of_unknown_suites(all: &[Results], printer: &Printer) {
    let mut unknown: Vec<&str> = Vec::new();
    for results in all.iter().filter(|results| results.about.is_none()) {
        if !unknown.contains(&results.suite.as_str()) {
            unknown.push(&results.suite);
        }
    }
    for name in unknown {
        printer.warning(format_args!(
            "the suite `{name}` is no part of this program, so its description and its order of domains are unknown; name its \
             file with --suite"
        ));
    }
}

/// Writes the table of a paper to where it is wanted, and into the tables of the output directory.
fn write_paper(
    args: &BenchmarkArgs,
    all: &[Results],
    printer: &Printer,
) -> Result<(), BenchmarkError> {
    let published = match &args.beside {
        Some(path) => PublishedNumbers::open(path)?,
        None => PublishedNumbers::default(),
    };
    for row in published.unused(all) {
        printer.warning(format_args!(
            "published numbers of {} ({}, {}, {}) stand in no table: there are no results of that suite, model, shift and domains",
            row.method, row.suite, row.model, row.shift
        ));
    }
    let text = PaperText::of(&ueo_benchmark::paper_tables(all, &published))?;
    text.write(&args.output)?;
    let wanted = [
        (&args.latex, text.latex.as_bytes()),
        (&args.markdown, text.markdown.as_bytes()),
        (&args.csv, &text.csv),
    ];
    for (path, content) in wanted {
        if let Some(path) = path {
            ueo_benchmark::write(path, content)?;
        }
    }
    Ok(())
}

/// Columns of the means that fit on a terminal; OUTPUT/tables/ has all.
fn columns_on_screen(header: &[String]) -> Vec<usize> {
    let metrics = [
        Metric::Accuracy,
        Metric::Auroc,
        Metric::AurocMatched,
        Metric::HarmonicMean,
    ];
    let shown = |title: &String| {
        ["method", "cells"].contains(&title.as_str())
            || metrics.iter().any(|metric| metric.title() == title)
    };
    let titles = header.iter().enumerate();
    titles
        .filter(|(_, title)| shown(title))
        .map(|(column, _)| column)
        .collect()
}

fn show_means(results: &Results, printer: &Printer) -> Result<(), CliError> {
    for variant in &results.variants {
        for group in results.groups() {
            let table = ueo_benchmark::means(results, variant, group);
            if table.rows.is_empty() {
                continue;
            }
            let (name, title, note) = (results.name(), &table.title, &table.note);
            let above = format!("{name}; {title}, settings `{variant}`. {note}");
            let above = wrapped(&above, tables::COLUMNS.into());
            printer.data(above).map_err(CliError::Stdout)?;
            let columns = columns_on_screen(&table.header);
            let shown = |row: &Vec<String>| -> Vec<String> {
                columns.iter().map(|&column| row[column].clone()).collect()
            };
            let rows: Vec<Vec<String>> = table.rows.iter().map(shown).collect();
            printer
                .data(tables::rows(&shown(&table.header), &rows))
                .map_err(CliError::Stdout)?;
        }
    }
    Ok(())
}
