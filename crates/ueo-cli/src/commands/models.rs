//! `ueo models`: names that `--model hf-hub:...` takes, with what their authors say about them.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use ueo_hub::{Hub, HubSettings, KnownModel, ModelName, PREFIX, Silent, known_models};

use super::Context;
use crate::error::CliError;
use crate::exit::Ending;
use crate::output::{is_stdout, write_file};
use crate::tables;
use crate::target::check_file;

const AFTER_HELP: &str = "\
Any repository of the Hugging Face Hub works that holds a CLIP or SigLIP of a known architecture in open_clip's or transformers' \
layout; these are the ones whose configuration was checked. Shown are the side of the input image in pixels, the parameters \
in millions (four bytes each in most downloads), the zero-shot accuracy on ImageNet-1k that open_clip's authors measured \
(docs/openclip_results.csv of their repository; of SigLIP 2, that its own authors state), and the licence of the weights.

Examples:
  ueo models
  ueo models --output - | jq '.[] | select(.licence == \"MIT\") | .name'
  ueo adapt --model hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K --images photos/ --classes classes.txt --output run/

Models are kept where Python's client keeps them (HF_HOME, HF_HUB_CACHE); with HF_HUB_OFFLINE=1 nothing is fetched.

Exit codes: 0 done, 2 error.";

/// List models that are known to work by name
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct ModelsArgs {
    /// List to write (.json), or `-` for stdout in place of the table
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Replace the output if it exists
    #[arg(long)]
    pub overwrite: bool,
}

/// What the JSON says about a model.
#[derive(Serialize)]
struct Listed {
    /// What `--model` takes.
    name: String,
    #[serde(flatten)]
    model: KnownModel,
    /// Whether nothing needs to be fetched.
    cached: bool,
}

/// Lists them.
///
/// # Errors
///
/// [`CliError::Hub`] for an environment that makes no sense, and whatever keeps the output from being written.
pub fn run(args: &ModelsArgs, context: &Context) -> Result<Ending, CliError> {
    if let Some(output) = &args.output {
        check_file(output, args.overwrite, &["json"], ".json")?;
    }
    let mut settings = HubSettings::from_environment()?;
    settings.offline = true;
    let hub = Hub::new(settings);
    let listed = known_models().into_iter().map(|model| {
        let name = format!("{PREFIX}{}", model.repository);
        let cached = name
            .parse::<ModelName>()
            .is_ok_and(|name| hub.fetch(&name, &mut Silent).is_ok());
        Listed {
            name,
            model,
            cached,
        }
    });
    let listed: Vec<Listed> = listed.collect();
    if let Some(output) = &args.output {
        let json = serde_json::to_string_pretty(&listed)?;
        write_file(output, |file| writeln!(file, "{json}"))?;
    }
    if !args.output.as_deref().is_some_and(is_stdout) {
        let rows = listed.iter().map(|listed| {
            [
                listed.model.repository.to_owned(),
                listed.model.image_size.to_string(),
                format!("{:.0}", listed.model.parameters_millions),
                format!("{:.1}", listed.model.imagenet_accuracy_percent),
                listed.model.licence.to_owned(),
                if listed.cached { "yes" } else { "" }.to_owned(),
            ]
        });
        let table = tables::models(rows);
        context.printer.data(table).map_err(CliError::Stdout)?;
        context
            .printer
            .message("to use one: --model hf-hub:NAME, which fetches it the first time");
    }
    Ok(Ending::Complete)
}
