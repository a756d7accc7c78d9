use super::*;
use crate::cell::Cell;
use crate::test_cells::{cell, images, one, request};
use ueo::method::Method;

fn made(method: Method, model: &str, domain: &str, seed: Option<u64>, correct: usize) -> Cell {
    let mut request = request(3, &[0, 2]);
    request.method = method;
    request.seed = seed;
    request.domain = domain.to_owned();
    request.settings = ueo::adapt::Settings::default().with_method(method);
    request.settings.seed = seed.unwrap_or(0);
    let digest = format!("{:02x}", model.len());
    request.model_sha256 = digest;
    let mut made = cell(request, images(correct, 0));
    made.model = Some(model.to_owned());
    made
}

/// Two domains; zero-shot 25 and 50 %, UEO 50 and 75 % with a seed that differs, InfoMax on one domain, and an oracle.
fn cells(model: &str) -> Vec<Cell> {
    vec![
        made(Method::ZeroShot, model, "a_1", None, 1),
        made(Method::ZeroShot, model, "b", None, 2),
        made(Method::Ueo, model, "a_1", Some(1), 2),
        made(Method::Ueo, model, "a_1", Some(2), 2),
        made(Method::Ueo, model, "b", Some(1), 2),
        made(Method::Ueo, model, "b", Some(2), 4),
        made(Method::InfoMax, model, "a_1", Some(1), 4),
        made(Method::UeoOracle, model, "a_1", Some(1), 4),
        made(Method::UeoOracle, model, "b", Some(1), 4),
    ]
}

fn table_of(published: &PublishedNumbers) -> PaperTable {
    let mut tables = paper_tables(&[one(cells("RN50"))], published);
    assert_eq!(tables.len(), 1);
    tables.remove(0)
}

const PUBLISHED: &str = r#"
source = "Somebody 2024"
[[rows]]
suite = "made-up"
model = "RN50"
shift = "closed"
method = "UEO (theirs)"
values = { a_1 = [50.0, 75.0], b = [70.0, 75.0] }
[[rows]]
suite = "made-up"
model = "ViT"
shift = "closed"
method = "UEO (theirs)"
values = { a_1 = [50.0, 75.0] }
"#;

#[test]
fn numbers_ranks_and_averages_equal_those_by_hand() {
    let table = table_of(&PublishedNumbers::default());
    assert_eq!(table.columns, ["a_1", "b", "average"]);
    let block = &table.blocks[0];
    assert_eq!((block.shift, block.model.as_str()), (Shift::Closed, "RN50"));
    let methods: Vec<&str> = block.rows.iter().map(|row| row.method.as_str()).collect();
    assert_eq!(
        methods,
        ["zero-shot", "InfoMax", "UEO", "UEO, oracle weights"]
    );
    let accuracy = |row: usize, column: usize| block.rows[row].values[column][0].unwrap();
    // UEO: (50 + (50 + 100) / 2) / 2.
    assert_eq!(accuracy(2, 2).mean, 0.625);
    assert!((accuracy(2, 1).deviation.unwrap() - 0.5 / 2_f64.sqrt()).abs() < 1e-12);
    // AUROC is 1 everywhere.
    let harmonic = block.rows[0].values[0][2].unwrap().mean;
    assert!((harmonic - 2.0 * 0.25 / 1.25).abs() < 1e-12);
    // InfoMax is best where it was run and has no comparable average; the oracle is not ranked.
    let ranks = |column: usize| {
        (0..4).map(move |row: usize| block.rows[row].values[column][0].map(|value| value.rank))
    };
    use Rank::{Best, Other, Second};
    assert!(ranks(0).eq([Some(Other), Some(Best), Some(Second), Some(Other)]));
    assert!(ranks(1).eq([Some(Second), None, Some(Best), Some(Other)]));
    assert!(ranks(2).eq([Some(Second), Some(Other), Some(Best), Some(Other)]));
    assert!(accuracy(1, 2).partial && !accuracy(2, 2).partial);
    // Equal numbers have equal places.
    assert!(
        block.rows[0].values[0][1].unwrap().rank == Best
            && block.rows[2].values[0][1].unwrap().rank == Best
    );
}

#[test]
fn all_formats_have_ranks_deviations_and_marks() {
    let text = PaperText::of(&[table_of(&PublishedNumbers::default())]).unwrap();
    for expected in [
        "\\multicolumn{3}{c}{a\\_1}",
        "\\cmidrule(lr){2-4}",
        "\\label{tab:made-up-domains-published}",
        "\\multicolumn{10}{l}{\\emph{closed, RN50}}",
        "InfoMax & \\textbf{100.0}",
        "\\underline{50.0}{\\tiny$\\,\\pm\\,$0.0}",
        "100.0$^\\dagger$",
        "\\toprule",
    ] {
        assert!(text.latex.contains(expected), "{expected}\n{}", text.latex);
    }
    for expected in [
        "| method | a\\_1 ACC | a\\_1 AUC | a\\_1 H | b ACC |",
        "| InfoMax | **100.0** |",
        "| UEO | <u>50.0</u> ± 0.0 |",
        "† Over a part of the cells only",
    ] {
        assert!(
            text.markdown.contains(expected),
            "{expected}\n{}",
            text.markdown
        );
    }
    let csv = String::from_utf8(text.csv).unwrap();
    for expected in [
        "made-up,domains,published,closed,RN50,suite,InfoMax,,average,per_class_accuracy,1.000000,,false,\n",
        "made-up,domains,published,closed,RN50,suite,UEO,,average,per_class_accuracy,0.625000,0.176777,true,best\n",
    ] {
        assert!(csv.contains(expected), "{expected}\n{csv}");
    }
}

#[test]
fn models_stand_below_each_other_and_published_numbers_beside() {
    let published = PublishedNumbers::parse(PUBLISHED).unwrap();
    let all = Results::of_cells(
        [cells("RN50"), cells("ViT-B/16")].concat(),
        &[],
        Path::new("out"),
    )
    .unwrap();
    let tables = paper_tables(&all, &published);
    assert_eq!(tables.len(), 1);
    let models: Vec<&str> = tables[0]
        .blocks
        .iter()
        .map(|block| block.model.as_str())
        .collect();
    assert_eq!(models, ["RN50", "ViT-B/16"]);
    let row = tables[0].blocks[0].rows.last().unwrap();
    assert_eq!(
        (row.method.as_str(), row.source.as_deref()),
        ("UEO (theirs)", Some("Somebody 2024"))
    );
    let average = row.values[2].map(|value| value.unwrap().mean);
    assert!((average[0] - 0.6).abs() < 1e-12 && (average[1] - 0.75).abs() < 1e-12);
    let text = PaperText::of(&tables).unwrap();
    assert!(
        text.latex
            .contains("\\textit{UEO (theirs)} & \\textit{50.0}"),
        "{}",
        text.latex
    );
    assert!(
        text.latex.contains("In italics: Somebody 2024"),
        "{}",
        text.latex
    );
    let unused = published.unused(&all);
    assert_eq!(unused.len(), 1);
    assert_eq!(unused[0].model, "ViT");

    let refused =
        |from: &str, to: &str| PublishedNumbers::parse(&PUBLISHED.replace(from, to)).unwrap_err();
    assert!(refused("[50.0, 75.0], b", "[50.0, 750.0], b").contains("between 0 and 100"));
    assert!(refused("[50.0, 75.0], b", "[nan, 75.0], b").contains("found NaN"));
    assert!(refused("shift", "shfit").contains("shfit"));
}

#[test]
fn a_long_table_is_cut_between_shifts() {
    let table = table_of(&PublishedNumbers::default());
    let mut long = table.clone();
    for shift in [Shift::Partial, Shift::Open] {
        let mut block = table.blocks[0].clone();
        block.shift = shift;
        block.rows = vec![block.rows[0].clone(); 30];
        long.blocks.push(block);
    }
    let text = PaperText::of(&[long]).unwrap().latex;
    assert_eq!(text.matches("\\begin{table*}").count(), 2, "{text}");
    assert!(
        text.contains("(continued)") && text.contains("tab:made-up-domains-published-2"),
        "{text}"
    );
}

#[test]
fn names_are_text_in_every_format() {
    let mut cells = cells("RN50\n\\input{/etc/passwd}");
    for cell in &mut cells {
        cell.request.group = "=HYPERLINK(1)".to_owned();
        cell.request.domain = "<b>&|".to_owned() + &cell.request.domain;
    }
    let text = PaperText::of(&paper_tables(&[one(cells)], &PublishedNumbers::default())).unwrap();
    assert!(
        !text.latex.contains("\\input") && text.latex.contains("\\textbackslash{}input"),
        "{}",
        text.latex
    );
    assert!(
        !text.markdown.contains("<b>") && text.markdown.contains("\\<b\\>&\\|b ACC"),
        "{}",
        text.markdown
    );
    let csv = String::from_utf8(text.csv).unwrap();
    assert!(
        csv.contains(",'=HYPERLINK(1),") && !csv.contains(",=HYP"),
        "{csv}"
    );
}
