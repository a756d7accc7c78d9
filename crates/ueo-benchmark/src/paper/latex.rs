//! Tables of a paper as LaTeX, with the rules of booktabs.

use super::{PAPER_METRICS, PaperBlock, PaperRow, PaperTable, PaperValue, Rank, printed};
use crate::escape::latex_text;
use crate::table::NOTHING;

/// Rows that fit on a page.
const ROWS_PER_PAGE: usize = 60;
/// Columns of numbers that fit in the width of a page; more are made smaller.
const COLUMNS_PER_PAGE: usize = 9;

/// The tables, to be put into a document.
pub fn document_part(tables: &[PaperTable]) -> String {
    let mut text = "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}.\n".to_owned();
    for table in tables {
        for (number, blocks) in pages(table).into_iter().enumerate() {
            text += &environment(table, blocks, number);
        }
    }
    text
}

/// The blocks of each page; those of a shift stay together.
fn pages(table: &PaperTable) -> Vec<&[PaperBlock]> {
    let mut pages = Vec::new();
    let (mut start, mut rows) = (0, 0);
    let shifts = table.blocks.chunk_by(|a, b| a.shift == b.shift);
    let mut end = 0;
    for blocks in shifts {
        let more: usize = blocks.iter().map(|block| block.rows.len() + 1).sum();
        if end > start && rows + more > ROWS_PER_PAGE {
            pages.push(&table.blocks[start..end]);
            (start, rows) = (end, 0);
        }
        rows += more;
        end += blocks.len();
    }
    if end > start {
        pages.push(&table.blocks[start..end]);
    }
    pages
}

fn environment(table: &PaperTable, blocks: &[PaperBlock], number: usize) -> String {
    let (caption, suffix) = match number {
        0 => (latex_text(&table.caption), String::new()),
        number => {
            let title = format!(
                "{}, {} protocol (continued).",
                table.title(),
                table.protocol
            );
            (latex_text(&title), format!("-{}", number + 1))
        }
    };
    let columns = PAPER_METRICS.len() * table.columns.len();
    let small = columns > COLUMNS_PER_PAGE;
    let (open, close) = match small {
        true => ("\\resizebox{\\textwidth}{!}{%\n", "}\n"),
        false => ("", ""),
    };
    format!(
        "\n\\begin{{table*}}\n\\centering\n\\caption{{{caption}}}\n\\label{{tab:{}{suffix}}}\n\\smallskip\n{open}{}{close}\\end{{table*}}\n",
        label(&[&table.suite, &table.group, table.protocol.name()]),
        tabular(table, blocks),
    )
}

/// Letters and digits of some names.
fn label(names: &[&str]) -> String {
    let plain = |character: char| match character.is_ascii_alphanumeric() {
        true => character.to_ascii_lowercase(),
        false => '-',
    };
    names.join("-").chars().map(plain).collect()
}

fn tabular(table: &PaperTable, blocks: &[PaperBlock]) -> String {
    let metrics = PAPER_METRICS.len();
    let (mut over, mut rules, mut names) = (String::new(), String::new(), String::from("Method"));
    for (place, column) in table.columns.iter().enumerate() {
        let (from, to) = (2 + metrics * place, 1 + metrics * (place + 1));
        over += &format!(
            " & \\multicolumn{{{metrics}}}{{c}}{{{}}}",
            latex_text(column)
        );
        rules += &format!("\\cmidrule(lr){{{from}-{to}}}");
        for (_, name) in PAPER_METRICS {
            names += &format!(" & {name}");
        }
    }
    let width = 1 + metrics * table.columns.len();
    let mut text = format!(
        "\\begin{{tabular}}{{l{}}}\n\\toprule\n{over} \\\\\n{rules}\n{names} \\\\\n",
        "r".repeat(width - 1)
    );
    for block in blocks {
        let title = latex_text(&format!("{}, {}", block.shift, block.model));
        text += &format!("\\midrule\n\\multicolumn{{{width}}}{{l}}{{\\emph{{{title}}}}} \\\\\n");
        for row in &block.rows {
            text += &line(row);
        }
    }
    text + "\\bottomrule\n\\end{tabular}\n"
}

fn line(row: &PaperRow) -> String {
    let italic = row.source.is_some();
    let mut text = match italic {
        true => format!("\\textit{{{}}}", latex_text(&row.method)),
        false => latex_text(&row.method),
    };
    for value in row.values.iter().flatten() {
        text += " & ";
        text += &match value {
            Some(value) if italic => format!("\\textit{{{}}}", cell(value)),
            Some(value) => cell(value),
            None => NOTHING.to_owned(),
        };
    }
    text + " \\\\\n"
}

fn cell(value: &PaperValue) -> String {
    let number = printed(value.mean);
    let number = match value.rank {
        Rank::Best => format!("\\textbf{{{number}}}"),
        Rank::Second => format!("\\underline{{{number}}}"),
        Rank::Other => number,
    };
    let deviation = value.deviation.map_or_else(String::new, |deviation| {
        format!("{{\\tiny$\\,\\pm\\,${}}}", printed(deviation))
    });
    let mark = if value.partial { "$^\\dagger$" } else { "" };
    format!("{number}{deviation}{mark}")
}
