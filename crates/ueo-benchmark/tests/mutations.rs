//! Valid suites, cells and published numbers with seeded damage: no reader panics, and no name leads out of its folder.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ueo_benchmark::{BenchmarkError, Suite, fuzzing};

/// What is put into a valid file.
const TOKENS: [&str; 18] = [
    "../",
    "/",
    "\\",
    "\\n",
    "\n",
    "\0",
    "\u{202e}",
    "\"",
    "'",
    "[[domains]]\n",
    "0-",
    "-1",
    "99999999999999999999",
    "1e999",
    "null",
    "[",
    "}",
    "=cmd|' /C calc'!A0",
];

/// Inputs per kind of file.
const INPUTS: usize = 1_000;
/// Longest time for one input, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

fn damaged(valid: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    let mut below = |end: usize| (rng.next_u64() % end.max(1) as u64) as usize;
    for _ in 0..1 + below(3) {
        let place = below(bytes.len());
        match below(5) {
            0 => bytes[place] = below(256) as u8,
            1 => bytes.truncate(place.max(1)),
            2 => {
                let end = (place + below(40)).min(bytes.len());
                bytes.drain(place..end);
            }
            3 => {
                let end = (place + below(40)).min(bytes.len());
                let copy = bytes[place..end].to_vec();
                bytes.splice(place..place, copy);
            }
            _ => {
                let token = TOKENS[below(TOKENS.len())].bytes();
                bytes.splice(place..place, token);
            }
        }
        if bytes.is_empty() {
            bytes.push(b' ');
        }
    }
    bytes
}

/// Runs a reader on damaged forms of a valid file; how many it accepted.
fn exercise(valid: &[u8], reader: fn(&[u8]) -> bool) -> usize {
    assert!(reader(valid), "the file is valid before");
    let mut rng = ChaCha8Rng::seed_from_u64(20_240_501);
    let mut accepted = 0;
    for _ in 0..INPUTS {
        let bytes = damaged(valid, &mut rng);
        let started = Instant::now();
        accepted += usize::from(reader(&bytes));
        assert!(
            started.elapsed() < PATIENCE,
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }
    accepted
}

const SUITE: &[u8] = include_bytes!("../suites/visda-c.toml");
const PUBLISHED: &[u8] = b"source = \"x\"\n[[rows]]\nsuite = \"a\"\nmodel = \"b\"\nshift = \"open\"\nmethod = \"c\"\nvalues = { d = [1.0, 99.5] }\n";
/// Written by the program, with its images cut down to four.
const CELL: &[u8] = include_bytes!("fixtures/cell.json");

#[test]
fn damaged_files_are_read_or_refused() {
    for (name, valid, reader) in [
        ("suite", SUITE, fuzzing::suite as fn(&[u8]) -> bool),
        ("published numbers", PUBLISHED, fuzzing::published_numbers),
        ("cell", CELL, fuzzing::cell),
    ] {
        let accepted = exercise(valid, reader);
        println!("{name}: {accepted} of {INPUTS} accepted");
        assert!((1..INPUTS).contains(&accepted), "{name}: {accepted}");
    }
}

/// A suite whose names are replaced.
fn named(suite: &str, domain: &str) -> Result<Suite, BenchmarkError> {
    let text = String::from_utf8(SUITE.to_vec()).unwrap();
    let text = text
        .replace("name = \"visda-c\"", &format!("name = {suite:?}"))
        .replace("name = \"train\"", &format!("name = {domain:?}"));
    Suite::parse(&text, Path::new("suite.toml"))
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    assert!(named("mine", "Real World").is_ok());
    for name in [
        "../../../escape",
        "/tmp/x",
        "..",
        "t\n\\input{/etc/passwd}",
        "a\\b",
        "",
    ] {
        for refused in [named(name, "a"), named("a", name)] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("expected a name of"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}

#[test]
fn sizes_are_bounded() {
    let long = "x".repeat(2 << 20);
    let error = Suite::parse_bytes(long.as_bytes(), Path::new("suite.toml")).unwrap_err();
    assert!(error.to_string().contains("at most"), "{error}");
    let text = String::from_utf8(SUITE.to_vec()).unwrap();
    for (from, to) in [
        ("classes = 12", "classes = 99999999"),
        ("known = \"0-7\"", "known = \"0-18446744073709551614\""),
        ("about = \"", &format!("about = \"{}", "y".repeat(3_000))),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Suite::parse(&text.replace(from, to), Path::new("suite.toml")).unwrap_err();
        assert!(error.to_string().len() < 300, "{error}");
    }
}
