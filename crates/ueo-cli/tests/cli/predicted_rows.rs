//! `ueo predict` writes rows as they come, in three formats, and goes on where it was killed.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use crate::support::{CLASSES, IMAGES, Workplace};

/// Folders, of which every pair leads to an image by a path of its own: more images than are scored in one piece.
const FOLDERS: usize = 68;

/// Writes `many.txt`, a list that names the images again and again, with labels.
fn write_long_list(place: &Workplace) {
    let mut list = String::new();
    for folder in 0..FOLDERS {
        fs::create_dir(place.path(format!("images/{folder}"))).unwrap();
        for other in 0..FOLDERS {
            let (class, image) = (CLASSES[other % 3], folder % 6);
            list += &format!("{folder}/../{other}/../{class}/{image}.png\t{class}\n");
        }
    }
    place.write("many.txt", list);
}

fn rows(place: &Workplace, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(file)).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn the_three_formats_say_the_same() {
    let place = Workplace::new();
    let predict = "predict --model model --classes classes.txt --images images --top-k 3 --output";
    for output in ["p.csv", "p.jsonl", "p.parquet"] {
        place.run(&format!("{predict} {output}"), 0);
    }
    let expected = rows(&place, "p.jsonl");
    assert_eq!(expected.len(), IMAGES);
    let file = fs::File::open(place.path("p.parquet")).unwrap();
    let file = SerializedFileReader::new(file).unwrap();
    let found: Vec<Value> = file
        .get_row_iter(None)
        .unwrap()
        .map(|row| {
            let columns = row.unwrap().into_columns();
            let columns = columns.into_iter().map(|(name, value)| {
                let value = match value {
                    parquet::record::Field::Str(text) => text.into(),
                    parquet::record::Field::Double(number) => number.into(),
                    parquet::record::Field::Null => Value::Null,
                    other => panic!("{name}: {other:?}"),
                };
                (name, value)
            });
            Value::Object(columns.collect())
        })
        .collect();
    assert_eq!(found, expected);
    let mut table = csv::Reader::from_path(place.path("p.csv")).unwrap();
    let header = table.headers().unwrap().clone();
    for (row, expected) in table.records().zip(&expected) {
        for (name, cell) in header.iter().zip(row.unwrap().iter()) {
            let expected = match &expected[name] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                number => number.to_string(),
            };
            let number = |text: &str| text.parse::<f64>().ok();
            assert!(
                cell == expected || number(cell) == number(&expected),
                "{name}: {cell}"
            );
        }
    }
    let left = fs::read_dir(place.path("")).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left
        .filter(|name| name.contains("p.") && name.len() > 9)
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_killed_command_goes_on_and_ends_with_the_same_bytes() {
    let place = Workplace::new();
    write_long_list(&place);
    let predict = "predict --model model --classes classes.txt --images many.txt --image-root images --top-k 2";
    // The threshold is known from the start, or chosen when all images were seen.
    for (threshold, extension) in [("0.34", "csv"), ("stored", "jsonl"), ("0.34", "parquet")] {
        let command = |output: &str| {
            format!("{predict} --threshold {threshold} --output {output}.{extension}")
        };
        let begun = Instant::now();
        place.run(&command("whole"), 0);
        let all = begun.elapsed();
        let whole = fs::read(place.path(format!("whole.{extension}"))).unwrap();
        let output = format!("killed.{extension}");
        let mut kills = 0;
        for part in 1..=6 {
            let mut child = place
                .ueo(&command("killed"))
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            sleep(all * part / 9);
            // The operating system ends it wherever it is.
            child.kill().unwrap();
            kills += usize::from(!child.wait().unwrap().success());
            if place.path(&output).exists() {
                break;
            }
        }
        assert!(kills > 0, "no command was killed");
        if !place.path(&output).exists() {
            place.run(&command("killed"), 0);
        }
        assert!(fs::read(place.path(&output)).unwrap() == whole, "{output}");
        assert!(!place.path(format!(".ueo-{output}.features")).exists());
    }
}

#[test]
fn rows_can_be_watched_while_the_command_runs() {
    let place = Workplace::new();
    write_long_list(&place);
    let command = "predict --model model --classes classes.txt --images many.txt --image-root images --threshold 0.34 \
        --threads 1 --output p.csv";
    let mut child = place.ueo(command).stderr(Stdio::null()).spawn().unwrap();
    let (mut seen, patience) = (0, Instant::now() + Duration::from_secs(120));
    while seen < 2 && Instant::now() < patience && child.try_wait().unwrap().is_none() {
        let partial = fs::read_to_string(place.path("p.csv.partial")).unwrap_or_default();
        seen = seen.max(partial.lines().count());
        sleep(Duration::from_millis(1));
    }
    assert!(child.wait().unwrap().success());
    let lines = fs::read_to_string(place.path("p.csv"))
        .unwrap()
        .lines()
        .count();
    assert!(1 < seen && seen < lines, "{seen} of {lines} lines");
    assert!(!place.path("p.csv.partial").exists());
}

#[test]
fn images_of_a_parquet_file_are_adapted_to_and_predicted() {
    let place = Workplace::new();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../ueo/tests/fixtures/parquet");
    let hugging_face = format!("{fixtures}/hugging-face");
    place
        .run(
            &format!("adapt --model model --classes classes.txt --images {hugging_face} --output run --epochs 1"),
            0,
        )
        .says(&["labels: names; 7 images of known classes"]);
    place.run(
        &format!("predict --model run --images {hugging_face} --output p.jsonl"),
        0,
    );
    let found = rows(&place, "p.jsonl");
    assert_eq!(found.len(), 8);
    assert_eq!(found[0]["path"], "train-00000-of-00002.parquet/00000000");
    assert_eq!(found[2]["true_label"], "red_fox");
    let columns = "--image-column photo --label-column name";
    let predict = "predict --model run --output q.jsonl --images";
    place
        .run(&format!("{predict} {fixtures}/snappy.parquet {columns}"), 1)
        .says(&["2 inputs were skipped", "has no bytes"]);
    assert_eq!(rows(&place, "q.jsonl").len(), 10);
    place
        .run(
            &format!("{predict} {fixtures}/snappy.parquet --image-column picture --overwrite"),
            2,
        )
        .says(&[
            "a column `picture` of encoded images",
            "photo (binary)",
            "--image-column",
        ]);
}
