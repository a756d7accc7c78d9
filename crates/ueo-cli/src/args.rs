//! What all commands share on the command line: global options, and how model, images and classes are named.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use ueo::DeviceChoice;
use ueo::checkpoint::Activation;
use ueo::data::{LabelChoice, ParquetColumns};
use ueo::evaluate::{Score, ThresholdMethod};
use ueo::image::ExifOrientation;
use ueo::model::Precision;
use ueo::text::Template;
use ueo_run::ThresholdRequest;

use crate::printer::Verbosity;

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Print nothing but errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Print how things were decided, and the names of all skipped inputs
    #[arg(long, short, global = true)]
    pub verbose: bool,

    /// Threads for computing and for reading images [default: all cores]
    ///
    /// The results do not depend on it.
    #[arg(long, global = true, value_name = "N", value_parser = positive_integer)]
    pub threads: Option<usize>,

    /// Where to compute: cpu, wgpu (the first graphics processor), wgpu:N, or auto
    ///
    /// auto takes a graphics processor where there is one, else the CPU, and says which. `ueo inspect --machine` lists devices.
    /// Graphics processors need a build with the feature `wgpu`.
    #[arg(long, global = true, value_name = "DEVICE", default_value_t)]
    pub device: DeviceChoice,

    /// Number format of the frozen weights [default: the run's, else f32]
    ///
    /// bf16 is twice as fast or more where the CPU has AVX512-BF16 or AMX and changes results a little (8 significant bits in matrix
    /// products; sums, normalization and all that is trained stay f32). A resumed run keeps its own.
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub precision: Option<Precision>,

    /// Make inputs that cannot be read an error instead of skipping and listing them
    #[arg(long, global = true)]
    pub strict: bool,

    /// TOML or JSON file with options, named as on the command line, or the run.json of a run
    ///
    /// For example `epochs = 5` or `no-shuffle = true`. What is given on the command line wins over the file, and the
    /// file wins over the defaults. A key that the command does not have is an error. Of a run.json the settings, the score
    /// and the way to the threshold are taken.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl GlobalArgs {
    /// How much to say.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

/// The model of a command.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// CLIP checkpoint, run directory or hf-hub:OWNER/NAME; the kind is recognized
    ///
    /// A Hugging Face directory (config.json, model.safetensors or pytorch_model.bin, or models--OWNER--NAME in a hub's
    /// cache), an open_clip directory or file, an OpenAI .pt archive or state dict, or a run directory made by `ueo adapt`.
    /// hf-hub:OWNER/NAME[@REVISION] is a model of the Hugging Face Hub, fetched if it is not in the cache; `ueo models`
    /// lists names.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,

    /// Base checkpoint of a run directory, where it has moved since
    ///
    /// Its SHA-256 must still be the one in run.json.
    #[arg(long, value_name = "PATH")]
    pub base: Option<PathBuf>,

    /// What the checkpoint does not say about itself.
    #[command(flatten)]
    pub knowledge: KnowledgeArgs,
}

/// What users know about a checkpoint better than its files.
#[derive(Clone, Copy, Debug, Args)]
pub struct KnowledgeArgs {
    /// Activation of both towers, for a state dict that does not say [default: the checkpoint's, else assumed]
    #[arg(long, value_enum, value_name = "NAME")]
    pub activation: Option<Activation>,
}

/// How image files are read.
#[derive(Clone, Copy, Debug, Args)]
pub struct DecodingArgs {
    /// What to do with the orientation that a camera wrote beside the pixels [default: the run's, else ignore]
    #[arg(long, value_enum, value_name = "CHOICE")]
    pub exif_orientation: Option<ExifOrientation>,
}

/// Which columns of Parquet files matter.
#[derive(Clone, Debug, Default, Args)]
pub struct ColumnArgs {
    /// Column of a .parquet file that holds the images [default: the described one, else `image` or a like name]
    ///
    /// Encoded images as binary values, or structures with a field `bytes`, as Hugging Face data sets have them.
    #[arg(long, value_name = "NAME")]
    pub image_column: Option<String>,

    /// Column of a .parquet file that holds the labels [default: `label` or a like name, if there is one]
    ///
    /// Texts or whole numbers. Numbers get the names that the file itself gives them, where it does.
    #[arg(long, value_name = "NAME")]
    pub label_column: Option<String>,
}

impl ColumnArgs {
    /// What was chosen.
    pub fn columns(&self) -> ParquetColumns {
        ParquetColumns {
            image: self.image_column.clone(),
            label: self.label_column.clone(),
        }
    }
}

/// The images of a command.
#[derive(Clone, Debug, Args)]
pub struct ImageArgs {
    /// Directory tree, list file, WebDataset .tar shards or .parquet files
    ///
    /// A directory is searched in all its levels; the first folder level is the label where one is needed. A list file has
    /// one `path label` or `path` per line. A .tar shard keeps labels in `.cls` or `.json` entries, a .parquet file in a
    /// column; a directory of shards or of .parquet files works too. The order is by path, whatever the file system says.
    #[arg(long, value_name = "PATH")]
    pub images: PathBuf,

    /// Directory that the paths of a list file are relative to [default: the list's own directory]
    #[arg(long, value_name = "DIR")]
    pub image_root: Option<PathBuf>,

    /// Columns of Parquet files.
    #[command(flatten)]
    pub columns: ColumnArgs,

    /// How they are read.
    #[command(flatten)]
    pub decoding: DecodingArgs,
}

/// Heading of what class names and labels mean. It stands at each option, so that it ends with them.
const NAMES: &str = "Names and labels";

/// What class names and labels mean.
#[derive(Clone, Debug, Args)]
pub struct NameArgs {
    /// The sentences around class names.
    #[command(flatten)]
    pub prompt: PromptArgs,

    /// Names for the classes of --classes that are ids, such as n02084071: a table `id,name` (.csv) or JSON
    ///
    /// The names are what the model reads and what results are written with; folders and labels may go on with the ids.
    #[arg(long, value_name = "FILE", requires = "classes", help_heading = NAMES)]
    pub class_names: Option<PathBuf>,

    /// Where the labels to measure by come from; it is said what was taken
    ///
    /// Labels never touch training, unless --labels-for-oracle says so.
    #[arg(
        long,
        value_enum,
        value_name = "SOURCE",
        default_value = "auto",
        help_heading = NAMES
    )]
    pub labels: LabelChoice,
}

/// The sentences around class names.
#[derive(Clone, Debug, Args)]
pub struct PromptArgs {
    /// Sentence that class names stand in, such as "a satellite photo of {}"; may be given several times [default: the run's, else
    /// "a photo of a {}."]
    ///
    /// Of several, predictions without training take the mean, and the learned context starts from the words of the first in front
    /// of {}. Nothing is added: a full stop counts.
    #[arg(long = "template", value_name = "SENTENCE", help_heading = NAMES)]
    pub templates: Vec<Template>,
}

/// How images are scored.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Scores")]
pub struct ScoreArgs {
    /// Text file (UTF-8) with one class name per line; replaces those of a run directory
    ///
    /// A table `id,name` (.csv) or JSON works too. A plain checkpoint needs it. The learned context of a run moves to other class lists.
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,

    /// What tells known from unknown images [default: the run's, else maximum-logit]
    #[arg(long, value_enum, value_name = "SCORE")]
    pub score: Option<Score>,

    /// t in softmax(cosines / t) [default: the run's for its score, else 1 for msp and 0.01 for the others]; maximum-logit
    /// and sigmoid have none
    #[arg(long, value_name = "T", value_parser = positive_number)]
    pub score_temperature: Option<f64>,

    /// Confidence from which on an image counts as known: a number, `stored`, or a way to choose it
    ///
    /// `stored` is the threshold of the run. Where there is none for these classes and this score, it is chosen from
    /// the confidences of these images, without labels, in the way that the run was told (auto if it was told nothing).
    /// `auto`, `gaussian-mixture`, `otsu` or `target-rejection-rate=FRACTION` chooses it from the confidences of these images.
    #[arg(
        long,
        value_name = "VALUE",
        default_value = "stored",
        allow_negative_numbers = true
    )]
    pub threshold: ThresholdChoice,
}

/// The confidence that separates known from unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThresholdChoice(pub ThresholdRequest);

impl FromStr for ThresholdChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let request = match (text, text.parse::<f64>(), text.parse::<ThresholdMethod>()) {
            ("stored", ..) => ThresholdRequest::Stored,
            (_, Ok(value), _) if value.is_finite() => ThresholdRequest::At(value),
            (_, _, Ok(ThresholdMethod::TargetKnownAcceptance(_))) => {
                return Err(
                    "needs images that are known to be of known classes; `ueo adapt` can have some"
                        .to_owned(),
                );
            }
            (_, _, Ok(method)) => ThresholdRequest::Choose(method),
            _ => {
                return Err(
                    "expected `stored`, a number, auto, gaussian-mixture, otsu or target-rejection-rate=FRACTION"
                        .to_owned(),
                );
            }
        };
        Ok(Self(request))
    }
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 5] = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("TiB", 1 << 40),
            ("", 1),
        ];
        UNITS
            .iter()
            .find_map(|(unit, bytes)| {
                let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
                number.checked_mul(*bytes).map(Self)
            })
            .ok_or_else(|| {
                "expected a whole number of bytes, KiB, MiB, GiB or TiB, such as 2GiB".to_owned()
            })
    }
}

/// Parses a count that must not be zero.
pub fn positive_integer(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("expected a whole number of at least 1".to_owned()),
    }
}

/// Parses a number above zero.
pub fn positive_number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("expected a number above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use ueo::evaluate::ScoreRule;

    use super::*;

    #[test]
    fn the_help_names_the_defaults_and_ways_that_the_program_has() {
        let command = ScoreArgs::augment_args(clap::Command::new("ueo"));
        let help = |name: &str| {
            let mut arguments = command.get_arguments();
            let found = arguments
                .find(|argument| argument.get_id() == name)
                .unwrap();
            let help = found.get_long_help().or(found.get_help());
            help.unwrap().to_string().replace('\n', " ")
        };
        let score = ScoreRule::default().score;
        assert!(help("score").contains(&format!("else {score}]")));
        let method = ThresholdMethod::default();
        let threshold = help("threshold");
        assert!(threshold.contains(&format!("({method} if it was told nothing)")));
        let refused = "median".parse::<ThresholdChoice>().unwrap_err();
        for way in [
            "auto",
            "gaussian-mixture",
            "otsu",
            "target-rejection-rate=0.5",
        ] {
            let chosen: ThresholdChoice = way.parse().unwrap();
            assert!(matches!(chosen.0, ThresholdRequest::Choose(_)));
            let name = way.split('=').next().unwrap();
            assert!(threshold.contains(&format!("`{name}")), "{threshold}");
            assert!(refused.contains(name), "{refused}");
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!("2GiB".parse(), Ok(ByteSize(2 << 30)));
        assert_eq!("512 MiB".parse(), Ok(ByteSize(512 << 20)));
        assert_eq!("0".parse(), Ok(ByteSize(0)));
        for wrong in ["", "GiB", "-1", "1.5GiB", "2GB", "99999999999TiB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }
}
