//! `ueo man`: manual pages, made from the same parser as `--help`.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use crate::error::CliError;
use crate::exit::Ending;
use crate::output::{self, write_file};

const AFTER_HELP: &str = "\
Examples:
  ueo man | man -l -
  ueo man --output ~/.local/share/man/man1";

/// Print the manual page, or write a page for each command
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct ManArgs {
    /// Directory for one page per command (ueo.1, ueo-adapt.1, ...) [default: print the first one]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Prints the page of a parser, or writes those of all its commands.
///
/// # Errors
///
/// [`CliError::Stdout`] and [`CliError::Write`].
pub fn run(args: &ManArgs, mut parser: Command) -> Result<Ending, CliError> {
    parser.build();
    match &args.output {
        None => output::to_stdout(|stdout| Man::new(parser).render(stdout))?,
        Some(directory) => {
            std::fs::create_dir_all(directory).map_err(|source| CliError::Write {
                path: directory.clone(),
                source,
            })?;
            write_pages(&parser, directory)?;
        }
    }
    Ok(Ending::Complete)
}

fn write_pages(command: &Command, directory: &Path) -> Result<(), CliError> {
    // A built command knows its full name, such as `ueo-run-move`.
    let name = command.get_display_name().unwrap_or(command.get_name());
    let page = Man::new(command.clone());
    write_file(&directory.join(format!("{name}.1")), |mut file| {
        page.render(&mut file)
    })?;
    for subcommand in command.get_subcommands().filter(|c| c.get_name() != "help") {
        write_pages(subcommand, directory)?;
    }
    Ok(())
}
