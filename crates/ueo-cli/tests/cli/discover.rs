//! What rejected images show: groups, names, the longer class list, and what can be wrong.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use serde_json::Value;

use crate::page::Page;
use crate::support::{IMAGES, Workplace};

/// The classes that the demonstration shows and does not list.
const UNLISTED: [&str; 10] = [
    "palette",
    "paperclip",
    "pencil",
    "pizza",
    "printer",
    "robot",
    "scissors",
    "shield",
    "shopping cart",
    "skull",
];

/// A discovery on an untrained model: every image is rejected.
const REJECT_ALL: &str =
    "discover model --classes classes.txt --images images --threshold 2 --output out";

fn files(place: &Workplace, directory: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(place.path(directory))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn proposals(found: &Value) -> BTreeSet<String> {
    let groups = found["groups"].as_array().unwrap().iter();
    groups
        .filter_map(|group| Some(group["proposal"].as_str()?.to_owned()))
        .collect()
}

/// Of the groups of three images or more, the images that show what most of their group show.
fn purity(found: &Value) -> f64 {
    let (mut of_majority, mut all) = (0, 0);
    for group in found["groups"].as_array().unwrap() {
        let images = group["images"].as_array().unwrap();
        if images.len() < 3 {
            continue;
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for image in images {
            *counts
                .entry(image["true_label"].as_str().unwrap())
                .or_default() += 1;
        }
        of_majority += counts.values().max().unwrap();
        all += images.len();
    }
    f64::from(u32::try_from(of_majority).unwrap()) / f64::from(u32::try_from(all).unwrap())
}

#[test]
fn the_demonstration_shows_what_its_class_list_lacks() {
    let place = Workplace::new();
    place.run("demo --output demo", 0);
    let report = place.run("discover demo --images demo-input/images.tar", 0);
    report.says(&[
        "273 images, ",
        " rejected as unknown below a confidence of 0.",
        "page      demo/discovered/discovered.html",
        "classes   demo/discovered/classes.txt: 50 known and ",
        "next      ueo adapt --model demo-input/model --images demo-input/images.tar --classes demo/discovered/classes.txt",
    ]);
    for line in report.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let expected = [
        "classes.txt",
        "discovered.html",
        "discovered.json",
        "groups.csv",
    ];
    assert_eq!(files(&place, "demo/discovered"), expected);

    let found = place.json("demo/discovered/discovered.json");
    println!(
        "proposed of the nouns: {:?}, purity {:.2}",
        proposals(&found),
        purity(&found)
    );
    assert!(purity(&found) > 0.6);
    // Three of the ten are among the nouns.
    let right = proposals(&found).into_iter();
    let right = right
        .filter(|name| UNLISTED.contains(&name.as_str()))
        .count();
    assert!(right >= 2, "{:?}", proposals(&found));

    // The list goes on where the known classes end, and a run with it can be begun.
    let classes = fs::read_to_string(place.path("demo/discovered/classes.txt")).unwrap();
    let known = str::from_utf8(ueo_demo_images::CLASSES).unwrap();
    let added = classes.strip_prefix(known).unwrap();
    assert_eq!(added.lines().count(), proposals(&found).len());
    place.run(
        "predict --model demo-input/model --classes demo/discovered/classes.txt --images demo-input/images.tar \
         --output longer.csv",
        0,
    );

    let mut table = csv::Reader::from_path(place.path("demo/discovered/groups.csv")).unwrap();
    let header = ["path", "group", "confidence", "similarity", "proposed"];
    assert_eq!(table.headers().unwrap(), header.as_slice());
    let threshold = found["threshold"].as_f64().unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let mut predictions = csv::Reader::from_path(place.path("demo/predictions.csv")).unwrap();
    let decisions = predictions.records().map(|row| row.unwrap()[3].to_owned());
    let rejected = decisions.filter(|decision| decision == "unknown").count();
    assert_eq!(rows.len(), rejected);
    for row in &rows {
        assert!(row[2].parse::<f64>().unwrap() < threshold);
        assert_eq!(row[1].is_empty(), row[3].is_empty(), "{row:?}");
    }

    let page = Page::read(&place, "demo/discovered/discovered.html");
    page.expect_self_contained();
    assert_eq!(page.ids(), ["summary", "groups", "images", "alone", "how"]);
    page.shows(&["Perhaps the class list lacks", "Group 1: ", "is shield"]);
    // Each row of the table has a cell below each title.
    let groups = found["groups"].as_array().unwrap().len();
    let titles = page.count("th") - groups;
    assert_eq!(page.count("td"), (titles - 1) * groups);

    // The report of the run shows it too, as long as the run has the same result.
    place.run("report demo", 0);
    let page = Page::read(&place, "demo/report.html");
    page.expect_self_contained();
    page.shows(&["What the class list may lack"]);
}

#[test]
fn a_vocabulary_of_the_field_names_more() {
    let place = Workplace::new();
    place.run("demo --output demo", 0);
    let others = "apple\nviolin\nlamp\nmoon\nspoon\nbridge\nturtle\ncomb\nwhistle\nbucket\n";
    place.write("names.txt", UNLISTED.join("\n") + "\n" + others);
    let discover = |more: &str| {
        let command =
            "discover demo --images demo-input/images.tar --vocabulary names.txt --smallest 2";
        place.run(&format!("{command} {more}"), 0)
    };
    discover("--output one --threads 1");
    discover("--output four --threads 4");
    let found = place.json("one/discovered.json");
    println!("proposed of twenty names: {:?}", proposals(&found));
    let right = proposals(&found).into_iter();
    let right = right
        .filter(|name| UNLISTED.contains(&name.as_str()))
        .count();
    assert!(right >= 7, "{:?}", proposals(&found));
    // Both are known classes.
    assert_eq!(found["vocabulary"]["known"], 2);
    assert_eq!(found["vocabulary"]["names"], 18);
    for name in ["apple", "moon"] {
        assert!(!proposals(&found).contains(name));
    }
    for file in files(&place, "one") {
        let [one, four] =
            ["one", "four"].map(|run| fs::read_to_string(place.path(run).join(&file)).unwrap());
        let four = four.replace("four", "one");
        assert!(one == four, "{file} depends on the number of threads");
    }
}

#[test]
fn a_checkpoint_looks_with_a_list_of_classes() {
    let place = Workplace::new();
    place
        .run(REJECT_ALL, 0)
        .says(&["24 images, 24 rejected as unknown"]);
    let found = place.json("out/discovered.json");
    assert_eq!(found["format_version"], 1);
    assert_eq!(found["adapted_sha256"], Value::Null);
    assert_eq!(found["looked_at"], IMAGES);
    let words = found["vocabulary"]["names"].as_u64().unwrap();
    let left_out = found["vocabulary"]["known"].as_u64().unwrap()
        + found["vocabulary"]["too_long"].as_u64().unwrap();
    assert_eq!(words + left_out, 1528);
    let grouped = found["groups"].as_array().unwrap().iter();
    let grouped: usize = grouped
        .map(|group| group["images"].as_array().unwrap().len())
        .sum();
    assert_eq!(grouped + found["alone"].as_array().unwrap().len(), IMAGES);

    place
        .run("discover model --images images --output other", 2)
        .says(&["knows no classes", "--classes FILE"]);
}

#[test]
fn nothing_rejected_is_said_and_written() {
    let place = Workplace::new();
    let command = "discover --model model --classes classes.txt --images images --output out";
    place.run(&format!("{command} --threshold=-2"), 0).says(&[
        "24 images, none rejected as unknown",
        "no name: no image is rejected",
    ]);
    let classes = fs::read_to_string(place.path("out/classes.txt")).unwrap();
    assert_eq!(classes, "cat\ndog\nred_fox\n");
    Page::read(&place, "out/discovered.html").shows(&["No image was rejected as unknown"]);
    let table = fs::read_to_string(place.path("out/groups.csv")).unwrap();
    assert_eq!(table, "path,group,confidence,similarity,proposed\n");

    place.write("one.txt", "images/cat/0.png\n");
    place
        .run(
            "discover model --classes classes.txt --images one.txt --threshold 2 --output single",
            0,
        )
        .says(&[
            "1 image, 1 rejected as unknown",
            "0 groups and 1 alone",
            "one image is rejected, and one is no group",
        ]);
}

#[test]
fn what_cannot_name_anything_is_refused_before_images_are_read() {
    let place = Workplace::new();
    place.write("empty.txt", "");
    place.write("known.txt", "Red Fox\ncat\n");
    place.write(
        "long.txt",
        format!("cow\n{}\n", "very ".repeat(90) + "long"),
    );
    for (file, said) in [
        ("empty.txt", "found an empty file"),
        ("known.txt", "all of its 2 names are those of known classes"),
        ("long.txt", "long"),
        ("missing.txt", "missing.txt"),
    ] {
        let report = place.run(&format!("{REJECT_ALL} --vocabulary {file}"), 2);
        report.says(&["error: ", said, "hint: "]);
        assert!(!report.stderr.contains("encoding"), "{}", report.stderr);
    }
    place.run("discover", 2).says(&["<MODEL>"]);
}

#[test]
fn an_output_is_replaced_on_request_only() {
    let place = Workplace::new();
    place.run(REJECT_ALL, 0);
    place
        .run(REJECT_ALL, 2)
        .says(&["out exists and is not empty", "replace it with --overwrite"]);
    place.write("out/classes.txt", "changed\n");
    place.run(&format!("{REJECT_ALL} --overwrite"), 0);
    let classes = fs::read_to_string(place.path("out/classes.txt")).unwrap();
    assert!(classes.starts_with("cat\ndog\nred_fox\n"));

    place.write("mine/thesis.txt", "mine");
    let command = REJECT_ALL.replace("--output out", "--output mine --overwrite");
    place
        .run(&command, 2)
        .says(&["mine exists and is not empty", "name another --output"]);
    assert_eq!(files(&place, "mine"), ["thesis.txt"]);
}

#[test]
fn names_are_shown_as_text() {
    let place = Workplace::new();
    place.write("names.txt", "<i>c\n=1+1\n");
    place.write("classes.txt", "cat\n<b>dog\nred_fox\n");
    place.run(&format!("{REJECT_ALL} --vocabulary names.txt"), 0);
    let page = Page::read(&place, "out/discovered.html");
    page.expect_self_contained();
    page.shows(&["<i>c"]);
    let table = fs::read_to_string(place.path("out/groups.csv")).unwrap();
    assert!(!table.contains(",=1+1"), "{table}");
}
