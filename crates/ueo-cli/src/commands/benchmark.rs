//! `ueo benchmark`: methods on the domains of a suite, under category shifts, with several seeds.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::{Args, ValueEnum};
use ueo::exchange::Exchange;
use ueo::method::{Method, ParseMethodError};
use ueo::session::Model;
use ueo::text::Template;
use ueo_benchmark::{
    BenchmarkError, BenchmarkReporter, Cell, CellState, Metric, ModelId, Overrides, Plan,
    ProfileName, Protocol, Results, RunOptions, RunSummary, Selection, Shift, Suite,
};
use ueo_benchmark::{LONGEST_NAME, PaperText, PublishedNumbers, check_name};
use ueo_report::write_benchmark_report;
use ueo_run::{OpenedModel, RunError};

use super::Context;
use crate::args::{ByteSize, positive_integer};
use crate::error::CliError;
use crate::exit::Ending;
use crate::hub;
use crate::interrupt::Interrupt;
use crate::printer::Printer;
use crate::progress::{Progress, Unit};
use crate::tables;
use crate::words::{counted, wrapped};

const AFTER_HELP: &str = "\
A cell is one method on one domain under one category shift with one seed. Each is a file below OUTPUT/cells/, with its \
settings, its measurements and what the model says about each image. A cell whose file answers the same request is not \
run again, so the same command continues what was interrupted, and a longer list of methods or seeds runs only what is \
new. One OUTPUT holds any suites, models and protocols; nothing in it is replaced, and what contradicts it is refused. \
OUTPUT/tables/ has means, deviations over seeds, 95 % intervals of a paired bootstrap over classes, and the table of a paper, \
as Markdown, CSV and LaTeX. With --report, OUTPUT/report.html shows them as a page that loads nothing and can be printed.

Embedded suites (--data names the folder of the images):
  iconnet             65 classes of icons in six styles, none of them trained on; built
                      by tools/iconnet
  iconnet-corrupted   one of its styles in fog, noise and four other corruptions
  iconnet-200         the same with 200 classes
  iconnet-validation  other classes, to choose settings on
  office-31, office-home, visda-c, domainnet
                      photographs and art that you have; the usual folders and
                      list files are recognized, image counts are compared with
                      those of the publication

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

Exit codes: 0 done, 1 done but the training of some cells failed, 2 error, 130 interrupted: the same command continues.";

/// The suite that is run if nothing else is said.
const DEFAULT_SUITE: &str = "iconnet";

/// Compare methods on the domains and category shifts of a suite
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
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
    #[arg(long, conflicts_with_all = ["list", "model", "data", "SelectionArgs", "RunningArgs"])]
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
    /// to and the other halves tested)
    #[arg(long, value_name = "NAME", default_value = "published")]
    pub protocol: Protocol,

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

/// Parses the name of a variant, which is a folder and must not be that of a profile.
fn variant_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.=+".contains(c);
    let profiles = [ProfileName::Suite, ProfileName::Published].map(ProfileName::name);
    if profiles.contains(&text) {
        return Err("is the name of a profile, whose settings are the suite's own".to_owned());
    }
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
    fn selection(&self) -> Result<Selection, BenchmarkError> {
        let mut overrides = Overrides::default();
        for setting in &self.set {
            overrides.add(setting)?;
        }
        if !self.templates.is_empty() {
            overrides.set_templates(&self.templates);
        }
        Ok(Selection {
            shifts: self.shifts.clone(),
            methods: self
                .methods
                .iter()
                .flat_map(MethodChoice::methods)
                .copied()
                .collect(),
            seeds: self.seeds.clone(),
            protocol: self.protocol,
            profile: match self.settings {
                SettingsProfile::Suite => ProfileName::Suite,
                SettingsProfile::Published => ProfileName::Published,
            },
            overrides,
            variant: self.variant.clone(),
        })
    }
}

/// Runs what is still to be run, or lists it.
///
/// # Errors
///
/// [`CliError`]; finished cells stay.
pub fn run(args: &BenchmarkArgs, context: &Context) -> Result<Ending, CliError> {
    let printer = context.printer;
    let Some(path) = &args.model else {
        if !context.writes() {
            return Ok(Ending::Complete);
        }
        let suite = args.suite.as_deref().map(Suite::open).transpose()?;
        report(args, suite.as_ref(), |_| true, printer)?;
        return Ok(Ending::Complete);
    };
    let suite = Suite::open(args.suite.as_deref().unwrap_or(DEFAULT_SUITE))?;
    let selection = args.selection.selection()?;
    let domains = suite.select(&args.selection.domains)?;
    // Before hours of work; a new directory is made when the inputs have been looked at.
    let held = match args.list || !args.output.is_dir() || !context.writes() {
        true => None,
        false => Some(ueo_benchmark::hold(&args.output)?),
    };
    let data = ueo_benchmark::locate(&suite, data_folder(args, &suite, printer)?, &domains)?;
    for difference in &data.differences {
        let (path, hint) = (difference.path.display(), difference.hint.as_deref());
        printer.warning(format_args!(
            "{}: expected {} images in {path}, found {} ({} that cannot be used){}",
            difference.domain,
            difference.expected,
            difference.found,
            difference.unusable,
            hint.map_or_else(String::new, |hint| format!("; {hint}")),
        ));
    }
    let precision = context.precision.unwrap_or_default();
    let opened = OpenedModel::open(
        &hub::resolve(path, printer)?,
        None,
        &context.device,
        Some(precision),
    )?;
    // The benchmark adapts a checkpoint itself.
    if opened.run.is_some() {
        let path = path.clone();
        return Err(RunError::AlreadyAdapted { path }.into());
    }
    let model = opened.model;
    printer.model(&model.base);
    let id = ModelId {
        name: args.model_name.clone().unwrap_or_else(|| model_name(path)),
        sha256: model.base.sha256.clone(),
        precision,
    };
    let mut plan = Plan::new(&suite, data, &id, &selection, &args.output)?;
    if args.list {
        return list(&plan, printer);
    }
    divide(&mut plan, &args.output, &*context.exchange)?;
    let _held = match (held, context.writes()) {
        (None, true) => Some(ueo_benchmark::hold(&args.output)?),
        (held, _) => held,
    };
    let ending = execute(&plan, &model, args, context)?;
    if !context.writes() {
        return Ok(ending);
    }
    if ending != Ending::Interrupted {
        let shown = |results: &Results| {
            results.model_sha256 == id.sha256
                && results.precision == id.precision
                && results.protocol == selection.protocol
        };
        report(args, Some(&suite), shown, printer)?;
    }
    Ok(ending)
}

/// Leaves this process its part of the cells that are to be run, which follow on each other so that it opens few domains.
fn divide(plan: &mut Plan, output: &Path, exchange: &dyn Exchange) -> Result<(), CliError> {
    if exchange.is_alone() {
        return Ok(());
    }
    let paths: Vec<PathBuf> = plan
        .pending()
        .map(|cell| cell.request.path(output))
        .collect();
    let joined = paths.iter().flat_map(|path| {
        let bytes = path.as_os_str().as_encoded_bytes().iter();
        bytes.chain(b"\n").copied()
    });
    // Nobody has begun before all have looked.
    if let Some(rank) = exchange.first_to_differ(&joined.collect::<Vec<u8>>()) {
        return Err(CliError::OtherCells {
            rank,
            output: output.to_owned(),
        });
    }
    let share = exchange.share(paths.len());
    let mut number = 0;
    plan.cells.retain(|cell| {
        let is_pending = cell.state != CellState::Done;
        let stays = !is_pending || share.contains(&number);
        number += usize::from(is_pending);
        stays
    });
    Ok(())
}

/// The cells of all processes, and what they came to.
fn joined(
    cells: usize,
    summary: RunSummary,
    failures: Vec<String>,
    exchange: &dyn Exchange,
) -> Result<(usize, RunSummary, Vec<String>), CliError> {
    if exchange.is_alone() {
        return Ok((cells, summary, failures));
    }
    let own = (cells, summary.finished, summary.interrupted, failures);
    let mut all_cells = 0;
    let mut all = RunSummary {
        finished: 0,
        interrupted: false,
    };
    let mut all_failures = Vec::new();
    for told in exchange.gather(&serde_json::to_vec(&own)?) {
        let (cells, finished, interrupted, failures): (usize, usize, bool, Vec<String>) =
            serde_json::from_slice(&told)?;
        all_cells += cells;
        all.finished += finished;
        all.interrupted |= interrupted;
        all_failures.extend(failures);
    }
    Ok((all_cells, all, all_failures))
}

/// The folder that was named, or the suite's own, which is said; no other folder is looked at.
fn data_folder<'a>(
    args: &'a BenchmarkArgs,
    suite: &'a Suite,
    printer: &Printer,
) -> Result<&'a Path, BenchmarkError> {
    if let Some(data) = &args.data {
        return Ok(data);
    }
    let Some(data) = &suite.default_data else {
        return Err(BenchmarkError::DataNotNamed {
            suite: suite.name.clone(),
            obtain: suite.obtain.clone(),
        });
    };
    printer.message(format_args!(
        "images: {}, where the suite `{}` has them by default; --data names another folder",
        data.display(),
        suite.name
    ));
    Ok(data)
}

/// What a checkpoint is called if nothing else is said: its file or folder.
fn model_name(path: &Path) -> String {
    if let Some(name) = hub::shown_name(path) {
        return name.chars().take(LONGEST_NAME).collect();
    }
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = match whole.is_dir() {
        true => whole.file_name(),
        false => whole.file_stem(),
    };
    let name = name.map_or_else(
        || "model".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    name.chars().take(LONGEST_NAME).collect()
}

/// Writes tables, and pages and a report if they are wanted, from all cells of the output directory, and shows the means of
/// some.
///
/// With `suite`, page and table of a paper are about that suite alone.
fn report(
    args: &BenchmarkArgs,
    suite: Option<&Suite>,
    shown: impl Fn(&Results) -> bool,
    printer: &Printer,
) -> Result<(), CliError> {
    let all = ueo_benchmark::read_results(&args.output, suite)?;
    let mut unknown: Vec<&str> = Vec::new();
    for results in all.iter().filter(|results| results.about.is_none()) {
        if !unknown.contains(&results.suite.as_str()) {
            unknown.push(&results.suite);
        }
    }
    for name in unknown {
        printer.warning(format_args!(
            "the suite `{name}` is no part of this program, so its description and its order of domains are unknown; name its \
             file with --suite"
        ));
    }
    ueo_benchmark::write_tables(&all, &args.output)?;
    let of_suite = |results: &&Results| suite.is_none_or(|suite| suite.name == results.suite);
    let of_suite: Vec<Results> = all.iter().filter(of_suite).cloned().collect();
    if let Some(page) = &args.page {
        ueo_benchmark::write_page(&of_suite, page)?;
    }
    write_paper(args, &of_suite, printer)?;
    if args.report {
        let path = write_benchmark_report(&all, &args.output)?;
        printer.message(format_args!("report: {}", path.display()));
    }
    for results in of_suite.iter().filter(|results| shown(results)) {
        show_means(results, printer)?;
    }
    printer.message(format_args!(
        "tables: {}",
        args.output.join("tables").display()
    ));
    Ok(())
}

/// Writes the table of a paper to where it is wanted, and into the tables of the output directory.
fn write_paper(
    args: &BenchmarkArgs,
    all: &[Results],
    printer: &Printer,
) -> Result<(), BenchmarkError> {
    let published = match &args.beside {
        Some(path) => PublishedNumbers::open(path)?,
        None => PublishedNumbers::default(),
    };
    for row in published.unused(all) {
        printer.warning(format_args!(
            "published numbers of {} ({}, {}, {}) stand in no table: there are no results of that suite, model, shift and domains",
            row.method, row.suite, row.model, row.shift
        ));
    }
    let text = PaperText::of(&ueo_benchmark::paper_tables(all, &published))?;
    text.write(&args.output)?;
    let wanted = [
        (&args.latex, text.latex.as_bytes()),
        (&args.markdown, text.markdown.as_bytes()),
        (&args.csv, &text.csv),
    ];
    for (path, content) in wanted {
        if let Some(path) = path {
            ueo_benchmark::write(path, content)?;
        }
    }
    Ok(())
}

/// Columns of the means that fit on a terminal; OUTPUT/tables/ has all.
fn columns_on_screen(header: &[String]) -> Vec<usize> {
    let metrics = [
        Metric::Accuracy,
        Metric::Auroc,
        Metric::AurocMatched,
        Metric::HarmonicMean,
    ];
    let shown = |title: &String| {
        ["method", "cells"].contains(&title.as_str())
            || metrics.iter().any(|metric| metric.title() == title)
    };
    let titles = header.iter().enumerate();
    titles
        .filter(|(_, title)| shown(title))
        .map(|(column, _)| column)
        .collect()
}

fn show_means(results: &Results, printer: &Printer) -> Result<(), CliError> {
    for variant in &results.variants {
        for group in results.groups() {
            let table = ueo_benchmark::means(results, variant, group);
            if table.rows.is_empty() {
                continue;
            }
            let (name, title, note) = (results.name(), &table.title, &table.note);
            let above = format!("{name}; {title}, settings `{variant}`. {note}");
            printer.message(wrapped(&above, tables::COLUMNS.into()));
            let columns = columns_on_screen(&table.header);
            let shown = |row: &Vec<String>| -> Vec<String> {
                columns.iter().map(|&column| row[column].clone()).collect()
            };
            let rows: Vec<Vec<String>> = table.rows.iter().map(shown).collect();
            printer
                .data(tables::rows(&shown(&table.header), &rows))
                .map_err(CliError::Stdout)?;
        }
    }
    Ok(())
}

/// Prints a line per cell.
fn list(plan: &Plan, printer: &Printer) -> Result<Ending, CliError> {
    for cell in &plan.cells {
        let state = match cell.state {
            CellState::Missing => "to do",
            CellState::Damaged => "damaged",
            CellState::Done => "done",
        };
        let request = &cell.request;
        let seed = request
            .seed
            .map_or_else(|| "-".to_owned(), |seed| seed.to_string());
        let line = [
            state,
            &request.variant,
            &request.domain,
            request.shift.name(),
            request.method.name(),
            &seed,
        ];
        printer.data(line.join("\t")).map_err(CliError::Stdout)?;
    }
    let pending = plan.pending().count();
    printer.message(format_args!("{} cells, {pending} to do", plan.cells.len()));
    Ok(Ending::Complete)
}

fn execute(
    plan: &Plan,
    model: &Model,
    args: &BenchmarkArgs,
    context: &Context,
) -> Result<Ending, CliError> {
    let printer = context.printer;
    let cells = plan.pending().count();
    let damaged = plan
        .pending()
        .filter(|cell| cell.state == CellState::Damaged)
        .count();
    printer.message(format_args!(
        "{} cells, {} done, {cells} to do{}",
        plan.cells.len(),
        plan.cells.len() - cells,
        match damaged {
            0 => String::new(),
            damaged => format!(", {damaged} of them because their files are damaged"),
        }
    ));
    let options = RunOptions {
        jobs: args.running.jobs,
        threads: context.threads,
        image_cache_bytes: args.running.image_cache.0,
    };
    let work: usize = plan.pending().map(|cell| plan.work(cell)).sum();
    let reporter = CellReporter {
        printer,
        interrupt: Interrupt::listen(printer)?,
        cells,
        progress: Mutex::new(Some(printer.progress(
            "benchmark",
            Unit::Work,
            0,
            work as u64,
        ))),
        failures: Mutex::default(),
    };
    let summary = ueo_benchmark::run(plan, model, options, &reporter);
    if let Some(progress) = lock(&reporter.progress).take() {
        progress.finish();
    }
    let failures = std::mem::take(&mut *lock(&reporter.failures));
    let (cells, summary, failures) = joined(cells, summary?, failures, &*context.exchange)?;
    if summary.interrupted && summary.finished < cells {
        printer.message(format_args!(
            "stopped with {} of {cells} cells done; the same command continues",
            summary.finished
        ));
        return Ok(Ending::Interrupted);
    }
    if cells > 0 {
        let cells = counted(cells, "cell");
        printer.message(format_args!("{cells} done: {}", args.output.display()));
    }
    if failures.is_empty() {
        return Ok(Ending::Complete);
    }
    printer.warning(format_args!(
        "the training of {} cells failed:",
        failures.len()
    ));
    for failure in &failures {
        printer.message(format_args!("  {failure}"));
    }
    Ok(Ending::SomeInputsFailed)
}

/// Shows how far a benchmark is.
struct CellReporter<'a> {
    printer: &'a Printer,
    interrupt: Interrupt,
    cells: usize,
    progress: Mutex<Option<Progress>>,
    failures: Mutex<Vec<String>>,
}

/// What is shown stays valid whatever panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BenchmarkReporter for CellReporter<'_> {
    fn progress(&self, done: usize, finished_cells: usize) {
        if let Some(progress) = &mut *lock(&self.progress) {
            progress.update(
                done as u64,
                format_args!("{finished_cells}/{} cells", self.cells),
            );
        }
    }

    fn finished(&self, cell: &Cell) {
        let request = &cell.request;
        let mut name = format!("{} {} {}", request.domain, request.shift, request.method);
        if let Some(seed) = request.seed {
            name += &format!(" {seed}");
        }
        let percent = |value: Option<f64>| match value {
            Some(value) => format!("{:.1}", 100.0 * value),
            None => "-".to_owned(),
        };
        match (&cell.results, &cell.failure) {
            (Some(results), _) => self.printer.detail(format_args!(
                "{name}: accuracy {}, AUROC {} ({:.1} s)",
                percent(results.per_class_accuracy),
                percent(results.auroc),
                cell.timing.adaptation_secs + cell.timing.evaluation_secs
            )),
            (None, failure) => lock(&self.failures).push(format!(
                "{name}: {}",
                failure.as_deref().unwrap_or("no measurements")
            )),
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupt.requested()
    }
}
