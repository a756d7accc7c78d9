//! The report of a benchmark: what its tables say, as a page.
//!
//! All numbers are those of [`ueo_benchmark`]: means, deviations and intervals are asked for, not computed here.

mod differences;
mod group;
mod origin;
mod overview;
mod seeds;
mod strip;
mod summary;
mod tables;
mod trade_off;

use std::path::{Path, PathBuf};

use maud::html;

use super::numbers::counted;
use super::page::page;
use super::{ReportError, write};
use ueo_benchmark::Results;

use group::Group;

/// Name of the page in an output directory.
const PAGE: &str = "report.html";

/// Writes the page about some results into an output directory, and returns its path. Where there are several, each has a page
/// of its own beside it.
///
/// # Errors
///
/// [`ReportError`], when a plot cannot be drawn or a file cannot be written.
pub fn write_benchmark_report(all: &[Results], output: &Path) -> Result<PathBuf, ReportError> {
    let path = output.join(PAGE);
    if let [results] = all {
        write(&path, &benchmark_report(results)?)?;
        return Ok(path);
    }
    let files: Vec<String> = all.iter().map(file_name).collect();
    for (results, file) in all.iter().zip(&files) {
        write(&output.join(file), &benchmark_report(results)?)?;
    }
    write(&path, &overview::overview(all, &files))?;
    Ok(path)
}

/// Name of the page of some results among others; the names of suites are checked when cells are read.
fn file_name(results: &Results) -> String {
    let digits = results.model_sha256.chars().take(8).collect::<String>();
    format!(
        "report-{}-{digits}-{}-{}.html",
        results.suite, results.precision, results.protocol
    )
}

fn benchmark_report(results: &Results) -> Result<String, ReportError> {
    let base = results.main_variant();
    let names = results.groups().into_iter();
    let groups: Vec<Group> = names
        .map(|name| Group::of(results, base, name))
        .filter(|group| !group.methods.is_empty())
        .collect();
    let mut parts = vec![summary::section(results, &groups)];
    parts.extend(trade_off::section(&groups)?);
    parts.extend(differences::section(results, &groups));
    parts.extend(tables::shifts(results));
    parts.extend(tables::domains(results));
    parts.extend(seeds::section(&groups));
    parts.push(tables::settings(results));
    parts.extend(tables::time(results));
    parts.push(origin::section(results));

    let lead = html! {
        @if let Some(about) = &results.about { p.lead { (about) "." } }
        p.lead {
            (counted(ueo_benchmark::series(results, base).len(), "method")) ", "
            (counted(results.domains.len(), "domain")) ", "
            (counted(results.shifts.len(), "category shift")) ", "
            (results.known) " of " (counted(results.classes, "class")) " listed, " (results.protocol) " protocol"
        }
    };
    let title = format!("{}, {}, {}", results.suite, results.model, results.protocol);
    Ok(page("Benchmark report", &title, &lead, &parts))
}
