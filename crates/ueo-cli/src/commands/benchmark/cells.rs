//! Runs the cells of a plan, with what is done and what failed on the screen.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ueo::session::Model;
use ueo_benchmark::{BenchmarkReporter, Cell, CellState, Plan, RunOptions};

use super::BenchmarkArgs;
use super::ranks::{self, Outcome};
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Ending;
use crate::interrupt::Interrupt;
use crate::printer::Printer;
use crate::progress::{Progress, Unit};
use crate::words::counted;

/// Runs what a plan has pending, and says what came of it; of several processes each runs its part and hears of all.
///
/// # Errors
///
/// [`CliError`]; finished cells stay. Training that fails is no error.
pub fn run(
    plan: &Plan,
    model: &Model,
    args: &BenchmarkArgs,
    context: &Context,
) -> Result<Ending, CliError> {
    let printer = context.printer;
    say_what_is_to_do(plan, printer);
    let options = RunOptions {
        jobs: args.running.jobs,
        threads: context.threads,
        image_cache_bytes: args.running.image_cache.0,
    };
    let reporter = CellReporter::new(plan, printer)?;
    let summary = ueo_benchmark::run(plan, model, options, &reporter);
    let (cells, failures) = reporter.finish();
    let summary = summary?;
    let own = Outcome {
        cells,
        finished: summary.finished,
        interrupted: summary.interrupted,
        failures,
    };
    let all = ranks::joined(own, &*context.exchange)?;
    Ok(say_what_came_of_it(&all, &args.output, printer))
}

fn say_what_is_to_do(plan: &Plan, printer: &Printer) {
    let pending = plan.pending().count();
    let damaged = plan
        .pending()
        .filter(|cell| cell.state == CellState::Damaged)
        .count();
    printer.message(format_args!(
        "{}, {} done, {pending} to do{}",
        counted(plan.cells.len(), "cell"),
        plan.cells.len() - pending,
        match damaged {
            0 => String::new(),
            damaged => format!(", {damaged} of them because their files are damaged"),
        }
    ));
}

fn say_what_came_of_it(all: &Outcome, output: &Path, printer: &Printer) -> Ending {
    if all.interrupted && all.finished < all.cells {
        printer.message(format_args!(
            "stopped with {} of {} cells done; the same command continues",
            all.finished, all.cells
        ));
        return Ending::Interrupted;
    }
    if all.cells > 0 {
        let cells = counted(all.cells, "cell");
        printer.message(format_args!("{cells} done: {}", output.display()));
    }
    if all.failures.is_empty() {
        return Ending::Complete;
    }
    printer.warning(format_args!(
        "the training of {} failed:",
        counted(all.failures.len(), "cell")
    ));
    for failure in &all.failures {
        printer.message(format_args!("  {failure}"));
    }
    Ending::SomeInputsFailed
}

/// Shows how far a benchmark is.
struct CellReporter<'a> {
    printer: &'a Printer,
    interrupt: Interrupt,
    cells: usize,
    progress: Mutex<Progress>,
    failures: Mutex<Vec<String>>,
}

impl<'a> CellReporter<'a> {
    fn new(plan: &Plan, printer: &'a Printer) -> Result<Self, CliError> {
        let work: usize = plan.pending().map(|cell| plan.work(cell)).sum();
        Ok(Self {
            printer,
            interrupt: Interrupt::listen(printer)?,
            cells: plan.pending().count(),
            progress: Mutex::new(printer.progress("benchmark", Unit::Work, 0, work as u64)),
            failures: Mutex::default(),
        })
    }

    /// Takes the progress from the screen; returns how many cells were to be run, and what failed.
    fn finish(self) -> (usize, Vec<String>) {
        let (progress, failures) = (self.progress.into_inner(), self.failures.into_inner());
        progress.unwrap_or_else(PoisonError::into_inner).finish();
        (self.cells, failures.unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is shown stays valid whatever panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BenchmarkReporter for CellReporter<'_> {
    fn progress(&self, done: usize, finished_cells: usize) {
        lock(&self.progress).update(
            done as u64,
            format_args!("{finished_cells}/{} cells", self.cells),
        );
    }

    fn finished(&self, cell: &Cell) {
        let request = &cell.request;
        let mut name = format!("{} {} {}", request.domain, request.shift, request.method);
        if let Some(seed) = request.seed {
            name += &format!(" {seed}");
        }
        let percent = |value: Option<f64>| match value {
            Some(value) => format!("{:.1}", 100.0 * value),
            None => "-".to_owned(),
        };
        match (&cell.results, &cell.failure) {
            (Some(results), _) => self.printer.detail(format_args!(
                "{name}: accuracy {}, AUROC {} ({:.1} s)",
                percent(results.per_class_accuracy),
                percent(results.auroc),
                cell.timing.adaptation_secs + cell.timing.evaluation_secs
            )),
            (None, failure) => lock(&self.failures).push(format!(
                "{name}: {}",
                failure.as_deref().unwrap_or("no measurements")
            )),
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupt.requested()
    }
}
