//! The only way from a command to the screen: data on stdout, everything else on stderr.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::builder::styling::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressDrawTarget};
use ueo::quote;
use ueo::session::BaseRecord;

use crate::progress::{Progress, Unit};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Results, progress and warnings.
    Normal,
    /// Also how things were decided.
    Verbose,
}

/// An error and what caused it, a line each.
pub fn explained(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut text = said.clone();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some libraries repeat their cause in their own message.
        if !said.contains(&message) {
            let message = message.trim_end().replace('\n', "\n             ");
            text.push_str(&format!("\n  caused by: {message}"));
        }
        said = message;
        cause = error.source();
    }
    text
}

/// Prints what the user asked to see, where it belongs.
#[derive(Clone, Debug)]
pub struct Printer {
    verbosity: Verbosity,
    colors: bool,
    bars: Option<MultiProgress>,
}

/// What is printed, without anything in a name or path that a terminal would obey.
fn shown(line: impl Display) -> String {
    quote::lines(&line.to_string())
}

impl Printer {
    /// A printer for this process: bars and colors only where stderr is a terminal, colors not with `NO_COLOR`.
    pub fn new(verbosity: Verbosity) -> Self {
        let terminal = io::stderr().is_terminal();
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let bars = (terminal && verbosity > Verbosity::Quiet)
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self {
            verbosity,
            colors: terminal && !unwanted,
            bars,
        }
    }

    /// Prints a line of what the command was asked for, on stdout.
    ///
    /// # Errors
    ///
    /// When stdout cannot be written; a reader that has seen enough and closed it is no error.
    pub fn data(&self, line: impl Display) -> io::Result<()> {
        if self.verbosity == Verbosity::Quiet {
            return Ok(());
        }
        let written = self.above_bars(|| {
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "{}", shown(line)).and_then(|()| stdout.flush())
        });
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Prints what happened.
    pub fn message(&self, line: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            self.stderr(shown(line));
        }
    }

    /// Prints how something was decided, for `--verbose`.
    pub fn detail(&self, line: impl Display) {
        if self.is_verbose() {
            self.stderr(shown(line));
        }
    }

    /// Whether details are printed.
    pub fn is_verbose(&self) -> bool {
        self.verbosity >= Verbosity::Verbose
    }

    /// Prints which checkpoint is used and how it was understood, for `--verbose`, and what was assumed, for all.
    pub fn model(&self, base: &BaseRecord) {
        self.detail(format_args!("model: {}", base.path.display()));
        for decision in &base.decisions {
            self.detail(format_args!("  {decision}"));
        }
        for warning in &base.warnings {
            self.warning(warning);
        }
    }

    /// Prints what the user should know about and the program can live with.
    pub fn warning(&self, line: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            let line = shown(line);
            self.stderr(format_args!("{}: {line}", self.paint(WARNING, "warning")));
        }
    }

    /// Prints what the user can do about a warning.
    pub fn hint(&self, line: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            let line = shown(line);
            self.stderr(format_args!("{}: {line}", self.paint(HINT, "hint")));
        }
    }

    /// Prints an error, what caused it and what to do about it.
    pub fn error(&self, error: &dyn Error, hint: Option<&str>) {
        let error = shown(explained(error));
        let mut text = format!("{}: {error}", self.paint(ERROR, "error"));
        if let Some(hint) = hint {
            let hint = shown(hint);
            text.push_str(&format!("\n{}: {hint}", self.paint(HINT, "hint")));
        }
        self.stderr(text);
    }

    /// Shows how far `what` is, such as "encoding images"; `already_done` of the `total` were done before.
    pub fn progress(
        &self,
        what: &'static str,
        unit: Unit,
        already_done: u64,
        total: u64,
    ) -> Progress {
        match (&self.bars, self.verbosity) {
            (_, Verbosity::Quiet) => Progress::hidden(),
            (Some(bars), _) => Progress::bar(bars, what, unit, already_done, total),
            (None, _) => Progress::lines(self.clone(), what, unit, already_done, total),
        }
    }

    fn paint<'a>(&self, style: Style, text: &'a str) -> Cow<'a, str> {
        if self.colors {
            format!("{style}{text}{style:#}").into()
        } else {
            text.into()
        }
    }

    fn stderr(&self, line: impl Display) {
        // Nobody is left to tell when stderr itself is closed.
        let _ = self.above_bars(|| writeln!(io::stderr(), "{line}"));
    }

    fn above_bars<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }
}
