//! The results as a page in Markdown: what was run, what rises and what does not, and how settings matter.
//!
//! The page holds numbers and what follows from them by rule; what they mean is written by people, outside of the two
//! lines between which the page is generated.

use std::io::Write;
use std::path::Path;

use super::BenchmarkError;
use super::escape::markdown_text;
use super::findings::{against_info_max, rises, time, zero_shot};
use super::harm::harm;
use super::results::Results;
use super::settings::{chosen_settings, domain_images, protocol, variants};
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
pub fn write_page(all: &[Results], path: &Path) -> Result<(), BenchmarkError> {
    let generated = page(all);
    let content = match std::fs::read_to_string(path) {
        Ok(old) => replace_generated(&old, &generated).ok_or_else(|| BenchmarkError::Page {
            path: path.to_owned(),
            begin: PAGE_BEGIN,
            end: PAGE_END,
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut suites: Vec<String> = all
                .iter()
                .map(|results| markdown_text(&results.suite))
                .collect();
            suites.dedup();
            let suites = suites.join(", ");
            format!("# Results on {suites}\n\n{PAGE_BEGIN}\n{generated}{PAGE_END}\n")
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

/// The generated part: one chapter for each suite, model and protocol where there are several.
pub fn page(all: &[Results]) -> String {
    let alone = all.len() == 1;
    let chapters = all.iter().map(|results| {
        let level = if alone { "##" } else { "###" };
        let sections = sections(results, level).join("\n");
        match alone {
            true => sections,
            false => format!(
                "## {}\n\n{sections}",
                capitalized(&markdown_text(&results.name()))
            ),
        }
    });
    format!("\n{}\n", chapters.collect::<Vec<_>>().join("\n"))
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters).collect()
}

/// The sections about some results, with headings of a level; empty ones are left out.
fn sections(results: &Results, level: &str) -> Vec<String> {
    let base = results.main_variant();
    let of_groups = |table: fn(&Results, &str, &str) -> Table| -> Vec<Table> {
        let groups = results.groups().into_iter();
        groups.map(|group| table(results, base, group)).collect()
    };
    let rising = format!(
        "Against zero-shot, settings `{base}`. A pair is a domain under a category shift; it rises or falls where the whole \
         95 % interval of its difference lies above or below zero.\n"
    );
    let section = |title: &str, introduction: &str, tables: &[Table]| {
        section(&format!("{level} {title}"), introduction, tables)
    };
    let alone = |table: &Table| alone(level, table);
    let mut sections = vec![
        format!("{level} Setting\n\n{}", setting(results)),
        alone(&zero_shot(results)),
        section("Means", "", &of_groups(means)),
        section("By category shift", "", &of_groups(by_shift)),
        section("Differences", "", &of_groups(differences)),
        section("Harm", "", &of_groups(harm)),
        section("What rises and what does not", &rising, &of_groups(rises)),
        alone(&against_info_max(results, base)),
        section("By domain", "", &of_groups(by_domain)),
    ];
    sections.extend(variants(results, base).iter().map(alone));
    sections.push(alone(&time(results, base)));
    sections.retain(|text| !text.is_empty());
    sections
}

/// A section of tables below an introduction; empty without rows.
fn section(heading: &str, introduction: &str, tables: &[Table]) -> String {
    let mut text = String::new();
    for table in tables.iter().filter(|table| !table.rows.is_empty()) {
        let (title, note) = (markdown_text(&table.title), markdown_text(&table.note));
        text += &format!("\n**{title}.** {note}\n\n{}", table.markdown());
    }
    match (text.is_empty(), introduction) {
        (true, _) => text,
        (false, "") => format!("{heading}\n{text}"),
        (false, introduction) => format!("{heading}\n\n{introduction}{text}"),
    }
}

/// A section of one table, which has the table's title; empty without rows.
fn alone(level: &str, table: &Table) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    let (title, note) = (markdown_text(&table.title), markdown_text(&table.note));
    format!("{level} {title}\n\n{note}\n\n{}", table.markdown())
}

fn setting(results: &Results) -> String {
    let about = results.about.as_ref();
    let mut text = format!(
        "{}{} of {} classes are listed. Model: {}, checkpoint with SHA-256 `{}`, {}. {}\n",
        about.map_or_else(String::new, |about| format!("{}. ", markdown_text(about))),
        results.known,
        results.classes,
        markdown_text(&results.model),
        &results.model_sha256[..results.model_sha256.len().min(12)],
        results.precision,
        protocol(results),
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
    use crate::test_cells::{cell, images, one, request};
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

    fn results(cells: &[Cell]) -> Vec<Results> {
        vec![one(cells.to_vec())]
    }

    #[test]
    fn the_description_is_that_of_the_suite_where_it_is_known() {
        let mut results = results(&[made("suite", Method::ZeroShot, None, 2)]);
        let text = page(&results);
        assert!(
            text.starts_with("\n## Setting\n\n2 of 3 classes are listed."),
            "{text}"
        );
        results[0].about = Some("Made-up images".to_owned());
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
        assert!(error.to_string().contains(PAGE_BEGIN));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "Only this.");
    }
}
