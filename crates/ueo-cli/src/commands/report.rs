//! `ueo report`: pictures and numbers of finished runs as a page.

use std::path::{Path, PathBuf};

use clap::Args;
use ueo_report::{write_comparison, write_report};

use super::Context;
use crate::error::CliError;
use crate::exit::Ending;
use crate::target::check_file;
use crate::words::counted;

const AFTER_HELP: &str = "\
The page of one run shows what the adaptation changed: measurements before and after where the images have labels, losses, \
confidences with the threshold, classes, confusions, calibration, thumbnails, settings and origin. It is made from the run \
directory; thumbnails are drawn from the images where the run found them, and images that have gone are counted.

Several runs are compared on one page: measurements side by side, the settings that differ, curves, classes.

A page is one file. It loads nothing, needs no script, follows the light or dark theme of the reader and can be printed.

Examples:
  ueo report run/
  ueo report ueo/ infomax/ --output comparison.html

Exit codes: 0 done, 1 done but some images are no longer there, 2 error.";

/// Where a comparison goes if nothing else is said.
const COMPARISON: &str = "comparison.html";

/// Show a run as a page, or compare runs
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct ReportArgs {
    /// Run directories; with more than one, they are compared
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,

    /// Page to write (.html) [default: report.html in the run directory, or comparison.html]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Replace the output if it exists; the report.html of a run is always replaced
    #[arg(long)]
    pub overwrite: bool,
}

/// Writes the page.
///
/// # Errors
///
/// [`CliError::Report`] and [`CliError::Target`].
pub fn run(args: &ReportArgs, context: &Context) -> Result<Ending, CliError> {
    let check = |path: &Path| check_file(path, args.overwrite, &["html"], ".html");
    if let Some(output) = &args.output {
        check(output)?;
    }
    if let [run] = args.runs.as_slice() {
        let (path, ending) = write(run, args.output.as_deref(), context)?;
        let printer = context.printer;
        printer.message(format_args!("report: {}", path.display()));
        return Ok(ending);
    }
    let output = match &args.output {
        Some(output) => output.clone(),
        None => {
            let output = PathBuf::from(COMPARISON);
            check(&output)?;
            output
        }
    };
    write_comparison(&args.runs, &output)?;
    context
        .printer
        .message(format_args!("comparison: {}", output.display()));
    Ok(Ending::Complete)
}

/// Writes the page of one run, as `adapt` does at its end, and says where.
///
/// # Errors
///
/// [`CliError::Report`].
pub fn write(
    run: &Path,
    output: Option<&Path>,
    context: &Context,
) -> Result<(PathBuf, Ending), CliError> {
    let report = write_report(run, output)?;
    if report.missing_images == 0 {
        return Ok((report.path, Ending::Complete));
    }
    context.printer.warning(format_args!(
        "{} in the report could not be read again",
        counted(report.missing_images, "image")
    ));
    Ok((report.path, Ending::SomeInputsFailed))
}
