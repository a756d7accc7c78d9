//! `--template`, `--class-names` and `--labels`: what class names and labels mean, as a user types it.

use std::fs;

use serde_json::{Value, json};

use crate::support::{ADAPT, Report, Workplace};

/// Short enough for the tiny text tower.
const SENTENCE: &str = "a photo {}";

impl Workplace {
    /// Runs the program with further arguments that may hold spaces.
    #[track_caller]
    fn run_with(&self, arguments: &str, more: &[&str], code: i32) -> Report {
        let output = self.ueo(arguments).args(more).output().unwrap();
        Report::of(output).expect_code(code, &format!("{arguments} {more:?}"))
    }

    /// What a model measures on the images.
    #[track_caller]
    fn evaluation(&self, arguments: &str, more: &[&str]) -> Value {
        let command = format!("evaluate --images images --output - {arguments}");
        let report = self.run_with(&command, more, 0);
        serde_json::from_str(&report.stdout).unwrap()
    }

    #[track_caller]
    fn labels_of_run(&self) -> Value {
        self.json("run/run.json")["images"]["labels"].clone()
    }
}

const ZERO_SHOT: &str = "--model model --classes classes.txt";

#[test]
fn a_template_is_what_zero_shot_adaptation_and_the_run_ask_with() {
    let place = Workplace::new();
    let plain = place.evaluation(ZERO_SHOT, &[]);
    let asked = ["--template", SENTENCE];
    let asked_so = place.evaluation(ZERO_SHOT, &asked);
    assert_ne!(asked_so, plain);
    // The default is a sentence like any other.
    let default = place.evaluation(ZERO_SHOT, &["--template", "a photo of a {}."]);
    assert_eq!(default, plain);

    place.run_with(ADAPT, &asked, 0);
    let record = place.json("run/run.json");
    assert_eq!(record["request"]["settings"]["template"], json!([SENTENCE]));
    assert_eq!(record["context_template"], "a photo");
    let table = place.run("inspect --model run", 0).stdout;
    assert!(
        table.contains("templates") && table.contains(SENTENCE),
        "{table}"
    );
    assert_eq!(record["zero_shot"], asked_so);
    // Every command asks the run in its own sentence, and a plain checkpoint beside it too.
    assert_eq!(record["adapted"], place.evaluation("run", &[]));
    let both = place.evaluation("model run", &[]);
    assert_eq!(both[0]["evaluation"], asked_so);
    assert_eq!(both[1]["evaluation"], record["adapted"]);
    for command in ["evaluate run", "predict --model run --output p.csv"] {
        let command = format!("{command} --images images");
        place.run_with(&command, &asked, 2).says(&[
            "error: run is a run directory, whose template",
            "hint:",
            "--template",
        ]);
    }

    // It can be given back, and a resumed run must agree.
    let again = ADAPT.replace("--output run", "--output again");
    place.run(&format!("{again} --config run/run.json"), 0);
    let adapted = |run: &str| fs::read(place.path(format!("{run}/adapted.safetensors"))).unwrap();
    assert_eq!(adapted("again"), adapted("run"));
    place
        .run_with(&format!("{ADAPT} --resume"), &["--template", "of {}"], 2)
        .says(&["begun with another template", SENTENCE]);
    place.run_with(&format!("{ADAPT} --resume"), &asked, 0);
}

#[test]
fn several_templates_are_averaged_and_the_context_starts_from_the_first() {
    let place = Workplace::new();
    let (first, second) = (["--template", SENTENCE], ["--template", "of {}"]);
    let both = [first, second].concat();
    let mean = place.evaluation(ZERO_SHOT, &both);
    assert_ne!(mean, place.evaluation(ZERO_SHOT, &first));
    assert_ne!(mean, place.evaluation(ZERO_SHOT, &second));

    place.run_with(ADAPT, &both, 0);
    let single = ADAPT.replace("--output run", "--output single");
    place.run_with(&single, &first, 0);
    assert_eq!(place.json("run/run.json")["zero_shot"], mean);
    let adapted = |run: &str| fs::read(place.path(format!("{run}/adapted.safetensors"))).unwrap();
    assert_eq!(adapted("run"), adapted("single"));

    // The features themselves, for other programs.
    let names = "embed --model model --texts classes.txt --output";
    place.run_with(&format!("{names} mean.safetensors"), &both, 0);
    place.run_with(&format!("{names} first.safetensors"), &first, 0);
    place.run(&format!("{names} plain.safetensors"), 0);
    let features = |file: &str| fs::read(place.path(file)).unwrap();
    assert_ne!(features("mean.safetensors"), features("first.safetensors"));
    assert_ne!(features("first.safetensors"), features("plain.safetensors"));
    let sentences = "a photo cat\na photo dog\na photo red fox\n";
    place.write("sentences.txt", sentences);
    let sentences = "embed --model model --texts sentences.txt --output sentences.safetensors";
    place.run(sentences, 0);
    let tensor = |file: &str| {
        let bytes = features(file);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        file.tensor("text_features").unwrap().data().to_vec()
    };
    let close = |a: &[u8], b: &[u8]| {
        let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
        let pairs = a.chunks(4).zip(b.chunks(4));
        pairs
            .map(|(a, b)| (number(a) - number(b)).abs())
            .fold(0.0, f32::max)
    };
    let distance = close(
        &tensor("sentences.safetensors"),
        &tensor("first.safetensors"),
    );
    assert!(distance < 1e-6, "{distance}");
}

#[test]
fn a_template_without_a_place_or_too_long_is_refused() {
    let place = Workplace::new();
    let long = format!("{}{{}}", "photo ".repeat(40));
    for (template, says) in [
        ("a satellite photo", "expected one {}"),
        ("a {} or a {}", "expected one {}"),
        ("a photo of:{}", "expected a space in front of {}"),
    ] {
        place
            .run_with(ADAPT, &["--template", template], 2)
            .says(&["--template", says]);
    }
    let from_front = place.run_with(ADAPT, &["--template", "{} from above"], 2);
    from_front.says(&["error:", "hint: put some words in front of {}"]);
    for command in [ADAPT, &format!("evaluate {ZERO_SHOT} --images images")] {
        place.run_with(command, &["--template", &long], 2).says(&[
            "error: the template",
            "tokens",
            "hint: shorten the template",
        ]);
    }
    place
        .run_with(
            &format!("{ADAPT} --method zero-shot-ensemble"),
            &["--template", SENTENCE],
            2,
        )
        .says(&["error: template", "templates of its own", "hint:"]);
    assert!(!place.path("run").exists());
}

#[test]
fn classes_that_are_ids_get_names_and_folders_may_keep_the_ids() {
    let place = Workplace::new();
    let by_name = place.evaluation(ZERO_SHOT, &[]);
    let ids = [
        ("cat", "n02121808"),
        ("dog", "n02084071"),
        ("red_fox", "n02119022"),
    ];
    for (name, id) in ids {
        fs::rename(
            place.path(format!("images/{name}")),
            place.path(format!("images/{id}")),
        )
        .unwrap();
    }
    place.write("ids.txt", "n02121808\nn02084071\nn02119022\n");
    place.write(
        "names.csv",
        "id,name\nn02084071,dog\nn02119022,red_fox\nn02121808,cat\nn00000001,mist\n",
    );
    place.write(
        "names.json",
        r#"{"n02121808": "cat", "n02084071": "dog", "n02119022": "red_fox"}"#,
    );
    for names in ["names.csv", "names.json"] {
        let model = format!("--model model --classes ids.txt --class-names {names}");
        assert_eq!(place.evaluation(&model, &[]), by_name);
    }
    // Ids alone are read letter by letter, for which the tiny text tower has no room and nobody a use.
    let ids = "evaluate --model model --classes ids.txt --images images";
    place.run(ids, 2).says(&[
        "warning: the class names look like ids (n02121808)",
        "hint: --class-names",
    ]);
    let adapt = ADAPT.replace("classes.txt", "ids.txt --class-names names.csv");
    place
        .run(&adapt, 0)
        .says(&["labels: the folders; 18 images of known classes"]);
    let record = place.json("run/run.json");
    assert_eq!(
        record["request"]["classes"],
        json!(["cat", "dog", "red_fox"])
    );
    assert_eq!(record["request"]["class_ids"][1], "n02084071");
    // The run knows both, for images that come later.
    assert_eq!(place.evaluation("run", &[]), record["adapted"]);
    place.run("predict --model run --images images --output p.csv", 0);
    let table = fs::read_to_string(place.path("p.csv")).unwrap();
    assert!(
        table.contains(",dog,known") && !table.contains(",n02"),
        "{table}"
    );

    place.write("few.csv", "id,name\nn02084071,dog\n");
    let few = format!(
        "evaluate --images images {}",
        "--model model --classes ids.txt --class-names few.csv"
    );
    place
        .run(&few, 2)
        .says(&["error:", "n02121808", "hint:", "id,name"]);
    place
        .run(
            "predict --model run --images images --class-names names.csv --output q.csv",
            2,
        )
        .says(&["--classes"]);
}

#[test]
fn folders_that_match_no_class_are_listed_with_the_nearest_one() {
    let place = Workplace::new();
    // Case, `_`, `-` make no difference; a slip of the keyboard does.
    fs::rename(place.path("images/red_fox"), place.path("images/Red-Fox")).unwrap();
    fs::rename(place.path("images/dog"), place.path("images/dogg")).unwrap();
    place.adapt("").says(&[
        "labels: the folders; 12 images of known classes, 12 of 2 other names",
        "warning: `dogg` is no class; did you mean `dog`? 6 images count as unknown",
        "no class: `submarine` (6)",
    ]);
    let labels = place.labels_of_run();
    assert_eq!(labels["basis"], json!({"folders": {"level": 0}}));
    assert_eq!(labels["known_images"], 12);
    assert_eq!(
        labels["unmatched"],
        json!([
            {"label": "dogg", "images": 6, "nearest": "dog"},
            {"label": "submarine", "images": 6},
        ])
    );
    // Two models, one word about labels.
    let report = place.run("evaluate model run --images images", 0);
    assert_eq!(report.stderr.matches("labels:").count(), 1);
    assert_eq!(report.stderr.matches("did you mean").count(), 1);
}

#[test]
fn folders_that_mean_something_else_are_no_labels_unless_the_user_says_so() {
    let place = Workplace::new();
    fs::create_dir(place.path("album")).unwrap();
    for (from, to) in [("cat", "2023-05"), ("dog", "phone"), ("submarine", "scans")] {
        fs::rename(
            place.path(format!("images/{from}")),
            place.path(format!("album/{to}")),
        )
        .unwrap();
    }
    let adapt = ADAPT.replace("--images images", "--images album");
    place.run(&adapt, 0).says(&[
        "labels: none; most folders are no classes, so 18 images count as unlabelled",
        "  folders: `2023-05` (6), `phone` (6), `scans` (6)",
        "--labels folders takes them for labels",
        "changed   the class of",
    ]);
    let labels = place.labels_of_run();
    assert_eq!(labels["basis"], "nothing");
    assert_eq!(
        labels["unlabelled"],
        json!([{"reason": "folders-are-no-classes", "images": 18}])
    );
    assert_eq!(labels["unmatched_names"], 3);
    place.run("evaluate run --images album", 2).says(&[
        "labels: none; most folders",
        "error:",
        "no labels",
        "hint:",
        "--labels folders",
    ]);

    // One folder of four is a class: too few to be meant, but the user knows better.
    fs::rename(place.path("images/red_fox"), place.path("album/red fox")).unwrap();
    place.write("many.txt", "red_fox\nowl\nelk\nbear\nhare\n");
    let evaluate = "evaluate --model model --classes many.txt --images album";
    place.run(evaluate, 2).says(&["--labels folders"]);
    place
        .run(&format!("{evaluate} --labels folders"), 0)
        .says(&["labels: the folders; 6 images of known classes, 18 of 3 other names"]);
}

#[test]
fn labels_can_be_left_out_or_must_be_there() {
    let place = Workplace::new();
    place.adapt("--labels none");
    let record = place.json("run/run.json");
    assert_eq!(record["zero_shot"], Value::Null);
    assert_eq!(record["request"]["labels"], "none");
    let table = fs::read_to_string(place.path("run/predictions.csv")).unwrap();
    assert!(!table.contains("submarine,"), "{table}");
    // The training is the same: labels never touch it.
    place.run(&ADAPT.replace("--output run", "--output measured"), 0);
    let adapted = |run: &str| fs::read(place.path(format!("{run}/adapted.safetensors"))).unwrap();
    assert_eq!(adapted("run"), adapted("measured"));
    place
        .run("evaluate run --images images --labels list", 2)
        .says(&["error:", "list", "hint:", "--labels folders"]);
    place
        .run("evaluate run --images images --labels none", 2)
        .says(&["error:", "no labels"]);
    place
        .run("evaluate run --images images/cat --labels folders", 2)
        .says(&[
            "labels: none; 6 images beside the class folders, in none of them",
            "error:",
        ]);
    place
        .run("evaluate run --images images --labels names", 2)
        .says(&["auto", "folders", "list", "none"]);
}

#[test]
fn numbers_that_count_from_one_are_noticed() {
    let place = Workplace::new();
    let list = |from: usize| -> String {
        let classes = ["cat", "dog", "red_fox"].iter().zip(from..);
        classes
            .map(|(class, number)| format!("images/{class}/0.png {number}\n"))
            .collect()
    };
    let evaluate = |name: &str| place.run(&format!("evaluate {ZERO_SHOT} --images {name}"), 0);
    place.write("from-one.txt", list(1));
    evaluate("from-one.txt").says(&[
        "labels: numbers from 0; 2 images of known classes",
        "warning:",
        "count from 1",
        "hint:",
    ]);
    place.write("from-zero.txt", list(0));
    let report = evaluate("from-zero.txt");
    assert!(!report.stderr.contains("count from 1"), "{}", report.stderr);
}

#[test]
fn images_of_unknown_classes_alone_are_measured_where_labels_are_asked_for() {
    let place = Workplace::new();
    place.write("known.txt", "axe\nbee\n");
    let all = "--classes known.txt --images images --labels folders";
    let report = place.run(&format!("evaluate model {all} --output e.json"), 0);
    let shown = &report.stdout;
    assert!(shown.contains("0 known and 24 unknown images"), "{shown}");
    let measured = place.json("e.json");
    assert!(measured["auroc"].is_null() && measured["overall_accuracy"].is_null());
    assert!(measured["unknown_recall_at_threshold"].is_number());
    place.run(&format!("predict --model model {all} --output p.csv"), 0);
    let adapt = format!("adapt --model model {all} --epochs 1 --output run");
    place.run(&adapt, 0);
    assert_eq!(place.json("run/run.json")["adapted"]["n_known"], 0);
}
