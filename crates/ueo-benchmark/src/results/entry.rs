//! One method on one domain under one shift: the cells of all seeds together.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::summary::mean;
use super::{DomainSummary, Series};
use crate::bootstrap::ReplicatedMeasurements;
use crate::cell::Cell;
use crate::measurements::Measurements;
use crate::shift::Shift;
use ueo::adapt::Settings;

/// All seeds of a method on a domain under a shift.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Settings of the first cell; the others differ in the seed alone.
    pub settings: Settings,
    /// Images that were adapted to.
    pub trained_on: usize,
    /// Measurements of every seed that has some.
    pub seeds: BTreeMap<Option<u64>, Measurements>,
    /// Cells whose training failed.
    pub failed: usize,
    /// Of the mean over the seeds; `None` where there is none, or they are not of the same images.
    pub replicated: Option<ReplicatedMeasurements>,
    /// Mean wall-clock time of a cell.
    pub secs: f64,
}

/// Cells with the same series, domain and shift together, with the replicates of their mean.
pub fn entries(
    cells: &[Cell],
    domains: &[DomainSummary],
) -> BTreeMap<(Series, usize, Shift), Entry> {
    let mut grouped: BTreeMap<(Series, usize, Shift), Vec<&Cell>> = BTreeMap::new();
    for cell in cells {
        let request = &cell.request;
        let series = Series::new(&request.variant, request.method);
        let domain = domains
            .iter()
            .position(|domain| domain.name == request.domain);
        // Every cell's domain is listed.
        let key = (series, domain.unwrap_or(domains.len()), request.shift);
        grouped.entry(key).or_default().push(cell);
    }
    let grouped: Vec<_> = grouped.into_iter().collect();
    let entries = grouped
        .into_par_iter()
        .map(|(key, cells)| (key, Entry::new(&cells)));
    entries.collect::<Vec<_>>().into_iter().collect()
}

impl Entry {
    fn new(cells: &[&Cell]) -> Self {
        let measured = cells.iter().copied();
        let measured: Vec<&Cell> = measured.filter(|cell| cell.results.is_some()).collect();
        let secs = |cell: &&Cell| cell.timing.adaptation_secs + cell.timing.evaluation_secs;
        Self {
            settings: cells[0].request.settings.clone(),
            trained_on: cells[0].images.trained_on,
            seeds: measured
                .iter()
                .filter_map(|cell| Some((cell.request.seed, cell.results?)))
                .collect(),
            failed: cells.len() - measured.len(),
            replicated: ReplicatedMeasurements::of_seeds(&measured).ok(),
            secs: mean(cells.iter().map(secs)).unwrap_or(0.0),
        }
    }
}
