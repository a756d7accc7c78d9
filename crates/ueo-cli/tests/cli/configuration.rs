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
        "error: epochs",
        "at least 1",
        "hint:",
        "--epochs",
    ]);
    place.write("settings.toml", format!("{INPUTS}no-shuffle = \"yes\"\n"));
    place
        .run("adapt --config settings.toml", 2)
        .says(&["`no-shuffle`: expected true or false, found string"]);
    place.write("settings.json", "{\"epochs\": [3]}");
    place
        .run("adapt --config settings.json", 2)
        .says(&["`epochs`: expected text or a number, found array"]);
    place.write("settings.json", "[3]");
    place
        .run("adapt --config settings.json", 2)
        .says(&["settings.json is no valid JSON"]);
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
        ("--device cuda", "name it with --device wgpu"),
        #[cfg(not(feature = "wgpu"))]
        (
            "--device wgpu",
            "cargo install --path crates/ueo-cli --features wgpu",
        ),
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

#[test]
fn the_settings_of_a_run_can_be_given_back() {
    let place = Workplace::new();
    let first = "--epochs 3 --trade-off 0.5 --no-shuffle --keep best-by-margin --score energy --threshold otsu \
                 --micro-batch 4 --seed 18446744073709551615";
    let adapt = "adapt --model model --images images --classes classes.txt";
    place.run(&format!("{adapt} --batch-size 12 {first} --output run"), 0);
    place.run(&format!("{adapt} --config run/run.json --output again"), 0);
    let request = |run: &str| place.json(&format!("{run}/run.json"))["request"].clone();
    assert_eq!(request("again"), request("run"));
    assert_eq!(request("again")["settings"]["shuffle"], false);
    // The command line wins here too, and a run that shuffled shuffles again.
    place.run(&format!("{adapt} --batch-size 12 --output shuffled"), 0);
    let other = format!("{adapt} --config shuffled/run.json --epochs 1 --output other");
    place.run(&other, 0);
    assert_eq!(request("other")["settings"]["epochs"], 1);
    assert_eq!(request("other")["settings"]["shuffle"], true);
}

#[test]
fn keys_of_a_file_may_have_underscores_or_hyphens() {
    let place = Workplace::new();
    place.write("settings.toml", format!("{INPUTS}trade_off = 0.5\n"));
    place.run("adapt --config settings.toml --epochs 1", 0);
    let settings = place.json("run/run.json")["request"]["settings"].clone();
    assert_eq!(settings["trade_off"], 0.5);
}
