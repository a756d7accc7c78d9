//! What is not taken is counted, and an image without a label costs only itself.

use std::fs;

use crate::benchmark;
use crate::support::{ADAPT, IMAGES, Workplace};

#[test]
fn files_that_are_not_taken_are_counted_on_the_screen_and_in_the_record() {
    let place = Workplace::new();
    for name in ["old.zip", "cat/.hidden.png", "notes.docx"] {
        place.write(&format!("images/{name}"), "x");
    }
    let said = [
        "not taken: 1 file, ZIP archive, which is not read: old.zip",
        "not taken: 1 file, hidden file: cat/.hidden.png",
        "not taken: 1 file, file with the extension .docx: notes.docx",
    ];
    let adapted = place.run(ADAPT, 0);
    for line in said {
        adapted.says(&[line]);
    }
    let record = place.json("run/run.json");
    assert_eq!(record["images"]["used"], IMAGES);
    let left_out = record["images"]["left_out"].as_array().unwrap();
    let files: u64 = left_out
        .iter()
        .map(|count| count["files"].as_u64().unwrap())
        .sum();
    assert_eq!((left_out.len(), files), (3, 3), "{left_out:?}");
    assert_eq!(left_out[0]["examples"][0], "old.zip");
    let predicted = place.run("predict --model run --images images --output p.csv", 0);
    predicted.says(&[said[0]]);
}

#[test]
fn pictures_of_formats_that_are_not_read_are_skipped_images_of_every_command() {
    let place = Workplace::new();
    place.adapt("");
    for name in ["cat/holiday.heic", "dog/web.AVIF", "raw.cr2"] {
        place.write(&format!("images/{name}"), "x");
    }
    for name in [".DS_Store", "notes.txt", "labels.json"] {
        place.write(&format!("images/{name}"), "x");
    }
    let said = [
        "warning: 3 inputs were skipped:",
        "cat/holiday.heic: expected JPEG, PNG,",
        "found HEIC, which is not read",
        "dog/web.AVIF: expected",
        "found AVIF, which is not read",
        "raw.cr2: expected",
        "found camera raw, which is not read",
    ];
    for command in [
        &ADAPT.replace("--output run", "--output second"),
        "predict --model run --images images --output p.csv",
        "evaluate --model run --images images --output e.json",
        "discover run --images images --output found",
        "embed --model run --images images --output e.safetensors",
    ] {
        place
            .run(&format!("{command} --overwrite --strict"), 2)
            .says(&["3 inputs cannot be used, and none may be skipped"]);
        place.run(&format!("{command} --overwrite"), 1).says(&said);
        place.run(&format!("{command} --overwrite --quiet"), 1);
    }
}

#[test]
fn one_image_without_a_label_is_named_and_not_measured() {
    let place = Workplace::new();
    place.adapt("");
    place.run("evaluate --model run --images images --output all.json", 0);
    // A picture beside the class folders shows nothing that is known.
    fs::copy(
        place.path("images/cat/0.png"),
        place.path("images/stray.png"),
    )
    .unwrap();
    place
        .run("evaluate --model run --images images --output e.json", 0)
        .says(&["1 image beside the class folders, in none of them: stray.png; not measured"]);
    assert_eq!(place.json("e.json"), place.json("all.json"));

    place.run(&format!("{ADAPT} --overwrite"), 0);
    let record = place.json("run/run.json");
    assert_eq!(record["images"]["used"], IMAGES + 1);
    let measured = &record["adapted"];
    let images = measured["n_known"].as_u64().unwrap() + measured["n_unknown"].as_u64().unwrap();
    assert_eq!(images, IMAGES as u64);
}

#[test]
fn oracle_weights_take_folders_for_labels_however_few_of_them_are_known() {
    let place = Workplace::new();
    // One folder of six is a known class, and one known class of three has a folder.
    for name in ["dog", "red_fox"] {
        fs::remove_dir_all(place.path(format!("images/{name}"))).unwrap();
    }
    for name in ["moon", "spoon", "train", "tulip"] {
        let other = fs::read(place.path("images/submarine/0.png")).unwrap();
        place.write(&format!("images/{name}/0.png"), other);
    }
    let oracle = "--method ueo-oracle --labels-for-oracle images";
    place.run(&format!("{ADAPT} {oracle}"), 0);
}

#[test]
fn a_benchmark_lists_the_inputs_that_it_cannot_use() {
    let place = benchmark::place();
    place.write("sets/light/cat/holiday.heic", "x");
    let command = format!("{} --domains light --shifts closed", benchmark::BENCHMARK);
    let zero_shot = format!("{command} --methods zero-shot");
    place.run(&format!("{zero_shot} --strict"), 2).says(&[
        "cannot be used, and none may be skipped",
        "light: cat/holiday.heic",
    ]);
    assert!(!place.path("out").exists());
    place.run(&zero_shot, 1).says(&[
        "1 input was skipped:",
        "light: cat/holiday.heic: expected",
        "found HEIC, which is not read",
    ]);
    place.run(&format!("{zero_shot} --quiet"), 1);
}
