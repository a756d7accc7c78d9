//! What all commands share on the command line: global options, and how model, images and classes are named.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};
use ueo::Device;
use ueo::evaluate::Score;
use ueo::model::Precision;

use crate::commands::{adapt, benchmark, demo, embed, evaluate, inspect, predict, report};
use crate::printer::Verbosity;

const ABOUT: &str = "Fine-tune CLIP without labels, and tell known classes from unknown ones";

const LONG_ABOUT: &str = "\
Fine-tunes CLIP without labels, and tells known classes from unknown ones.

Give ueo a CLIP checkpoint, a text file with the names of your classes and a folder of unlabeled images. It adapts the \
prompt and the normalization layers to your images (Universal Entropy Optimization, Liang et al., ICML 2024) and writes \
a run directory, which every command accepts as a model.";

const AFTER_HELP: &str = "\
A session:
  ueo inspect  --model ViT-B-16.pt
  ueo adapt    --model ViT-B-16.pt --images photos/ --classes classes.txt --output run/
  ueo predict  --model run/ --images photos/ --output predictions.csv
  ueo evaluate --model run/ --images labelled/ --output evaluation.json
  ueo report   run/

Nothing at hand? `ueo demo` adapts an embedded model to embedded images.

Exit codes:
  0    everything was done
  1    done, but some inputs failed; they are listed
  2    an error: nothing that can be used was written
  130  interrupted with Ctrl-C; `adapt` leaves a run that `--resume` continues";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "ueo", version, propagate_version = true, styles = STYLES, max_term_width = 100,
    about = ABOUT, long_about = LONG_ABOUT, after_long_help = AFTER_HELP
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One variant per command.
#[derive(Debug, Subcommand)]
pub enum Command {
    Inspect(inspect::InspectArgs),
    Adapt(Box<adapt::AdaptArgs>),
    Predict(predict::PredictArgs),
    Evaluate(evaluate::EvaluateArgs),
    Embed(embed::EmbedArgs),
    Benchmark(Box<benchmark::BenchmarkArgs>),
    Report(report::ReportArgs),
    Demo(demo::DemoArgs),
}

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

    /// Where to compute
    #[arg(long, global = true, default_value = "cpu")]
    pub device: Device,

    /// Number format of the frozen weights [default: the run's, else f32]
    ///
    /// bf16 is twice as fast or more where the CPU has AVX512-BF16 or AMX and changes results a little (8 significant bits in matrix
    /// products; sums, normalization and all that is trained stay f32). A resumed run keeps its own.
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub precision: Option<Precision>,

    /// Make inputs that cannot be read an error instead of skipping and listing them
    #[arg(long, global = true)]
    pub strict: bool,

    /// TOML file with options, named as on the command line
    ///
    /// For example `epochs = 5` or `no-shuffle = true`. What is given on the command line wins over the file, and the
    /// file wins over the defaults. A key that the command does not have is an error.
    #[arg(long, global = true, value_name = "FILE.toml")]
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
    /// CLIP checkpoint or run directory; the kind is recognized
    ///
    /// A Hugging Face directory (config.json, model.safetensors or pytorch_model.bin), an open_clip directory or file, an
    /// OpenAI .pt archive or state dict, or a run directory made by `ueo adapt`.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,

    /// Base checkpoint of a run directory, where it has moved since
    ///
    /// Its SHA-256 must still be the one in run.json.
    #[arg(long, value_name = "PATH")]
    pub base: Option<PathBuf>,
}

/// The images of a command.
#[derive(Clone, Debug, Args)]
pub struct ImageArgs {
    /// Directory tree, list file or WebDataset .tar shards
    ///
    /// A directory is searched in all its levels; the first folder level is the label where one is needed. A list file has
    /// one `path label` or `path` per line. A .tar shard keeps labels in `.cls` or `.json` entries; a directory of shards
    /// works too. The order is by path, whatever the file system says.
    #[arg(long, value_name = "PATH")]
    pub images: PathBuf,

    /// Directory that the paths of a list file are relative to [default: the list's own directory]
    #[arg(long, value_name = "DIR")]
    pub image_root: Option<PathBuf>,
}

/// How images are scored.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Scores")]
pub struct ScoreArgs {
    /// Text file (UTF-8) with one class name per line; replaces those of a run directory
    ///
    /// A plain checkpoint needs it. The learned context of a run moves to other class lists.
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,

    /// What tells known from unknown images [default: the run's, else msp]
    #[arg(long, value_enum, value_name = "SCORE")]
    pub score: Option<Score>,

    /// t in softmax(cosines / t) [default: the run's for its score, else 1 for msp and 0.01 for the others]
    #[arg(long, value_name = "T", value_parser = positive_number)]
    pub score_temperature: Option<f64>,

    /// Confidence from which on an image counts as known: a number, or `stored`
    ///
    /// `stored` is the threshold of the run. Where there is none for these classes and this score, it is chosen from
    /// the confidences of these images, without labels, in the way that the run was told (gaussian-mixture at first).
    #[arg(long, value_name = "VALUE", default_value = "stored")]
    pub threshold: ThresholdChoice,
}

/// The confidence that separates known from unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThresholdChoice {
    /// The one that the run directory holds.
    Stored,
    /// A given one.
    Value(f64),
}

impl FromStr for ThresholdChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<f64>()) {
            ("stored", _) => Ok(Self::Stored),
            (_, Ok(value)) if value.is_finite() => Ok(Self::Value(value)),
            _ => Err("expected `stored` or a number".to_owned()),
        }
    }
}

impl ThresholdChoice {
    /// The given value, if there is one.
    pub fn value(self) -> Option<f64> {
        match self {
            Self::Stored => None,
            Self::Value(value) => Some(value),
        }
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
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
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
