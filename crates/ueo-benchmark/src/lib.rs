//! Benchmarks: methods on domains under category shifts, with several seeds, resumable and tabulated.
//!
//! ```text
//! suite -> layout (images on disk) -> plan (cells, which are done) -> run (cells in memory, a file each)
//!                                                                      |
//!                                     paper, page, tables <- results <-+
//! ```
//!
//! A model adapts to the unlabeled images of the classes that are present under a shift, and is tested on all images of the
//! domain ([`Protocol::Published`], that of Liang et al. 2024) or on those that it was not shown ([`Protocol::HeldOut`]). Labels
//! are used for measuring, to select the classes that are present, to cut a domain into halves, and by the oracle.

#![forbid(unsafe_code)]

mod bootstrap;
mod cell;
mod conflict;
mod error;
mod escape;
mod findings;
pub mod fuzzing;
mod harm;
mod layout;
mod matched;
mod measurements;
mod names;
mod opened;
mod page;
mod paper;
mod plan;
mod profile;
mod protocol;
mod results;
mod run;
mod settings;
mod shift;
mod suite;
mod table;
mod tables;
#[cfg(test)]
mod test_cells;

pub use findings::{against_info_max, rises, time};
pub use harm::harm;
pub use settings::{chosen_settings, domain_images, protocol, variants};
pub use table::{Table, difference, interval, points, range, value};
pub use tables::{
    DIFFERENCES, REFERENCES, best, by_domain, by_shift, differences, means, series, tables, write,
    write_tables,
};

pub use cell::{CELL_FORMAT_VERSION, Cell, CellImages, CellRequest, ImagesId, Slot, Timing};
pub use error::BenchmarkError;
pub use layout::{CountDifference, DomainFiles, LabelledImages, SuiteData, locate};
pub use measurements::{Measurements, Metric};
pub use names::{LONGEST_NAME, check_name};
pub use page::{PAGE_BEGIN, PAGE_END, page, write_page};
pub use paper::{
    PAPER_METRICS, PaperBlock, PaperRow, PaperTable, PaperText, PaperValue, PublishedNumbers, Rank,
    paper_tables,
};
pub use plan::{CellState, ModelId, Plan, PlannedCell, ProfileName, Selection};
pub use profile::{Overrides, Profile};
pub use protocol::{Protocol, halves};
pub use results::{
    BASE_VARIANT, CellFilter, Comparison, DomainSummary, Results, Scope, Series, Summary, Value,
    read_chosen_results, read_results,
};
pub use run::{BenchmarkReporter, RunOptions, RunSummary, hold, run};
pub use shift::{ClassRanges, Shift};
pub use suite::{Domain, OtherCount, Suite};
