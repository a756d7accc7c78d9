//! `ueo embed`: features of images and texts, for other programs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use safetensors::tensor::{Dtype, TensorView};
use ueo::data::{DatasetOptions, read_utf8};
use ueo::session::{Embedding, Images, embed_images, embed_names, embed_texts};
use ueo::text::Overlong;

use super::Context;
use crate::args::{ColumnArgs, DecodingArgs, ModelArgs, PromptArgs};
use crate::error::CliError;
use crate::exit::Ending;
use crate::interrupt::Interrupt;
use crate::output::{is_stdout, write_file};
use crate::reporter::ProgressReporter;
use crate::target::{Input, check_file, check_harmless};
use crate::words::counted;

const AFTER_HELP: &str = "\
The output is a safetensors file with f32 tensors whose rows have unit L2 norm:
  image_features  [images, embed_dim]; the metadata's `paths` is a JSON list
  text_features   [texts, embed_dim]; the metadata's `texts` is a JSON list
Texts are encoded as they are, without a prompt around them: the learned context does not take part. With --template each \
stands in the sentence, or in the mean of several: the features of a zero-shot classifier.

Examples:
  ueo embed --model run/ --images photos/ --output features.safetensors
  ueo embed --model run/ --texts captions.txt --output texts.safetensors
  ueo embed --model ViT-B-16.pt --texts classes.txt --template \"a photo of {}\" --output names.safetensors

Exit codes: 0 done, 1 done but some images were skipped, 2 error, 130 interrupted.";

/// Write image and text features
#[derive(Clone, Debug, Args)]
#[command(
    after_long_help = AFTER_HELP,
    group = ArgGroup::new("input").args(["images", "texts"]).required(true).multiple(true)
)]
pub struct EmbedArgs {
    /// What encodes.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Images to encode: directory tree, list file, WebDataset .tar shards or .parquet files
    #[arg(long, value_name = "PATH")]
    pub images: Option<PathBuf>,

    /// Texts to encode: a text file (UTF-8) with one per line
    #[arg(long, value_name = "FILE")]
    pub texts: Option<PathBuf>,

    /// Directory that the paths of a list file are relative to [default: the list's own directory]
    #[arg(long, value_name = "DIR", requires = "images")]
    pub image_root: Option<PathBuf>,

    /// Columns of Parquet files.
    #[command(flatten)]
    pub columns: ColumnArgs,

    /// How images are read.
    #[command(flatten)]
    pub decoding: DecodingArgs,

    /// Sentences around the texts.
    #[command(flatten)]
    pub prompt: PromptArgs,

    /// Shorten texts that are too long for the model instead of refusing them
    #[arg(long, requires = "texts")]
    pub truncate: bool,

    /// Features to write (.safetensors), or `-` for stdout
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,

    /// Replace the output if it exists
    #[arg(long)]
    pub overwrite: bool,
}

/// Encodes and writes the features.
///
/// # Errors
///
/// [`CliError`]; the output is then not touched.
pub fn run(args: &EmbedArgs, context: &Context) -> Result<Ending, CliError> {
    if context.writes() {
        let extensions = &["safetensors"];
        check_file(&args.output, args.overwrite, extensions, ".safetensors")?;
        let mut inputs = Input::of_model(&args.model.model, args.model.base.as_deref());
        inputs.extend(args.images.clone().map(Input::Images));
        inputs.extend(args.texts.clone().map(Input::File));
        check_harmless(&args.output, &inputs)?;
    }
    let texts = args.texts.as_deref().map(read_texts).transpose()?;
    // Texts are encoded without what a run has learned, so a run may be asked in any sentence.
    let model = args.model.open(&[], args.decoding, context)?.model;

    let mut features = Vec::new();
    let mut ending = Ending::Complete;
    let interrupt = Interrupt::listen(context.printer)?;
    let mut reporter = ProgressReporter::interruptible(context.printer, interrupt);
    if let Some(texts) = texts {
        let overlong = if args.truncate {
            Overlong::Truncate
        } else {
            Overlong::Error
        };
        let templates = &args.prompt.templates;
        let embedding = match templates.is_empty() {
            true => embed_texts(&model, &texts, overlong)?,
            false => embed_names(&model, &texts, templates, overlong)?,
        };
        features.push(("text_features", "texts", embedding));
    }
    if let Some(path) = &args.images {
        let options = DatasetOptions {
            image_root: args.image_root.clone(),
            columns: args.columns.columns(),
        };
        let images = Images::open(path, options, &model.preprocessing, 0)?;
        images.tell_left_out(&mut reporter);
        let embedding = embed_images(&model, &images, context.strict, &mut reporter)?;
        images.tell_orientation(&mut reporter);
        ending = context.list_skipped(&embedding.skipped);
        features.push(("image_features", "paths", embedding));
    }
    reporter.finish();
    if context.writes() {
        write(&args.output, &features)?;
    }
    for (name, _, embedding) in &features {
        let what = if *name == "text_features" {
            "text"
        } else {
            "image"
        };
        let place = match is_stdout(&args.output) {
            true => String::new(),
            false => format!(": {}", args.output.display()),
        };
        context.printer.message(format_args!(
            "{} in {}{place}",
            counted(embedding.names.len(), what),
            counted(embedding.embed_dim, "dimension"),
        ));
    }
    Ok(ending)
}

/// The lines of a text file.
fn read_texts(path: &Path) -> Result<Vec<String>, CliError> {
    let content = read_utf8(path)?;
    let texts: Vec<String> = content.lines().map(str::to_owned).collect();
    if texts.is_empty() {
        return Err(CliError::NoTexts {
            path: path.to_owned(),
        });
    }
    match texts.iter().position(|text| text.trim().is_empty()) {
        Some(index) => Err(CliError::BlankText {
            path: path.to_owned(),
            line: index + 1,
        }),
        None => Ok(texts),
    }
}

/// Writes tensors by name, with the names of their rows under a key of the metadata.
fn write(path: &Path, features: &[(&str, &str, Embedding)]) -> Result<(), CliError> {
    let mut metadata = HashMap::new();
    let mut tensors = Vec::new();
    for (name, key, embedding) in features {
        metadata.insert((*key).to_owned(), serde_json::to_string(&embedding.names)?);
        let shape = vec![embedding.names.len(), embedding.embed_dim];
        let bytes: Vec<u8> = embedding
            .features
            .iter()
            .flat_map(|feature| feature.to_le_bytes())
            .collect();
        tensors.push((*name, shape, bytes));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    let file = safetensors::serialize(views, Some(metadata))?;
    write_file(path, |output| output.write_all(&file))
}
