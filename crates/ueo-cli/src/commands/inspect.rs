//! `ueo inspect`: what a checkpoint or run directory is, before anything is done with it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use ueo::adapt::{Settings, StepSize};
use ueo::checkpoint::{
    Activation, CheckpointKind, ClipConfig, FeatureHead, LoadOptions, ModularVitConfig, Pooling,
    Stem, TextArchitecture, TextConfig, TransformerConfig, VisionConfig, VitBlocks,
    check_configuration,
};
use ueo::image::{Interpolation, Preprocessing, ResizeRule};
use ueo::quote;
use ueo::session::{BaseRecord, Model};
use ueo_run::{OpenedModel, RunDirectory, RunRecord, RunStatus, open_base};

use super::{Context, machine};
use crate::args::KnowledgeArgs;
use crate::error::CliError;
use crate::exit::Ending;
use crate::hub;
use crate::tables;
use crate::words::counted;

const AFTER_HELP: &str = "\
Shown are the layout it was read from, both towers, QuickGELU or GELU, the preprocessing, the logit scale, the SHA-256 of \
the weights and how ambiguous facts were decided; of a run directory also its base checkpoint, classes, settings and \
threshold. All tensors are checked, so exit code 0 means that the other commands can load it.

Examples:
  ueo inspect --model ViT-B-16.pt
  ueo inspect --model clip-vit-base-patch16/ --json > model.json
  ueo inspect --configuration open_clip_config.json
  ueo inspect --machine

Exit codes: 0 it can be used, 1 some of the configurations cannot, 2 it cannot.";

/// Show what a checkpoint or run directory contains
///
/// Reads the whole checkpoint and says what it is and how the other commands will use it.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct InspectArgs {
    /// CLIP checkpoint, run directory or hf-hub:OWNER/NAME; the kind is recognized
    #[arg(long, value_name = "PATH", required_unless_present_any = ["machine", "configuration"])]
    pub model: Option<PathBuf>,

    /// Say of configuration files (open_clip_config.json, config.json) whether models with them can be loaded, without
    /// weights
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["model", "base", "machine"])]
    pub configuration: Vec<PathBuf>,

    /// Base checkpoint of a run directory, where it has moved since
    #[arg(long, value_name = "PATH")]
    pub base: Option<PathBuf>,

    /// What the checkpoint does not say about itself.
    #[command(flatten)]
    pub knowledge: KnowledgeArgs,

    /// Show what computes on this machine instead: instruction sets, measured speed of products, caches
    #[arg(long, conflicts_with_all = ["model", "base"])]
    pub machine: bool,

    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Shows what the model is.
///
/// # Errors
///
/// Anything that keeps the model from being used.
pub fn run(args: &InspectArgs, context: &Context) -> Result<Ending, CliError> {
    if !args.configuration.is_empty() {
        return check_configurations(args, context);
    }
    let (Some(model), base) = (&args.model, args.base.as_deref()) else {
        return machine::show(args.json, context);
    };
    let model = hub::resolve(model, context.printer)?;
    let model: &Path = &model;
    let base = base
        .map(|base| hub::resolve(base, context.printer))
        .transpose()?;
    let base = base.as_deref();
    let run = if RunDirectory::recognizes(model) {
        Some(RunDirectory::open(model)?.read_record()?)
    } else {
        None
    };
    let model = match &run {
        // A run that is not finished has no adapted parameters yet, but can be looked at.
        Some(run) if run.status == RunStatus::Incomplete => {
            open_base(&run.base, base, &context.device, run.request.precision)?
        }
        _ => {
            let options = LoadOptions::new().activation(args.knowledge.activation);
            OpenedModel::open_with(model, base, &context.device, None, &options)?.model
        }
    };
    context.printer.model(&model.base);
    let description = Description::new(&model, run.as_ref());
    if args.json {
        let json = serde_json::to_string_pretty(&description)?;
        context.printer.data(json)
    } else {
        context.printer.data(description.table())
    }
    .map_err(CliError::Stdout)?;
    Ok(Ending::Complete)
}

/// What is said about a configuration.
#[derive(Serialize)]
struct Verdict<'a> {
    path: &'a Path,
    loads: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What it describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<ClipConfig>,
}

/// Says of each configuration whether models with it can be loaded.
fn check_configurations(args: &InspectArgs, context: &Context) -> Result<Ending, CliError> {
    let verdicts: Vec<Verdict> = args
        .configuration
        .iter()
        .map(|path| {
            let (config, reason) = match check_configuration(path) {
                Ok(config) => (Some(config), None),
                Err(error) => (None, Some(error.to_string())),
            };
            Verdict {
                path,
                loads: config.is_some(),
                reason,
                config,
            }
        })
        .collect();
    let shown = match args.json {
        true => serde_json::to_string_pretty(&verdicts)?,
        false => verdicts
            .iter()
            .map(|verdict| match (&verdict.config, &verdict.reason) {
                (Some(config), _) => format!(
                    "{}: loads ({}; {})",
                    verdict.path.display(),
                    vision(&config.vision),
                    text(&config.text)
                ),
                // The message begins with the path.
                (None, reason) => reason.clone().unwrap_or_default(),
            })
            .collect::<Vec<String>>()
            .join("\n"),
    };
    context.printer.data(shown).map_err(CliError::Stdout)?;
    Ok(match verdicts.iter().all(|verdict| verdict.loads) {
        true => Ending::Complete,
        false => Ending::SomeInputsFailed,
    })
}

/// What `inspect` shows, as JSON or as a table.
#[derive(Serialize)]
struct Description<'a> {
    #[serde(flatten)]
    base: &'a BaseRecord,
    logit_scale: f64,
    trainable_parameters: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a RunRecord>,
}

impl<'a> Description<'a> {
    fn new(model: &'a Model, run: Option<&'a RunRecord>) -> Self {
        let context: usize = model.parameters.context.dims().iter().product();
        Self {
            base: &model.base,
            logit_scale: model.clip.logit_scale(),
            trainable_parameters: context + model.parameters.affine.trained_len(0),
            run,
        }
    }

    fn table(&self) -> String {
        let config = &self.base.config;
        let preprocessing = &self.base.preprocessing;
        let mut facts = vec![
            ("checkpoint", self.base.path.display().to_string()),
            ("layout", layout(self.base.kind).to_owned()),
            ("SHA-256", self.base.sha256.clone()),
            ("image tower", vision(&config.vision)),
            ("text tower", text(&config.text)),
            ("embedding", format!("{} dimensions", config.embed_dim)),
            ("logit scale", format!("{:.4}", self.logit_scale)),
            (
                "preprocessing",
                format!(
                    "{}, mean {:?}, deviation {:?}",
                    resizing(preprocessing),
                    preprocessing.mean,
                    preprocessing.std
                ),
            ),
            (
                "trained by adapt",
                format!("{} numbers", self.trainable_parameters),
            ),
        ];
        facts.extend(
            self.base
                .decisions
                .iter()
                .map(|decision| ("decided", decision.clone())),
        );
        facts.extend(self.run.into_iter().flat_map(run_facts));
        tables::facts(facts)
    }
}

fn run_facts(run: &RunRecord) -> Vec<(&'static str, String)> {
    let request = &run.request;
    let settings = &request.settings;
    let mut facts = vec![
        (
            "run",
            match run.status {
                RunStatus::Finished => format!("finished, {} steps", run.total_steps),
                RunStatus::Incomplete => {
                    format!(
                        "not finished, {} steps in all; `ueo adapt --resume` continues it",
                        run.total_steps
                    )
                }
            },
        ),
        (
            "classes",
            format!("{}: {}", request.classes.len(), shortened(&request.classes)),
        ),
        (
            "adapted to",
            format!(
                "{}: {}, {} skipped",
                request.images.display(),
                counted(run.images.used, "image"),
                run.images.skipped.len()
            ),
        ),
        (
            "settings",
            format!(
                "{}, batch size {}, {}, seed {}",
                counted(run.epoch_count(), "epoch"),
                settings.batch_size,
                rates(settings),
                settings.seed
            ),
        ),
    ];
    if !settings.restart_after.is_empty() {
        let epochs: Vec<String> = settings
            .restart_after
            .iter()
            .map(usize::to_string)
            .collect();
        facts.push((
            "extended",
            format!(
                "the learning rate started anew after epoch {}",
                epochs.join(", ")
            ),
        ));
    }
    if !settings.templates.is_empty() {
        let templates = settings.templates.iter();
        let templates: Vec<String> = templates.map(|one| quote::whole(one.as_str())).collect();
        facts.push(("templates", templates.join("; ")));
    }
    facts.extend(
        run.threshold
            .as_ref()
            .map(|threshold| ("threshold", tables::threshold(threshold))),
    );
    facts
}

/// Names that are listed before "and so on".
const LISTED_CLASSES: usize = 8;

fn shortened(classes: &[String]) -> String {
    let listed = classes[..classes.len().min(LISTED_CLASSES)].join(", ");
    let more = if classes.len() > LISTED_CLASSES {
        ", …"
    } else {
        ""
    };
    format!("{listed}{more}")
}

fn layout(kind: CheckpointKind) -> &'static str {
    match kind {
        CheckpointKind::OpenAiTorchScript => "OpenAI TorchScript archive",
        CheckpointKind::StateDict => "state dict with OpenAI's names",
        CheckpointKind::HuggingFace => "Hugging Face directory",
        CheckpointKind::OpenClip => "open_clip",
    }
}

fn resizing(preprocessing: &Preprocessing) -> String {
    let filter = interpolation(preprocessing.interpolation);
    let Preprocessing { resize, crop, .. } = preprocessing;
    match preprocessing.resize_rule {
        ResizeRule::Shortest => {
            format!("shorter side to {resize} ({filter}), centre crop {crop}")
        }
        ResizeRule::Squash => format!("whole image to {crop} x {crop} ({filter})"),
    }
}

fn interpolation(interpolation: Interpolation) -> &'static str {
    match interpolation {
        Interpolation::Bicubic => "bicubic",
        Interpolation::Bilinear => "bilinear",
    }
}

fn vision(vision: &VisionConfig) -> String {
    match vision {
        VisionConfig::Vit(vit) => format!(
            "ViT, {0} x {0} pixels, patches of {1}, {2}",
            vit.image_size,
            vit.patch_size,
            transformer(&vit.transformer)
        ),
        VisionConfig::Siglip(vit) => format!(
            "ViT with attention pooling (SigLIP), {0} x {0} pixels, patches of {1}, {2}",
            vit.image_size,
            vit.patch_size,
            transformer(&vit.transformer)
        ),
        VisionConfig::ModularVit(modular) => format!(
            "{0}, {1} x {1} pixels, patches of {2}, {3}",
            kind(modular),
            modular.vit.image_size,
            modular.vit.patch_size,
            transformer(&modular.vit.transformer)
        ),
        VisionConfig::ConvNext(convnext) => format!(
            "ConvNeXt, {0} x {0} pixels, blocks {1:?}, widths {2:?}, {3}",
            convnext.image_size,
            convnext.layers,
            convnext.widths,
            head(convnext.head)
        ),
        VisionConfig::ViTamin(vitamin) => format!(
            "ViTamin, {0} x {0} pixels, convolutional blocks {1:?}, widths {2:?}, then {3} with gates, {4}",
            vitamin.image_size,
            vitamin.layers,
            vitamin.widths,
            transformer(&vitamin.transformer),
            head(vitamin.head)
        ),
        VisionConfig::ResNet(resnet) => format!(
            "ResNet, {0} x {0} pixels, blocks {1:?}, width {2}, {3} heads in the attention pool",
            resnet.image_size, resnet.layers, resnet.width, resnet.heads
        ),
    }
}

/// What of a vision transformer is not CLIP's.
fn kind(modular: &ModularVitConfig) -> String {
    let mut parts = vec!["ViT"];
    if modular.stem == Stem::Convolutions {
        parts.push("with a stem of convolutions");
    }
    match modular.blocks {
        VitBlocks::PreNorm => {}
        VitBlocks::Rotary { .. } => parts.push("with rotary positions"),
        VitBlocks::Gated { .. } => {
            parts.push("with rotary positions and gated perceptrons (EVA-02)")
        }
        VitBlocks::PostNorm => parts.push("with its LayerNorms behind (EVA-02)"),
    }
    match modular.pooling {
        Pooling::ClassToken => {}
        Pooling::Average => parts.push("with the average of its patches"),
        Pooling::Attention { .. } => parts.push("with attention pooling"),
    }
    parts.join(" ")
}

fn head(head: FeatureHead) -> &'static str {
    match head {
        FeatureHead::Linear { .. } => "mean and matrix behind them",
        FeatureHead::Perceptron { .. } => "mean and perceptron behind them",
    }
}

fn text(text: &TextConfig) -> String {
    let tokens = match text.architecture {
        TextArchitecture::Causal => "tokens at most",
        TextArchitecture::Padded { .. } => "tokens with padding",
    };
    format!(
        "{} {tokens}, vocabulary of {}, {}",
        text.context_length,
        text.vocab_size,
        transformer(&text.transformer)
    )
}

fn transformer(transformer: &TransformerConfig) -> String {
    let activation = match transformer.activation {
        Activation::QuickGelu => "QuickGELU",
        Activation::Gelu => "GELU",
        Activation::GeluTanh => "tanh GELU",
    };
    format!(
        "{} blocks, width {}, {} heads, MLP {}, {activation}",
        transformer.layers, transformer.width, transformer.heads, transformer.mlp_width
    )
}

/// How long the steps were.
fn rates(settings: &Settings) -> String {
    let (what, [context, affine]) = match (settings.method.path_lengths(), settings.step_size) {
        (Some(own), _) => ("its own path lengths", [own.context, own.affine]),
        (None, step_size) => (
            match step_size {
                StepSize::Gradient => "learning rates",
                StepSize::Relative => "path lengths",
            },
            [
                settings.context_learning_rate,
                settings.affine_learning_rate,
            ],
        ),
    };
    format!("{what} {context} (context) and {affine} (affine)")
}
