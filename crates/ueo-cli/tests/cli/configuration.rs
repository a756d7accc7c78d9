//! `--config`: the file's place between the command line and the defaults, and what it says about mistakes.

use crate::support::Workplace;

const INPUTS: &str = "\
model = \"model\"
images = \"images\"
classes = \"classes.txt\"
output = \"run\"
batch-size = 12
";

#[test]
fn the_command_line_wins_over_the_file_and_the_file_over_defaults() {
    let place = Workplace::new();
    let settings = "epochs = 3\ntrade-off = 0.5\nno-shuffle = true\nstandalone = false\n";
    place.write("settings.toml", format!("{INPUTS}{settings}"));
    place.run("adapt --config settings.toml --epochs 1", 0);
    let request = &place.json("run/run.json")["request"];
    let settings = &request["settings"];
    assert_eq!(settings["epochs"], 1, "command line");
    assert_eq!(settings["trade_off"], 0.5, "file");
    assert_eq!(settings["shuffle"], false, "switch in the file");
    assert_eq!(settings["seed"], 2023, "default");
    assert_eq!(request["standalone"], false);
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    let place = Workplace::new();
    place.write("settings.toml", format!("{INPUTS}batch_sise = 3\n"));
    place.run("adapt --config settings.toml", 2).says(&[
        "error:",
        "settings.toml",
        "`batch_sise`",
        "hint: did you mean `batch-size`?",
    ]);
    place.write("settings.toml", "top-k = 3\n");
    place
        .run("adapt --config settings.toml", 2)
        .says(&["`top-k`, which `ueo adapt` does not know"]);
}

#[test]
fn values_of_the_file_are_checked_like_flags() {
    let place = Workplace::new();
    place.write("settings.toml", format!("{INPUTS}epochs = 0\n"));
    place.run("adapt --config settings.toml", 2).says(&[
        "--config file",
        "invalid value '0'",
        "--epochs",
        "at least 1",
    ]);
    place.write("settings.toml", format!("{INPUTS}no-shuffle = \"yes\"\n"));
    place
        .run("adapt --config settings.toml", 2)
        .says(&["`no-shuffle`: expected true or false, found string"]);
    place.write("settings.toml", "epochs: 3\n");
    place.run("adapt --config settings.toml", 2).says(&[
        "settings.toml is no valid TOML",
        "caused by:",
        "hint:",
    ]);
    place
        .run("adapt --config missing.toml", 2)
        .says(&["missing.toml cannot be read", "caused by: No such file"]);
}

#[test]
fn settings_that_make_no_sense_are_refused_before_anything_is_read() {
    let place = Workplace::new();
    for (setting, expected) in [
        ("--epochs 0", "at least 1"),
        ("--batch-size 0", "at least 1"),
        ("--weight-temperature 0", "above 0"),
        ("--context-learning-rate=-1", "not negative"),
        ("--trade-off nan", "not negative"),
        ("--threshold median", "gaussian-mixture"),
        ("--threads 0", "at least 1"),
        ("--image-cache 2GB", "2GiB"),
        ("--device cuda", "expected `cpu`"),
        ("--device tpu", "expected `cpu`"),
        ("--base model", "without --resume"),
    ] {
        let arguments = format!(
            "adapt --model model --images images --classes classes.txt --output run {setting}"
        );
        place.run(&arguments, 2).says(&["error:", expected]);
    }
    assert!(!place.path("run").exists());
}
