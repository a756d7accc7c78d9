//! Cells of CSV files that a spreadsheet shows and does not run.

use std::borrow::Cow;

/// A text as the cell of a CSV file: with an apostrophe before what a spreadsheet would take for a formula.
///
/// Spreadsheets run cells that begin with `=`, `+`, `-`, `@` or a tab or line break (OWASP, "CSV injection"); an apostrophe
/// makes them text. Numbers are no formulas and stay. [`from_csv_cell`] gives every text back.
pub fn csv_cell(text: &str) -> Cow<'_, str> {
    match is_run(text.trim_start_matches('\'')) {
        true => Cow::Owned(format!("'{text}")),
        false => Cow::Borrowed(text),
    }
}

/// The text that [`csv_cell`] made a cell of.
pub fn from_csv_cell(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(text) if is_run(text.trim_start_matches('\'')) => text,
        _ => cell,
    }
}

/// Whether a spreadsheet would compute something; full-width signs are read as their ordinary forms.
fn is_run(text: &str) -> bool {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    formula && text.parse::<f64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_text_and_numbers_stay() {
        for text in [
            "=1+1",
            "+cmd|' /C calc'!A0",
            "-1+1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "－2+2",
            "-",
        ] {
            assert_eq!(csv_cell(text), format!("'{text}"));
        }
        for text in ["", "cat", "-0.5", "+1e-3", "a=b", "'tis", "62.1"] {
            assert_eq!(csv_cell(text), text);
        }
    }

    #[test]
    fn every_text_comes_back() {
        for text in [
            "=1", "'=1", "''=1", "'tis", "'", "''", "-0.5", "'-0.5", "plain", "",
        ] {
            assert_eq!(from_csv_cell(&csv_cell(text)), text);
        }
    }
}
