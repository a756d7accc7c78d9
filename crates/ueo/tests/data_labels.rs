//! Labels: which class a folder's name or a list's entry means, and when images count as unlabelled.

use std::fs;
use std::path::Path;

use ClassMatch::{Known, Unknown};
use tempfile::TempDir;
use ueo::data::{
    ClassList, DataError, Dataset, DatasetOptions, ImageLabel, LabelBasis, LabelChoice, Labelling,
    Unlabelled,
};

/// What a label means, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClassMatch {
    Known(usize),
    Unknown,
}

/// What the label of each sample means where nothing else is asked for; `None` where there is no label.
fn resolve_labels(dataset: &Dataset, classes: &ClassList) -> Vec<Option<ClassMatch>> {
    let labelling = Labelling::of(dataset, classes, LabelChoice::Auto).unwrap();
    let meanings = labelling.images.into_iter().map(|label| match label {
        ImageLabel::Known(class) => Some(Known(class)),
        ImageLabel::Unknown(_) => Some(Unknown),
        ImageLabel::Unlabelled(_) => None,
    });
    meanings.collect()
}

fn read(text: &str) -> Result<ClassList, DataError> {
    ClassList::parse(text.as_bytes(), Path::new("classes.txt"))
}

fn tree(names: &[&str]) -> Dataset {
    let root = TempDir::new().unwrap();
    for name in names {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    Dataset::open(root.path(), &DatasetOptions::default()).unwrap()
}

fn labelling(dataset: &Dataset, classes: &str, choice: LabelChoice) -> Labelling {
    Labelling::of(dataset, &read(classes).unwrap(), choice).unwrap()
}

/// `known 0`, `unknown zebra` or the reason of each image.
fn shown(labelling: &Labelling) -> Vec<String> {
    labelling
        .images
        .iter()
        .map(|label| match label {
            ImageLabel::Known(class) => format!("known {class}"),
            ImageLabel::Unknown(index) => format!("unknown {}", labelling.unmatched[*index].label),
            ImageLabel::Unlabelled(reason) => format!("{reason:?}"),
        })
        .collect()
}

#[test]
fn folder_names_are_classes_however_they_are_spelt() {
    let dataset = tree(&[
        "alarm clock/1.jpg",
        "ice_cream/1.jpg",
        "zebra/1.jpg",
        "Dog/1.jpg",
        "0/1.jpg",
        "top.jpg",
    ]);
    let classes = read("ice cream\nalarm_clock\ndog\n").unwrap();
    // Order of the samples: 0, Dog, alarm clock, ice_cream, top.jpg, zebra. A folder's name is never a position.
    assert_eq!(
        resolve_labels(&dataset, &classes),
        [
            Some(Unknown),
            Some(Known(2)),
            Some(Known(1)),
            Some(Known(0)),
            None,
            Some(Unknown)
        ]
    );
}

fn list(lines: &[&str]) -> Dataset {
    let root = TempDir::new().unwrap();
    for number in 0..lines.len() {
        fs::write(root.path().join(format!("{number}.jpg")), "x").unwrap();
    }
    let text: Vec<_> = lines
        .iter()
        .enumerate()
        .map(|(number, label)| format!("{number}.jpg {label}"))
        .collect();
    let path = root.path().join("list.txt");
    fs::write(&path, text.join("\n")).unwrap();
    Dataset::open(&path, &DatasetOptions::default()).unwrap()
}

#[test]
fn integers_of_a_list_are_positions_when_all_labels_are_integers() {
    let classes = read("cat\ndog\n").unwrap();
    assert_eq!(
        resolve_labels(&list(&["1", "0", "344", ""]), &classes),
        [Some(Known(1)), Some(Known(0)), Some(Unknown), None]
    );
    assert_eq!(
        resolve_labels(&list(&["1", "cat"]), &classes),
        [Some(Unknown), Some(Known(0))]
    );
    // Digits as class names win over positions.
    let digits = read("7\n1\n").unwrap();
    assert_eq!(
        resolve_labels(&list(&["1", "7", "0"]), &digits),
        [Some(Known(1)), Some(Known(0)), Some(Unknown)]
    );
}

#[test]
fn other_entries_of_number_lists_are_unknown_classes() {
    let classes = read("cat\ndog\n").unwrap();
    for unknown in [
        "2",
        "-1",
        "-1.0",
        "2.0",
        "unknown",
        "ood",
        "1e9",
        "99999999999999999999",
    ] {
        let dataset = list(&["0", "1", unknown, unknown]);
        let found = Labelling::of(&dataset, &classes, LabelChoice::Auto).unwrap();
        assert_eq!(found.basis, LabelBasis::Positions, "{unknown}");
        let unknown = format!("unknown {unknown}");
        assert_eq!(shown(&found), ["known 0", "known 1", &unknown, &unknown]);
        assert_eq!((found.unmatched.len(), found.unmatched[0].images), (1, 2));
    }
    // Spreadsheets write whole numbers so.
    assert_eq!(
        resolve_labels(&list(&["0.0", "1.0", "-1"]), &classes),
        [Some(Known(0)), Some(Known(1)), Some(Unknown)]
    );
    // Nothing known in it: no labels, unless they are asked for.
    let all_unknown = list(&["-1", "-1"]);
    let found = Labelling::of(&all_unknown, &classes, LabelChoice::Auto).unwrap();
    assert_eq!(shown(&found), ["LabelsAreNoClasses", "LabelsAreNoClasses"]);
    let found = Labelling::of(&all_unknown, &classes, LabelChoice::List).unwrap();
    assert_eq!(shown(&found), ["unknown -1", "unknown -1"]);
}

#[test]
fn numbers_that_count_from_one_are_noticed() {
    let from_one =
        |labels: &[&str]| labelling(&list(labels), "cat\ndog\n", LabelChoice::Auto).counts_from_one;
    assert!(from_one(&["1", "2", "2"]));
    assert!(!from_one(&["0", "1", "2"]));
    assert!(!from_one(&["1", "-1"]));
}

#[test]
fn numbers_are_ids_where_the_classes_have_some() {
    let classes = "1 cat\n2 dog\n";
    let found = labelling(&list(&["1", "02", "3", "dog"]), classes, LabelChoice::Auto);
    assert_eq!(
        shown(&found),
        ["known 0", "known 1", "unknown 3", "known 1"]
    );
    let dataset = tree(&["n02084071/1.jpg", "n02121808/1.jpg", "n09999999/1.jpg"]);
    let found = labelling(
        &dataset,
        "n02121808 house cat\nn02084071 dog\n",
        LabelChoice::Auto,
    );
    assert_eq!(shown(&found), ["known 1", "known 0", "unknown n09999999"]);
}

#[test]
fn one_image_without_a_label_costs_only_that_image() {
    let dataset = tree(&[
        "airplane/1.jpg",
        "anchor/1.jpg",
        "apple/1.jpg",
        "montage.png",
    ]);
    let found = labelling(&dataset, "apple\nanchor\n", LabelChoice::Auto);
    assert_eq!(
        shown(&found),
        ["unknown airplane", "known 1", "known 0", "NoFolder"]
    );
    assert_eq!(
        (found.labelled(), found.unlabelled()),
        (3, vec![(Unlabelled::NoFolder, 1)])
    );

    let found = labelling(
        &list(&["apple", "", "zebra"]),
        "apple\nanchor\n",
        LabelChoice::Auto,
    );
    assert_eq!(shown(&found), ["known 0", "NoListLabel", "unknown zebra"]);

    let shard = shard(&[("a.png", b"x"), ("a.cls", b"apple"), ("b.png", b"x")]);
    let found = labelling(&shard, "apple\nanchor\n", LabelChoice::Auto);
    assert_eq!(shown(&found), ["known 0", "NoLabelEntry"]);
}

fn shard(members: &[(&str, &[u8])]) -> Dataset {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    ueo::data::index_shard_bytes(&builder.into_inner().unwrap()).unwrap()
}

#[test]
fn shards_of_class_folders_are_labelled_by_these() {
    let shard = shard(&[
        ("apple/1.png", b"x"),
        ("images/x/apple.txt", b"x"),
        ("anchor/1.png", b"x"),
        ("zebra/1.png", b"x"),
    ]);
    let found = labelling(&shard, "apple\nanchor\n", LabelChoice::Auto);
    assert_eq!(shown(&found), ["known 1", "known 0", "unknown zebra"]);
    assert_eq!(found.basis, LabelBasis::Folders { level: 0 });
}

#[test]
fn spellings_of_a_class_are_the_class() {
    // As a zip file from macOS has it, in Unicode's NFD.
    let dataset = tree(&[
        "cafe\u{301}/1.jpg",
        "Anchor/1.jpg",
        "t-shirt/1.jpg",
        "AnnualCrop/1.jpg",
        "zebra/1.jpg",
    ]);
    let found = labelling(
        &dataset,
        "café\nanchor\nT_shirt\nannual crop\n",
        LabelChoice::Auto,
    );
    assert_eq!(
        shown(&found),
        ["known 1", "known 3", "known 0", "known 2", "unknown zebra"]
    );
    // Two classes that differ by a space only: none of them is guessed.
    let dataset = tree(&["NoTable/1.jpg", "not able/1.jpg"]);
    let found = labelling(&dataset, "no table\nnot able\n", LabelChoice::Auto);
    assert_eq!(shown(&found), ["unknown NoTable", "known 1"]);
}

#[test]
fn folders_that_are_no_classes_are_listed_with_the_nearest_class() {
    let dataset = tree(&[
        "airplane/1.jpg",
        "anchr/1.jpg",
        "apple/1.jpg",
        "phone/1.jpg",
        "phone/2.jpg",
    ]);
    let found = labelling(
        &dataset,
        "aeroplane\nanchor\napple\nphones\nzebra\n",
        LabelChoice::Folders,
    );
    let unmatched: Vec<_> = found
        .unmatched
        .iter()
        .map(|label| (label.label.as_str(), label.images, label.nearest.as_deref()))
        .collect();
    assert_eq!(
        unmatched,
        [
            ("airplane", 1, Some("aeroplane")),
            ("anchr", 1, Some("anchor")),
            ("phone", 2, Some("phones"))
        ]
    );
}

#[test]
fn folders_that_are_mostly_no_classes_are_no_labels_unless_the_user_says_so() {
    let dataset = tree(&[
        "2024-01/1.jpg",
        "2024-02/1.jpg",
        "2024-03/1.jpg",
        "apple/1.jpg",
    ]);
    let classes = "apple\nanchor\nairplane\n";
    let found = labelling(&dataset, classes, LabelChoice::Auto);
    assert_eq!(found.unlabelled(), [(Unlabelled::FoldersAreNoClasses, 4)]);
    assert_eq!(
        (found.basis, found.unmatched.len()),
        (LabelBasis::Nothing, 3)
    );
    let found = labelling(&dataset, classes, LabelChoice::Folders);
    assert_eq!(
        shown(&found),
        [
            "unknown 2024-01",
            "unknown 2024-02",
            "unknown 2024-03",
            "known 0"
        ]
    );
    let found = labelling(&dataset, classes, LabelChoice::None);
    assert_eq!(found.unlabelled(), [(Unlabelled::NotAsked, 4)]);
    assert!(matches!(
        Labelling::of(&dataset, &read(classes).unwrap(), LabelChoice::List),
        Err(DataError::NoListLabels)
    ));
    // Many unknown classes are still classes where most of the known ones are there.
    let dataset = tree(&[
        "apple/1.jpg",
        "anchor/1.jpg",
        "u/1.jpg",
        "v/1.jpg",
        "w/1.jpg",
        "x/1.jpg",
    ]);
    let found = labelling(&dataset, classes, LabelChoice::Auto);
    assert_eq!(found.labelled(), 6);
}

#[test]
fn class_folders_are_found_below_others() {
    let dataset = tree(&[
        "dataset/airplane/1.jpg",
        "dataset/anchor/1.jpg",
        "dataset/apple/1.jpg",
        "readme.png",
    ]);
    let found = labelling(&dataset, "apple\nanchor\n", LabelChoice::Auto);
    assert_eq!(found.basis, LabelBasis::Folders { level: 1 });
    assert_eq!(
        shown(&found),
        ["unknown airplane", "known 1", "known 0", "NoFolder"]
    );
}
