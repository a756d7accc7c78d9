//! What a method costs where it does not help: its worst domain, and how often accuracy falls.

use super::measurements::Metric;
use super::results::{Results, Series};
use super::table::{NOTHING, Table, marked, points};
use super::tables::series;
use ueo::method::Method;

/// A fall of accuracy by more than this is counted, as a fraction.
const FALL: f64 = 0.02;

/// The worst domain of each method, and in how many cells accuracy falls by more than two points, against zero-shot.
pub fn harm(results: &Results, variant: &str, group: &str) -> Table {
    let header = [
        "method",
        "worst domain",
        "accuracy there",
        "AUROC there",
        "cells",
        "accuracy falls by more than 2 points",
        "largest fall",
        "where",
    ];
    let mut table = Table::new(format!("{}: harm", Results::group_title(group)), &header);
    table.note = "Differences to zero-shot in percentage points. A domain is worst by its accuracy, averaged over the category shifts; \
                  a cell is a domain under a category shift, averaged over seeds."
        .to_owned();
    for series in series(results, variant) {
        if series.method != Method::ZeroShot {
            table.rows.extend(row(results, &series, group));
        }
    }
    table.explained()
}

fn row(results: &Results, series: &Series, group: &str) -> Option<Vec<String>> {
    let scope = results.group(group);
    let zero_shot = Series::new(&series.variant, Method::ZeroShot);
    let compare = |pairs: &[_]| results.compare(series, &zero_shot, pairs);
    let of_domain = |&domain: &usize| {
        let pairs: Vec<_> = scope.shifts.iter().map(|&shift| (domain, shift)).collect();
        let comparison = compare(&pairs)?;
        Some((comparison.accuracy?.estimate, domain, comparison))
    };
    let domains = scope.domains.iter().filter_map(of_domain);
    let (accuracy, domain, comparison) = domains.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let partial = compare(&scope.pairs().collect::<Vec<_>>())?.partial;
    let cells: Vec<_> = scope
        .pairs()
        .filter_map(|pair| Some((compare(&[pair])?.accuracy?.estimate, pair)))
        .collect();
    let falls = cells.iter().filter(|(change, _)| *change < -FALL).count();
    let worst = cells.iter().min_by(|a, b| a.0.total_cmp(&b.0));
    let worst = worst.filter(|(change, _)| *change < 0.0);
    let auroc = comparison.of(Metric::Auroc);
    Some(vec![
        series.method.title().to_owned(),
        results.domains[domain].name.clone(),
        marked(points(accuracy), comparison.partial),
        auroc.map_or_else(|| NOTHING.to_owned(), |auroc| points(auroc.estimate)),
        marked(cells.len().to_string(), partial),
        falls.to_string(),
        worst.map_or_else(|| NOTHING.to_owned(), |(change, _)| points(*change)),
        worst.map_or_else(
            || NOTHING.to_owned(),
            |(_, (domain, shift))| format!("{}, {shift}", results.domains[*domain].name),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;
    use crate::shift::Shift;
    use crate::test_cells::{cell, images, one, request};

    fn made(method: Method, domain: &str, shift: Shift, correct: usize) -> Cell {
        let mut request = request(3, &[0, 2]);
        request.method = method;
        request.domain = domain.to_owned();
        request.shift = shift;
        cell(request, images(correct, 0))
    }

    #[test]
    fn the_worst_domain_and_the_falls_are_counted() {
        let mut cells = Vec::new();
        for (domain, shift, before, after) in [
            ("a", Shift::Closed, 2, 3),
            ("a", Shift::Open, 2, 1),
            ("b", Shift::Closed, 2, 2),
            ("b", Shift::Open, 4, 2),
        ] {
            cells.push(made(Method::ZeroShot, domain, shift, before));
            cells.push(made(Method::Ueo, domain, shift, after));
        }
        let table = harm(&one(cells.clone()), "suite", "domains");
        assert_eq!(
            table.rows,
            [["UEO", "b", "−25.0", "0.0", "4", "2", "−50.0", "b, open"]]
        );
        cells.pop();
        let table = harm(&one(cells), "suite", "domains");
        assert_eq!(table.rows[0][4], "3 †");
        assert!(table.note.contains("part of the cells"), "{}", table.note);
    }
}
