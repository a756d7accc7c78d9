//! What a user can do about an error, in the words of the command line: one file per family of errors.
//!
//! The libraries say what is wrong; which option mends it is known here only.

mod benchmark;
mod checkpoint;
mod data;
mod device;
mod evaluate;
mod export;
pub mod guard;
mod hub;
mod report;
mod run;
mod session;
mod setting;
mod text;

/// An error with a way out.
pub trait Hint {
    /// What the user can do about it, if anything.
    fn hint(&self) -> Option<String>;
}
