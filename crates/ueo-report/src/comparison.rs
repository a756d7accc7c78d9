//! Several runs on one page: measurements side by side, what was set differently, curves, classes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use maud::{Markup, html};

use super::measures::MEASURES;
use super::numbers::{count, counted, duration, percent};
use super::page::{Section, figure, folded, page, swatch, table, text};
use super::plot::{Axis, Ink, Line, LinePlot};
use super::run_data::{RunData, Side, effective_classes};
use super::sections::provenance::settings;
use super::sections::separation::{risk, risk_plot, roc, roc_plot};
use super::{ReportError, write};
use ueo_run::RunDirectory;

/// Writes a page that compares finished runs.
///
/// # Errors
///
/// [`ReportError`], for example when one of the runs is not finished.
pub fn write_comparison(runs: &[PathBuf], output: &Path) -> Result<(), ReportError> {
    let data = runs
        .iter()
        .map(|run| RunData::read(&RunDirectory::open(run)?))
        .collect::<Result<Vec<_>, ReportError>>()?;
    write(output, &comparison(&data)?)
}

/// What a row of the table says about a run.
type Quantity = fn(&RunData) -> String;

/// A run with the name and the color that it has on the page.
struct Compared<'a> {
    name: String,
    ink: Ink,
    data: &'a RunData,
}

fn comparison(data: &[RunData]) -> Result<String, ReportError> {
    let names = distinct_names(data);
    let runs: Vec<Compared> = data
        .iter()
        .zip(names)
        .enumerate()
        .map(|(position, (data, name))| Compared {
            name,
            ink: Ink::series(position),
            data,
        })
        .collect();
    let mut parts = vec![measurements(&runs)];
    parts.push(differences(&runs));
    parts.extend(curves(&runs)?);
    parts.extend(classes(&runs));
    let lead = html! {
        p.legend { @for run in &runs { span { (swatch(run.ink)) (run.name) } } }
        @for notice in notices(data) { p.notice { (notice) } }
    };
    let title = format!("{} compared", counted(runs.len(), "run"));
    Ok(page("Comparison of runs", &title, &lead, &parts))
}

/// Directory names, numbered where they are the same.
fn distinct_names(data: &[RunData]) -> Vec<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    data.iter()
        .map(|run| {
            let times = seen.entry(&run.name).or_default();
            *times += 1;
            match *times {
                1 => run.name.clone(),
                times => format!("{} ({times})", run.name),
            }
        })
        .collect()
}

/// What makes numbers of these runs incomparable.
fn notices(data: &[RunData]) -> Vec<&'static str> {
    let differs =
        |key: &dyn Fn(&RunData) -> String| data.iter().map(key).collect::<BTreeSet<_>>().len() > 1;
    let checks: [(bool, &str); 3] = [
        (
            differs(&|run| run.record.images.fingerprint.clone()),
            "The runs used different images: their numbers are not comparable one by one.",
        ),
        (
            differs(&|run| run.classes().join("\n")),
            "The runs had different class lists: accuracies are taken over different classes.",
        ),
        (
            differs(&|run| run.record.base.sha256.clone()),
            "The runs started from different checkpoints.",
        ),
    ];
    let noticed = checks.into_iter().filter(|(differs, _)| *differs);
    noticed.map(|(_, text)| text).collect()
}

/// Column titles: what the rows are, then a run each.
fn head<'a>(first: &'a str, runs: &'a [Compared]) -> Vec<&'a str> {
    let names = runs.iter().map(|run| run.name.as_str());
    std::iter::once(first).chain(names).collect()
}

fn measurements(runs: &[Compared]) -> Section {
    let mut rows: Vec<Vec<Markup>> = Vec::new();
    for measure in MEASURES {
        let values = |side: Side| -> Vec<Option<f64>> {
            runs.iter()
                .map(|run| run.data.evaluation(side).and_then(measure.of))
                .collect()
        };
        let (before, after) = (values(Side::ZeroShot), values(Side::Adapted));
        if after.iter().all(Option::is_none) {
            continue;
        }
        let best = best(&after, measure.lower_is_better);
        let cells = after
            .iter()
            .zip(&before)
            .zip(runs)
            .map(|((after, before), run)| {
                let value = percent(*after);
                html! {
                    @if after.is_some() && *after == best { b { (value) " ★" } } @else { (value) }
                    small { (measure.change(*before, *after, run.data.changes.as_ref())) }
                }
            });
        rows.push(std::iter::once(measure.label()).chain(cells).collect());
    }
    let free: [(&str, Quantity); 4] = [
        ("Rejected as unknown", |run| {
            percent(run.share(|image| run.rejects(Side::Adapted, image)))
        }),
        ("Images with a new class", |run| {
            percent(run.share(|image| image.moved()))
        }),
        ("Effective classes predicted", |run| {
            format!(
                "{:.1}",
                effective_classes(&run.predicted_counts(Side::Adapted))
            )
        }),
        ("Training time", |run| duration(run.record.adaptation_secs)),
    ];
    for (name, value) in free {
        let cells = runs.iter().map(|run| text(value(run.data)));
        rows.push(std::iter::once(text(name)).chain(cells).collect());
    }
    Section {
        id: "measurements",
        title: "Measurements",
        body: html! {
            p.quiet { "Of the adapted models; small: change in points against the same checkpoint before adaptation. ★ marks the best of a row." }
            (table(&head("", runs), 1, &rows))
        },
    }
}

/// The best of some rates.
fn best(rates: &[Option<f64>], lower_is_better: bool) -> Option<f64> {
    let defined = rates.iter().copied().flatten();
    if lower_is_better {
        defined.min_by(f64::total_cmp)
    } else {
        defined.max_by(f64::total_cmp)
    }
}

/// The settings that are not the same in all runs.
fn differences(runs: &[Compared]) -> Section {
    let all: Vec<BTreeMap<String, String>> = runs
        .iter()
        .map(|run| {
            let mut named: BTreeMap<String, String> = settings(run.data).into_iter().collect();
            let record = &run.data.record;
            named.insert(
                "base checkpoint".to_owned(),
                record.base.path.display().to_string(),
            );
            named.insert(
                "images".to_owned(),
                record.request.images.display().to_string(),
            );
            named.insert("classes".to_owned(), count(run.data.classes().len()));
            named
        })
        .collect();
    let names: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    let value = |settings: &BTreeMap<String, String>, name: &String| {
        settings
            .get(name)
            .cloned()
            .unwrap_or_else(|| "–".to_owned())
    };
    let rows: Vec<Vec<Markup>> = names
        .into_iter()
        .filter(|name| {
            let values: BTreeSet<String> = all.iter().map(|run| value(run, name)).collect();
            values.len() > 1
        })
        .map(|name| {
            let cells = all.iter().map(|run| text(value(run, name)));
            std::iter::once(text(name)).chain(cells).collect()
        })
        .collect();
    Section {
        id: "settings",
        title: "What was set differently",
        body: if rows.is_empty() {
            html! { p { "Nothing: all runs have the same settings." } }
        } else {
            table(&head("setting", runs), 1, &rows)
        },
    }
}

fn curves(runs: &[Compared]) -> Result<Option<Section>, ReportError> {
    let legend: Vec<(Ink, &str)> = runs
        .iter()
        .map(|run| (run.ink, run.name.as_str()))
        .collect();
    let mut figures = Vec::new();
    let lines = |points: &dyn Fn(&RunData) -> Vec<(f64, f64)>| -> Vec<Line> {
        let lines = runs.iter().map(|run| Line::new(run.ink, points(run.data)));
        lines.filter(|line| line.points.len() > 1).collect()
    };
    let entropy = lines(&|run| {
        let epochs = run.steps.chunk_by(|a, b| a.epoch == b.epoch);
        epochs
            .map(|epoch| {
                let sum: f64 = epoch.iter().map(|step| step.conditional_entropy).sum();
                (epoch[0].epoch as f64, sum / epoch.len() as f64)
            })
            .collect()
    });
    if !entropy.is_empty() {
        let points = || entropy.iter().flat_map(|line| &line.points);
        let plot = LinePlot {
            description: "conditional entropy over epochs",
            horizontal: Axis::whole(1.0, points().map(|point| point.0).fold(2.0, f64::max)),
            vertical: Axis::around(points().map(|point| point.1)),
            lines: entropy,
        }
        .draw()?;
        let note = "Mean of each epoch, in nats: how undecided a model is about single images.";
        figures.push(figure("Conditional entropy", &legend, &plot, &text(note)));
    }
    if runs.iter().all(|run| run.data.labelled()) {
        let adapted = |curve: fn(&RunData, Side, Ink) -> Line| -> Vec<Line> {
            let curves = runs
                .iter()
                .map(|run| curve(run.data, Side::Adapted, run.ink));
            curves.filter(|line| line.points.len() > 1).collect()
        };
        let roc = adapted(roc);
        if !roc.is_empty() {
            let note = "Known images accepted over unknown images accepted, adapted models.";
            figures.push(figure("ROC", &legend, &roc_plot(roc)?, &text(note)));
        }
        let note = "Share of wrong answers among the accepted images; unknown images are wrong wherever they are accepted.";
        let plot = risk_plot(adapted(risk))?;
        figures.push(figure("Risk and coverage", &legend, &plot, &text(note)));
    }
    Ok((!figures.is_empty()).then(|| Section {
        id: "curves",
        title: "Curves",
        body: html! { div.plots { @for figure in &figures { (figure) } } },
    }))
}

/// Recall of every class in every run.
fn classes(runs: &[Compared]) -> Option<Section> {
    let recalls: Vec<&BTreeMap<String, Option<f64>>> = runs
        .iter()
        .map(|run| run.data.evaluation(Side::Adapted).map(|e| &e.per_class))
        .collect::<Option<_>>()?;
    let names: BTreeSet<&String> = recalls
        .iter()
        .flat_map(|recalls| recalls.iter())
        .filter_map(|(name, recall)| recall.map(|_| name))
        .collect();
    let rows: Vec<Vec<Markup>> = names
        .into_iter()
        .map(|name| {
            let recall = |run: &&BTreeMap<String, Option<f64>>| run.get(name).copied().flatten();
            let cells = recalls.iter().map(|run| text(percent(recall(run))));
            std::iter::once(text(name)).chain(cells).collect()
        })
        .collect();
    let title = format!(
        "Recall of {} by the adapted models",
        counted(rows.len(), "class")
    );
    Some(Section {
        id: "classes",
        title: "Classes",
        body: folded(&title, &table(&head("class", runs), 1, &rows)),
    })
}
