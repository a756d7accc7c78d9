//! What was run, and how settings matter: images, settings beside the defaults, variants beside the main settings.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::measurements::Metric;
use super::results::{Results, Series};
use super::table::{NOTHING, Table, difference, value};
use super::tables::series;
use ueo::adapt::Settings;
use ueo::method::Method;

/// What the measurements mean.
const MEASUREMENTS: &str = "AUROC is that of the maximum of softmax(cosines), with known images as positives; \
    \"matched\" counts only pairs that are alike in having been adapted to or not and were scored by the same model; \"scaled\" is that \
    of softmax(logit scale x cosines); the H-score is taken at a threshold chosen without labels; FPR@95 has known images as positives.";

/// What was trained on and tested, and what the measurements mean.
pub fn protocol(results: &Results) -> String {
    format!("{} {MEASUREMENTS}", results.protocol.about())
}

/// How many images each domain has, and how many of them are trained on under each shift.
pub fn domain_images(results: &Results) -> Table {
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
    table
}

/// The settings in which the methods of the variants differ from the defaults.
pub fn chosen_settings(results: &Results) -> Table {
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
            let default = Settings::default().with_method(method);
            let changes = changes(&default, settings);
            table.rows.push(vec![
                variant.clone(),
                method.title().to_owned(),
                described(&changes),
            ]);
        }
    }
    table
}

/// The settings that differ, by name as on the command line; method and seed are no settings here.
fn changes(from: &Settings, to: &Settings) -> BTreeMap<String, Json> {
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

/// What a variant changes decides in which table it stands.
const VARIANT_KINDS: [(&str, &[&str]); 4] = [
    ("Flat and sharp weights", &["weight-temperature"]),
    ("Prompts, affine parameters, both", &["train"]),
    (
        "Learning rates",
        &["context-learning-rate", "affine-learning-rate"],
    ),
    ("Other settings", &[]),
];

/// One table per kind of variant: its series beside the same method with the main settings.
pub fn variants(results: &Results, base: &str) -> Vec<Table> {
    let mut rows: Vec<Vec<(Vec<Json>, Vec<String>)>> = vec![Vec::new(); VARIANT_KINDS.len()];
    let mut bases: Vec<Vec<Method>> = vec![Vec::new(); VARIANT_KINDS.len()];
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
            let kind = VARIANT_KINDS.iter().position(of).unwrap_or(0);
            let name = format!("{variant}: {}", described(&changes));
            for group in results.groups() {
                if let Some(row) = variant_row(results, &series, &main, group, &name) {
                    // Sorted by the values of what is changed.
                    rows[kind].push((changes.values().cloned().collect(), row));
                    if !bases[kind].contains(&method) {
                        bases[kind].push(method);
                    }
                }
            }
        }
    }
    let mut tables = Vec::new();
    for (((title, _), mut rows), methods) in VARIANT_KINDS.iter().zip(rows).zip(bases) {
        if rows.is_empty() {
            continue;
        }
        rows.sort_by(|(a, row_a), (b, row_b)| {
            (&row_a[0], &row_a[1])
                .cmp(&(&row_b[0], &row_b[1]))
                .then(numbers(a).total_cmp(&numbers(b)))
        });
        let mut table = Table::new(
            *title,
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
        table.note = format!(
            "Percent and percentage points with 95 % intervals. A variant is compared with the main settings (`{base}`) and \
             with zero-shot on the domains and shifts that it was run on."
        );
        for group in results.groups() {
            for &method in &methods {
                let main = Series::new(base, method);
                let described = results.settings(&main).map(|own| {
                    let default = Settings::default().with_method(method);
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
        tables.push(table.explained());
    }
    tables
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
    let scope = results.group(group);
    let own = results.pairs(series, &scope);
    let pairs: Vec<_> = scope.pairs().collect();
    let summary = results.summary(series, &pairs);
    if own.is_empty() {
        return None;
    }
    let mut row = vec![
        group.to_owned(),
        series.method.title().to_owned(),
        name.to_owned(),
    ];
    let Some(summary) = summary else {
        row.push(format!("{} without results", own.len()));
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
            row.push(comparison.map_or_else(
                || NOTHING.to_owned(),
                |comparison| difference(&comparison, metric),
            ));
        }
    }
    Some(row)
}
