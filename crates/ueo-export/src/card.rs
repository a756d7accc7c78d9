//! `README.md` of an exported directory: where the model comes from, what it was adapted to, how well it does, how it is used.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use ueo::checkpoint::VisionConfig;
use ueo::evaluate::{Evaluation, Interval};
use ueo::quote;

use crate::subject::Subject;
use crate::{ExportError, Format};

/// Name of the file.
pub const NAME: &str = "README.md";
/// Class names that are listed; a longer list is in the classifier's file.
const LISTED_CLASSES: usize = 50;
/// Largest README of a base checkpoint that is looked at.
const MAX_BASE_CARD_BYTES: u64 = 1 << 20;

/// Writes the card.
///
/// # Errors
///
/// [`ExportError::Write`].
pub fn write(
    subject: &Subject,
    format: Format,
    notes: &[String],
    path: &Path,
) -> Result<(), ExportError> {
    let text = card(subject, format, notes)?;
    ueo::write_atomically(path, |file| file.write_all(text.as_bytes()))
        .map_err(ExportError::write(path))
}

fn card(subject: &Subject, format: Format, notes: &[String]) -> Result<String, ExportError> {
    let licence = base_licence(&subject.checkpoint.weights_path);
    let mut text = front_matter(subject, format, licence.as_deref());
    let record = &subject.record;
    let classes = subject.classes();
    let method = record.request.settings.method;
    // Formatting into a string does not fail.
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(arguments);
        text.push('\n');
    };
    line(format_args!(
        "# {} adapted to {} classes\n\nThis model names images of {1} classes and says of an image when it \
         probably shows none of them. It was adapted by `ueo` {}, method {} ({}).\n",
        subject.family(),
        classes.len(),
        record.ueo_version,
        method,
        method.source(),
    ));
    line(format_args!("## Base\n"));
    let base = &record.base;
    let name = base.path.file_name().unwrap_or_default().to_string_lossy();
    line(format_args!("- checkpoint: {}", quote::whole(&name)));
    line(format_args!("- architecture: {}", architecture(subject)));
    line(format_args!("- SHA-256 of its weights: `{}`", base.sha256));
    line(format_args!(
        "- licence: {}\n",
        licence.as_deref().unwrap_or(
            "not stated beside the checkpoint; that of the base applies to this model too"
        )
    ));
    line(format_args!("## Data\n"));
    let images = &record.images;
    line(format_args!(
        "- images: {}, and {} that could not be read",
        images.used,
        images.skipped.len()
    ));
    line(format_args!("- known classes: {}\n", listed(classes)));
    line(format_args!("## Measurements\n"));
    match (&record.zero_shot, &record.adapted) {
        (Some(before), Some(after)) => {
            line(format_args!("{}", measurements(before, after)));
        }
        _ => line(format_args!("None: the images had no labels.\n")),
    }
    line(format_args!("## Decision\n"));
    let score = subject.rule.score;
    let temperature = match score.has_temperature() {
        true => format!(" at the temperature {}", subject.rule.temperature),
        false => String::new(),
    };
    line(format_args!(
        "An image counts as known where the score `{score}` ({}){temperature} is at least {}.\n",
        score.about(),
        subject.threshold.value,
    ));
    let [reject_below, accept_from] = subject.threshold.cuts();
    line(format_args!(
        "It is to be rejected below {reject_below} and accepted from {accept_from} on; between them a person should look.\n"
    ));
    line(format_args!("## Use\n\n{}", usage(subject, format)));
    if !notes.is_empty() {
        line(format_args!("## Notes\n"));
        notes.iter().for_each(|note| line(format_args!("- {note}")));
        line(format_args!(""));
    }
    line(format_args!(
        "## Settings\n\n```json\n{}\n```",
        serde_json::to_string_pretty(&record.request.settings)?
    ));
    Ok(text)
}

fn front_matter(subject: &Subject, format: Format, licence: Option<&str>) -> String {
    let library = match format {
        Format::OpenClip => "open_clip",
        Format::HuggingFace => "transformers",
        Format::OnnxEncoder => "transformers.js",
        Format::Onnx => "onnx",
    };
    let licence = licence.map_or_else(String::new, |licence| format!("license: {licence}\n"));
    format!(
        "---\n{licence}library_name: {library}\npipeline_tag: zero-shot-image-classification\ntags:\n- {}\n- ueo\n\
         - out-of-distribution-detection\n---\n\n",
        subject.family().to_lowercase()
    )
}

/// The licence that the card beside a checkpoint states in its first lines, as hubs have it.
fn base_licence(weights: &Path) -> Option<String> {
    let path = weights.with_file_name(NAME);
    let length = fs::metadata(&path).ok()?.len();
    if length > MAX_BASE_CARD_BYTES {
        return None;
    }
    licence_of(&fs::read_to_string(path).ok()?)
}

fn licence_of(card: &str) -> Option<String> {
    let (front, _) = card.strip_prefix("---\n")?.split_once("\n---")?;
    let value = front
        .lines()
        .find_map(|line| line.strip_prefix("license:"))?;
    let value = value.trim().trim_matches(['"', '\'']);
    // Identifiers of licences are plain; anything else could be more than a value where it is written again.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (!value.is_empty() && value.chars().all(is_plain)).then(|| value.to_owned())
}

fn architecture(subject: &Subject) -> String {
    match &subject.checkpoint.config.vision {
        VisionConfig::Vit(vit) => format!(
            "vision transformer, {0} x {0} pixels, patches of {1}",
            vit.image_size, vit.patch_size
        ),
        VisionConfig::Siglip(vit) => format!(
            "vision transformer with attention pooling (SigLIP), {0} x {0} pixels, patches of {1}",
            vit.image_size, vit.patch_size
        ),
        VisionConfig::ModularVit(_) => unreachable!("refused before a card is written"),
        VisionConfig::ResNet(resnet) => {
            format!("modified ResNet, {0} x {0} pixels", resnet.image_size)
        }
        VisionConfig::ConvNext(convnext) => {
            format!("ConvNeXt, {0} x {0} pixels", convnext.image_size)
        }
        VisionConfig::ViTamin(vitamin) => {
            format!("ViTamin, {0} x {0} pixels", vitamin.image_size)
        }
    }
}

fn listed(classes: &[String]) -> String {
    let shown: Vec<String> = classes
        .iter()
        .take(LISTED_CLASSES)
        .map(|class| quote::whole(class))
        .collect();
    let rest = classes.len() - shown.len();
    match rest {
        0 => shown.join(", "),
        _ => format!("{} and {rest} more", shown.join(", ")),
    }
}

fn measurements(before: &Evaluation, after: &Evaluation) -> String {
    let mut table = format!(
        "On the images of the adaptation, {} of known classes and {} of others:\n\n\
         | measure | before | adapted |\n|---|---|---|\n",
        after.n_known, after.n_unknown
    );
    type Measure = fn(&Evaluation) -> Option<f64>;
    let rows: [(&str, Measure); 5] = [
        ("accuracy, mean over classes", |e| e.per_class_accuracy),
        ("accuracy, all images", |e| e.overall_accuracy),
        ("AUROC of known against unknown", |e| e.auroc),
        ("known images named and kept", |e| {
            e.known_accuracy_at_threshold
        }),
        ("unknown images recognized", |e| {
            e.unknown_recall_at_threshold
        }),
    ];
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    for (name, measure) in rows {
        let (before, after) = (number(measure(before)), number(measure(after)));
        let _ = writeln!(table, "| {name} | {before} | {after} |");
    }
    if let Some(intervals) = &after.intervals {
        let of = |interval: &Option<Interval>| {
            interval.map_or("-".to_owned(), |interval| {
                format!("{:.4} to {:.4}", interval.lower, interval.upper)
            })
        };
        let _ = write!(
            table,
            "\nAdapted, by classes drawn anew: accuracy {}, AUROC {}.\n",
            of(&intervals.per_class_accuracy),
            of(&intervals.auroc)
        );
    }
    table
}

fn usage(subject: &Subject, format: Format) -> String {
    let is_siglip = subject.checkpoint.config.has_logit_bias();
    let weights = match (format, is_siglip) {
        (Format::OpenClip, _) => {
            "`open_clip.create_model_and_transforms(\"local-dir:THIS_DIRECTORY\")` loads the weights."
        }
        (Format::HuggingFace, false) => {
            "`transformers.CLIPModel.from_pretrained(\"THIS_DIRECTORY\")` loads the weights."
        }
        (Format::HuggingFace, true) => {
            "`transformers.SiglipModel.from_pretrained(\"THIS_DIRECTORY\")` loads the weights."
        }
        (Format::OnnxEncoder | Format::Onnx, false) => {
            "`onnx/` has the two towers: `pixel_values` to `image_embeds`, `input_ids` to `text_embeds`."
        }
        (Format::OnnxEncoder | Format::Onnx, true) => {
            "`onnx/` has the two towers: `pixel_values` and `input_ids` to `pooler_output`."
        }
    };
    format!(
        "{weights} `classifier.safetensors` has `class_embeddings` with the learned prompt, and names, score, threshold and \
         the cuts of the verdict in its metadata. Image features get unit length, `image_offset` is subtracted, they get unit length again, and their cosines to the \
         class embeddings say the class.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::licence_of;

    #[test]
    fn a_licence_is_taken_from_the_front_of_a_card_only() {
        let card = "---\ntags:\n- clip\nlicense: apache-2.0\n---\n# CLIP\nlicense: mit\n";
        assert_eq!(licence_of(card).as_deref(), Some("apache-2.0"));
        assert_eq!(licence_of("# CLIP\nlicense: mit\n"), None);
        assert_eq!(
            licence_of("---\nlicense: 'mit'\n---\n").as_deref(),
            Some("mit")
        );
        assert_eq!(licence_of("---\nlicense: a\" b\n---\n"), None);
    }
}
