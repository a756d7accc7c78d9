//! What a run will cost, in words, and the options that would make it cheaper.

use ueo::adapt::{Cost, Saving};

use crate::words::{counted, duration};

/// How long the run will take.
pub fn line(cost: &Cost) -> String {
    format!(
        "adapting will take about {}: {} ({})",
        duration(cost.secs),
        counted(cost.steps, "step"),
        counted(cost.epochs, "epoch")
    )
}

/// What is kept of what is computed once, if anything is.
pub fn kept_line(cost: &Cost) -> Option<String> {
    let mib = mebibytes(cost.kept_bytes);
    (cost.kept_bytes > 0).then(|| {
        format!("{mib:.0} MiB of what is computed once are kept: in memory up to --image-cache, the rest in a file")
    })
}

fn mebibytes(bytes: u64) -> f64 {
    const MIB: f64 = (1 << 20) as f64;
    (bytes as f64 / MIB).ceil()
}

/// The options that would make a long run shorter, with their times; empty where nothing was looked for.
pub fn cheaper_lines(cost: &Cost) -> Vec<String> {
    if cost.cheaper.is_empty() {
        return Vec::new();
    }
    let head = "shorter, with another result (docs/speed.md):".to_owned();
    let ways = cost.cheaper.iter().map(|&(saving, secs)| {
        let options = options(saving);
        let kept = match saving {
            Saving::LastBlocks { kept_bytes, .. } => {
                format!(", keeps {:.0} MiB", mebibytes(kept_bytes))
            }
            _ => String::new(),
        };
        format!("  {options:<32} about {}{kept}", duration(secs))
    });
    std::iter::once(head).chain(ways).collect()
}

/// A saving as it is typed.
fn options(saving: Saving) -> String {
    let and_views = |views: Option<usize>| match views {
        Some(views) => format!(" --views {views}"),
        None => String::new(),
    };
    match saving {
        Saving::LastBlocks { blocks, views, .. } => {
            format!("--train-blocks last-{blocks}{}", and_views(views))
        }
        Saving::Context { views } => format!("--train context{}", and_views(views)),
        Saving::Epochs(epochs) => format!("--epochs {epochs}"),
        Saving::Precision(precision) => format!("--precision {precision}"),
    }
}

#[cfg(test)]
mod tests {
    use ueo::model::Precision;

    use super::*;

    #[test]
    fn a_long_run_names_what_would_be_shorter() {
        let mut cost = Cost {
            secs: 12_000.0,
            steps: 2_500,
            epochs: 16,
            kept_bytes: 0,
            cheaper: vec![
                (Saving::Context { views: Some(4) }, 1_200.0),
                (
                    Saving::LastBlocks {
                        blocks: 4,
                        views: None,
                        kept_bytes: 3 << 30,
                    },
                    4_000.0,
                ),
                (Saving::Precision(Precision::Bf16), 7_200.0),
                (Saving::Epochs(5), 3_750.0),
            ],
        };
        assert_eq!(
            line(&cost),
            "adapting will take about 3.3 h: 2500 steps (16 epochs)"
        );
        assert_eq!(
            cheaper_lines(&cost),
            [
                "shorter, with another result (docs/speed.md):",
                "  --train context --views 4        about 20 min",
                "  --train-blocks last-4            about 67 min, keeps 3072 MiB",
                "  --precision bf16                 about 2.0 h",
                "  --epochs 5                       about 62 min",
            ]
        );
        assert_eq!(kept_line(&cost), None);
        cost.cheaper.clear();
        cost.kept_bytes = 5 << 20;
        assert!(cheaper_lines(&cost).is_empty());
        assert!(kept_line(&cost).unwrap().starts_with("5 MiB of what"));
    }
}
