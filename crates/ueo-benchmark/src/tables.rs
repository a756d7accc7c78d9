//! The tables that stand beside the cells: `tables/results.md`, `results.tex` and `results.csv`.

use std::io::Write;
use std::path::Path;

use super::BenchmarkError;
use super::escape::{latex_text, markdown_text};
use super::harm::harm;
use super::measurements::Metric;
use super::results::{Results, Series, Summary, counted};
use super::shift::Shift;
use super::table::{NOTHING, Table, difference, marked, value};
use ueo::method::Method;
use ueo::{csv_cell, write_atomically};

/// Metrics whose differences are given, with intervals.
pub const DIFFERENCES: [Metric; 4] = [
    Metric::Accuracy,
    Metric::Auroc,
    Metric::AurocMatched,
    Metric::AurocScaled,
];

/// Methods that every method is compared with.
pub const REFERENCES: [Method; 2] = [Method::ZeroShot, Method::InfoMax];
/// Methods that the recommended one is also compared with: the publication's own, and the one that it is made from.
const REFERENCES_OF_AUTO: [Method; 2] = [Method::Ueo, Method::Pouf];

/// Writes all tables of some results into `tables/` below an output directory.
///
/// # Errors
///
/// [`BenchmarkError::Io`].
pub fn write_tables(all: &[Results], output: &Path) -> Result<(), BenchmarkError> {
    let folder = output.join("tables");
    ueo::disk::create_directories(&folder)
        .map_err(|source| BenchmarkError::io("create", &folder, source))?;
    let (mut markdown, mut latex) = (String::new(), String::new());
    for results in all {
        for variant in &results.variants {
            let title = format!("{} ({variant})", results.name());
            markdown += &format!("# {}\n", markdown_text(&title));
            latex += &format!("% {}\n", latex_text(&title));
            for table in tables(results, variant) {
                markdown += &table.markdown_section();
                latex += &table.latex();
            }
            markdown += "\n";
        }
    }
    write(&folder.join("results.md"), markdown.as_bytes())?;
    write(&folder.join("results.tex"), latex.as_bytes())?;
    write(&folder.join("results.csv"), &csv(all)?)
}

/// Writes a file whole or not at all.
///
/// # Errors
///
/// [`BenchmarkError::Io`].
pub fn write(path: &Path, content: &[u8]) -> Result<(), BenchmarkError> {
    write_atomically(path, |file| file.write_all(content))
        .map_err(|source| BenchmarkError::io("write", path, source))
}

/// The tables of one variant: group by group the means, the differences, and the domains.
pub fn tables(results: &Results, variant: &str) -> Vec<Table> {
    let mut tables = Vec::new();
    for group in results.groups() {
        let methods = results.methods(variant);
        if !methods.is_empty() {
            tables.push(means(results, variant, group));
            tables.push(by_shift(results, variant, group));
            tables.push(differences(results, variant, group));
            tables.push(harm(results, variant, group));
            tables.push(by_domain(results, variant, group));
        }
    }
    tables.retain(|table| !table.rows.is_empty());
    tables
}

/// The series of a variant; the references come first where another variant has them.
pub fn series(results: &Results, variant: &str) -> Vec<Series> {
    let mut methods = results.methods(variant);
    let elsewhere = |method: &Method| {
        results
            .variants
            .iter()
            .any(|v| results.methods(v).contains(method))
    };
    if !methods.contains(&Method::ZeroShot) && elsewhere(&Method::ZeroShot) {
        methods.insert(0, Method::ZeroShot);
    }
    methods
        .into_iter()
        .map(|method| Series::new(variant, method))
        .collect()
}

/// All metrics, averaged over the domains of a group and all shifts.
pub fn means(results: &Results, variant: &str, group: &str) -> Table {
    let scope = results.group(group);
    let columns: Vec<&str> = Metric::ALL.iter().map(|metric| metric.title()).collect();
    let mut table = Table::new(
        format!("{}: means", Results::group_title(group)),
        &[&["method"], columns.as_slice(), &["cells"]].concat(),
    );
    table.note = format!(
        "Percent, averaged over {}; ± is the standard deviation over seeds.",
        results.averaged(group)
    );
    let pairs: Vec<_> = scope.pairs().collect();
    let measured: Vec<(Series, Summary)> = series(results, variant)
        .into_iter()
        .filter_map(|series| {
            let summary = results.summary(&series, &pairs)?;
            Some((series, summary))
        })
        .collect();
    for (series, summary) in &measured {
        let values = Metric::ALL
            .iter()
            .map(|metric| value(summary.values.get(metric)));
        let mut row = vec![series.method.title().to_owned()];
        row.extend(values);
        row.push(cells(summary.pairs, summary.seeds, summary.failed));
        table.rows.push(row);
    }
    let rows: Vec<_> = measured
        .iter()
        .enumerate()
        .map(|(row, (series, summary))| (row, series, summary))
        .collect();
    for (metric, column) in Metric::ALL.into_iter().zip(1..) {
        let best = best(results, &rows, metric);
        table.best.extend(best.map(|row| (row, column)));
    }
    table.explained()
}

/// Which of some rows has the best mean of a metric. Not ranked are series whose training saw labels, and those that lack
/// results which another one has.
pub fn best(
    results: &Results,
    rows: &[(usize, &Series, &Summary)],
    metric: Metric,
) -> Option<usize> {
    let most = rows.iter().map(|(.., summary)| summary.pairs).max()?;
    let ranked = rows
        .iter()
        .filter(|(_, series, summary)| summary.pairs == most && !results.sees_labels(series));
    let merits = ranked.filter_map(|(row, _, summary)| {
        let mean = summary.values.get(&metric)?.mean;
        let merit = if metric.lower_is_better() {
            -mean
        } else {
            mean
        };
        Some((*row, merit))
    });
    // The first of equals.
    let best = merits.reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    Some(best.0)
}

/// How many cells a number stands for.
fn cells(pairs: usize, seeds: usize, failed: usize) -> String {
    let failed = match failed {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    format!("{pairs} x {seeds}{failed}")
}

/// Accuracy and AUROC of each shift, averaged over the domains of a group.
pub fn by_shift(results: &Results, variant: &str, group: &str) -> Table {
    let scope = results.group(group);
    let mut table = Table::new(
        format!("{}: by category shift", Results::group_title(group)),
        &["method"],
    );
    let domains = counted(scope.domains.len(), "domain");
    table.note = format!("Percent, averaged over {domains}.");
    let mut columns: Vec<(usize, Metric)> = Vec::new();
    for (position, shift) in results.shifts.iter().enumerate() {
        columns.push((position, Metric::Accuracy));
        if *shift != Shift::AllKnown {
            columns.push((position, Metric::Auroc));
        }
    }
    for (shift, metric) in &columns {
        let shift = results.shifts[*shift];
        table.header.push(format!("{shift}: {}", metric.title()));
    }
    let by_shift = |series: &Series| -> Vec<Option<Summary>> {
        let shifts = results.shifts.iter();
        let pairs = shifts.map(|&shift| scope.domains.iter().map(move |&domain| (domain, shift)));
        pairs
            .map(|pairs| results.summary(series, &pairs.collect::<Vec<_>>()))
            .collect()
    };
    let measured: Vec<(Series, Vec<Option<Summary>>)> = series(results, variant)
        .into_iter()
        .map(|series| (by_shift(&series), series))
        .filter(|(summaries, _)| summaries.iter().any(Option::is_some))
        .map(|(summaries, series)| (series, summaries))
        .collect();
    for (series, summaries) in &measured {
        let mut row = vec![series.method.title().to_owned()];
        row.extend(columns.iter().map(|(shift, metric)| {
            let summary = summaries[*shift].as_ref();
            value(summary.and_then(|summary| summary.values.get(metric)))
        }));
        table.rows.push(row);
    }
    for ((shift, metric), column) in columns.into_iter().zip(1..) {
        let rows: Vec<_> = measured
            .iter()
            .enumerate()
            .filter_map(|(row, (series, summaries))| {
                Some((row, series, summaries[shift].as_ref()?))
            })
            .collect();
        let best = best(results, &rows, metric);
        table.best.extend(best.map(|row| (row, column)));
    }
    table.explained()
}

/// Differences to the references with intervals, averaged over the domains of a group and all shifts.
pub fn differences(results: &Results, variant: &str, group: &str) -> Table {
    let scope = results.group(group);
    let mut table = Table::new(
        format!("{}: differences", Results::group_title(group)),
        &["method", "minus"],
    );
    table
        .header
        .extend(DIFFERENCES.map(|metric| metric.title().to_owned()));
    table.note = format!(
        "Percentage points with 95 % intervals of a paired bootstrap over classes, averaged over {}.",
        results.averaged(group)
    );
    for series in series(results, variant) {
        let more: &[Method] = match series.method {
            Method::Auto => &REFERENCES_OF_AUTO,
            _ => &[],
        };
        for method in REFERENCES.iter().chain(more).copied() {
            let reference = Series::new(variant, method);
            if reference == series || series.method == Method::ZeroShot {
                continue;
            }
            let pairs: Vec<_> = scope.pairs().collect();
            if let Some(comparison) = results.compare(&series, &reference, &pairs) {
                let mut row = vec![series.method.title().to_owned(), method.title().to_owned()];
                row.extend(DIFFERENCES.map(|metric| difference(&comparison, metric)));
                table.rows.push(row);
            }
        }
    }
    table.explained()
}

/// Accuracy and AUROC of each domain of a group, averaged over the shifts.
pub fn by_domain(results: &Results, variant: &str, group: &str) -> Table {
    let scope = results.group(group);
    let series = series(results, variant);
    let mut table = Table::new(
        format!("{}: by domain", Results::group_title(group)),
        &["domain", "images"],
    );
    for series in &series {
        table.header.push(series.method.title().to_owned());
    }
    table.note = format!(
        "Accuracy / AUROC in percent, averaged over {} and all seeds.",
        counted(scope.shifts.len(), "category shift")
    );
    for &domain in &scope.domains {
        let summary = &results.domains[domain];
        let mut row = vec![summary.name.clone(), summary.images.to_string()];
        for series in &series {
            let pairs: Vec<_> = scope.shifts.iter().map(|&shift| (domain, shift)).collect();
            row.push(accuracy_and_auroc(results, series, &pairs));
        }
        table.rows.push(row);
    }
    table.explained()
}

/// Accuracy and AUROC of a series over some pairs.
pub fn accuracy_and_auroc(results: &Results, series: &Series, pairs: &[(usize, Shift)]) -> String {
    let Some(summary) = results.summary(series, pairs) else {
        return NOTHING.to_owned();
    };
    let percent = |metric| match summary.values.get(&metric) {
        Some(value) => marked(super::table::percent(value.mean), value.partial),
        None => NOTHING.to_owned(),
    };
    format!("{} / {}", percent(Metric::Accuracy), percent(Metric::Auroc))
}

/// One line per setup, variant, method, domain or group, shift or all of them, and metric.
fn csv(all: &[Results]) -> Result<Vec<u8>, BenchmarkError> {
    let mut header: Vec<String> = [
        "suite",
        "model",
        "model_sha256",
        "precision",
        "protocol",
        "variant",
        "method",
        "group",
        "domain",
        "shift",
        "metric",
        "pairs",
        "of_pairs",
        "seeds",
        "of_seeds",
        "failed",
        "mean",
        "deviation",
    ]
    .map(str::to_owned)
    .into();
    for reference in REFERENCES {
        let name = reference.name().replace('-', "_");
        header.push(format!("minus_{name}"));
        header.push(format!("minus_{name}_low"));
        header.push(format!("minus_{name}_high"));
    }
    let mut records = vec![header];
    for results in all {
        let setup = [
            results.suite.clone(),
            results.model.clone(),
            results.model_sha256.clone(),
            results.precision.to_string(),
            results.protocol.to_string(),
        ];
        for variant in &results.variants {
            for method in results.methods(variant) {
                let series = Series::new(variant, method);
                for line in lines(results) {
                    let names = [variant, method.name(), line.group, &line.domain, line.shift];
                    let made = csv_records(results, &series, names, &line.pairs);
                    records.extend(
                        made.into_iter()
                            .map(|record| [&setup[..], &record].concat()),
                    );
                }
            }
        }
    }
    csv_text(&records, "results.csv")
}

/// Records as CSV that a spreadsheet shows and does not run; `name` is that of the file in messages.
pub(super) fn csv_text(records: &[Vec<String>], name: &str) -> Result<Vec<u8>, BenchmarkError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = records.iter().try_for_each(|record| {
        let cells = record.iter().map(|cell| csv_cell(cell));
        writer.write_record(cells.map(|cell| cell.into_owned()))
    });
    let bytes = written
        .map_err(std::io::Error::from)
        .and_then(|()| writer.into_inner().map_err(|error| error.into_error()));
    bytes.map_err(|source| BenchmarkError::io("write", Path::new(name), source))
}

/// Name of the average over domains or over shifts.
const MEAN: &str = "mean";

/// What a line of the CSV file is about, and the pairs that it averages.
struct Line<'a> {
    group: &'a str,
    domain: String,
    shift: &'static str,
    pairs: Vec<(usize, Shift)>,
}

fn lines(results: &Results) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for group in results.groups() {
        let scope = results.group(group);
        let mut of_domains: Vec<(String, Vec<usize>)> = scope
            .domains
            .iter()
            .map(|&domain| (results.domains[domain].name.clone(), vec![domain]))
            .collect();
        of_domains.push((MEAN.to_owned(), scope.domains.clone()));
        for (name, domains) in of_domains {
            let pairs = |shifts: &[Shift]| -> Vec<(usize, Shift)> {
                let of_domain = |&domain| shifts.iter().map(move |&shift| (domain, shift));
                domains.iter().flat_map(of_domain).collect()
            };
            let line = |shift, pairs| Line {
                group,
                domain: name.clone(),
                shift,
                pairs,
            };
            for shift in &results.shifts {
                lines.push(line(shift.name(), pairs(&[*shift])));
            }
            lines.push(line(MEAN, pairs(&scope.shifts)));
        }
    }
    lines
}

fn csv_records(
    results: &Results,
    series: &Series,
    names: [&str; 5],
    pairs: &[(usize, Shift)],
) -> Vec<Vec<String>> {
    let Some(summary) = results.summary(series, pairs) else {
        return Vec::new();
    };
    let comparisons = REFERENCES.map(|method| {
        let reference = Series::new(&series.variant, method);
        let other = reference != *series;
        other
            .then(|| results.compare(series, &reference, pairs))
            .flatten()
    });
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.6}"));
    let mut records = Vec::new();
    for (metric, value) in &summary.values {
        let mut record: Vec<String> = names.map(str::to_owned).into();
        record.push(metric.name().to_owned());
        let counts = [
            summary.pairs,
            summary.asked,
            summary.seeds,
            summary.any_seeds,
            summary.failed,
        ];
        record.extend(counts.map(|count| count.to_string()));
        record.extend([number(Some(value.mean)), number(value.deviation)]);
        for comparison in &comparisons {
            let interval = comparison.and_then(|comparison| comparison.of(*metric));
            record.push(number(interval.map(|i| i.estimate)));
            record.push(number(interval.map(|i| i.lower)));
            record.push(number(interval.map(|i| i.upper)));
        }
        records.push(record);
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;
    use crate::test_cells::{cell, images, one, request};
    use ueo::adapt::Settings;

    /// A cell of accuracy `correct` / 4, in which `lost` known images are less confident than the unknown one.
    fn made(method: Method, domain: &str, correct: usize, lost: usize) -> Cell {
        let mut request = request(3, &[0, 2]);
        request.method = method;
        request.domain = domain.to_owned();
        request.settings = Settings::default().with_method(method);
        cell(request, images(correct, lost))
    }

    #[test]
    fn the_best_of_a_column_is_comparable_and_saw_no_labels() {
        let cells = [
            made(Method::ZeroShot, "a", 1, 0),
            made(Method::ZeroShot, "b", 1, 0),
            made(Method::Ueo, "a", 3, 1),
            made(Method::Ueo, "b", 3, 1),
            // On one domain of two.
            made(Method::InfoMax, "a", 4, 1),
            made(Method::UeoOracle, "a", 4, 1),
            made(Method::UeoOracle, "b", 4, 1),
        ];
        let results = one(cells.into());
        let table = means(&results, "suite", "domains");
        let row = |method: Method| {
            let mut rows = table.rows.iter();
            rows.position(|row| row[0] == method.title()).unwrap()
        };
        let column = |metric: Metric| {
            let mut columns = table.header.iter();
            columns.position(|title| title == metric.title()).unwrap()
        };
        let ueo_accuracy = (row(Method::Ueo), column(Metric::Accuracy));
        assert!(table.best.contains(&ueo_accuracy), "{:?}", table.best);
        // No unknown image of zero-shot is as confident as a known one, one known image of UEO is less confident.
        let zero_shot_rate = (row(Method::ZeroShot), column(Metric::FprAt95Tpr));
        assert!(table.best.contains(&zero_shot_rate), "{:?}", table.best);
        assert_eq!(table.best.len(), Metric::ALL.len(), "one per column");
        let shifts = by_shift(&results, "suite", "domains");
        assert!(
            shifts.best.contains(&(row(Method::Ueo), 1)),
            "{:?}",
            shifts.best
        );
    }

    #[test]
    fn the_recommended_method_is_also_compared_with_what_it_came_from() {
        let methods = [
            Method::ZeroShot,
            Method::Pouf,
            Method::Auto,
            Method::InfoMax,
            Method::Ueo,
        ];
        let cells = methods.map(|method| made(method, "a", 3, 1));
        let table = differences(&one(cells.into()), "suite", "domains");
        let minus = |method: Method| {
            let rows = table.rows.iter().filter(|row| row[0] == method.title());
            rows.map(|row| row[1].clone()).collect::<Vec<_>>()
        };
        let titles = |methods: &[Method]| methods.iter().map(|m| m.title()).collect::<Vec<_>>();
        assert_eq!(
            minus(Method::Auto),
            titles(&[Method::ZeroShot, Method::InfoMax, Method::Ueo, Method::Pouf])
        );
        assert_eq!(
            minus(Method::Ueo),
            titles(&[Method::ZeroShot, Method::InfoMax])
        );
    }
}
