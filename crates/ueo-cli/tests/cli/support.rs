//! Tiny models and images in a temporary directory, and the program to run on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

/// Classes of the list that [`Workplace::new`] writes.
pub const CLASSES: [&str; 3] = ["cat", "dog", "red_fox"];
/// Images per folder.
pub const PER_CLASS: usize = 6;
/// Images of all folders: three known classes and an unknown one.
pub const IMAGES: usize = 4 * PER_CLASS;

/// Every layout and architecture: name of the fixture, path of the model in it, whether it needs a vocabulary.
pub const MODELS: [(&str, &str, bool); 7] = [
    ("hf-vit", "model", false),
    ("hf-vit-bin", "model", false),
    ("openclip-vit", "model", false),
    ("openclip-rn", "model", true),
    ("openai-vit-torchscript-f16", "model.pt", true),
    ("openai-rn-torchscript-f16", "model.pt", true),
    ("openai-vit-state-dict", "model.pt", true),
];

/// A directory with a model, labelled images and a class list.
pub struct Workplace(TempDir);

impl Workplace {
    /// With `model/` (a Hugging Face ViT), `images/` and `classes.txt`.
    pub fn new() -> Self {
        let workplace = Self(TempDir::with_prefix("ueo-test-").unwrap());
        copy_tree(&fixture("hf-vit/model"), &workplace.path("model"));
        workplace.write("classes.txt", CLASSES.join("\n") + "\n");
        let folders = CLASSES.iter().chain(&["submarine"]);
        for (kind, folder) in folders.enumerate() {
            for number in 0..PER_CLASS {
                let path = workplace.path(format!("images/{folder}/{number}.png"));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                drawing(kind, number).save(path).unwrap();
            }
        }
        workplace
    }

    /// A path in it.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(relative)
    }

    /// Writes a file, its directories included.
    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Reads a JSON file.
    pub fn json(&self, relative: &str) -> Value {
        let text = fs::read_to_string(self.path(relative)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The program, started in this directory.
    pub fn ueo(&self, arguments: &str) -> Command {
        self.command(&self.program(), arguments)
    }

    fn command(&self, program: &Path, arguments: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.0.path())
            .args(arguments.split_whitespace());
        command
    }

    /// Runs the program and expects an exit code.
    pub fn run(&self, arguments: &str, code: i32) -> Report {
        Report::of(self.ueo(arguments).output().unwrap()).expect_code(code, arguments)
    }

    /// The path of the program.
    pub fn program(&self) -> PathBuf {
        env!("CARGO_BIN_EXE_ueo").into()
    }

    /// Like [`Self::run`], as a user whom permissions stop, which the superuser is not. `out/` may be written.
    #[cfg(unix)]
    pub fn run_unprivileged(&self, arguments: &str, code: i32) -> Report {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        use std::os::unix::process::CommandExt;

        const NOBODY: u32 = 65534;
        fs::create_dir_all(self.path("out")).unwrap();
        let mut program = self.program();
        let superuser = fs::metadata(self.path("out")).unwrap().uid() == 0;
        if superuser {
            // The build directory may lie where only the superuser can go.
            fs::copy(&program, self.path("ueo")).unwrap();
            program = self.path("ueo");
            fs::set_permissions(self.path(""), fs::Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(self.path("out"), fs::Permissions::from_mode(0o777)).unwrap();
        }
        let mut command = self.command(&program, arguments);
        if superuser {
            command.uid(NOBODY).gid(NOBODY);
        }
        // A process that another test starts at this moment may still hold the copy open for writing, until it is the program it is to be.
        let output = loop {
            match command.output() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                output => break output.unwrap(),
            }
        };
        Report::of(output).expect_code(code, arguments)
    }

    /// Adapts for a few steps, which must succeed, into `run/`.
    pub fn adapt(&self, more: &str) -> Report {
        self.run(&format!("{ADAPT} {more}"), 0)
    }
}

/// The learning rates of [`ADAPT`], for methods that take none.
pub const RATES: &str = "--context-learning-rate 0.05 --affine-learning-rate 0.02";

/// A short adaptation with visible effect.
pub const ADAPT: &str = "adapt --model model --images images --classes classes.txt --output run \
    --epochs 2 --batch-size 10 --context-learning-rate 0.05 --affine-learning-rate 0.02";

/// What a run of the program said.
pub struct Report {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Report {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Expects an exit code, and plain text: the tests' streams are no terminals.
    #[track_caller]
    pub fn expect_code(self, code: i32, arguments: &str) -> Self {
        let escape = '\u{1b}';
        assert!(
            !self.stdout.contains(escape) && !self.stderr.contains(escape),
            "ueo {arguments}"
        );
        assert_eq!(
            self.code,
            Some(code),
            "ueo {arguments}\nstdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Expects pieces of text on stderr, in this order.
    #[track_caller]
    pub fn says(&self, pieces: &[&str]) -> &Self {
        let mut rest = self.stderr.as_str();
        for piece in pieces {
            match rest.find(piece) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => panic!(
                    "expected {piece:?} in what is left of stderr:\n{rest}\nall:\n{}",
                    self.stderr
                ),
            }
        }
        self
    }
}

/// A file or directory of the library's checkpoint fixtures.
pub fn fixture(relative: &str) -> PathBuf {
    let checkpoints = "../ueo/tests/fixtures/checkpoints";
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(checkpoints)
        .join(relative)
}

/// Copies a fixture model, with a vocabulary beside it where it has none of its own.
pub fn copy_model(name: &str, model: &str, needs_vocabulary: bool, to: &Path) -> PathBuf {
    copy_tree(&fixture(name), to);
    let model = to.join(model);
    if needs_vocabulary {
        let directory = if model.is_dir() { &model } else { to };
        write_vocabulary(directory);
    }
    model
}

pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A vocabulary of 128 tokens for the fixtures with OpenAI's names, which have no room for the usual 49,408.
fn write_vocabulary(directory: &Path) {
    let merges = [
        ("p", "h"),
        ("ph", "o"),
        ("t", "o</w>"),
        ("pho", "to</w>"),
        ("o", "f</w>"),
    ];
    let letters = || ('a'..='z').map(String::from);
    let mut tokens: Vec<String> = letters()
        .chain(letters().map(|letter| letter + "</w>"))
        .chain([".".to_owned(), ".</w>".to_owned()])
        .chain(merges.iter().map(|(left, right)| format!("{left}{right}")))
        .collect();
    while tokens.len() < 126 {
        tokens.push(format!("unused{}", tokens.len()));
    }
    tokens.extend(["<|startoftext|>".to_owned(), "<|endoftext|>".to_owned()]);
    let ids: serde_json::Map<String, Value> = tokens
        .into_iter()
        .enumerate()
        .map(|(id, token)| (token, id.into()))
        .collect();
    fs::write(directory.join("vocab.json"), Value::Object(ids).to_string()).unwrap();
    let lines: Vec<String> = merges
        .iter()
        .map(|(left, right)| format!("{left} {right}"))
        .collect();
    fs::write(
        directory.join("merges.txt"),
        format!("#version: 0.2\n{}\n", lines.join("\n")),
    )
    .unwrap();
}

/// Stripes whose direction and color tell the kind, with a phase that tells the number.
fn drawing(kind: usize, number: usize) -> RgbImage {
    RgbImage::from_fn(48, 40, |x, y| {
        let along = match kind {
            0 => x,
            1 => y,
            2 => x + y,
            _ => x * y / 8,
        };
        let on = (along as usize + 3 * number) % 12 < 6;
        let mut color = [20, 30, 40];
        color[kind % 3] = if on { 230 } else { 90 + 10 * number as u8 };
        Rgb(color)
    })
}

/// All values of the first tensor of a features file.
pub fn features_of(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, view) = file.tensors().into_iter().next().unwrap();
    view.data()
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}
