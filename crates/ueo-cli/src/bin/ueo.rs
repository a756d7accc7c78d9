//! The program `ueo`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ueo_cli::run(std::env::args_os().collect()).into()
}
