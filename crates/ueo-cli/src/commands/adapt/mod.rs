//! `ueo adapt`: from a checkpoint, class names and unlabeled images to a run directory.

mod arguments;
mod request;
mod summary;

use std::path::Path;
use std::sync::Arc;

use ueo_run::{RunDirectory, RunStatus, Start};

pub use self::arguments::{AdaptArgs, inputs_go_together};
use self::summary::Summary;
use super::{Context, report};
use crate::error::CliError;
use crate::exit::Ending;
use crate::interrupt::Interrupt;
use crate::reporter::ProgressReporter;
use crate::words::quoted;

/// Adapts, or continues.
///
/// # Errors
///
/// [`CliError`]; what was done until then can be resumed.
pub fn run(args: &AdaptArgs, context: &Context) -> Result<Ending, CliError> {
    let start = args.start(context)?;
    if let Start::Resume {
        epochs: Some(epochs),
        ..
    } = start
        && context.writes()
    {
        say_what_is_extended(&args.output, epochs, context)?;
    }
    adapt(start, &args.output, !args.no_report, context)
}

/// The part that `adapt` and `demo` have in common.
///
/// # Errors
///
/// [`CliError::Run`] and [`CliError::Interrupt`].
pub fn adapt(
    start: Start,
    output: &Path,
    with_report: bool,
    context: &Context,
) -> Result<Ending, CliError> {
    let interrupt = Interrupt::listen(context.printer)?;
    let mut reporter = ProgressReporter::interruptible(context.printer, interrupt);
    let exchange = Arc::clone(&context.exchange);
    let device = &context.device;
    let adapted = ueo_run::adapt_together(start, output, device, exchange, &mut reporter);
    reporter.finish();
    let report = match adapted.map_err(CliError::from) {
        Err(error) if error.is_interruption() => {
            context.printer.message(&error);
            return Ok(say_how_to_go_on(output, context));
        }
        adapted => adapted?,
    };
    let mut ending = context.list_skipped(&report.record.images.skipped);
    if report.record.status == RunStatus::Incomplete {
        context.printer.message(format_args!(
            "stopped after step {} of {}",
            report.steps_done, report.record.total_steps
        ));
        return Ok(say_how_to_go_on(output, context));
    }
    if !context.writes() {
        return Ok(ending);
    }
    let mut report_path = None;
    if with_report {
        match report::write(output, None, context) {
            // Images that have gone since the last pass are in the report; the adaptation itself is complete.
            Ok((path, _)) => report_path = Some(path),
            Err(error) => {
                context.printer.warning(format_args!(
                    "the run is finished, but its report cannot be written: {}",
                    with_causes(&error)
                ));
                ending = Ending::SomeInputsFailed;
            }
        }
    }
    Summary::new(&report, output)?.show(report_path.as_deref(), context)?;
    Ok(ending)
}

/// Says what more epochs mean for a run that is there.
fn say_what_is_extended(output: &Path, epochs: usize, context: &Context) -> Result<(), CliError> {
    if !RunDirectory::recognizes(output) {
        return Ok(());
    }
    let record = RunDirectory::open(output)?.read_record()?;
    let begun = record.epoch_count();
    if begun < epochs && record.request.settings.method.trains() {
        context.printer.message(format_args!(
            "extending the run from {begun} to {epochs} epochs; the learning rate starts anew"
        ));
    }
    Ok(())
}

fn say_how_to_go_on(output: &Path, context: &Context) -> Ending {
    context.printer.message(format_args!(
        "to continue:\n  ueo adapt --resume --output {}",
        quoted(output)
    ));
    Ending::Interrupted
}

/// An error with what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
