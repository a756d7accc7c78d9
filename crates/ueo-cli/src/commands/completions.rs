//! `ueo completions`: what a shell needs to complete commands and options.

use std::io;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::error::CliError;
use crate::exit::Ending;
use crate::output;

const AFTER_HELP: &str = "\
Examples:
  ueo completions bash > ~/.local/share/bash-completion/completions/ueo
  ueo completions zsh  > \"${fpath[1]}/_ueo\"
  ueo completions fish > ~/.config/fish/completions/ueo.fish";

/// Print what a shell needs to complete commands and options
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// Prints the completions of a parser.
///
/// # Errors
///
/// [`CliError::Stdout`].
pub fn run(args: &CompletionsArgs, mut parser: Command) -> Result<Ending, CliError> {
    let mut script = Vec::new();
    let name = parser.get_name().to_owned();
    clap_complete::generate(args.shell, &mut parser, name, &mut script);
    output::to_stdout(|stdout| io::Write::write_all(stdout, &script))?;
    Ok(Ending::Complete)
}
