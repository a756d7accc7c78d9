//! The command line of `ueo`.
fn main() {}
