//! Tables of a paper as Markdown and CSV.

use super::{PAPER_METRICS, PaperTable, PaperValue, Rank, printed};
use crate::BenchmarkError;
use crate::escape::markdown_text;
use crate::table::{NOTHING, marked};
use crate::tables::csv_text;

/// The tables below each other, a table per block.
pub fn markdown(tables: &[PaperTable]) -> String {
    let mut text = String::new();
    for table in tables {
        let title = format!("{}, {} protocol", table.title(), table.protocol);
        text += &format!(
            "# {}\n\n{}\n",
            markdown_text(&title),
            markdown_text(&table.caption)
        );
        let columns = table.columns.iter().flat_map(|column| {
            PAPER_METRICS.map(|(_, name)| markdown_text(&format!("{column} {name}")))
        });
        let columns: Vec<String> = columns.collect();
        for block in &table.blocks {
            let title = markdown_text(&format!("{}, {}", block.shift, block.model));
            text += &format!("\n## {title}\n\n| method | {} |\n", columns.join(" | "));
            text += &format!("| --- |{}\n", " ---: |".repeat(columns.len()));
            for row in &block.rows {
                let method = markdown_text(&row.method);
                let method = match row.source {
                    Some(_) => format!("*{method}*"),
                    None => method,
                };
                let values = row
                    .values
                    .iter()
                    .flatten()
                    .map(|value| cell(value.as_ref()));
                text += &format!(
                    "| {method} | {} |\n",
                    values.collect::<Vec<_>>().join(" | ")
                );
            }
        }
        text += "\n";
    }
    text
}

fn cell(value: Option<&PaperValue>) -> String {
    let Some(value) = value else {
        return NOTHING.to_owned();
    };
    let number = printed(value.mean);
    let number = match value.rank {
        Rank::Best => format!("**{number}**"),
        Rank::Second => format!("<u>{number}</u>"),
        Rank::Other => number,
    };
    let number = match value.deviation {
        Some(deviation) => format!("{number} ± {}", printed(deviation)),
        None => number,
    };
    marked(number, value.partial)
}

/// A line per number.
pub fn csv(tables: &[PaperTable]) -> Result<Vec<u8>, BenchmarkError> {
    let header = [
        "suite",
        "group",
        "protocol",
        "shift",
        "model",
        "settings",
        "method",
        "source",
        "domain",
        "metric",
        "mean",
        "deviation",
        "complete",
        "rank",
    ];
    let mut records = vec![header.map(str::to_owned).to_vec()];
    let number = |value: f64| format!("{value:.6}");
    for table in tables {
        for block in &table.blocks {
            for row in &block.rows {
                let source = row.source.clone().unwrap_or_default();
                for (column, values) in table.columns.iter().zip(&row.values) {
                    for ((metric, _), value) in PAPER_METRICS.iter().zip(values) {
                        let Some(value) = value else { continue };
                        records.push(vec![
                            table.suite.clone(),
                            table.group.clone(),
                            table.protocol.to_string(),
                            block.shift.to_string(),
                            block.model.clone(),
                            block.variant.clone(),
                            row.method.clone(),
                            source.clone(),
                            column.clone(),
                            metric.name().to_owned(),
                            number(value.mean),
                            value.deviation.map_or_else(String::new, number),
                            (!value.partial).to_string(),
                            value.rank.name().to_owned(),
                        ]);
                    }
                }
            }
        }
    }
    csv_text(&records, "paper.csv")
}
