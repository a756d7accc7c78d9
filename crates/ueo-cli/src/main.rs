//! The command line of `ueo`: reads arguments, resolves settings, calls the library and prints what it answers.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod config_file;
mod error;
mod exit;
mod interrupt;
mod output;
mod printer;
mod progress;
mod reporter;
mod tables;
mod target;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command};
use commands::{Context, adapt, benchmark, demo, embed, evaluate, inspect, predict, report};
use error::CliError;
use exit::Ending;
use printer::{Printer, Verbosity};

fn main() -> ExitCode {
    let cli = match parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => return fail(&Printer::new(Verbosity::Normal), &error),
    };
    let printer = Printer::new(cli.global.verbosity());
    match run(&cli, &printer) {
        Ok(ending) => ending.into(),
        Err(error) if error.is_interruption() => {
            printer.message(&error);
            Ending::Interrupted.into()
        }
        Err(error) => fail(&printer, &error),
    }
}

/// The command line and the configuration file that it names, as one. Leaves the program for `--help` and mistakes.
fn parse(typed: Vec<OsString>) -> Result<Cli, CliError> {
    let mut command = Cli::command();
    let arguments = config_file::with_config_file(typed.clone(), &command)?;
    let from_file = arguments.len() > typed.len();
    let parsed = command
        .try_get_matches_from_mut(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    Ok(parsed.unwrap_or_else(|error| {
        if from_file && error.use_stderr() {
            eprintln!("note: some of the options come from the --config file");
        }
        error.exit()
    }))
}

fn run(cli: &Cli, printer: &Printer) -> Result<Ending, CliError> {
    let context = Context::new(&cli.global, printer)?;
    match &cli.command {
        Command::Inspect(args) => inspect::run(args, &context),
        Command::Adapt(args) => adapt::run(args, &context),
        Command::Predict(args) => predict::run(args, &context),
        Command::Evaluate(args) => evaluate::run(args, &context),
        Command::Embed(args) => embed::run(args, &context),
        Command::Benchmark(args) => benchmark::run(args, &context),
        Command::Report(args) => report::run(args, &context),
        Command::Demo(args) => demo::run(args, &context),
    }
}

fn fail(printer: &Printer, error: &CliError) -> ExitCode {
    printer.error(error, error.hint().as_deref());
    ExitCode::from(2)
}
