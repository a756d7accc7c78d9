//! The part that each of several processes has in a benchmark, and what all parts come to.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ueo::exchange::Exchange;
use ueo_benchmark::{CellState, Plan};

use crate::error::CliError;

/// Leaves this process its part of the cells that are to be run, which follow on each other so that it opens few domains.
///
/// # Errors
///
/// [`CliError::OtherCells`] where the processes have not found the same cells.
pub fn divide(plan: &mut Plan, output: &Path, exchange: &dyn Exchange) -> Result<(), CliError> {
    if exchange.is_alone() {
        return Ok(());
    }
    let paths: Vec<PathBuf> = plan
        .pending()
        .map(|cell| cell.request.path(output))
        .collect();
    let joined = paths.iter().flat_map(|path| {
        let bytes = path.as_os_str().as_encoded_bytes().iter();
        bytes.chain(b"\n").copied()
    });
    // Nobody has begun before all have looked.
    if let Some(rank) = exchange.first_to_differ(&joined.collect::<Vec<u8>>()) {
        return Err(CliError::OtherCells {
            rank,
            output: output.to_owned(),
        });
    }
    let share = exchange.share(paths.len());
    let mut number = 0;
    plan.cells.retain(|cell| {
        let is_pending = cell.state != CellState::Done;
        let stays = !is_pending || share.contains(&number);
        number += usize::from(is_pending);
        stays
    });
    Ok(())
}

/// What came of the cells that were to be run.
#[derive(Serialize, Deserialize)]
pub struct Outcome {
    /// Cells that were to be run.
    pub cells: usize,
    /// Cells that were run now.
    pub finished: usize,
    /// Whether the user stopped it.
    pub interrupted: bool,
    /// The cells whose training failed, and why.
    pub failures: Vec<String>,
}

/// What came of the cells of all processes.
///
/// # Errors
///
/// [`CliError::Json`] where what another process tells cannot be read.
pub fn joined(own: Outcome, exchange: &dyn Exchange) -> Result<Outcome, CliError> {
    if exchange.is_alone() {
        return Ok(own);
    }
    let mut all = Outcome {
        cells: 0,
        finished: 0,
        interrupted: false,
        failures: Vec::new(),
    };
    for told in exchange.gather(&serde_json::to_vec(&own)?) {
        let one: Outcome = serde_json::from_slice(&told)?;
        all.cells += one.cells;
        all.finished += one.finished;
        all.interrupted |= one.interrupted;
        all.failures.extend(one.failures);
    }
    Ok(all)
}
