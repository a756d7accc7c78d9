//! Benchmarks: methods on domains under category shifts, with several seeds, resumable and tabulated.
//!
//! ```text
//! suite -> layout (images on disk) -> plan (cells, which are done) -> run (cells in memory, a file each)
//!                                                                      |
//!                                            page, tables <- results <-+
//! ```
//!
//! The protocol is that of Liang et al. 2024: a model adapts to the unlabeled images of the classes that are present
//! under a shift, and is tested on all images of the domain. Labels are used for measuring, to select the classes
//! that are present, and by the oracle.

#![forbid(unsafe_code)]

mod bootstrap;
mod cell;
mod error;
mod findings;
mod layout;
mod measurements;
mod page;
mod plan;
mod profile;
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
pub use settings::{PROTOCOL, chosen_settings, domain_images, variants};
pub use table::{interval, points, range, value};
pub use tables::{best, by_domain, by_shift, differences, means, series};

pub use cell::{CELL_FORMAT_VERSION, Cell, CellImages, CellRequest, ImagesId, Timing};
pub use error::BenchmarkError;
pub use layout::{CountDifference, DomainFiles, LabelledImages, SuiteData, locate};
pub use measurements::{Measurements, Metric};
pub use page::{PAGE_BEGIN, PAGE_END, page, write_page};
pub use plan::{CellState, Plan, PlannedCell, ProfileName, Selection};
pub use profile::{Overrides, Profile};
pub use results::{
    BASE_VARIANT, Comparison, DomainSummary, Results, Scope, Series, Summary, Value,
};
pub use run::{BenchmarkReporter, RunOptions, RunSummary, run};
pub use shift::{ClassRanges, Shift};
pub use suite::{Domain, OtherCount, Suite};
pub use table::Table;
pub use tables::{REFERENCES, tables, write_tables};
