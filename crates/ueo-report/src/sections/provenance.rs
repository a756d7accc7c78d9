//! From what, with what and how fast: checkpoint, settings and timing.

use maud::{Markup, html};
use serde::Serialize;
use serde_json::Value;

use crate::numbers::{count, counted, duration, significant};
use crate::page::{Section, facts, folded, text};
use crate::run_data::RunData;

/// The section.
pub fn section(run: &RunData) -> Section {
    let record = &run.record;
    let base = &record.base;
    let hash = html! { code { (base.sha256) } };
    let origin = [
        ("base checkpoint", text(base.path.display().to_string())),
        ("SHA-256", hash),
        ("images", text(record.request.images.display().to_string())),
        ("classes", text(count(run.classes().len()))),
        ("context starts from", text(&record.context_template)),
        ("trained parameters", text(count(record.trained_parameters))),
        ("ueo", text(&record.ueo_version)),
        (
            "device and threads",
            text(format!(
                "{}, {}",
                record.request.device, record.request.threads
            )),
        ),
    ];
    let settings = settings(run);
    let names = html! { p.names { (run.classes().join(" · ")) } };
    let body = html! {
        div.pair {
            div { h3 { "Origin" } (facts(origin)) }
            div { h3 { "Settings" } (facts(settings.iter().map(|(name, value)| (name.as_str(), text(value))))) }
        }
        @if !run.steps.is_empty() { h3 { "Timing" } (timing(run)) }
        @if !base.decisions.is_empty() {
            (folded("How the checkpoint was understood", &html! { ul { @for decision in &base.decisions { li { (decision) } } } }))
        }
        (folded(&format!("The {}", counted(run.classes().len(), "class")), &names))
    };
    Section {
        id: "provenance",
        title: "Settings and origin",
        body,
    }
}

/// All settings of a run that decide its result, by name.
pub fn settings(run: &RunData) -> Vec<(String, String)> {
    let request = &run.record.request;
    let mut chosen = request.settings.clone();
    if let Some(epochs) = run.record.epochs {
        chosen.epochs = epochs.into();
    }
    let mut settings = flat(&chosen);
    settings.push(("score".to_owned(), request.score.to_string()));
    if request.score.has_temperature() {
        settings.push((
            "score temperature".to_owned(),
            significant(request.score_temperature),
        ));
    }
    settings.push(("threshold".to_owned(), request.threshold_method.to_string()));
    settings
}

/// The fields of a record as names and values; what is added to it later appears here by itself.
fn flat(record: &impl Serialize) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    // A record of plain values can always be represented.
    if let Ok(value) = serde_json::to_value(record) {
        flatten("", &value, &mut fields);
    }
    fields
}

fn flatten(name: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    let text = match value {
        Value::Object(object) => {
            for (key, value) in object {
                let key = key.replace('_', " ");
                let name = if name.is_empty() {
                    key
                } else {
                    format!("{name}, {key}")
                };
                flatten(&name, value, fields);
            }
            return;
        }
        Value::Null => "–".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    fields.push((name.to_owned(), text));
}

fn timing(run: &RunData) -> Markup {
    let record = &run.record;
    let mut rates: Vec<f64> = run.steps.iter().map(|step| step.images_per_sec).collect();
    rates.sort_by(f64::total_cmp);
    let median = rates[rates.len() / 2];
    let secs = record.adaptation_secs;
    facts([
        ("training", text(duration(secs))),
        ("steps", text(count(record.total_steps))),
        (
            "per step",
            text(format!(
                "{} ms",
                significant(1000.0 * secs / record.total_steps.max(1) as f64)
            )),
        ),
        ("images per second, median", text(significant(median))),
    ])
}
