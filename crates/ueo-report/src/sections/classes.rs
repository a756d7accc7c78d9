//! What changed for each class: recall where there are labels, otherwise how often it is predicted.

use maud::{Markup, html};

use crate::measures::change;
use crate::numbers::{count, counted, percent};
use crate::page::{Section, folded, table, text};
use crate::run_data::{RunData, Side};

/// Classes up to which all of them are shown at once.
const SHORT: usize = 24;
/// Classes at each end that are shown of a longer list.
const ENDS: usize = 8;

/// One class, before and after.
#[derive(Clone, Copy, Debug)]
struct Class<'a> {
    name: &'a str,
    /// Images that show it, where there are labels.
    images: usize,
    /// Recall of the two models, or the number of predictions.
    values: [f64; 2],
}

impl Class<'_> {
    fn gain(&self) -> f64 {
        self.values[1] - self.values[0]
    }
}

/// The section.
pub fn section(run: &RunData) -> Section {
    let mut classes = if run.labelled() {
        recalls(run)
    } else {
        predictions(run)
    };
    let rows = |classes: &[Class]| -> Markup {
        if run.labelled() {
            recall_table(classes)
        } else {
            prediction_table(classes)
        }
    };
    let note = if run.labelled() {
        let gained = classes.iter().filter(|class| class.gain() > 0.0).count();
        let lost = classes.iter().filter(|class| class.gain() < 0.0).count();
        let absent = run.classes().len() - classes.len();
        format!(
            "Share of the images of a class that get its name, nothing rejected. {} gained, {} lost{}.",
            counted(gained, "class"),
            count(lost),
            match absent {
                0 => String::new(),
                _ => format!(", {} of the list occur in no image", count(absent)),
            }
        )
    } else {
        "How many images are given to each class.".to_owned()
    };
    let all = rows(&classes);
    // The name decides between equal gains: the page depends on the run alone.
    classes.sort_by(|a, b| {
        b.gain()
            .total_cmp(&a.gain())
            .then_with(|| a.name.cmp(b.name))
    });
    let changed = |sign: f64| move |class: &&Class| class.gain() * sign > 0.0;
    let gains: Vec<Class> = classes
        .iter()
        .filter(changed(1.0))
        .take(ENDS)
        .copied()
        .collect();
    let losses: Vec<Class> = classes
        .iter()
        .rev()
        .filter(changed(-1.0))
        .take(ENDS)
        .copied()
        .collect();
    let body = html! {
        p.quiet { (note) }
        @if classes.len() <= SHORT {
            (rows(&classes))
        } @else {
            div.pair {
                @for (title, ends) in [("Largest gains", &gains), ("Largest losses", &losses)] {
                    @if !ends.is_empty() { div { h3 { (title) } (rows(ends)) } }
                }
            }
            (folded(&format!("All {}, in the order of the list", counted(classes.len(), "class")), &all))
        }
    };
    Section {
        id: "classes",
        title: "Classes",
        body,
    }
}

/// Classes that occur, with the recall of both models, in the order of the list.
fn recalls(run: &RunData) -> Vec<Class<'_>> {
    let mut images = vec![0; run.classes().len()];
    let mut correct = [images.clone(), images.clone()];
    for image in &run.images {
        let Some(class) = image.known_class() else {
            continue;
        };
        images[class] += 1;
        for (side, correct) in Side::BOTH.into_iter().zip(&mut correct) {
            correct[class] += usize::from(image.correct(side) == Some(true));
        }
    }
    let names = run.classes().iter().enumerate();
    names
        .filter(|(class, _)| images[*class] > 0)
        .map(|(class, name)| Class {
            name,
            images: images[class],
            values: [0, 1].map(|side| correct[side][class] as f64 / images[class] as f64),
        })
        .collect()
}

/// All classes with the number of images that both models give to them.
fn predictions(run: &RunData) -> Vec<Class<'_>> {
    let counts = Side::BOTH.map(|side| run.predicted_counts(side));
    let names = run.classes().iter().enumerate();
    names
        .map(|(class, name)| Class {
            name,
            images: 0,
            values: [0, 1].map(|side| counts[side][class] as f64),
        })
        .collect()
}

fn recall_table(classes: &[Class]) -> Markup {
    let rows: Vec<Vec<Markup>> = classes
        .iter()
        .map(|class| {
            let [before, after] = class.values;
            vec![
                text(class.name),
                text(count(class.images)),
                text(percent(before)),
                text(percent(after)),
                html! { (change(Some(before), Some(after), false)) (bar(before, after)) },
            ]
        })
        .collect();
    table(
        &["class", "images", "zero-shot", "adapted", "change"],
        1,
        &rows,
    )
}

fn prediction_table(classes: &[Class]) -> Markup {
    let largest = classes
        .iter()
        .flat_map(|class| class.values)
        .fold(1.0, f64::max);
    let rows: Vec<Vec<Markup>> = classes
        .iter()
        .map(|class| {
            let [before, after] = class.values;
            vec![
                text(class.name),
                text(count(before as usize)),
                text(count(after as usize)),
                html! { (format!("{:+}", class.gain())) (bar(before / largest, after / largest)) },
            ]
        })
        .collect();
    table(&["class", "zero-shot", "adapted", "change"], 1, &rows)
}

/// A line from before to after on a scale from 0 to 1.
fn bar(before: f64, after: f64) -> Markup {
    let (from, to) = (before.min(after), before.max(after));
    let class = if after >= before { "up" } else { "down" };
    html! {
        span.track aria-hidden="true" {
            span class=(class) style={ "left:" (format!("{:.1}", 100.0 * from)) "%;width:" (format!("{:.1}", 100.0 * (to - from))) "%" } {}
        }
    }
}
