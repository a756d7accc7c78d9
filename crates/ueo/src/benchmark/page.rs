//! The results as a page in Markdown: what was run, what rises and what does not, and how settings matter.
//!
//! The page holds numbers and what follows from them by rule; what they mean is written by people, outside of the two
//! lines between which the page is generated.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::Value as Json;

use super::BenchmarkError;
use super::bootstrap::Interval;
use super::measurements::Metric;
use super::results::{BASE_VARIANT, Comparison, Results, Series};
use super::shift::Shift;
use super::table::{NOTHING, Table, interval, value};
use super::tables::{by_domain, by_shift, differences, means, series};
use crate::adapt::AdaptSettings;
use crate::method::Method;
use crate::write_atomically;

/// First line of the generated part of a page.
pub const PAGE_BEGIN: &str = "<!-- from here on written by `ueo benchmark --page` -->";
/// Last line of the generated part of a page.
pub const PAGE_END: &str = "<!-- up to here written by `ueo benchmark --page` -->";

/// Writes the page, or the generated part of one that exists; everything around it stays as it is.
///
/// # Errors
///
/// [`BenchmarkError::Page`] when the file exists and has no generated part, and [`BenchmarkError::Io`].
pub fn write_page(results: &Results, path: &Path) -> Result<(), BenchmarkError> {
    let generated = page(results);
    let content = match std::fs::read_to_string(path) {
        Ok(old) => replace_generated(&old, &generated).ok_or_else(|| BenchmarkError::Page {
            path: path.to_owned(),
            begin: PAGE_BEGIN,
            end: PAGE_END,
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!(
                "# Results on {}\n\n{PAGE_BEGIN}\n{generated}{PAGE_END}\n",
                results.suite
            )
        }
        Err(source) => return Err(BenchmarkError::io("read", path, source)),
    };
    write_atomically(path, |file| file.write_all(content.as_bytes()))
        .map_err(|source| BenchmarkError::io("write", path, source))
}

fn replace_generated(old: &str, generated: &str) -> Option<String> {
    let begin = old.find(PAGE_BEGIN)? + PAGE_BEGIN.len();
    let end = begin + old[begin..].find(PAGE_END)?;
    Some(format!("{}\n{generated}{}", &old[..begin], &old[end..]))
}

/// The generated part.
pub fn page(results: &Results) -> String {
    let mut sections = vec![setting(results), zero_shot(results)];
    let base = main_variant(results);
    sections.push(section("Means", main_tables(results, base, means)));
    sections.push(section(
        "By category shift",
        main_tables(results, base, by_shift),
    ));
    sections.push(section(
        "Differences",
        main_tables(results, base, differences),
    ));
    sections.push(rises(results, base));
    sections.push(against_info_max(results, base));
    sections.push(section("By domain", main_tables(results, base, by_domain)));
    sections.extend(variants(results, base));
    sections.push(time(results, base));
    let sections: Vec<String> = sections
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
    format!("\n{}\n", sections.join("\n"))
}

/// The suite's own settings, or what there is.
fn main_variant(results: &Results) -> &str {
    results
        .variants
        .first()
        .map_or(BASE_VARIANT, String::as_str)
}

fn main_tables(
    results: &Results,
    variant: &str,
    table: fn(&Results, &str, &str) -> Table,
) -> Vec<Table> {
    results
        .groups()
        .iter()
        .map(|group| table(results, variant, group))
        .collect()
}

/// A section of tables; empty without rows.
fn section(title: &str, tables: Vec<Table>) -> String {
    let mut text = String::new();
    for table in tables.iter().filter(|table| !table.rows.is_empty()) {
        text += &format!(
            "\n**{}.** {}\n\n{}",
            table.title,
            table.note,
            table.markdown()
        );
    }
    if text.is_empty() {
        text
    } else {
        format!("## {title}\n{text}")
    }
}

fn setting(results: &Results) -> String {
    let about = results.about.as_ref();
    let mut text = format!(
        "## Setting\n\n{}{} of {} classes are listed. Model: checkpoint with SHA-256 `{}`. Training sees the images of \
         the classes that are present under a shift, without labels (but for the oracle); all images of a domain are \
         tested. AUROC is that of the maximum of softmax(cosines), \"scaled\" that of softmax(logit scale x cosines), with \
         known images as positives; the H-score is taken at a threshold chosen without labels; FPR@95 has known images as \
         positives.\n",
        about.map_or_else(String::new, |about| format!("{about}. ")),
        results.known,
        results.classes,
        &results.model_sha256[..results.model_sha256.len().min(12)],
    );
    let trained = results
        .variants
        .iter()
        .flat_map(|variant| series(results, variant))
        .find(|series| series.method.trains());
    let mut table = Table::new("", &["domain", "group", "images"]);
    for shift in &results.shifts {
        table.header.push(format!("trained on, {shift}"));
    }
    for (position, domain) in results.domains.iter().enumerate() {
        let mut row = vec![
            domain.name.clone(),
            domain.group.clone(),
            domain.images.to_string(),
        ];
        for &shift in &results.shifts {
            let count = trained
                .as_ref()
                .and_then(|series| results.trained_on(series, position, shift));
            row.push(count.map_or_else(|| NOTHING.to_owned(), |count| count.to_string()));
        }
        table.rows.push(row);
    }
    text += &format!("\n{}", table.markdown());
    text += &settings_table(results);
    text
}

/// The settings in which the methods of the variants differ from the defaults.
fn settings_table(results: &Results) -> String {
    let mut table = Table::new(
        "",
        &["settings", "method", "other than the published defaults"],
    );
    for variant in &results.variants {
        for method in results
            .methods(variant)
            .into_iter()
            .filter(|method| method.trains())
        {
            let Some(settings) = results.settings(&Series::new(variant, method)) else {
                continue;
            };
            let default = AdaptSettings::default().with_method(method);
            let changes = changes(&default, settings);
            table.rows.push(vec![
                variant.clone(),
                method.title().to_owned(),
                described(&changes),
            ]);
        }
    }
    if table.rows.is_empty() {
        String::new()
    } else {
        format!("\n{}", table.markdown())
    }
}

/// The settings that differ, by name as on the command line; method and seed are no settings here.
fn changes(from: &AdaptSettings, to: &AdaptSettings) -> BTreeMap<String, Json> {
    let object = |settings| match serde_json::to_value(settings) {
        Ok(Json::Object(object)) => object,
        _ => serde_json::Map::new(),
    };
    let from = object(from);
    object(to)
        .into_iter()
        .filter(|(key, value)| from.get(key) != Some(value) && key != "method" && key != "seed")
        .map(|(key, value)| (key.replace('_', "-"), value))
        .collect()
}

fn described(changes: &BTreeMap<String, Json>) -> String {
    if changes.is_empty() {
        return "none".to_owned();
    }
    let described = changes.iter().map(|(key, value)| match value {
        Json::String(text) => format!("{key} {text}"),
        other => format!("{key} {other}"),
    });
    described.collect::<Vec<_>>().join(", ")
}

fn zero_shot(results: &Results) -> String {
    let series = Series::new(main_variant(results), Method::ZeroShot);
    let mut table = Table::new("", &["domain"]);
    table
        .header
        .extend(Metric::ALL.map(|metric| metric.title().to_owned()));
    for (position, domain) in results.domains.iter().enumerate() {
        // The listed classes are the same under all ordinary shifts, and so are zero-shot predictions.
        let pairs: Vec<_> = results
            .ordinary_shifts()
            .into_iter()
            .map(|shift| (position, shift))
            .collect();
        if let Some(summary) = results.summary(&series, &pairs) {
            let mut row = vec![domain.name.clone()];
            row.extend(Metric::ALL.map(|metric| value(summary.values.get(&metric))));
            table.rows.push(row);
        }
    }
    if table.rows.is_empty() {
        return String::new();
    }
    format!("## Zero-shot\n\nPercent.\n\n{}", table.markdown())
}

/// In how many pairs of domain and shift each method is above or below zero-shot, and on average.
fn rises(results: &Results, variant: &str) -> String {
    let zero_shot = Series::new(variant, Method::ZeroShot);
    let mut text = String::new();
    for group in results.groups() {
        let pairs: Vec<_> = results.group(group).pairs().collect();
        let mut table = Table::new(
            "",
            &[
                "method",
                "pairs",
                "accuracy rises",
                "unclear",
                "falls",
                "AUROC rises",
                "unclear",
                "falls",
                "both rise",
            ],
        );
        let mut sentences = Vec::new();
        for series in series(results, variant) {
            let each: Vec<Comparison> = pairs
                .iter()
                .filter_map(|&pair| results.compare(&series, &zero_shot, &[pair]))
                .collect();
            let together = results.compare(&series, &zero_shot, &pairs);
            let (Some(together), true) = (together, series != zero_shot) else {
                continue;
            };
            let mut row = vec![series.method.title().to_owned(), each.len().to_string()];
            for metric in [Metric::Accuracy, Metric::Auroc] {
                row.extend(tally(
                    each.iter().filter_map(|comparison| comparison.of(metric)),
                ));
            }
            let both = |comparison: &&Comparison| {
                let rises = |metric| comparison.of(metric).is_some_and(|i| i.rises());
                rises(Metric::Accuracy) && rises(Metric::Auroc)
            };
            row.push(each.iter().filter(both).count().to_string());
            table.rows.push(row);
            sentences.push(verdict(series.method.title(), "zero-shot", &together));
        }
        if !table.rows.is_empty() {
            text += &format!(
                "\n**{group}.** {}\n\n{}",
                sentences.join(" "),
                table.markdown()
            );
        }
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "## What rises and what does not\n\nAgainst zero-shot, settings `{variant}`. A pair is a domain under a category \
         shift; it rises or falls where the whole 95 % interval of its difference lies above or below zero.\n{text}"
    )
}

/// How many intervals lie above zero, contain it, and lie below.
fn tally(intervals: impl Iterator<Item = Interval>) -> [String; 3] {
    let mut counts = [0; 3];
    for interval in intervals {
        let place = match interval {
            interval if interval.rises() => 0,
            interval if interval.falls() => 2,
            _ => 1,
        };
        counts[place] += 1;
    }
    counts.map(|count| count.to_string())
}

/// One sentence about an average difference.
fn verdict(method: &str, reference: &str, comparison: &Comparison) -> String {
    let part = |name: &str, metric: Metric| {
        let found = comparison.of(metric)?;
        let word = match found {
            found if found.rises() => "rises",
            found if found.falls() => "falls",
            _ => "does not clearly change",
        };
        Some(format!("{name} {word} ({})", interval(Some(found))))
    };
    let parts: Vec<String> = [
        part("accuracy", Metric::Accuracy),
        part("AUROC", Metric::Auroc),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!("{method} over {reference}: {}.", parts.join(", "))
}

fn against_info_max(results: &Results, variant: &str) -> String {
    let (ueo, info_max) = (
        Series::new(variant, Method::Ueo),
        Series::new(variant, Method::InfoMax),
    );
    let mut table = Table::new(
        "",
        &[
            "group",
            "shift",
            "pairs",
            "accuracy",
            "AUROC",
            "AUROC, scaled",
        ],
    );
    for group in results.groups() {
        let scope = results.group(group);
        let mut parts: Vec<(String, Vec<Shift>)> = scope
            .shifts
            .iter()
            .map(|shift| (shift.to_string(), vec![*shift]))
            .collect();
        parts.push(("all".to_owned(), scope.shifts.clone()));
        for (name, shifts) in parts {
            let pairs: Vec<_> = scope
                .pairs()
                .filter(|(_, shift)| shifts.contains(shift))
                .collect();
            if let Some(comparison) = results.compare(&ueo, &info_max, &pairs) {
                let mut row = vec![group.to_owned(), name, comparison.pairs.to_string()];
                let metrics = [Metric::Accuracy, Metric::Auroc, Metric::AurocScaled];
                row.extend(metrics.map(|metric| interval(comparison.of(metric))));
                table.rows.push(row);
            }
        }
    }
    if table.rows.is_empty() {
        return String::new();
    }
    format!(
        "## UEO against InfoMax\n\nUEO minus InfoMax in percentage points, 95 % intervals of a paired bootstrap over \
         classes.\n\n{}",
        table.markdown()
    )
}

/// What a variant changes decides in which section it stands.
const VARIANT_SECTIONS: [(&str, &[&str]); 4] = [
    ("Flat and sharp weights", &["weight-temperature"]),
    ("Prompts, affine parameters, both", &["train"]),
    (
        "Learning rates",
        &["context-learning-rate", "affine-learning-rate"],
    ),
    ("Other settings", &[]),
];

/// One section per kind of variant: its series beside the same method with the main settings.
fn variants(results: &Results, base: &str) -> Vec<String> {
    let mut rows: Vec<Vec<(Vec<Json>, Vec<String>)>> = vec![Vec::new(); VARIANT_SECTIONS.len()];
    let mut bases: Vec<Vec<Method>> = vec![Vec::new(); VARIANT_SECTIONS.len()];
    for variant in results.variants.iter().filter(|variant| *variant != base) {
        for method in results
            .methods(variant)
            .into_iter()
            .filter(|method| method.trains())
        {
            let (series, main) = (Series::new(variant, method), Series::new(base, method));
            let (Some(own), Some(reference)) = (results.settings(&series), results.settings(&main))
            else {
                continue;
            };
            let changes = changes(reference, own);
            let keys: Vec<&str> = changes.keys().map(String::as_str).collect();
            let of = |(_, allowed): &(&str, &[&str])| {
                allowed.is_empty() || keys.iter().all(|key| allowed.contains(key))
            };
            let section = VARIANT_SECTIONS.iter().position(of).unwrap_or(0);
            let name = format!("{variant}: {}", described(&changes));
            for group in results.groups() {
                if let Some(row) = variant_row(results, &series, &main, group, &name) {
                    // Sorted by the values of what is changed.
                    rows[section].push((changes.values().cloned().collect(), row));
                    if !bases[section].contains(&method) {
                        bases[section].push(method);
                    }
                }
            }
        }
    }
    let mut sections = Vec::new();
    for (((title, _), mut rows), methods) in VARIANT_SECTIONS.iter().zip(rows).zip(bases) {
        if rows.is_empty() {
            continue;
        }
        rows.sort_by(|(a, row_a), (b, row_b)| {
            (&row_a[0], &row_a[1])
                .cmp(&(&row_b[0], &row_b[1]))
                .then(numbers(a).total_cmp(&numbers(b)))
        });
        let mut table = Table::new(
            "",
            &[
                "group",
                "method",
                "settings",
                "cells",
                "accuracy",
                "AUROC",
                "accuracy over zero-shot",
                "AUROC over zero-shot",
                "accuracy over main",
                "AUROC over main",
            ],
        );
        for group in results.groups() {
            for &method in &methods {
                let main = Series::new(base, method);
                let described = results.settings(&main).map(|own| {
                    let default = AdaptSettings::default().with_method(method);
                    format!("{base}: {}", described(&changes(&default, own)))
                });
                let name = described.unwrap_or_else(|| base.to_owned());
                table
                    .rows
                    .extend(variant_row(results, &main, &main, group, &name));
                let of = |row: &&(Vec<Json>, Vec<String>)| {
                    row.1[0] == group && row.1[1] == method.title()
                };
                table
                    .rows
                    .extend(rows.iter().filter(of).map(|(_, row)| row.clone()));
            }
        }
        sections.push(format!(
            "## {title}\n\nPercent and percentage points with 95 % intervals. A variant is compared with the main settings \
             (`{base}`) and with zero-shot on the domains and shifts that it was run on.\n\n{}",
            table.markdown()
        ));
    }
    sections
}

/// The first number among some values, to sort by.
fn numbers(values: &[Json]) -> f64 {
    values
        .iter()
        .find_map(Json::as_f64)
        .unwrap_or(f64::INFINITY)
}

fn variant_row(
    results: &Results,
    series: &Series,
    main: &Series,
    group: &str,
    name: &str,
) -> Option<Vec<String>> {
    let pairs = results.pairs(series, &results.group(group));
    let summary = results.summary(series, &pairs);
    if pairs.is_empty() {
        return None;
    }
    let mut row = vec![
        group.to_owned(),
        series.method.title().to_owned(),
        name.to_owned(),
    ];
    let Some(summary) = summary else {
        row.push(format!("{} without results", pairs.len()));
        row.resize(10, NOTHING.to_owned());
        return Some(row);
    };
    row.push(match summary.failed {
        0 => format!("{} x {}", summary.pairs, summary.seeds),
        failed => format!("{} x {}, {failed} failed", summary.pairs, summary.seeds),
    });
    for metric in [Metric::Accuracy, Metric::Auroc] {
        row.push(value(summary.values.get(&metric)));
    }
    let zero_shot = Series::new(&series.variant, Method::ZeroShot);
    for reference in [&zero_shot, main] {
        let comparison = match reference == series {
            true => None,
            false => results.compare(series, reference, &pairs),
        };
        for metric in [Metric::Accuracy, Metric::Auroc] {
            row.push(interval(
                comparison.and_then(|comparison| comparison.of(metric)),
            ));
        }
    }
    Some(row)
}

fn time(results: &Results, variant: &str) -> String {
    let mut table = Table::new("", &["method", "seconds per cell"]);
    let pairs: Vec<_> = results
        .groups()
        .iter()
        .flat_map(|group| results.group(group).pairs().collect::<Vec<_>>())
        .collect();
    for series in series(results, variant) {
        if let Some(summary) = results.summary(&series, &pairs) {
            table.rows.push(vec![
                series.method.title().to_owned(),
                format!("{:.1}", summary.mean_secs),
            ]);
        }
    }
    if table.rows.is_empty() {
        return String::new();
    }
    format!(
        "## Time\n\nMean wall-clock time of a cell, whatever ran beside it on the machine; features of the zero-shot model \
         are shared by all cells of a domain and not counted.\n\n{}",
        table.markdown()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::cell::Cell;
    use crate::benchmark::test_cells::{cell, images, request};

    fn made(variant: &str, method: Method, seed: Option<u64>, correct: usize) -> Cell {
        let mut request = request(3, &[0, 2]);
        request.variant = variant.to_owned();
        request.method = method;
        request.seed = seed;
        request.settings = AdaptSettings::default().with_method(method);
        cell(request, images(correct, 1))
    }

    fn results(cells: &[Cell]) -> Results {
        Results::new(cells, &[], Path::new("out")).unwrap()
    }

    #[test]
    fn the_description_is_that_of_the_suite_where_it_is_known() {
        let mut results = results(&[made("suite", Method::ZeroShot, None, 2)]);
        let text = page(&results);
        assert!(
            text.starts_with("\n## Setting\n\n2 of 3 classes are listed."),
            "{text}"
        );
        results.about = Some("Made-up images".to_owned());
        let text = page(&results);
        assert!(
            text.contains("\n\nMade-up images. 2 of 3 classes are listed."),
            "{text}"
        );
    }

    #[test]
    fn sections_appear_with_the_cells_that_they_need() {
        let mut cells = vec![
            made("suite", Method::ZeroShot, None, 2),
            made("suite", Method::Ueo, Some(1), 4),
        ];
        let text = page(&results(&cells));
        assert!(
            text.contains("## Zero-shot") && text.contains("## What rises"),
            "{text}"
        );
        assert!(
            !text.contains("## UEO against InfoMax") && !text.contains("## Flat"),
            "{text}"
        );
        assert!(
            text.contains("UEO over zero-shot: accuracy rises (+50.0 [+50.0, +50.0])"),
            "{text}"
        );

        cells.push(made("suite", Method::InfoMax, Some(1), 3));
        let mut sharp = made("sharp", Method::Ueo, Some(1), 3);
        sharp.request.settings.weight_temperature = 0.01;
        let mut fast = made("fast", Method::Ueo, Some(1), 1);
        fast.request.settings.affine_learning_rate = 0.5;
        cells.extend([sharp, fast]);
        let text = page(&results(&cells));
        for expected in [
            "## UEO against InfoMax",
            "## Flat and sharp weights",
            "sharp: weight-temperature 0.01 | 1 x 1 | 75.0 |",
            "## Learning rates",
            "fast: affine-learning-rate 0.5 | 1 x 1 | 25.0 |",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(!text.contains("## Prompts"), "{text}");
    }

    #[test]
    fn what_people_wrote_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.md");
        let first = results(&[made("suite", Method::ZeroShot, None, 2)]);
        write_page(&first, &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("# Results on made-up\n") && text.contains(" 50.0 "),
            "{text}"
        );
        let edited = format!("Before.\n{text}After.\n");
        std::fs::write(&path, &edited).unwrap();
        let second = results(&[made("suite", Method::ZeroShot, None, 3)]);
        write_page(&second, &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("Before.\n# Results") && text.ends_with("After.\n"),
            "{text}"
        );
        assert!(
            text.contains(" 75.0 ") && !text.contains(" 50.0 "),
            "{text}"
        );
        assert_eq!(text.matches(PAGE_BEGIN).count(), 1);

        std::fs::write(&path, "Only this.").unwrap();
        let error = write_page(&second, &path).unwrap_err();
        assert!(error.to_string().contains(PAGE_BEGIN) && error.hint().is_some());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "Only this.");
    }
}
