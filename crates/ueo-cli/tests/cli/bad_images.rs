//! Images and class files that cannot be used: skipped and listed where others remain, refused where none do.

use std::fs;

use crate::support::{ADAPT, IMAGES, Workplace};

/// Files that are no usable images, with what is said about each.
const BROKEN: [(&str, &[u8]); 4] = [
    ("empty.png", b""),
    ("text.jpg", b"This is not an image."),
    ("noise.webp", &[0x5a; 300]),
    ("half.gif", b"GIF89a\x10\x00\x10\x00\xf0\x00\x00"),
];

fn with_broken_images() -> Workplace {
    let place = Workplace::new();
    for (name, bytes) in BROKEN {
        place.write(&format!("images/cat/{name}"), bytes);
    }
    let whole = fs::read(place.path("images/cat/0.png")).unwrap();
    place.write("images/cat/truncated.png", &whole[..whole.len() / 2]);
    place.write("images/cat/bomb.png", bomb());
    place
}

/// A PNG that claims 60,000 x 60,000 pixels.
fn bomb() -> Vec<u8> {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../ueo/tests/fixtures/images");
    fs::read(format!("{images}/bomb.png")).unwrap()
}

const BROKEN_NAMES: [&str; 6] = [
    "cat/bomb.png",
    "cat/empty.png",
    "cat/half.gif",
    "cat/noise.webp",
    "cat/text.jpg",
    "cat/truncated.png",
];

#[test]
fn unusable_images_are_skipped_listed_and_recorded() {
    let place = with_broken_images();
    let report = place.run(ADAPT, 1);
    report
        .says(&["warning: 6 inputs were skipped:"])
        .says(&BROKEN_NAMES);
    let images = &place.json("run/run.json")["images"];
    assert_eq!(images["used"], IMAGES);
    let skipped = images["skipped"].as_array().unwrap();
    assert_eq!(
        skipped
            .iter()
            .map(|image| image["id"].as_str().unwrap())
            .collect::<Vec<_>>(),
        BROKEN_NAMES
    );
    assert!(
        skipped
            .iter()
            .all(|image| !image["reason"].as_str().unwrap().is_empty())
    );

    let report = place.run("predict --model run --images images --output p.csv", 1);
    report.says(&["6 inputs were skipped"]);
    let rows = fs::read_to_string(place.path("p.csv"))
        .unwrap()
        .lines()
        .count();
    assert_eq!(rows, 1 + IMAGES);
    place.run("evaluate --model run --images images --output e.json", 1);
    place.run(
        "embed --model run --images images --output f.safetensors",
        1,
    );
}

#[test]
fn each_kind_of_damage_has_its_message() {
    let place = with_broken_images();
    let report = place.run(ADAPT, 1);
    for (name, said) in [
        ("bomb.png", "pixels"),
        ("empty.png", "empty"),
        ("half.gif", "expected"),
        ("noise.webp", "expected"),
        ("text.jpg", "expected"),
        ("truncated.png", "expected"),
    ] {
        let line = report
            .stderr
            .lines()
            .find(|line| line.contains(name))
            .unwrap();
        assert!(line.contains(said), "{said:?} in {line:?}");
    }
}

#[test]
fn strict_makes_skipped_images_errors() {
    let place = with_broken_images();
    for command in [
        format!("{ADAPT} --strict"),
        "predict --model model --classes classes.txt --images images --output p.csv --strict"
            .to_owned(),
        "embed --model model --images images --output f.safetensors --strict".to_owned(),
    ] {
        place.run(&command, 2).says(&[
            "error: 6 inputs cannot be used, and none may be skipped",
            "cat/bomb.png",
            "hint:",
        ]);
    }
    assert!(!place.path("p.csv").exists() && !place.path("f.safetensors").exists());
}

#[test]
fn no_images_at_all() {
    let place = Workplace::new();
    fs::create_dir(place.path("empty")).unwrap();
    let adapt = |images: &str| ADAPT.replace("--images images", &format!("--images {images}"));
    place
        .run(&adapt("empty"), 2)
        .says(&["error:", "expected images in", "found none", "hint:"]);
    place.write("broken/a.png", b"");
    place.run(&adapt("broken"), 2).says(&[
        "error:",
        "found none (1 skipped",
        "a.png",
        "an empty file",
        "hint:",
    ]);
    place
        .run(&adapt("missing"), 2)
        .says(&["error:", "missing", "No such file", "hint:"]);
    place.write("list.txt", "nowhere.png\n");
    place
        .run(&adapt("list.txt"), 2)
        .says(&["error:", "nowhere.png", "hint:"]);
    place.write("shard.tar", b"no archive");
    place
        .run(&adapt("shard.tar"), 2)
        .says(&["error:", "tar archive", "shard.tar", "hint:"]);
}

#[cfg(unix)]
#[test]
fn symlink_loops_are_skipped() {
    let place = Workplace::new();
    std::os::unix::fs::symlink(place.path("images"), place.path("images/cat/again")).unwrap();
    place
        .run(ADAPT, 1)
        .says(&["1 input was skipped", "cat/again", "symbolic link back to"]);
}

#[cfg(unix)]
#[test]
fn unreadable_folders_are_skipped() {
    use std::os::unix::fs::PermissionsExt;

    let place = Workplace::new();
    place.write("images/secret/a.png", b"");
    fs::set_permissions(
        place.path("images/secret"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    let arguments =
        "predict --model model --classes classes.txt --images images --output out/p.csv";
    let report = place.run_unprivileged(arguments, 1);
    fs::set_permissions(
        place.path("images/secret"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    report.says(&["1 input was skipped", "secret", "ermission denied"]);
}

#[test]
fn class_files_with_mistakes_name_the_line() {
    let place = Workplace::new();
    for (content, said) in [
        (
            &b"cat\n\ndog\n"[..],
            "classes.txt:2: expected a class name, found a blank line",
        ),
        (
            b"cat\ndog\ncat\n",
            "classes.txt:3: expected every class once, found \"cat\" again",
        ),
        (b"sea_lion\nsea lion\n", "classes.txt:2:"),
        (b"cat\nca\xf1on\n", "classes.txt:2: expected UTF-8"),
        (b"\xff\xfec\0a\0t\0", "UTF-16"),
        (b"", "expected one class name per line"),
        (b"cat,dog,red_fox\n", "3 names between commas"),
    ] {
        place.write("classes.txt", content);
        place.run(ADAPT, 2).says(&["error:", said, "hint:"]);
    }
    assert!(!place.path("run").exists());
}

#[test]
fn the_number_of_classes_is_always_said_and_one_alone_is_warned_of() {
    let place = Workplace::new();
    place.run(ADAPT, 0).says(&["3 classes in classes.txt"]);
    place.write("one.txt", "cat\n");
    let evaluate = "evaluate --model model --images images --classes one.txt";
    place.run(evaluate, 0).says(&[
        "1 class in one.txt",
        "warning: there is one class alone",
        "hint:",
    ]);
}

#[test]
fn paths_that_do_not_exist_are_named_as_what_they_should_be() {
    let place = Workplace::new();
    let classes = ADAPT.replace("classes.txt", "nope.txt");
    place
        .run(&classes, 2)
        .says(&["error: expected a file of class names at nope.txt", "hint:"]);
    let predict = "predict --model model --classes classes.txt --output p.csv";
    place
        .run(&format!("{predict} --images images/nope.png"), 2)
        .says(&["or an image at images/nope.png", "hint:"]);
}

#[test]
fn a_class_name_longer_than_the_model_takes() {
    let place = Workplace::new();
    place.write("classes.txt", format!("cat\n{}\n", "dog ".repeat(20)));
    place.run(ADAPT, 2).says(&["error:", "tokens", "16"]);
}

#[test]
fn texts_with_mistakes() {
    let place = Workplace::new();
    let embed = "embed --model model --texts texts.txt --output t.safetensors";
    place.write("texts.txt", "a cat\n\na dog\n");
    place
        .run(embed, 2)
        .says(&["texts.txt:2: expected a text, found a blank line", "hint:"]);
    place.write("texts.txt", "");
    place.run(embed, 2).says(&["expected one text per line"]);
    place.write("texts.txt", "dog ".repeat(20));
    place.run(embed, 2).says(&["error:", "tokens", "16"]);
    place.run(&format!("{embed} --truncate"), 0);
}
