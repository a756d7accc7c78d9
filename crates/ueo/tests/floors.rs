//! Imports go down only: the floors of ARCHITECTURE.md, read from the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of this crate from the lowest floor to the highest; each may use those before it.
const MODULES: &[&str] = &[
    "disk",
    "quote",
    "budget",
    "tensor",
    "exchange",
    "image_format",
    "data",
    "text",
    "image",
    "checkpoint",
    "model",
    "objective",
    "evaluate",
    "guard",
    "method",
    "adapt",
    "discover",
    "session",
    "command_line",
];

/// The crates of the workspace from the lowest floor to the highest; each may depend on those before it.
const CRATES: &[&str] = &[
    "ueo-kernels",
    "ueo-hub",
    "ueo",
    "ueo-run",
    "ueo-export",
    "ueo-benchmark",
    "ueo-report",
    "ueo-cli",
    "ueo-python",
];

/// Modules of this crate that a source names, as `crate::NAME` or in a list `crate::{NAME, ...}`.
fn modules_named(source: &str) -> BTreeSet<&str> {
    let code = source
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    let mut named = BTreeSet::new();
    for line in code {
        for after in line.split("crate::").skip(1) {
            let list = after.strip_prefix('{').unwrap_or(after);
            let names = list.split(',').map(|name| {
                let end = name
                    .trim_start()
                    .find(|c: char| !c.is_alphanumeric() && c != '_');
                let name = name.trim_start();
                &name[..end.unwrap_or(name.len())]
            });
            let names = if list.len() == after.len() {
                names.take(1)
            } else {
                names.take(usize::MAX)
            };
            named.extend(names.filter(|name| MODULES.contains(name)));
        }
    }
    named
}

/// The modules that a file of `module` names although they stand above it.
fn imports_going_up<'a>(module: &str, source: &'a str) -> Vec<&'a str> {
    let floor = |name: &str| MODULES.iter().position(|module| *module == name);
    let own = floor(module);
    assert!(
        own.is_some(),
        "module `{module}` has no floor: add it to MODULES"
    );
    let named = modules_named(source).into_iter();
    named.filter(|name| floor(name) > own).collect()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn modules_use_lower_modules_only() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&sources, &mut files);
    let mut going_up = Vec::new();
    for file in &files {
        let place = file.strip_prefix(&sources).unwrap();
        let module = place.components().next().unwrap().as_os_str();
        let module = module.to_str().unwrap().trim_end_matches(".rs");
        // The root and what it hands out belong to no floor.
        if matches!(module, "lib" | "device" | "disk" | "spreadsheet") {
            continue;
        }
        let source = fs::read_to_string(file).unwrap();
        let names = imports_going_up(module, &source).into_iter();
        going_up.extend(names.map(|name| format!("{}: crate::{name}", place.display())));
    }
    assert!(
        files.len() > 50,
        "the sources are not where they were looked for"
    );
    assert!(
        going_up.is_empty(),
        "imports go up:\n{}",
        going_up.join("\n")
    );
}

#[test]
fn crates_depend_on_lower_crates_only() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (floor, name) in CRATES.iter().enumerate() {
        let manifest = fs::read_to_string(crates.join(name).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
        let dependencies = dependencies.split("\n[").next().unwrap();
        let names = dependencies
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next());
        let above: Vec<&str> = names
            .filter(|name| CRATES[floor..].contains(name))
            .collect();
        assert!(
            above.is_empty(),
            "{name} depends on {above:?}, which stand above it"
        );
    }
}

#[test]
fn an_import_that_goes_up_is_found() {
    assert_eq!(
        imports_going_up("data", "use crate::adapt::Settings;"),
        ["adapt"]
    );
    assert_eq!(
        imports_going_up(
            "evaluate",
            "use crate::{tensor::HostTensor, session::Model};"
        ),
        ["session"]
    );
    assert!(imports_going_up("adapt", "use crate::model::Clip; // crate::session\n").is_empty());
}
