//! How the program ends.

/// Exit code of a program that met an error.
pub const FAILED: u8 = 2;
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

impl Ending {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::SomeInputsFailed => 1,
            Self::Interrupted => INTERRUPTED,
        }
    }
}
