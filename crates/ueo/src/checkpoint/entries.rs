//! The tensors of a checkpoint with the names and shapes of a layout: what [`assemble`](super::assemble) does, backwards.

use std::borrow::Cow;

use super::Checkpoint;
use super::assemble::{Recipe, transpose};
use super::parameters::parameters;
use super::write::Entry;

/// Every parameter of a checkpoint, where the recipes of a layout have it. `recipe` gets a parameter's name and shape.
pub(super) fn entries(
    checkpoint: &Checkpoint,
    recipe: impl Fn(&str, &[usize]) -> Recipe,
) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    for (name, shape) in parameters(&checkpoint.config) {
        let tensor = &checkpoint.tensors[&name];
        match recipe(&name, &shape) {
            Recipe::Copy(name)
            | Recipe::Scaled(name, _)
            | Recipe::Grid(name, _)
            | Recipe::Line(name, _) => entries.push(Entry {
                name,
                shape,
                data: Cow::Borrowed(&tensor.data),
            }),
            Recipe::Transpose(name) => entries.push(Entry {
                name,
                shape: shape.iter().rev().copied().collect(),
                data: Cow::Owned(transpose(tensor)),
            }),
            Recipe::Reshape(name, shape) => entries.push(Entry {
                name,
                shape,
                data: Cow::Borrowed(&tensor.data),
            }),
            Recipe::WithoutKeys(_) => unreachable!("no layout that is written leaves them out"),
            Recipe::Concatenate(parts) => split(&mut entries, &tensor.data, &shape, parts),
            Recipe::Stack(names) => {
                let rows = shape[0] / names.len();
                let parts = names.into_iter().map(|name| (name, rows)).collect();
                split(&mut entries, &tensor.data, &shape, parts);
            }
        }
    }
    entries
}

/// A tensor in parts of so many rows each.
fn split<'a>(
    entries: &mut Vec<Entry<'a>>,
    mut rest: &'a [f32],
    shape: &[usize],
    parts: Vec<(String, usize)>,
) {
    for (name, rows) in parts {
        let part = [&[rows], &shape[1..]].concat();
        let (data, others) = rest.split_at(part.iter().product());
        rest = others;
        entries.push(Entry {
            name,
            shape: part,
            data: Cow::Borrowed(data),
        });
    }
}
