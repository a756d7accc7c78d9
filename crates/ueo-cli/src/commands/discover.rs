//! `ueo discover`: what the images show that a model rejects as unknown, and which names the class list lacks.

use std::path::{Path, PathBuf};

use clap::Args;
use ueo::data::ClassList;
use ueo_report::write_discovery;
use ueo_run::{
    DiscoverRequest, DiscoveryDirectory, DiscoveryRecord, PredictRequest, discover as run_discover,
};

use super::{Context, absolute, nearby, read_classes};
use crate::args::{ImageArgs, KnowledgeArgs, NameArgs, ScoreArgs, positive_integer};
use crate::error::CliError;
use crate::exit::Ending;
use crate::interrupt::Interrupt;
use crate::reporter::ProgressReporter;
use crate::tables;
use crate::target::make_directory;
use crate::words::{counted, quoted};

const AFTER_HELP: &str = "\
Rejected images that are like each other become a group. Each group gets names from a vocabulary, nearest first: by default 1,528 \
English nouns for things that can be seen, without the known classes. A vocabulary of your own field says more.

The output directory holds:
  discovered.html  the groups with pictures, names and confidences
  groups.csv       path, group, confidence, similarity to the group, proposed
                   name; one line per rejected image, no group for one alone
  classes.txt      the known classes, then the proposed names
  discovered.json  everything as numbers

Look before you believe: groups may mix things, hold known classes that were rejected by mistake, or show what the vocabulary has \
no word for. docs/discover.md says how often names are right. `ueo report RUN` then shows the groups too.

Examples:
  ueo discover run/ --images photos/
  ueo discover run/ --images photos/ --vocabulary birds.txt --smallest 5
  ueo discover ViT-B-16.pt --classes classes.txt --images photos/ --output found/
  ueo adapt --model ViT-B-16.pt --images photos/ --classes run/discovered/classes.txt --output again/

Exit codes: 0 done, 1 done but some images were skipped, 2 error, 130 interrupted.";

/// Groups on the screen; the page has all.
const LISTED: usize = 20;

/// Group the images that are rejected as unknown, and name what the class list lacks
///
/// Accepts a run directory or, for zero-shot predictions, a plain checkpoint with --classes.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct DiscoverArgs {
    /// Run directory or CLIP checkpoint; the kind is recognized
    #[arg(value_name = "MODEL", required_unless_present = "by_name")]
    pub model: Option<PathBuf>,

    /// The same by name
    #[arg(long = "model", value_name = "PATH", conflicts_with = "model")]
    pub by_name: Option<PathBuf>,

    /// Base checkpoint of a run directory, where it has moved since
    ///
    /// Its SHA-256 must still be the one in run.json.
    #[arg(long, value_name = "PATH")]
    pub base: Option<PathBuf>,

    /// What the checkpoint does not say about itself.
    #[command(flatten)]
    pub knowledge: KnowledgeArgs,

    /// What it looks at.
    #[command(flatten)]
    pub images: ImageArgs,

    /// Text file (UTF-8) with one name per line that groups may get [default: nouns that come with ueo]
    ///
    /// Known classes in it are left out.
    #[arg(long, value_name = "FILE")]
    pub vocabulary: Option<PathBuf>,

    /// Images that a group has at least for a name of it to be proposed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive_integer)]
    pub smallest: usize,

    /// Directory to write [default: discovered in the run directory, or here for a checkpoint]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// Replace an earlier discovery
    #[arg(long)]
    pub overwrite: bool,

    /// How images are scored.
    #[command(flatten)]
    pub score: ScoreArgs,

    /// What names and labels mean.
    #[command(flatten)]
    pub names: NameArgs,
}

impl DiscoverArgs {
    /// The model, by whichever of the two ways it was named.
    fn model(&self) -> &Path {
        let named = self.model.as_ref().or(self.by_name.as_ref());
        named.map_or_else(|| Path::new(""), PathBuf::as_path)
    }
}

/// Looks, writes the directory and prints the groups.
///
/// # Errors
///
/// [`CliError`]; an earlier discovery is then as it was, unless the files themselves cannot be written.
pub fn run(args: &DiscoverArgs, context: &Context) -> Result<Ending, CliError> {
    let model = args.model();
    let names = &args.names;
    let read = |path: &Path| read_classes(path, names.class_names.as_deref(), context);
    let classes = args.score.classes.as_deref().map(read).transpose()?;
    let vocabulary = args
        .vocabulary
        .as_deref()
        .map(ClassList::read)
        .transpose()?;
    let output = match &args.output {
        Some(output) => output.clone(),
        None => DiscoveryDirectory::default_path(model),
    };
    let opened = context.open_model(
        model,
        args.base.as_deref(),
        args.knowledge,
        &names.prompt.templates,
        args.images.decoding,
    )?;
    let directory = DiscoveryDirectory::create(&output, args.overwrite)?;
    make_directory(&output)?;
    let request = DiscoverRequest {
        model: absolute(model)?,
        predict: PredictRequest {
            images: args.images.images.clone(),
            image_root: args.images.image_root.clone(),
            columns: args.images.columns.columns(),
            classes,
            labels: names.labels,
            score: args.score.score,
            score_temperature: args.score.score_temperature,
            threshold: args.score.threshold.0,
            top_k: 1,
            strict: context.strict,
        },
        vocabulary: vocabulary.map(|list| list.names().to_vec()),
        smallest: args.smallest,
    };
    let interrupt = Interrupt::listen(context.printer)?;
    let reporter = ProgressReporter::interruptible(context.printer, interrupt);
    // Nothing is measured here; the labels only stand beside the images.
    let mut reporter = reporter.about_labels(false);
    let found = run_discover(&opened, &request, &mut reporter);
    reporter.finish();
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            directory.abandon();
            return Err(error.into());
        }
    };
    directory.write(&found, |page| -> Result<(), CliError> {
        write_discovery(&found, &title(&output), page)?;
        Ok(())
    })?;
    tell(&found, &directory, args, context)?;
    Ok(context.list_skipped(&found.skipped))
}

/// Names the page by the directory that it is about.
fn title(output: &Path) -> String {
    let full = std::path::absolute(output).unwrap_or_else(|_| output.to_owned());
    let name = match full.file_name() {
        Some(name) if name == "discovered" => {
            full.parent().and_then(Path::file_name).or(Some(name))
        }
        name => name,
    };
    name.map_or_else(
        || full.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn tell(
    found: &DiscoveryRecord,
    directory: &DiscoveryDirectory,
    args: &DiscoverArgs,
    context: &Context,
) -> Result<(), CliError> {
    let printer = context.printer;
    let rejected = found.rejected();
    printer.message(format_args!(
        "{}, {} below a confidence of {:.6}: {} and {} alone",
        counted(found.looked_at, "image"),
        match rejected {
            0 => "none rejected as unknown".to_owned(),
            rejected => format!("{rejected} rejected as unknown"),
        },
        found.threshold,
        counted(found.groups.len(), "group"),
        found.alone.len(),
    ));
    if !found.groups.is_empty() {
        let rows = found.groups.iter().enumerate().take(LISTED);
        let rows: Vec<[String; 4]> = rows
            .map(|(number, group)| {
                let names = group.names.iter().map(|name| name.name.as_str());
                [
                    (number + 1).to_string(),
                    group.images.len().to_string(),
                    group.proposal.clone().unwrap_or_else(|| "-".to_owned()),
                    names.collect::<Vec<_>>().join(", "),
                ]
            })
            .collect();
        let header = ["group", "images", "proposed", "names, nearest first"];
        let table = tables::texts(header, &rows);
        printer.data(table).map_err(CliError::Stdout)?;
        let left = found.groups.len().saturating_sub(LISTED);
        if left > 0 {
            let rest = format!("and {}", counted(left, "smaller group"));
            printer.data(rest).map_err(CliError::Stdout)?;
        }
    }
    let page = directory.page_path();
    printer.message(format_args!("page      {}", page.display()));
    let proposals: Vec<&str> = found.proposals().collect();
    if proposals.is_empty() {
        printer.message(match (rejected, found.groups.len()) {
            (0, _) => "proposed  no name: no image is rejected".to_owned(),
            (1, _) => "proposed  no name: one image is rejected, and one is no group".to_owned(),
            (_, 0) => "proposed  no name: no two rejected images are like each other".to_owned(),
            _ => format!(
                "proposed  no name: no group has {} or more",
                counted(found.smallest, "image")
            ),
        });
        return Ok(());
    }
    let classes = directory.classes_path();
    printer.message(format_args!(
        "classes   {}: {} known and {} proposed",
        classes.display(),
        found.known_classes.len(),
        proposals.len()
    ));
    let root = args.images.image_root.as_deref();
    printer.message(format_args!(
        "next      ueo adapt --model {} --images {}{} --classes {} --output DIR",
        quoted(nearby(&found.base.path)),
        quoted(&args.images.images),
        root.map_or_else(String::new, |root| format!(
            " --image-root {}",
            quoted(root)
        )),
        quoted(&classes)
    ));
    Ok(())
}
