//! The usual layouts of the photograph suites, as small fake trees.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use ueo_benchmark::{BenchmarkError, Suite, SuiteData, locate};

/// Writes files whose content nobody looks at here; empty ones would be refused.
fn tree(files: impl IntoIterator<Item = String>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        write(folder.path(), &file, "x");
    }
    folder
}

fn write(root: &Path, file: &str, content: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// `count` class names whose byte order is their number.
fn classes(count: usize) -> Vec<String> {
    (0..count)
        .map(|class| format!("class_{class:03}"))
        .collect()
}

fn find(suite: &Suite, data: &Path, domains: &[&str]) -> Result<SuiteData, BenchmarkError> {
    let names: Vec<String> = domains.iter().map(ToString::to_string).collect();
    locate(suite, data, &suite.select(&names)?)
}

fn suite(name: &str) -> Suite {
    Suite::open(name).unwrap()
}

#[test]
fn office_31_with_and_without_the_folder_images() {
    for (root, inner) in [
        ("", "images/"),
        ("", ""),
        ("domain_adaptation_images/", "images/"),
    ] {
        let files = ["amazon", "dslr", "webcam"].into_iter().flat_map(|domain| {
            classes(31)
                .into_iter()
                .map(move |class| format!("{root}{domain}/{inner}{class}/frame_1.jpg"))
        });
        let folder = tree(files);
        let found = find(&suite("office-31"), folder.path(), &[]).unwrap();
        assert_eq!(found.classes, classes(31));
        for domain in &found.domains {
            assert_eq!(
                domain.train.labels,
                (0..31).collect::<Vec<_>>(),
                "{}",
                domain.name
            );
            assert!(domain.test.is_none());
        }
        let differences: Vec<(&str, usize, usize)> = found
            .differences
            .iter()
            .map(|difference| {
                (
                    difference.domain.as_str(),
                    difference.expected,
                    difference.found,
                )
            })
            .collect();
        assert_eq!(
            differences,
            [("amazon", 2817, 31), ("dslr", 498, 31), ("webcam", 795, 31)]
        );
    }
}

#[test]
fn office_home_sorts_its_classes_by_bytes() {
    // Capital letters come before small ones: `TV` is class 58 and `Table` class 59 of the real set.
    let mut names = classes(63);
    names.extend(["TV".to_owned(), "Table".to_owned()]);
    for real_world in ["Real World", "RealWorld"] {
        let files = ["Art", "Clipart", "Product", real_world]
            .into_iter()
            .flat_map(|domain| {
                names
                    .iter()
                    .map(move |class| format!("{domain}/{class}/00001.jpg"))
            });
        let folder = tree(files);
        let found = find(&suite("office-home"), folder.path(), &["RealWorld", "Art"]).unwrap();
        assert_eq!(found.classes[..3], ["TV", "Table", "class_000"]);
        let domains: Vec<&str> = found
            .domains
            .iter()
            .map(|domain| domain.name.as_str())
            .collect();
        assert_eq!(domains, ["Art", "RealWorld"]);
    }
}

#[test]
fn visda_from_lists_and_from_folders() {
    let names = classes(12);
    let files = ["train", "validation"].into_iter().flat_map(|domain| {
        names
            .iter()
            .map(move |class| format!("{domain}/{class}/1.png"))
    });
    let folder = tree(files);
    let folders = find(&suite("visda-c"), folder.path(), &[]).unwrap();
    // The list says more than the folders: an image may be left out.
    let mut lines: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(class, name)| format!("{name}/1.png {class}"))
        .collect();
    write(folder.path(), "train/class_000/2.png", "x");
    lines.push("class_011/gone.png 11".to_owned());
    write(folder.path(), "train/image_list.txt", &lines.join("\n"));
    let lists = find(&suite("visda-c"), folder.path(), &[]).unwrap();
    assert_eq!(folders.classes, names);
    assert_eq!(folders.domains[0].train.labels.len(), 12);
    assert_eq!(
        lists.domains[0].train.labels.len(),
        12,
        "the second image of class 0 is not listed"
    );
    assert_eq!(
        lists.domains[1].train.labels.len(),
        12,
        "validation has no list"
    );
    assert_eq!(lists.differences[0].unusable, 1);
}

/// A domain of DomainNet with one training and one test image per class, in an order of classes that is not that of the bytes.
fn domainnet(lists: &str) -> TempDir {
    let names = classes(345);
    let numbered = || names.iter().rev().enumerate();
    let folder = tree(
        names
            .iter()
            .flat_map(|name| [1, 2].map(|n| format!("sketch/{name}/{n}.jpg"))),
    );
    for (part, image) in [("train", 1), ("test", 2)] {
        let lines: Vec<String> = numbered()
            .map(|(class, name)| format!("sketch/{name}/{image}.jpg {class}"))
            .collect();
        write(
            folder.path(),
            &format!("{lists}sketch_{part}.txt"),
            &lines.join("\n"),
        );
    }
    folder
}

#[test]
fn domainnet_has_separate_lists_whose_numbers_order_the_classes() {
    for lists in ["", "splits/"] {
        let folder = domainnet(lists);
        let found = find(&suite("domainnet"), folder.path(), &["sketch"]).unwrap();
        assert_eq!(found.classes[0], "class_344");
        assert_eq!(found.classes[344], "class_000");
        let domain = &found.domains[0];
        // Images are sorted by path, so their labels descend.
        assert_eq!(domain.train.labels[..2], [344, 343]);
        assert_ne!(
            domain.train.fingerprint,
            domain.test.as_ref().unwrap().fingerprint
        );
        assert_eq!(domain.tested().labels.len(), 345);
        let expected: Vec<usize> = found
            .differences
            .iter()
            .map(|difference| difference.expected)
            .collect();
        assert_eq!(expected, [48_212, 20_916]);
    }
}

#[test]
fn the_counts_of_original_lists_are_recognized() {
    let folder = domainnet("");
    let mut suite = suite("domainnet");
    let sketch = suite
        .domains
        .iter_mut()
        .find(|domain| domain.name == "sketch")
        .unwrap();
    assert_eq!(sketch.other_counts[0].images, 49_115);
    sketch.other_counts[0].images = 345;
    let found = find(&suite, folder.path(), &["sketch"]).unwrap();
    assert!(
        found.differences[0]
            .hint
            .as_ref()
            .unwrap()
            .contains("cleaned")
    );
}

#[test]
fn a_number_that_means_two_classes_is_refused() {
    let folder = domainnet("");
    let path = folder.path().join("sketch_test.txt");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("sketch/class_000/2.jpg 344", "sketch/class_000/2.jpg 343"),
    )
    .unwrap();
    let error = find(&suite("domainnet"), folder.path(), &["sketch"])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("has label 343") && error.contains("class_000"),
        "{error}"
    );
}

#[test]
fn what_is_missing_or_too_much_is_named() {
    let folder = tree(
        classes(12)
            .iter()
            .map(|class| format!("train/{class}/1.png")),
    );
    let error = find(&suite("visda-c"), folder.path(), &[]).unwrap_err();
    assert!(
        error.to_string().contains("the domain `validation`"),
        "{error}"
    );
    let error = find(&suite("office-31"), folder.path(), &[]).unwrap_err();
    assert!(matches!(error, BenchmarkError::NoData { .. }), "{error}");

    write(folder.path(), "train/__MACOSX/x.png", "x");
    let error = find(&suite("visda-c"), folder.path(), &["train"])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("has 12 classes, found 13") && error.contains("more"),
        "{error}"
    );
}

#[test]
fn lists_beside_the_folders_of_the_office_sets_say_more_than_the_folders() {
    let names = classes(31);
    for (list, prefix) in [
        ("amazon_list.txt", "amazon/images/"),
        ("image_list/amazon.txt", "amazon/images/"),
    ] {
        let folder = tree(names.iter().flat_map(|class| {
            [1, 2].map(|number| format!("amazon/images/{class}/frame_{number}.jpg"))
        }));
        let lines: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(class, name)| format!("{prefix}{name}/frame_1.jpg {class}"))
            .collect();
        write(folder.path(), list, &lines.join("\n"));
        let found = find(&suite("office-31"), folder.path(), &["amazon"]).unwrap();
        assert_eq!(found.classes, names, "{list}");
        assert_eq!(found.domains[0].train.labels, (0..31).collect::<Vec<_>>());
        assert_eq!(
            (found.differences[0].expected, found.differences[0].found),
            (2817, 31)
        );
    }

    let names = classes(65);
    for (domain, list, place) in [
        ("Art", "image_list/Art.txt", "Art"),
        ("RealWorld", "image_list/Real_World.txt", "Real_World"),
        ("RealWorld", "RealWorld_list.txt", "RealWorld"),
    ] {
        let images = names
            .iter()
            .flat_map(|class| [1, 2].map(|number| format!("{place}/{class}/{number}.jpg")));
        let folder = tree(images);
        let lines: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(class, name)| format!("{place}/{name}/2.jpg {class}"))
            .collect();
        write(folder.path(), list, &lines.join("\n"));
        let found = find(&suite("office-home"), folder.path(), &[domain]).unwrap();
        assert_eq!(found.domains[0].train.labels.len(), 65, "{list}");
        assert!(found.domains[0].train.path.ends_with(list), "{list}");
    }
}

#[test]
fn every_photograph_suite_compares_all_methods_of_the_publication() {
    for name in ["office-31", "office-home", "visda-c", "domainnet"] {
        let methods: Vec<String> = suite(name)
            .methods
            .iter()
            .map(ToString::to_string)
            .collect();
        for method in [
            "zero-shot",
            "upl",
            "pouf",
            "dance",
            "entropy-minimization",
            "info-max",
            "ueo",
        ] {
            assert!(methods.contains(&method.to_owned()), "{name}: {method}");
        }
    }
}
