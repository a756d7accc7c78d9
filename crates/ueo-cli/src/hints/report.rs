//! Reports.

use ueo_report::ReportError;

use super::Hint;
use super::run::resume;

impl Hint for ReportError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Run(error) => error.hint(),
            Self::Unfinished { path } => Some(resume(path)),
            Self::Evaluate(error) => error.hint(),
            Self::Write { .. } => Some("check the permissions, or choose another place".to_owned()),
            _ => None,
        }
    }
}
