//! Choices as the parser of a command line lists them; only with the feature `clap`.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::evaluate::Score;
use crate::guard::Keep;
use crate::method::Method;

/// Choices that have a list, names and descriptions of their own.
macro_rules! value_enum {
    ($($choice:ty),*) => {
        $(impl ValueEnum for $choice {
            fn value_variants<'a>() -> &'a [Self] {
                Self::ALL
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(PossibleValue::new(self.name()).help(self.about()))
            }
        })*
    };
}

value_enum!(Keep, Method, Score);
