//! Which classes are taken for which, and where images moved.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::numbers::count;
use crate::page::{Section, table, text};
use crate::run_data::{ReportedImage, RunData, Side};

/// Pairs that are shown.
const SHOWN: usize = 12;

/// The section, unless nothing is confused and nothing moved.
pub fn section(run: &RunData) -> Option<Section> {
    let tables: Vec<Markup> = [wrong(run), accepted(run), moves(run)]
        .into_iter()
        .flatten()
        .collect();
    (!tables.is_empty()).then(|| Section {
        id: "confusions",
        title: "Confusions",
        body: html! { div.pair { @for table in &tables { div { (table) } } } },
    })
}

/// Known images with a wrong name.
fn wrong(run: &RunData) -> Option<Markup> {
    let confused = |side| {
        frequencies(run, |image| {
            let class = image.known_class()?;
            let predicted = image.answer(side).class;
            (class != predicted).then_some((run.classes()[class].as_str(), predicted))
        })
    };
    before_and_after(
        run,
        "Known images with a wrong name",
        Side::BOTH.map(confused),
    )
}

/// Unknown images that pass for known, by what they show.
fn accepted(run: &RunData) -> Option<Markup> {
    let accepted = |side| {
        frequencies(run, |image| {
            let label = image.label.as_ref()?;
            let passes = label.class.is_none() && !run.rejects(side, image);
            passes.then_some((label.name.as_str(), image.answer(side).class))
        })
    };
    before_and_after(
        run,
        "Unknown images that pass for known",
        Side::BOTH.map(accepted),
    )
}

/// Images whose class changed.
fn moves(run: &RunData) -> Option<Markup> {
    let moved = |holds: &dyn Fn(&ReportedImage) -> bool| {
        frequencies(run, |image| {
            let from = run.classes()[image.zero_shot.class].as_str();
            (image.moved() && holds(image)).then_some((from, image.adapted.class))
        })
    };
    let all = moved(&|_| true);
    let right = moved(&|image| image.correct(Side::Adapted) == Some(true));
    let rows = most_frequent(&all).into_iter().map(|(pair, images)| {
        let (from, to) = pair;
        let mut row = vec![text(from), text(&run.classes()[to]), text(count(images))];
        if run.labelled() {
            row.push(text(count(right.get(&pair).copied().unwrap_or_default())));
        }
        row
    });
    let head = ["zero-shot", "adapted", "images", "now right"];
    let columns = if run.labelled() { 4 } else { 3 };
    titled("Images with a new name", &head[..columns], rows.collect())
}

/// A name and the index of a class.
type Pair<'a> = (&'a str, usize);

fn frequencies<'a>(
    run: &'a RunData,
    pair: impl Fn(&'a ReportedImage) -> Option<Pair<'a>>,
) -> BTreeMap<Pair<'a>, usize> {
    let mut frequencies = BTreeMap::new();
    for pair in run.images.iter().filter_map(pair) {
        *frequencies.entry(pair).or_default() += 1;
    }
    frequencies
}

/// The most frequent pairs; of equal ones those that come first by name.
fn most_frequent<'a>(frequencies: &BTreeMap<Pair<'a>, usize>) -> Vec<(Pair<'a>, usize)> {
    let mut pairs: Vec<(Pair, usize)> = frequencies.iter().map(|(p, n)| (*p, *n)).collect();
    // Stable: the map is in order of names.
    pairs.sort_by_key(|(_, images)| std::cmp::Reverse(*images));
    pairs.truncate(SHOWN);
    pairs
}

/// The most frequent pairs of the adapted model, with how often the checkpoint had them.
fn before_and_after(
    run: &RunData,
    title: &str,
    [before, after]: [BTreeMap<Pair<'_>, usize>; 2],
) -> Option<Markup> {
    let rows = most_frequent(&after).into_iter().map(|(pair, images)| {
        let (name, predicted) = pair;
        let earlier = before.get(&pair).copied().unwrap_or_default();
        vec![
            text(name),
            text(&run.classes()[predicted]),
            text(count(earlier)),
            text(count(images)),
        ]
    });
    let head = ["shows", "taken for", "zero-shot", "adapted"];
    titled(title, &head, rows.collect())
}

fn titled(title: &str, head: &[&str], rows: Vec<Vec<Markup>>) -> Option<Markup> {
    (!rows.is_empty()).then(|| html! { h3 { (title) } (table(head, 2, &rows)) })
}
