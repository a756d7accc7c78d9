//! Reports: one page per run or benchmark, to be looked at, sent and printed.
//!
//! The last stage of the data flow. It reads what a run left behind (`run_data`) and measures with `evaluate`, or takes the
//! tables of a benchmark (`benchmark`), and writes one self-contained HTML file: no script, nothing loaded from anywhere, light and dark, plots as SVG (`plot`), small pictures
//! of the images inside. The same run gives the same bytes.

#![forbid(unsafe_code)]

mod benchmark;
mod comparison;
mod discovery;
mod error;
mod measures;
mod numbers;
mod page;
mod plot;
mod run_data;
mod sections;
mod thumbnails;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use maud::html;

use ueo::write_atomically;
use ueo_run::{DiscoveryDirectory, RunDirectory};

use numbers::{count, counted};
use page::page;
use run_data::RunData;
use sections::{
    calibration, classes, confidence, confusion, discovered, epochs, gallery, provenance, remarks,
    separation, summary, training,
};
use thumbnails::Thumbnails;

pub use benchmark::write_benchmark_report;
pub use comparison::write_comparison;
pub use discovery::write_discovery;
pub use error::ReportError;

/// A report that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenReport {
    /// The file.
    pub path: PathBuf,
    /// Images whose thumbnails could not be drawn, because they are no longer there.
    pub missing_images: usize,
}

/// Writes the page of a finished run to `output`, or to `report.html` in its directory.
///
/// # Errors
///
/// [`ReportError`], for example when the run is not finished.
pub fn write_report(run: &Path, output: Option<&Path>) -> Result<WrittenReport, ReportError> {
    let directory = RunDirectory::open(run)?;
    let data = RunData::read(&directory)?;
    let galleries = gallery::galleries(&data);
    let request = &data.record.request;
    let thumbnails = Thumbnails::draw(
        &request.images,
        &request.image_options(),
        request.exif_orientation,
        &gallery::paths(&galleries),
    );
    let mut parts = vec![summary::section(&data)];
    parts.extend(training::section(&data)?);
    parts.extend(epochs::section(&data)?);
    parts.push(confidence::section(&data)?);
    parts.extend(separation::section(&data)?);
    parts.push(classes::section(&data));
    parts.extend(confusion::section(&data));
    parts.extend(calibration::section(&data)?);
    parts.push(gallery::section(&data, &galleries, &thumbnails));
    let found = DiscoveryDirectory::of_run(run)?;
    parts.extend(discovered::section(found.as_ref()));
    parts.push(provenance::section(&data));
    parts.extend(remarks::section(&data));

    let lead = html! {
        p.lead {
            (counted(data.record.images.used, "image")) ", " (counted(data.classes().len(), "class")) ", seed "
            (data.record.request.settings.seed) ", " (count(data.record.trained_parameters)) " trained parameters"
        }
    };
    let path = output.map_or_else(|| directory.report_path(), Path::to_owned);
    let text = page("Adaptation report", &data.name, &lead, &parts);
    write(&path, &text)?;
    Ok(WrittenReport {
        path,
        missing_images: thumbnails.missing(),
    })
}

fn write(path: &Path, text: &str) -> Result<(), ReportError> {
    write_atomically(path, |file| file.write_all(text.as_bytes()))
        .map_err(|source| ReportError::write(path, source))
}
