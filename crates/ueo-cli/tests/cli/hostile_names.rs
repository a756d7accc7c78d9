//! Names and numbers that do harm where they come out: in a spreadsheet, on a terminal, in another program.

use std::fs;

use crate::support::{ADAPT, CLASSES, Workplace};

/// Whether a spreadsheet would compute a cell.
fn is_run(cell: &str) -> bool {
    cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) && cell.parse::<f64>().is_err()
}

fn cells(table: &str) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let rows = reader.records();
    rows.map(|row| row.unwrap().iter().map(str::to_owned).collect())
        .collect()
}

#[test]
fn no_table_holds_a_formula_and_every_name_comes_back() {
    let place = Workplace::new();
    let images = place.path("images");
    fs::rename(images.join("cat"), images.join("=a")).unwrap();
    fs::rename(images.join("dog"), images.join("-b")).unwrap();
    place.write("classes.txt", "=a\n-b\nred_fox\n");
    place.run(ADAPT, 0);
    let stored = fs::read_to_string(place.path("run/predictions.csv")).unwrap();
    place.run(
        "predict --model run --images images --top-k 3 --output p.csv",
        0,
    );
    let predicted = fs::read_to_string(place.path("p.csv")).unwrap();
    for table in [&stored, &predicted] {
        let cells = cells(table);
        assert!(cells.iter().flatten().all(|cell| !is_run(cell)), "{table}");
        for shown in ["'=a/0.png", "'-b/0.png", "'=a", "'-b"] {
            let mut found = cells.iter().flatten();
            assert!(found.any(|cell| cell == shown), "{shown}: {table}");
        }
    }
    // What is read from the table are the names.
    place.run("report run", 0);
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(page.contains("=a/0.png") && !page.contains("'=a"));
    fs::remove_file(place.path("run/adapted.safetensors")).unwrap();
    place.run("adapt --resume --output run", 0);
    let again = fs::read_to_string(place.path("run/predictions.csv")).unwrap();
    assert_eq!(again, stored);
}

#[test]
fn paths_do_not_steer_the_terminal() {
    let place = Workplace::new();
    let hostile = "\u{1b}[2J\u{202e}run";
    let shown = "\\u{1b}[2J\\u{202e}run";
    let adapt = ADAPT.replace("--output run", &format!("--output {hostile}"));
    // Every report is checked for escape sequences.
    place.run(&adapt, 0);
    place
        .run(&adapt, 2)
        .says(&[&format!("error: {shown} exists"), "hint:"]);
    place.run(&format!("inspect --model {hostile}"), 0);
    place
        .run(
            &format!("predict --model {hostile}x --images images --output p.csv"),
            2,
        )
        .says(&["error: ", &format!("{shown}x")]);
}

#[test]
fn features_without_a_direction_are_refused() {
    let place = Workplace::new();
    let weights = place.path("model/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].fill(0);
    fs::write(&weights, bytes).unwrap();
    place.write("texts.txt", CLASSES.join("\n"));
    for (input, name) in [
        ("--images images", "cat/0.png"),
        ("--texts texts.txt", "cat"),
    ] {
        place
            .run(
                &format!("embed --model model {input} --output f.safetensors"),
                2,
            )
            .says(&[
                &format!("error: the feature of {name} has the square norm "),
                "expected a finite number above zero",
                "hint:",
            ]);
        assert!(!place.path("f.safetensors").exists());
    }
    let images = "--images images --classes classes.txt";
    place.run(&format!("predict --model model {images} --output p.csv"), 2);
    place.run(ADAPT, 2);
    assert!(!place.path("p.csv").exists() && !place.path("run/run.json").exists());
}
