//! What is said about the labels of images: what was taken for labels, what was not, and the flag that says otherwise.

use ueo::data::{LabelBasis, LabelChoice, Unlabelled, UnmatchedLabel};
use ueo::quote;
use ueo::session::LabelRecord;

use crate::printer::Printer;
use crate::words::counted;

/// Names that match no class which a line has; `--verbose` lists all.
const NAMED: usize = 3;
/// Names with a class nearby which are warned of one by one.
const WARNED: usize = 5;

/// Says how the labels of images were understood.
pub fn say(record: &LabelRecord, printer: &Printer) {
    let labelled = record.known_images + record.unknown_images;
    match record.basis {
        LabelBasis::Nothing => say_why_none(record, printer),
        _ if labelled == 0 => {
            for count in &record.unlabelled {
                let images = counted(count.images, "image");
                printer.message(format_args!("labels: none; {images} {}", count.reason));
            }
        }
        _ => say_what_was_taken(record, printer),
    }
}

fn say_what_was_taken(record: &LabelRecord, printer: &Printer) {
    let of_others = match record.unknown_images {
        0 => String::new(),
        images => format!(
            ", {images} of {}",
            counted(record.unmatched_names, "other name")
        ),
    };
    printer.message(format_args!(
        "labels: {}; {} of known classes{of_others}",
        source(record.basis),
        counted(record.known_images, "image"),
    ));
    if record.counts_from_one {
        printer.warning(
            "the numbers of the labels seem to count from 1: 0 does not occur, and one is the number of classes. They are \
             taken as positions from 0",
        );
        printer.hint("subtract 1, or name the classes in the list; a class file `id,name` (.csv) can say which number is which");
    }
    let is_near = |label: &&UnmatchedLabel| label.nearest.is_some();
    let mut near = record.unmatched.iter().filter(is_near);
    for label in near.by_ref().take(WARNED) {
        printer.warning(format_args!(
            "{} is no class; did you mean {}? {} as unknown",
            named(&label.label),
            named(label.nearest.as_deref().unwrap_or_default()),
            counted_as(label.images)
        ));
    }
    let more = near.count();
    if more > 0 {
        printer.message(format_args!("  and {more} more names with a class nearby"));
    }
    let others: Vec<&UnmatchedLabel> = record
        .unmatched
        .iter()
        .filter(|label| label.nearest.is_none())
        .collect();
    if !others.is_empty() {
        printer.message(format_args!(
            "  no class: {}",
            listed(&others, record, printer)
        ));
    }
}

fn say_why_none(record: &LabelRecord, printer: &Printer) {
    let images = record.unlabelled.iter().map(|count| count.images).sum();
    let images = counted(images, "image");
    let reasons = || record.unlabelled.iter().map(|count| count.reason);
    let unmatched: Vec<&UnmatchedLabel> = record.unmatched.iter().collect();
    let names = listed(&unmatched, record, printer);
    if reasons().any(|reason| reason == Unlabelled::FoldersAreNoClasses) {
        printer.message(format_args!(
            "labels: none; most folders are no classes, so {images} count as unlabelled\n  \
             folders: {names}\n  --labels folders takes them for labels"
        ));
    } else if reasons().any(|reason| reason == Unlabelled::LabelsAreNoClasses) {
        printer.message(format_args!(
            "labels: none; no label is a class, so {images} count as unlabelled\n  \
             labels: {names}\n  --labels list takes them for labels"
        ));
    } else if record.choice == LabelChoice::None {
        printer.detail("labels: none, as asked for");
    } else {
        printer.detail(format_args!("labels: none for {images}"));
    }
}

/// Names that match no class, as many as a line has room for, each with the class nearby.
fn listed(unmatched: &[&UnmatchedLabel], record: &LabelRecord, printer: &Printer) -> String {
    let shown = match printer.is_verbose() {
        true => unmatched.len(),
        false => NAMED,
    };
    let mut names: Vec<String> = unmatched
        .iter()
        .take(shown)
        .map(|label| {
            let name = named(&label.label);
            match &label.nearest {
                Some(class) => format!("{name} (did you mean {}?)", named(class)),
                None => format!("{name} ({})", label.images),
            }
        })
        .collect();
    let left = record.unmatched_names - (record.unmatched.len() - unmatched.len());
    if left > names.len() {
        names.push(format!("{} more", left - names.len()));
    }
    names.join(", ")
}

fn source(basis: LabelBasis) -> &'static str {
    match basis {
        LabelBasis::Folders { level: 0 } => "the folders",
        LabelBasis::Folders { .. } => "the inner folders",
        LabelBasis::Names => "names",
        LabelBasis::Positions => "numbers from 0",
        LabelBasis::Nothing => "none",
    }
}

fn named(name: &str) -> String {
    format!("`{}`", quote::whole(name))
}

fn counted_as(images: usize) -> String {
    match images {
        1 => "1 image counts".to_owned(),
        images => format!("{images} images count"),
    }
}
