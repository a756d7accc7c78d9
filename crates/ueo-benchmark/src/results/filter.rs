//! Which cells of an output directory stand in its tables.

use std::collections::BTreeSet;

use ueo::method::Method;

use crate::BenchmarkError;
use crate::cell::{Cell, CellRequest};
use crate::protocol::Protocol;
use crate::shift::Shift;

/// A choice of cells; what is empty leaves all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellFilter {
    /// Domains or groups of domains.
    pub domains: Vec<String>,
    /// Category shifts.
    pub shifts: Vec<Shift>,
    /// Methods.
    pub methods: Vec<Method>,
    /// The protocol.
    pub protocol: Option<Protocol>,
    /// The variant.
    pub variant: Option<String>,
}

impl CellFilter {
    /// Leaves the chosen cells.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Unknown`] for a name that no cell has. Of all that is asked for together there may be no cell.
    pub(super) fn choose(&self, cells: &mut Vec<Cell>) -> Result<(), BenchmarkError> {
        let words = |values: Vec<&'static str>| values.into_iter().map(str::to_owned).collect();
        let shifts: Vec<String> = words(self.shifts.iter().map(|shift| shift.name()).collect());
        let methods: Vec<String> = words(self.methods.iter().map(|method| method.name()).collect());
        let protocol: Vec<String> = words(self.protocol.iter().map(|one| one.name()).collect());
        let variant: Vec<String> = self.variant.iter().cloned().collect();
        check(
            cells,
            "domain or group of domains of these results",
            &self.domains,
            |of| vec![&of.group, &of.domain],
        )?;
        check(cells, "category shift of these results", &shifts, |of| {
            vec![of.shift.name()]
        })?;
        check(cells, "method of these results", &methods, |of| {
            vec![of.method.name()]
        })?;
        check(cells, "protocol of these results", &protocol, |of| {
            vec![of.protocol.name()]
        })?;
        check(cells, "variant of these results", &variant, |of| {
            vec![&of.variant]
        })?;
        cells.retain(|cell| self.takes(&cell.request));
        Ok(())
    }

    fn takes(&self, of: &CellRequest) -> bool {
        let is_named = |name: &String| *name == of.domain || *name == of.group;
        (self.domains.is_empty() || self.domains.iter().any(is_named))
            && (self.shifts.is_empty() || self.shifts.contains(&of.shift))
            && (self.methods.is_empty() || self.methods.contains(&of.method))
            && self.protocol.is_none_or(|protocol| protocol == of.protocol)
            && self.variant.as_ref().is_none_or(|name| *name == of.variant)
    }
}

/// Refuses the first name that no cell has.
fn check<'a>(
    cells: &'a [Cell],
    what: &'static str,
    asked: &[String],
    names: impl Fn(&'a CellRequest) -> Vec<&'a str>,
) -> Result<(), BenchmarkError> {
    let known: BTreeSet<&str> = cells.iter().flat_map(|cell| names(&cell.request)).collect();
    match asked.iter().find(|name| !known.contains(name.as_str())) {
        None => Ok(()),
        Some(found) => Err(BenchmarkError::Unknown {
            what,
            found: found.clone(),
            known: known.into_iter().collect::<Vec<_>>().join(", "),
        }),
    }
}
