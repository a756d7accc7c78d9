//! `ueo benchmark` on two tiny domains: the protocol, resuming, interruption, and tables.

mod keeping;
mod measuring;
mod mistakes;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Workplace, copy_tree};

/// Classes in byte order; the first three are listed. `dark` holds the same images without the last two of each class.
pub const SUITE: &str = r#"
name = "tiny"
about = "Stripes"
obtain = "make them"
roots = ["sets", ""]
classes = 4
known = "0-2"
methods = ["zero-shot", "ueo"]
seeds = [1, 2]

[shifts]
closed = "0-2"
open-partial = "0-1, 3"

[settings]
epochs = 2
batch-size = 10
context-learning-rate = 0.05
affine-learning-rate = 0.02

[published]
epochs = 1

[[domains]]
name = "light"
folders = ["light"]
images = 24

[[domains]]
name = "dark"
folders = ["dark", "images"]
images = 99
other-counts = [{ images = 16, hint = "these are fewer" }]
"#;

pub const BENCHMARK: &str = "benchmark --suite tiny.toml --data . --model model --output out";

/// A place with a model, the suite and the images of its two domains.
pub fn place() -> Workplace {
    let place = Workplace::new();
    place.write("tiny.toml", SUITE);
    copy_tree(&place.path("images"), &place.path("sets/light"));
    copy_tree(&place.path("images"), &place.path("sets/dark"));
    for domain in ["light", "dark"] {
        // A name that the tiny text encoder has room for, and the last in byte order.
        let folder = |class: &str| place.path(format!("sets/{domain}/{class}"));
        fs::rename(folder("submarine"), folder("zoo")).unwrap();
    }
    for class in ["cat", "dog", "red_fox", "zoo"] {
        for number in [4, 5] {
            fs::remove_file(place.path(format!("sets/dark/{class}/{number}.png"))).unwrap();
        }
    }
    place
}

/// The path of a cell of the one suite and model in `out`, from `VARIANT/DOMAIN/SHIFT/NAME.json`.
pub fn cell_path(place: &Workplace, cell: &str) -> String {
    let found = cells(place, "out");
    let path = found.keys().find(|path| short(path) == Path::new(cell));
    format!(
        "out/cells/{}",
        path.unwrap_or_else(|| panic!("no {cell}")).display()
    )
}

/// Without suite, model and the published protocol.
fn short(path: &Path) -> PathBuf {
    let mut parts = path.components().skip(2).peekable();
    parts.next_if(|part| part.as_os_str() == "published");
    parts.collect()
}

/// All cells of an output directory by path.
fn cells(place: &Workplace, output: &str) -> BTreeMap<PathBuf, Value> {
    let mut found = BTreeMap::new();
    let root = place.path(output).join("cells");
    collect(&root, &root, &mut found);
    found
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Value>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            let cell = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            found.insert(path.strip_prefix(root).unwrap().to_owned(), cell);
        }
    }
}

fn cell<'a>(cells: &'a BTreeMap<PathBuf, Value>, path: &str) -> &'a Value {
    let mut found = cells.iter();
    found
        .find(|(other, _)| short(other) == Path::new(path))
        .unwrap()
        .1
}

/// Everything below a folder but the lock, which names the last process.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with(".ueo-lock") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}
