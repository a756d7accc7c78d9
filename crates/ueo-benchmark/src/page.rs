//! The results as a page in Markdown: what was run, what rises and what does not, and how settings matter.
//!
//! The page holds numbers and what follows from them by rule; what they mean is written by people, outside of the two
//! lines between which the page is generated.

use std::io::Write;
use std::path::Path;

use super::BenchmarkError;
use super::findings::{against_info_max, rises, time, zero_shot};
use super::results::Results;
use super::settings::{PROTOCOL, chosen_settings, domain_images, variants};
use super::table::Table;
use super::tables::{by_domain, by_shift, differences, means};
use ueo::write_atomically;

/// First line of the generated part of a page.
pub const PAGE_BEGIN: &str = "<!-- from here on written by `ueo benchmark --page` -->";
/// Last line of the generated part of a page.
pub const PAGE_END: &str = "<!-- up to here written by `ueo benchmark --page` -->";

/// Writes the page, or the generated part of one that exists; everything around it stays as it is.
///
/// # Errors
///
/// [`BenchmarkError::Page`] when the file exists and has no generated part, and [`BenchmarkError::Io`].
pub fn write_page(results: &Results, path: &Path) -> Result<(), BenchmarkError> {
    let generated = page(results);
    let content = match std::fs::read_to_string(path) {
        Ok(old) => replace_generated(&old, &generated).ok_or_else(|| BenchmarkError::Page {
            path: path.to_owned(),
            begin: PAGE_BEGIN,
            end: PAGE_END,
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!(
                "# Results on {}\n\n{PAGE_BEGIN}\n{generated}{PAGE_END}\n",
                results.suite
            )
        }
        Err(source) => return Err(BenchmarkError::io("read", path, source)),
    };
    write_atomically(path, |file| file.write_all(content.as_bytes()))
        .map_err(|source| BenchmarkError::io("write", path, source))
}

fn replace_generated(old: &str, generated: &str) -> Option<String> {
    let begin = old.find(PAGE_BEGIN)? + PAGE_BEGIN.len();
    let end = begin + old[begin..].find(PAGE_END)?;
    Some(format!("{}\n{generated}{}", &old[..begin], &old[end..]))
}

/// The generated part.
pub fn page(results: &Results) -> String {
    let base = results.main_variant();
    let of_groups = |table: fn(&Results, &str, &str) -> Table| -> Vec<Table> {
        let groups = results.groups().into_iter();
        groups.map(|group| table(results, base, group)).collect()
    };
    let rising = format!(
        "\nAgainst zero-shot, settings `{base}`. A pair is a domain under a category shift; it rises or falls where the whole \
         95 % interval of its difference lies above or below zero.\n"
    );
    let mut sections = vec![
        setting(results),
        alone(&zero_shot(results)),
        section("Means", "", &of_groups(means)),
        section("By category shift", "", &of_groups(by_shift)),
        section("Differences", "", &of_groups(differences)),
        section("What rises and what does not", &rising, &of_groups(rises)),
        alone(&against_info_max(results, base)),
        section("By domain", "", &of_groups(by_domain)),
    ];
    sections.extend(variants(results, base).iter().map(alone));
    sections.push(alone(&time(results, base)));
    let sections: Vec<String> = sections
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
    format!("\n{}\n", sections.join("\n"))
}

/// A section of tables below an introduction; empty without rows.
fn section(title: &str, introduction: &str, tables: &[Table]) -> String {
    let mut text = String::new();
    for table in tables.iter().filter(|table| !table.rows.is_empty()) {
        text += &format!(
            "\n**{}.** {}\n\n{}",
            table.title,
            table.note,
            table.markdown()
        );
    }
    if text.is_empty() {
        text
    } else {
        format!("## {title}\n{introduction}{text}")
    }
}

/// A section of one table, which has the table's title; empty without rows.
fn alone(table: &Table) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    format!(
        "## {}\n\n{}\n\n{}",
        table.title,
        table.note,
        table.markdown()
    )
}

fn setting(results: &Results) -> String {
    let about = results.about.as_ref();
    let mut text = format!(
        "## Setting\n\n{}{} of {} classes are listed. Model: checkpoint with SHA-256 `{}`. {PROTOCOL}\n",
        about.map_or_else(String::new, |about| format!("{about}. ")),
        results.known,
        results.classes,
        &results.model_sha256[..results.model_sha256.len().min(12)],
    );
    let settings = chosen_settings(results);
    for table in [domain_images(results), settings] {
        if !table.rows.is_empty() {
            text += &format!("\n{}", table.markdown());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;
    use crate::test_cells::{cell, images, request};
    use ueo::adapt::Settings;
    use ueo::method::Method;

    fn made(variant: &str, method: Method, seed: Option<u64>, correct: usize) -> Cell {
        let mut request = request(3, &[0, 2]);
        request.variant = variant.to_owned();
        request.method = method;
        request.seed = seed;
        request.settings = Settings::default().with_method(method);
        cell(request, images(correct, 1))
    }

    fn results(cells: &[Cell]) -> Results {
        Results::new(cells, &[], Path::new("out")).unwrap()
    }

    #[test]
    fn the_description_is_that_of_the_suite_where_it_is_known() {
        let mut results = results(&[made("suite", Method::ZeroShot, None, 2)]);
        let text = page(&results);
        assert!(
            text.starts_with("\n## Setting\n\n2 of 3 classes are listed."),
            "{text}"
        );
        results.about = Some("Made-up images".to_owned());
        let text = page(&results);
        assert!(
            text.contains("\n\nMade-up images. 2 of 3 classes are listed."),
            "{text}"
        );
    }

    #[test]
    fn sections_appear_with_the_cells_that_they_need() {
        let mut cells = vec![
            made("suite", Method::ZeroShot, None, 2),
            made("suite", Method::Ueo, Some(1), 4),
        ];
        let text = page(&results(&cells));
        assert!(
            text.contains("## Zero-shot") && text.contains("## What rises"),
            "{text}"
        );
        assert!(
            !text.contains("## UEO against InfoMax") && !text.contains("## Flat"),
            "{text}"
        );
        assert!(
            text.contains("UEO over zero-shot: accuracy rises (+50.0 [+50.0, +50.0])"),
            "{text}"
        );

        cells.push(made("suite", Method::InfoMax, Some(1), 3));
        let mut sharp = made("sharp", Method::Ueo, Some(1), 3);
        let sharp_settings = &mut sharp.request.settings.method_settings;
        sharp_settings.universal_entropy.weight_temperature = 0.01;
        let mut fast = made("fast", Method::Ueo, Some(1), 1);
        fast.request.settings.affine_learning_rate = 0.5;
        cells.extend([sharp, fast]);
        let text = page(&results(&cells));
        for expected in [
            "## UEO against InfoMax",
            "## Flat and sharp weights",
            "sharp: weight-temperature 0.01 | 1 x 1 | 75.0 |",
            "## Learning rates",
            "fast: affine-learning-rate 0.5 | 1 x 1 | 25.0 |",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(!text.contains("## Prompts"), "{text}");
    }

    #[test]
    fn what_people_wrote_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.md");
        let first = results(&[made("suite", Method::ZeroShot, None, 2)]);
        write_page(&first, &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("# Results on made-up\n") && text.contains(" 50.0 "),
            "{text}"
        );
        let edited = format!("Before.\n{text}After.\n");
        std::fs::write(&path, &edited).unwrap();
        let second = results(&[made("suite", Method::ZeroShot, None, 3)]);
        write_page(&second, &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("Before.\n# Results") && text.ends_with("After.\n"),
            "{text}"
        );
        assert!(
            text.contains(" 75.0 ") && !text.contains(" 50.0 "),
            "{text}"
        );
        assert_eq!(text.matches(PAGE_BEGIN).count(), 1);

        std::fs::write(&path, "Only this.").unwrap();
        let error = write_page(&second, &path).unwrap_err();
        assert!(error.to_string().contains(PAGE_BEGIN) && error.hint().is_some());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "Only this.");
    }
}
