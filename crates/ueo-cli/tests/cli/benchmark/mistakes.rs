//! What is refused, and what is said about it, before anything runs.

use super::{BENCHMARK, SUITE, place};

#[test]
fn hostile_suites_write_nothing_anywhere() {
    let place = place();
    for (suite, expected) in [
        (
            SUITE.replace("name = \"light\"", "name = \"../../../escape\""),
            "expected a name of a domain",
        ),
        (
            SUITE.replace("name = \"tiny\"", "name = \"t\\n\\\\input{x}\""),
            "expected a name of the suite",
        ),
    ] {
        place.write("tiny.toml", suite);
        place.run(BENCHMARK, 2).says(&[expected]);
    }
    place
        .run(&format!("{BENCHMARK} --variant ../x"), 2)
        .says(&["expected letters"]);
    assert!(!place.path("out").exists() && !place.path("escape").exists());
}

#[test]
fn no_suite_starts_on_a_folder_that_was_not_named() {
    let place = place();
    let unnamed = BENCHMARK.replace("--data . ", "");
    place.run(&unnamed, 2).says(&[
        "the suite `tiny` needs the folder of its images",
        "--data",
        "make them",
    ]);
    place.write(
        "tiny.toml",
        SUITE.replace("roots", "default-data = \".\"\nroots"),
    );
    place.run(&format!("{unnamed} --list"), 0).says(&[
        "images: ., where the suite `tiny` has them by default; --data names another folder",
    ]);
}

#[test]
fn mistakes_are_explained_before_anything_runs() {
    let place = place();
    for (arguments, expected) in [
        (
            "--domains night",
            "expected a domain or group of domains (domains, light, dark), found `night`",
        ),
        ("--shifts closed,wide", "found `wide`"),
        ("--methods magic", "magic"),
        ("--set epochs=3", "--variant"),
        ("--set epoch=3 --variant a", "found `epoch`"),
        (
            "--set trade-off=2 --variant a --methods entropy-minimization",
            "settings of entropy-minimization",
        ),
        ("--variant published", "profile"),
        ("--shifts open", "found `open`"),
    ] {
        place
            .run(&format!("{BENCHMARK} {arguments}"), 2)
            .says(&[expected]);
    }
    place
        .run(
            "benchmark --suite tiny.toml --data model --model model --output out",
            2,
        )
        .says(&[
            "expected the images of the suite `tiny` in model",
            "hint: make them",
        ]);
    place
        .run("benchmark --suite office-99 --model model --output out", 2)
        .says(&["office-31"]);
    place
        .run("benchmark --suite tiny.toml --output out --tables-only", 2)
        .says(&["there are no results in out", "hint:"]);
    assert!(!place.path("out/cells").exists());
}
