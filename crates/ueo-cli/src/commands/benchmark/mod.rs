//! `ueo benchmark`: methods on the domains of a suite, under category shifts, with several seeds.

mod arguments;
mod cells;
mod ranks;
mod results;

use std::path::Path;

use ueo::model::Precision;
use ueo::session::{Model, SessionError};
use ueo_benchmark::{
    BenchmarkError, CellFilter, CellState, LONGEST_NAME, ModelId, Plan, Results, Suite, SuiteData,
};
use ueo_run::{OpenedModel, RunError};

pub use self::arguments::BenchmarkArgs;
use super::Context;
use crate::error::CliError;
use crate::exit::Ending;
use crate::hub;
use crate::printer::Printer;
use crate::words::counted;

/// The suite that is run if nothing else is said.
const DEFAULT_SUITE: &str = "iconnet";

/// Runs what is still to be run, or lists it; without a model, makes the tables again.
///
/// # Errors
///
/// [`CliError`]; finished cells stay.
pub fn run(args: &BenchmarkArgs, context: &Context) -> Result<Ending, CliError> {
    let printer = context.printer;
    let Some(path) = &args.model else {
        return tabulate(args, context);
    };
    let suite = Suite::open(args.suite.as_deref().unwrap_or(DEFAULT_SUITE))?;
    let selection = args.selection.selection()?;
    let domains = suite.select(&args.selection.domains)?;
    // Before hours of work; a new directory is made when the inputs have been looked at.
    let held = match args.list || !args.output.is_dir() || !context.writes() {
        true => None,
        false => Some(ueo_benchmark::hold(&args.output)?),
    };
    let data = ueo_benchmark::locate(&suite, data_folder(args, &suite, printer)?, &domains)?;
    warn_of_differences(&data, printer);
    let skipped = data.skipped.clone();
    if context.strict && !skipped.is_empty() {
        return Err(CliError::Session(SessionError::SkippedImages { skipped }));
    }
    let precision = context.precision.unwrap_or_default();
    let model = open_checkpoint(path, precision, context)?;
    let id = ModelId {
        name: args.model_name.clone().unwrap_or_else(|| model_name(path)),
        sha256: model.base.sha256.clone(),
        precision,
    };
    let mut plan = Plan::new(&suite, data, &id, &selection, &args.output)?;
    if args.list {
        return list(&plan, printer);
    }
    ranks::divide(&mut plan, &args.output, &*context.exchange)?;
    let _held = match (held, context.writes()) {
        (None, true) => Some(ueo_benchmark::hold(&args.output)?),
        (held, _) => held,
    };
    let ending = cells::run(&plan, &model, args, context)?;
    if context.writes() && ending != Ending::Interrupted {
        let of_this_run = |results: &Results| {
            results.model_sha256 == id.sha256
                && results.precision == id.precision
                && results.protocol == selection.protocol
        };
        results::write(
            args,
            Some(&suite),
            &CellFilter::default(),
            of_this_run,
            printer,
        )?;
    }
    Ok(match (ending, context.list_skipped(&skipped)) {
        (Ending::Complete, ending) => ending,
        (ending, _) => ending,
    })
}

/// Makes the tables again from the cells that are there.
fn tabulate(args: &BenchmarkArgs, context: &Context) -> Result<Ending, CliError> {
    if context.writes() {
        let suite = args.suite.as_deref().map(Suite::open).transpose()?;
        let filter = args.selection.filter();
        results::write(args, suite.as_ref(), &filter, |_| true, context.printer)?;
    }
    Ok(Ending::Complete)
}

/// Says where the number of images is not that of the publication.
fn warn_of_differences(data: &SuiteData, printer: &Printer) {
    for difference in &data.differences {
        let (path, hint) = (difference.path.display(), difference.hint.as_deref());
        printer.warning(format_args!(
            "{}: expected {} in {path}, found {} ({} that cannot be used){}",
            difference.domain,
            counted(difference.expected, "image"),
            difference.found,
            difference.unusable,
            hint.map_or_else(String::new, |hint| format!("; {hint}")),
        ));
    }
}

/// Opens a checkpoint that is not adapted yet: the benchmark does that itself.
fn open_checkpoint(
    path: &Path,
    precision: Precision,
    context: &Context,
) -> Result<Model, CliError> {
    let found = hub::resolve(path, context.printer)?;
    let opened = OpenedModel::open(&found, None, &context.device, Some(precision))?;
    if opened.run.is_some() {
        let path = path.to_owned();
        return Err(RunError::AlreadyAdapted { path }.into());
    }
    context.printer.model(&opened.model.base);
    Ok(opened.model)
}

/// The folder that was named, or the suite's own, which is said; no other folder is looked at.
fn data_folder<'a>(
    args: &'a BenchmarkArgs,
    suite: &'a Suite,
    printer: &Printer,
) -> Result<&'a Path, BenchmarkError> {
    if let Some(data) = &args.data {
        return Ok(data);
    }
    let Some(data) = &suite.default_data else {
        return Err(BenchmarkError::DataNotNamed {
            suite: suite.name.clone(),
            obtain: suite.obtain.clone(),
        });
    };
    printer.message(format_args!(
        "images: {}, where the suite `{}` has them by default; --data names another folder",
        data.display(),
        suite.name
    ));
    Ok(data)
}

/// What a checkpoint is called if nothing else is said: its file or folder.
fn model_name(path: &Path) -> String {
    if let Some(name) = hub::shown_name(path) {
        return name.chars().take(LONGEST_NAME).collect();
    }
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = match whole.is_dir() {
        true => whole.file_name(),
        false => whole.file_stem(),
    };
    let name = name.map_or_else(
        || "model".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    name.chars().take(LONGEST_NAME).collect()
}

/// Prints a line per cell.
fn list(plan: &Plan, printer: &Printer) -> Result<Ending, CliError> {
    for cell in &plan.cells {
        let state = match cell.state {
            CellState::Missing => "to do",
            CellState::Damaged => "damaged",
            CellState::Done => "done",
        };
        let request = &cell.request;
        let seed = request
            .seed
            .map_or_else(|| "-".to_owned(), |seed| seed.to_string());
        let line = [
            state,
            &request.variant,
            &request.domain,
            request.shift.name(),
            request.method.name(),
            &seed,
        ];
        printer.data(line.join("\t")).map_err(CliError::Stdout)?;
    }
    let pending = plan.pending().count();
    let cells = counted(plan.cells.len(), "cell");
    printer.message(format_args!("{cells}, {pending} to do"));
    Ok(Ending::Complete)
}
