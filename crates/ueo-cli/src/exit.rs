//! How the program ends.

use std::process::ExitCode;

/// Exit code of a program that was interrupted (128 + SIGINT, as shells have it).
pub const INTERRUPTED: u8 = 130;

/// The end of a command that met no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything was done.
    Complete,
    /// Some inputs failed and were listed.
    SomeInputsFailed,
    /// The user stopped it.
    Interrupted,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Complete => Self::SUCCESS,
            Ending::SomeInputsFailed => Self::from(1),
            Ending::Interrupted => Self::from(INTERRUPTED),
        }
    }
}
