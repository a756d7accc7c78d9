//! Settings that make no sense.

use ueo::adapt::InvalidSetting;

use super::Hint;

impl Hint for InvalidSetting {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Range { setting, .. } if *setting == "reduce-images" => {
                "twice the input size changes the views little".to_owned()
            }
            Self::Range { setting, .. } => format!("give another value with --{setting}"),
            Self::NotOfMethod { setting, .. } => {
                format!("leave --{setting} out, or choose another --method")
            }
            Self::Conflict { setting, other, .. } => {
                format!("leave --{setting} or --{other} out")
            }
            _ => return None,
        })
    }
}
