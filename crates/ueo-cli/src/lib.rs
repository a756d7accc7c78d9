//! The command line of `ueo`: reads arguments, resolves settings, calls the library and prints what it answers.
//!
//! A library so that the Python package has the same program, [`run`], and the same words: those of errors ([`CliError`],
//! [`explained`]), of what a job tells ([`notice`]), and the demonstration ([`write_demo`]).

#![forbid(unsafe_code)]

mod args;
mod commands;
mod config_file;
mod costs;
mod error;
mod exit;
mod hints;
mod hub;
mod interrupt;
mod labels;
mod output;
mod prediction_parquet;
mod prediction_table;
mod printer;
mod progress;
mod ranks;
mod reporter;
mod tables;
mod target;
mod words;

use std::ffi::OsString;
use std::sync::Arc;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use ueo::device::guarded;
use ueo::exchange::{Alone, Exchange};

use args::GlobalArgs;
use commands::{
    Context, adapt, benchmark, completions, demo, discover, embed, evaluate, export, inspect, man,
    models, predict, report, run,
};
use exit::Ending;
use printer::{Printer, Verbosity};
use ranks::{PATIENCE, RankEnd, RankError};

pub use commands::demo::{DemoModel, demo_settings, write_demo};
pub use error::CliError;
pub use hints::guard::hint as guard_hint;
pub use printer::explained;
pub use reporter::{Notice, notice};

const ABOUT: &str = "Fine-tune CLIP without labels, and tell known classes from unknown ones";

const LONG_ABOUT: &str = "\
Fine-tunes CLIP without labels, and tells known classes from unknown ones.

Give ueo a CLIP checkpoint, a text file with the names of your classes and a folder of unlabeled images. It adapts the \
prompt and the normalization layers to your images (Universal Entropy Optimization, Liang et al., ICML 2024) and writes \
a run directory, which every command accepts as a model.";

const AFTER_HELP: &str = "\
A session:
  ueo inspect  --model ViT-B-16.pt
  ueo adapt    --model ViT-B-16.pt --images photos/ --classes classes.txt \\
               --output run/
  ueo predict  --model run/ --images photos/ --output predictions.csv
  ueo evaluate --model run/ --images labelled/ --output evaluation.json
  ueo report   run/
  ueo discover run/ --images photos/
  ueo export   run/ --to onnx --output model.onnx

Nothing at hand? `ueo demo` adapts an embedded model to embedded images, and `ueo models` lists models that \
--model hf-hub:OWNER/NAME fetches.

Exit codes:
  0    everything was done
  1    done, but some inputs failed; they are listed
  2    an error: nothing that can be used was written
  130  interrupted with Ctrl-C; `adapt` leaves a run that `--resume` continues";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "ueo", version, propagate_version = true, styles = STYLES, max_term_width = 100,
    about = ABOUT, long_about = LONG_ABOUT, after_long_help = AFTER_HELP
)]
struct Cli {
    /// Options of every command.
    #[command(flatten)]
    global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// One variant per command.
#[derive(Debug, Subcommand)]
enum Command {
    Inspect(inspect::InspectArgs),
    Adapt(Box<adapt::AdaptArgs>),
    Predict(predict::PredictArgs),
    Evaluate(evaluate::EvaluateArgs),
    Discover(discover::DiscoverArgs),
    Embed(embed::EmbedArgs),
    Export(export::ExportArgs),
    Benchmark(Box<benchmark::BenchmarkArgs>),
    Report(report::ReportArgs),
    Demo(demo::DemoArgs),
    Models(models::ModelsArgs),
    Run(run::RunArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

impl Command {
    /// Whether several processes divide the work; all other commands are the first one's.
    fn is_divided(&self) -> bool {
        matches!(
            self,
            Self::Adapt(_)
                | Self::Predict(_)
                | Self::Evaluate(_)
                | Self::Embed(_)
                | Self::Benchmark(_)
        )
    }
}

/// Runs the program with these arguments, of which the first is its own name, and returns its exit code. `--help` and
/// mistakes in the arguments end the process.
pub fn run(arguments: Vec<OsString>) -> u8 {
    ranks::run(|exchange| program(arguments, &exchange))
}

/// The program as one of the processes of a job.
fn program(arguments: Vec<OsString>, exchange: &Arc<dyn Exchange>) -> RankEnd {
    let agreed = same_command(&arguments, &**exchange);
    let (cli, from_file) = match agreed.and_then(|()| parse(arguments, &**exchange)) {
        Ok(Parsed::Command(cli, from_file)) => (cli, from_file),
        Ok(Parsed::Refused(code)) => return RankEnd::Together(code),
        Err(error) => return fail(&Printer::new(Verbosity::Normal), error, &**exchange),
    };
    let printer = Printer::new(match exchange.is_first() {
        true => cli.global.verbosity(),
        false => Verbosity::Quiet,
    });
    match run_command(&cli, &printer, exchange) {
        Ok(ending) => RankEnd::Together(ending.code()),
        Err(error) if error.is_interruption() => {
            printer.message(&error);
            RankEnd::Together(Ending::Interrupted.code())
        }
        Err(error) => {
            if from_file && error.is_setting() && exchange.is_first() {
                note_config_file();
            }
            fail(&printer, error, &**exchange)
        }
    }
}

/// Checks that all processes are the same version with the same arguments.
fn same_command(arguments: &[OsString], exchange: &dyn Exchange) -> Result<(), CliError> {
    if exchange.is_alone() {
        return Ok(());
    }
    let mut command = env!("CARGO_PKG_VERSION").as_bytes().to_vec();
    for argument in arguments.iter().skip(1) {
        command.push(0);
        command.extend(argument.as_encoded_bytes());
    }
    match exchange.first_to_differ(&command) {
        None => Ok(()),
        Some(rank) => Err(CliError::OtherCommand { rank }),
    }
}

/// The parser of the whole command line.
fn parser() -> clap::Command {
    Cli::command().mut_subcommand("adapt", adapt::inputs_go_together)
}

/// What the arguments say.
enum Parsed {
    /// What to do, and whether a configuration file had something to say.
    Command(Box<Cli>, bool),
    /// `--help`, or a mistake, which has been told; the exit code.
    Refused(u8),
}

/// The command line and the configuration file that it names, as one. A single process ends here for `--help` and mistakes.
fn parse(typed: Vec<OsString>, exchange: &dyn Exchange) -> Result<Parsed, CliError> {
    let mut command = parser();
    let arguments = config_file::with_config_file(typed.clone(), &command)?;
    let from_file = arguments.len() > typed.len();
    let parsed = command
        .try_get_matches_from_mut(arguments)
        .and_then(|matches| {
            let mut cli = Cli::from_arg_matches(&matches)?;
            if let (Command::Adapt(args), Some((_, given))) =
                (&mut cli.command, matches.subcommand())
            {
                args.note_what_was_given(given);
            }
            Ok(cli)
        });
    Ok(match parsed {
        Ok(cli) => Parsed::Command(Box::new(cli), from_file),
        Err(error) => {
            if from_file && error.use_stderr() && exchange.is_first() {
                note_config_file();
            }
            if exchange.is_alone() {
                error.exit();
            }
            if exchange.is_first() {
                // Nobody is left to tell when the screen is closed.
                let _ = error.print();
            }
            Parsed::Refused(u8::try_from(error.exit_code()).unwrap_or(exit::FAILED))
        }
    })
}

fn note_config_file() {
    eprintln!("note: some of the options come from the --config file");
}

fn run_command(
    cli: &Cli,
    printer: &Printer,
    exchange: &Arc<dyn Exchange>,
) -> Result<Ending, CliError> {
    let exchange = match cli.command.is_divided() {
        true => Arc::clone(exchange),
        false if exchange.is_first() => Arc::new(Alone),
        false => return Ok(Ending::Complete),
    };
    let context = Context::new(&cli.global, printer, exchange)?;
    if context.device.is_cpu() {
        return dispatch(cli, &context);
    }
    // A failure of the device is an error with words of its own.
    std::panic::set_hook(Box::new(|_| ()));
    guarded(context.device.burn(), || dispatch(cli, &context))?
}

fn dispatch(cli: &Cli, context: &Context) -> Result<Ending, CliError> {
    match &cli.command {
        Command::Inspect(args) => inspect::run(args, context),
        Command::Adapt(args) => adapt::run(args, context),
        Command::Predict(args) => predict::run(args, context),
        Command::Evaluate(args) => evaluate::run(args, context),
        Command::Discover(args) => discover::run(args, context),
        Command::Embed(args) => embed::run(args, context),
        Command::Export(args) => export::run(args, context),
        Command::Benchmark(args) => benchmark::run(args, context),
        Command::Report(args) => report::run(args, context),
        Command::Demo(args) => demo::run(args, context),
        Command::Models(args) => models::run(args, context),
        Command::Run(args) => run::run(args, context),
        Command::Completions(args) => completions::run(args, parser()),
        Command::Man(args) => man::run(args, parser()),
    }
}

fn fail(printer: &Printer, source: CliError, exchange: &dyn Exchange) -> RankEnd {
    let hint = source.hint();
    if exchange.is_alone() {
        printer.error(&source, hint.as_deref());
        return RankEnd::Together(exit::FAILED);
    }
    if !exchange.is_first() {
        std::thread::sleep(PATIENCE);
    }
    let (rank, ranks) = (exchange.rank(), exchange.ranks());
    let error = RankError {
        rank,
        ranks,
        source,
    };
    printer.error(&error, hint.as_deref());
    RankEnd::EndsOthers(exit::FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        parser().debug_assert();
    }
}
