//! Benchmarks.

use ueo_benchmark::BenchmarkError;

use super::Hint;

impl Hint for BenchmarkError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoData { obtain, .. } => obtain,
            Self::Data(error) => return error.hint(),
            Self::Session(error) => return error.hint(),
            Self::Evaluate(error) => return error.hint(),
            Self::ClassCount { .. } => {
                "index ranges mean nothing with other classes: use the data set's original folders, with nothing beside them"
            }
            Self::Override { .. } => {
                "settings are named as on the command line of `ueo adapt`, for example --set context-learning-rate=1e-3"
            }
            Self::Setting { .. } => {
                "name the methods that have the setting with --methods, or set it in the suite under [settings.methods.NAME]"
            }
            Self::Threads { .. } => "ask for fewer with --threads or --jobs",
            Self::InUse { .. } => {
                "wait until it ends, or name another --output; one process runs cells beside each other with --jobs"
            }
            Self::Cell { .. } => "remove the file, and the cell is run again",
            Self::NoResults { .. } => "run the benchmark without --tables-only first",
            Self::NothingChosen { .. } => {
                "ask for less: --tables-only without the other options shows which cells there are"
            }
            Self::OtherSuite { .. } => {
                "leave --suite out, which takes the suite of the results, or name the --output that belongs to the suite"
            }
            Self::Mixed { .. } => {
                "these cells were brought together: give each version of a suite an --output of its own"
            }
            Self::CellVersion { .. } => {
                "a later version of this program wrote it: use that one, or name another --output"
            }
            Self::Occupied { .. } => "name another --output, or another --variant",
            Self::TwoFiles { .. } => "remove the one that you do not want",
            Self::OtherSettings { .. } => {
                "give the new settings a name of their own with --variant NAME, or name another --output; without the folder of the \
                 old results the name is free again"
            }
            Self::OtherData { .. } => {
                "name another --output, or give the changed suite another name: only results on the same classes, shifts and \
                 images can be compared, with whatever --variant"
            }
            Self::DataNotNamed { obtain, .. } => {
                return Some(format!("name it with --data; {obtain}"));
            }
            Self::Published { .. } => "docs/benchmark.md describes the file",
            Self::Page { .. } => {
                "put the two lines where the generated part should go, or name another file"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
