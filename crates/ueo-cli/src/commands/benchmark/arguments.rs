//! What `ueo benchmark` is told on the command line, and the selection of cells that it comes to.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use ueo::method::{Method, ParseMethodError};
use ueo::text::Template;
use ueo_benchmark::{
    BenchmarkError, CellFilter, LONGEST_NAME, Overrides, ProfileName, Protocol, Selection, Shift,
    Suite, check_name,
};

use crate::args::{ByteSize, positive_integer};
use crate::tables;
use crate::words::wrapped;

const AFTER_HELP: &str = "\
A cell is one method on one domain under one category shift with one seed. Each is a file below OUTPUT/cells/, with its \
settings, its measurements and what the model says about each image. A cell whose file answers the same request is not \
run again, so the same command continues what was interrupted, and a longer list of methods or seeds runs only what is \
new. One OUTPUT holds any suites, models and protocols; nothing in it is replaced, and what contradicts it is refused. \
OUTPUT/tables/ has means, deviations over seeds, 95 % intervals of a paired bootstrap over classes, and the table of a paper, \
as Markdown, CSV and LaTeX. With --report, OUTPUT/report.html shows them as a page that loads nothing and can be printed.

Embedded suites (--data names the folder of the images):
{suites}
The usual folders and list files of photographs that you have are recognized; image counts are compared with those of the \
publication.

Protocols: training sees images of the classes that are present under the shift, without labels (but for ueo-oracle). \
published: all images of the domain are tested, also those adapted to. held-out: halves are adapted to and the other \
halves tested. Confidence is the maximum of softmax(cosines).

Examples:
  ueo benchmark --suite iconnet --model models/iconclip-resnet \\
      --output results/ --jobs 2
  ueo benchmark --suite iconnet --model models/iconclip-resnet \\
      --output results/ --domains held-out \\
      --methods ueo --variant sharp --set weight-temperature=0.01
  ueo benchmark --suite iconnet --model models/iconclip-resnet \\
      --output results/ --protocol held-out
  ueo benchmark --suite office-home --data OfficeHome/ \\
      --model ViT-B-16.pt --model-name ViT-B/16 --output results/
  ueo benchmark --suite office-home --tables-only --output results/ \\
      --latex table.tex --report

Exit codes: 0 done, 1 done but some images were skipped or the training of some cells failed, 2 error, \
130 interrupted: the same command continues.";

/// The embedded suites by name with what each is, in lines that fit on a terminal.
fn embedded_suites() -> String {
    const NAME_COLUMNS: usize = 20;
    let indent = " ".repeat(NAME_COLUMNS + 2);
    let text_columns = usize::from(tables::COLUMNS) - indent.len();
    let suites = Suite::embedded().filter_map(|name| Suite::open(name).ok());
    let lines = suites.map(|suite| {
        let about = wrapped(&suite.about, text_columns).replace('\n', &format!("\n{indent}"));
        format!("  {:NAME_COLUMNS$}{about}\n", suite.name)
    });
    lines.collect()
}

/// Compare methods on the domains and category shifts of a suite
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP.replace("{suites}", &embedded_suites()))]
pub struct BenchmarkArgs {
    /// Name of an embedded suite, or a TOML file that describes one [default: iconnet; with --tables-only that of the
    /// results]
    #[arg(long, value_name = "NAME|FILE.toml")]
    pub suite: Option<String>,

    /// Folder that holds the suite's images [default: the suite's, if it has one]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// CLIP checkpoint or hf-hub:OWNER/NAME; its kind is recognized
    #[arg(long, value_name = "PATH", required_unless_present = "tables_only")]
    pub model: Option<PathBuf>,

    /// What tables call the model [default: the name of its file or folder]
    #[arg(long, value_name = "NAME", value_parser = shown_name)]
    pub model_name: Option<String>,

    /// Directory for the results of any suites and models; finished cells in it are kept
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,

    /// Print the cells and whether they are done, and run none
    #[arg(long)]
    pub list: bool,

    /// Make the tables again from the cells in --output, and run none
    ///
    /// --domains, --shifts, --methods, --protocol and --variant leave the cells that they name.
    #[arg(
        long,
        conflicts_with_all = ["list", "model", "data", "seeds", "settings", "set", "templates", "RunningArgs"]
    )]
    pub tables_only: bool,

    /// Also write a page in Markdown; what stands outside of its generated part is kept
    #[arg(long, value_name = "FILE.md")]
    pub page: Option<PathBuf>,

    /// Also write the table of a paper: a block per category shift, accuracy, AUROC and harmonic mean of each domain
    #[arg(long, value_name = "FILE.tex", conflicts_with = "list")]
    pub latex: Option<PathBuf>,

    /// The same as Markdown
    #[arg(long, value_name = "FILE.md", conflicts_with = "list")]
    pub markdown: Option<PathBuf>,

    /// The same as CSV, a line per number
    #[arg(long, value_name = "FILE.csv", conflicts_with = "list")]
    pub csv: Option<PathBuf>,

    /// Published numbers to stand in that table (docs/benchmark.md describes the file)
    #[arg(long, value_name = "FILE.toml", conflicts_with = "list")]
    pub beside: Option<PathBuf>,

    /// Also write OUTPUT/report.html, a page to look at, send and print
    #[arg(long, conflicts_with = "list")]
    pub report: bool,

    /// What is run.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// How it is run.
    #[command(flatten)]
    pub running: RunningArgs,
}

/// What is run.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cells")]
pub struct SelectionArgs {
    /// Domains or groups of domains [default: all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub domains: Vec<String>,

    /// Category shifts: closed, partial, open, open-partial, all-known [default: the suite's]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub shifts: Vec<Shift>,

    /// Methods, as `ueo adapt --method` knows them, or `all` [default: the suite's]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub methods: Vec<MethodChoice>,

    /// Seeds of the methods that train; the others run once [default: the suite's]
    #[arg(long, value_name = "SEED,...", value_delimiter = ',')]
    pub seeds: Vec<u64>,

    /// Which images are adapted to and tested: published (all are tested, also those adapted to) or held-out (halves are adapted
    /// to and the other halves tested) [default: published; with --tables-only all]
    #[arg(long, value_name = "NAME")]
    pub protocol: Option<Protocol>,

    /// Which of the suite's settings
    #[arg(long, value_enum, value_name = "PROFILE", default_value = "suite")]
    pub settings: SettingsProfile,

    /// A setting of training, named as for `ueo adapt`; may be given several times
    #[arg(long, value_name = "KEY=VALUE", requires = "variant")]
    pub set: Vec<String>,

    /// Sentence that class names stand in, for all methods without templates of their own; may be given several times [default:
    /// "a photo of a {}."]
    #[arg(long = "template", value_name = "SENTENCE", requires = "variant")]
    pub templates: Vec<Template>,

    /// Name under which the results of these settings stand beside the others [default: the profile's]
    #[arg(long, value_name = "NAME", value_parser = variant_name)]
    pub variant: Option<String>,
}

/// How it is run.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Running")]
pub struct RunningArgs {
    /// Cells that run beside each other, each on threads / jobs threads; small models gain from several
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive_integer)]
    pub jobs: usize,

    /// Memory for the decoded images of each domain in use; 0 for none
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    pub image_cache: ByteSize,
}

/// One method or every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodChoice {
    /// All methods of the program.
    All,
    /// This one.
    One(Method),
}

impl FromStr for MethodChoice {
    type Err = ParseMethodError;

    fn from_str(text: &str) -> Result<Self, ParseMethodError> {
        match text {
            "all" => Ok(Self::All),
            name => name.parse().map(Self::One),
        }
    }
}

impl MethodChoice {
    fn methods(&self) -> &[Method] {
        match self {
            Self::All => Method::ALL,
            Self::One(method) => std::slice::from_ref(method),
        }
    }
}

/// Which of a suite's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SettingsProfile {
    /// Chosen for the suite
    Suite,
    /// Of the publication
    Published,
}

/// Whether a variant is that of a profile.
fn is_profile(variant: &str) -> bool {
    let profiles = [ProfileName::Suite, ProfileName::Published].map(ProfileName::name);
    profiles.contains(&variant)
}

/// Parses the name of a variant, which is a folder.
fn variant_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.=+".contains(c);
    if !text.chars().all(plain) {
        return Err("expected letters, digits and - _ . = +".to_owned());
    }
    check_name("name of a variant", text).map(|()| text.to_owned())
}

/// Parses the name of a model in tables.
fn shown_name(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=LONGEST_NAME => Ok(text.to_owned()),
        _ => Err(format!("expected 1 to {LONGEST_NAME} characters")),
    }
}

impl SelectionArgs {
    fn methods(&self) -> Vec<Method> {
        let methods = self.methods.iter().flat_map(MethodChoice::methods);
        methods.copied().collect()
    }

    /// The cells that tables are made of where none is run.
    pub fn filter(&self) -> CellFilter {
        CellFilter {
            domains: self.domains.clone(),
            shifts: self.shifts.clone(),
            methods: match self.methods.contains(&MethodChoice::All) {
                true => Vec::new(),
                false => self.methods(),
            },
            protocol: self.protocol,
            variant: self.variant.clone(),
        }
    }

    /// What is asked for, in the words of the library.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Override`] for a setting that is no `KEY=VALUE`.
    pub fn selection(&self) -> Result<Selection, BenchmarkError> {
        if let Some(name) = self.variant.as_deref().filter(|name| is_profile(name)) {
            return Err(BenchmarkError::Override {
                place: format!("--variant {name}"),
                reason: "is the name of a profile, whose settings are the suite's own".to_owned(),
            });
        }
        let mut overrides = Overrides::default();
        for setting in &self.set {
            overrides.add(setting)?;
        }
        if !self.templates.is_empty() {
            overrides.set_templates(&self.templates);
        }
        Ok(Selection {
            shifts: self.shifts.clone(),
            methods: self.methods(),
            seeds: self.seeds.clone(),
            protocol: self.protocol.unwrap_or_default(),
            profile: match self.settings {
                SettingsProfile::Suite => ProfileName::Suite,
                SettingsProfile::Published => ProfileName::Published,
            },
            overrides,
            variant: self.variant.clone(),
        })
    }
}
