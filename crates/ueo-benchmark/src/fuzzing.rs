//! The readers of this crate on bytes in memory, for fuzz targets and seeded tests: whatever the bytes are, they return, and
//! what they accept can be planned, tabulated and written.

use std::path::Path;

use super::cell::Cell;
use super::escape::{latex_text, markdown_text};
use super::page::page;
use super::paper::{PaperText, PublishedNumbers, paper_tables};
use super::results::Results;
use super::shift::Shift;
use super::suite::Suite;
use super::tables::tables;

/// Where hostile names would have to lead out of.
const OUTPUT: &str = "output";

/// A suite; whether it was accepted.
pub fn suite(bytes: &[u8]) -> bool {
    let Ok(suite) = Suite::parse_bytes(bytes, Path::new("suite.toml")) else {
        return false;
    };
    for shift in Shift::ALL {
        let present = suite.present(shift).unwrap_or_default();
        assert!(
            suite
                .known(shift)
                .iter()
                .chain(&present)
                .all(|&class| class < suite.classes)
        );
    }
    for text in suite
        .domains
        .iter()
        .map(|domain| &domain.name)
        .chain([&suite.name, &suite.about])
    {
        for escaped in [markdown_text(text), latex_text(text)] {
            assert!(!escaped.contains(char::is_control));
        }
    }
    true
}

/// The file of a cell; whether it was accepted.
pub fn cell(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Ok(cell) = Cell::parse(&text, Path::new("cell.json")) else {
        return false;
    };
    let path = cell.request.path(Path::new(OUTPUT));
    let parts: Vec<_> = path.components().collect();
    let plain = |part: &std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
    // output/cells/SUITE/MODEL/PROTOCOL/VARIANT/DOMAIN/SHIFT/FILE
    assert!(parts.len() == 9 && parts.iter().all(plain) && path.starts_with(OUTPUT));
    if let Ok(all) = Results::of_cells(vec![cell], &[], Path::new(OUTPUT)) {
        for results in &all {
            tables(results, results.main_variant());
        }
        page(&all);
        assert!(PaperText::of(&paper_tables(&all, &PublishedNumbers::default())).is_ok());
    }
    true
}

/// Published numbers; whether they were accepted.
pub fn published_numbers(bytes: &[u8]) -> bool {
    PublishedNumbers::parse(&String::from_utf8_lossy(bytes)).is_ok()
}
