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
mod printer;
mod progress;
mod reporter;
mod tables;
mod target;
mod words;

use std::ffi::OsString;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use args::GlobalArgs;
use commands::{
    Context, adapt, benchmark, completions, demo, discover, embed, evaluate, export, inspect, man,
    models, predict, report, run,
};
use exit::Ending;
use printer::{Printer, Verbosity};

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

/// Runs the program with these arguments, of which the first is its own name, and returns its exit code. `--help` and
/// mistakes in the arguments end the process.
pub fn run(arguments: Vec<OsString>) -> u8 {
    let (cli, from_file) = match parse(arguments) {
        Ok(parsed) => parsed,
        Err(error) => return fail(&Printer::new(Verbosity::Normal), &error),
    };
    let printer = Printer::new(cli.global.verbosity());
    match run_command(&cli, &printer) {
        Ok(ending) => ending.code(),
        Err(error) if error.is_interruption() => {
            printer.message(&error);
            Ending::Interrupted.code()
        }
        Err(error) => {
            if from_file && error.is_setting() {
                note_config_file();
            }
            fail(&printer, &error)
        }
    }
}

/// The parser of the whole command line.
fn parser() -> clap::Command {
    Cli::command().mut_subcommand("adapt", adapt::inputs_go_together)
}

/// The command line and the configuration file that it names, as one, and whether that file had something to say. Leaves the
/// program for `--help` and mistakes.
fn parse(typed: Vec<OsString>) -> Result<(Cli, bool), CliError> {
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
    let cli = parsed.unwrap_or_else(|error| {
        if from_file && error.use_stderr() {
            note_config_file();
        }
        error.exit()
    });
    Ok((cli, from_file))
}

fn note_config_file() {
    eprintln!("note: some of the options come from the --config file");
}

fn run_command(cli: &Cli, printer: &Printer) -> Result<Ending, CliError> {
    let context = Context::new(&cli.global, printer)?;
    match &cli.command {
        Command::Inspect(args) => inspect::run(args, &context),
        Command::Adapt(args) => adapt::run(args, &context),
        Command::Predict(args) => predict::run(args, &context),
        Command::Evaluate(args) => evaluate::run(args, &context),
        Command::Discover(args) => discover::run(args, &context),
        Command::Embed(args) => embed::run(args, &context),
        Command::Export(args) => export::run(args, &context),
        Command::Benchmark(args) => benchmark::run(args, &context),
        Command::Report(args) => report::run(args, &context),
        Command::Demo(args) => demo::run(args, &context),
        Command::Models(args) => models::run(args, &context),
        Command::Run(args) => run::run(args, &context),
        Command::Completions(args) => completions::run(args, parser()),
        Command::Man(args) => man::run(args, parser()),
    }
}

fn fail(printer: &Printer, error: &CliError) -> u8 {
    printer.error(error, error.hint().as_deref());
    exit::FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        parser().debug_assert();
    }
}
