//! Suites: what a benchmark consists of, described by a TOML file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::names::check_name;
use super::shift::{ClassRanges, Shift};
use super::{BenchmarkError, Profile};
use ueo::method::Method;

/// The suites inside the program, by name.
const EMBEDDED: [(&str, &str); 11] = [
    ("iconnet", include_str!("../suites/iconnet.toml")),
    (
        "iconnet-corrupted",
        include_str!("../suites/iconnet-corrupted.toml"),
    ),
    (
        "iconnet-scene",
        include_str!("../suites/iconnet-scene.toml"),
    ),
    (
        "iconnet-camera",
        include_str!("../suites/iconnet-camera.toml"),
    ),
    ("iconnet-200", include_str!("../suites/iconnet-200.toml")),
    ("iconnet-320", include_str!("../suites/iconnet-320.toml")),
    (
        "iconnet-validation",
        include_str!("../suites/iconnet-validation.toml"),
    ),
    ("office-31", include_str!("../suites/office-31.toml")),
    ("office-home", include_str!("../suites/office-home.toml")),
    ("visda-c", include_str!("../suites/visda-c.toml")),
    ("domainnet", include_str!("../suites/domainnet.toml")),
];

/// Largest file of a suite, in bytes.
const LONGEST_FILE: u64 = 1 << 20;
/// Longest description, in bytes.
const LONGEST_TEXT: usize = 2_000;
/// Most classes; ImageNet-21k has 21,841.
const MOST_CLASSES: usize = 100_000;
/// Most domains, seeds, roots, and places of a domain.
const MOST_ENTRIES: usize = 1_000;

/// A benchmark: domains, shifts, and how the methods are set.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Suite {
    /// Name, as in the results.
    pub name: String,
    /// What it is, in a sentence.
    pub about: String,
    /// Where the data are if nothing else is said, relative to the current directory.
    pub default_data: Option<PathBuf>,
    /// What to do when they are not there.
    #[serde(default = "Suite::default_obtain")]
    pub obtain: String,
    /// Folders below the data directory in which the domains may lie, the empty path for the directory itself.
    #[serde(default = "Suite::default_roots")]
    pub roots: Vec<PathBuf>,
    /// Number of classes.
    pub classes: usize,
    /// File with one class name per line, relative to the root; without it the class folders are the names.
    pub class_file: Option<PathBuf>,
    /// The listed classes.
    pub known: ClassRanges,
    /// The classes that have unlabeled images, by shift.
    pub shifts: BTreeMap<Shift, ClassRanges>,
    /// The methods that are compared if nothing else is asked for.
    #[serde(default = "Suite::default_methods")]
    pub methods: Vec<Method>,
    /// Seeds of the methods that train.
    #[serde(default = "Suite::default_seeds")]
    pub seeds: Vec<u64>,
    /// Where the images come from.
    pub domains: Vec<Domain>,
    /// Settings chosen for this suite, where they are not the program's.
    #[serde(default)]
    pub settings: Profile,
    /// Settings of the publication, where they are not the program's.
    #[serde(default)]
    pub published: Profile,
}

/// A domain: the same classes in one style.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Domain {
    /// Name, as in the results.
    pub name: String,
    /// Domains of one group are averaged in the tables.
    #[serde(default = "Domain::default_group")]
    pub group: String,
    /// Folders with one folder per class that may hold the images, relative to the root.
    #[serde(default)]
    pub folders: Vec<PathBuf>,
    /// List files (`path label`) that may name the images, relative to the root; they win over folders.
    #[serde(default)]
    pub lists: Vec<PathBuf>,
    /// List files of the test images where these are others.
    #[serde(default)]
    pub test_lists: Vec<PathBuf>,
    /// Images of the publication.
    pub images: Option<usize>,
    /// Test images of the publication, where these are others.
    pub test_images: Option<usize>,
    /// Other counts that are around, and what they mean.
    #[serde(default)]
    pub other_counts: Vec<OtherCount>,
}

/// A number of images that says which version of a data set this is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherCount {
    /// The number of images.
    pub images: usize,
    /// What a user with this number should know.
    pub hint: String,
}

impl Domain {
    fn default_group() -> String {
        "domains".to_owned()
    }

    /// Whether training and test images are the same.
    pub fn one_list(&self) -> bool {
        self.test_lists.is_empty()
    }
}

impl Suite {
    fn default_obtain() -> String {
        "name the folder that has them with --data".to_owned()
    }

    fn default_roots() -> Vec<PathBuf> {
        vec![PathBuf::new()]
    }

    /// All methods that the publication compares, and its upper bound.
    fn default_methods() -> Vec<Method> {
        vec![
            Method::ZeroShot,
            Method::Upl,
            Method::Pouf,
            Method::Dance,
            Method::EntropyMinimization,
            Method::InfoMax,
            Method::Ueo,
            Method::UeoOracle,
        ]
    }

    fn default_seeds() -> Vec<u64> {
        vec![2023, 2024, 2025]
    }

    /// Names of the embedded suites.
    pub fn embedded() -> impl Iterator<Item = &'static str> {
        EMBEDDED.iter().map(|(name, _)| *name)
    }

    /// The embedded suite of this name, or the one that a file describes.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::NoSuite`], [`BenchmarkError::SuiteSyntax`] and [`BenchmarkError::Suite`].
    pub fn open(name_or_path: &str) -> Result<Self, BenchmarkError> {
        if let Some((name, text)) = EMBEDDED.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text, Path::new(name));
        }
        let path = Path::new(name_or_path);
        let no_suite = |source| BenchmarkError::NoSuite {
            name: name_or_path.to_owned(),
            known: Self::embedded().collect::<Vec<_>>().join(", "),
            source,
        };
        let file = std::fs::File::open(path).map_err(no_suite)?;
        let mut bytes = Vec::new();
        file.take(LONGEST_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(no_suite)?;
        Self::parse_bytes(&bytes, path)
    }

    /// Reads and checks a description that may be anything; `path` names it in messages.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn parse_bytes(bytes: &[u8], path: &Path) -> Result<Self, BenchmarkError> {
        let wrong = |reason: String| BenchmarkError::Suite {
            path: path.to_owned(),
            reason,
        };
        if bytes.len() as u64 > LONGEST_FILE {
            return Err(wrong(format!(
                "expected a file of at most {LONGEST_FILE} bytes"
            )));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| wrong(format!("expected UTF-8: {error}")))?;
        Self::parse(text, path)
    }

    /// Reads and checks a description; `path` names it in messages.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, BenchmarkError> {
        let suite: Self = toml::from_str(text).map_err(|source| BenchmarkError::SuiteSyntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        suite.check().map_err(|reason| BenchmarkError::Suite {
            path: path.to_owned(),
            reason,
        })?;
        Ok(suite)
    }

    fn check(&self) -> Result<(), String> {
        self.check_names()?;
        if !(2..=MOST_CLASSES).contains(&self.classes) {
            let found = self.classes;
            return Err(format!(
                "expected 2 to {MOST_CLASSES} classes, found {found}"
            ));
        }
        let ranges = self
            .shifts
            .iter()
            .map(|(shift, ranges)| (shift.name(), ranges));
        for (name, ranges) in ranges.chain([("known", &self.known)]) {
            if ranges.last() >= self.classes {
                return Err(format!(
                    "`{name}` names class {}, but there are {} classes, counted from 0",
                    ranges.last(),
                    self.classes
                ));
            }
        }
        if self.shifts.contains_key(&Shift::AllKnown) {
            return Err(
                "`all-known` needs no range: all classes are listed and present".to_owned(),
            );
        }
        let groups: BTreeSet<&str> = self
            .domains
            .iter()
            .map(|domain| domain.group.as_str())
            .collect();
        let mut names = BTreeSet::new();
        for domain in &self.domains {
            // Where case means nothing, these would be one folder.
            if !names.insert(domain.name.to_lowercase()) {
                return Err(format!("there are two domains `{}`", domain.name));
            }
            if groups.contains(domain.name.as_str()) {
                return Err(format!("`{}` is a domain and a group", domain.name));
            }
            if domain.folders.is_empty() && domain.lists.is_empty() {
                return Err(format!(
                    "domain `{}` has neither folders nor lists",
                    domain.name
                ));
            }
        }
        if self.domains.is_empty() || self.roots.is_empty() {
            return Err("expected at least one domain and one root".to_owned());
        }
        if self.seeds.is_empty() {
            return Err("expected at least one seed".to_owned());
        }
        Ok(())
    }

    /// Names become folders, and everything becomes text of a page.
    fn check_names(&self) -> Result<(), String> {
        check_name("name of the suite", &self.name)?;
        for domain in &self.domains {
            check_name("name of a domain", &domain.name)?;
            check_name("name of a group", &domain.group)?;
        }
        let hints = self.domains.iter().flat_map(|domain| &domain.other_counts);
        let texts = hints
            .map(|count| &count.hint)
            .chain([&self.about, &self.obtain]);
        for text in texts {
            if text.len() > LONGEST_TEXT {
                return Err(format!("expected texts of at most {LONGEST_TEXT} bytes"));
            }
        }
        let domains = self.domains.iter();
        let places = domains.map(|domain| {
            domain.folders.len()
                + domain.lists.len()
                + domain.test_lists.len()
                + domain.other_counts.len()
        });
        let counts = [
            self.domains.len(),
            self.seeds.len(),
            self.roots.len(),
            places.max().unwrap_or(0),
        ];
        match counts.iter().all(|&count| count <= MOST_ENTRIES) {
            true => Ok(()),
            false => Err(format!(
                "expected at most {MOST_ENTRIES} domains, seeds, roots and places of a domain"
            )),
        }
    }

    /// Indices of the listed classes under a shift.
    pub fn known(&self, shift: Shift) -> Vec<usize> {
        match shift {
            Shift::AllKnown => ClassRanges::all(self.classes).indices(),
            _ => self.known.indices(),
        }
    }

    /// Indices of the classes that have unlabeled images under a shift.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Unknown`] when the suite has no such shift.
    pub fn present(&self, shift: Shift) -> Result<Vec<usize>, BenchmarkError> {
        if shift == Shift::AllKnown {
            return Ok(ClassRanges::all(self.classes).indices());
        }
        let ranges = self
            .shifts
            .get(&shift)
            .ok_or_else(|| BenchmarkError::Unknown {
                what: "category shift of this suite",
                found: shift.to_string(),
                known: self
                    .shifts
                    .keys()
                    .map(|shift| shift.name())
                    .collect::<Vec<_>>()
                    .join(", "),
            })?;
        Ok(ranges.indices())
    }

    /// The domains of some names, each that of a domain or of a group; all of them for no names.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Unknown`].
    pub fn select(&self, names: &[String]) -> Result<Vec<&Domain>, BenchmarkError> {
        for name in names {
            let known = |domain: &Domain| domain.name == *name || domain.group == *name;
            if !self.domains.iter().any(known) {
                let mut known: Vec<&str> = self.domains.iter().map(|d| d.group.as_str()).collect();
                known.dedup();
                known.extend(self.domains.iter().map(|domain| domain.name.as_str()));
                return Err(BenchmarkError::Unknown {
                    what: "domain or group of domains",
                    found: name.clone(),
                    known: known.join(", "),
                });
            }
        }
        let wanted = |domain: &&Domain| {
            names.is_empty() || names.contains(&domain.name) || names.contains(&domain.group)
        };
        Ok(self.domains.iter().filter(wanted).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Index ranges of Liang et al. 2024, table in the appendix: known, closed, partial, open, open-partial.
    const PUBLISHED: [(&str, usize, [&str; 5]); 5] = [
        (
            "office-31",
            31,
            ["0-24", "0-24", "0-19", "0-27", "0-14, 25-27"],
        ),
        (
            "office-home",
            65,
            ["0-49", "0-49", "0-34", "0-59", "0-34, 50-59"],
        ),
        ("visda-c", 12, ["0-7", "0-7", "0-5", "0-9", "0-5, 8-9"]),
        (
            "domainnet",
            345,
            ["0-299", "0-299", "0-249", "0-329", "0-249, 300-329"],
        ),
        (
            "iconnet",
            65,
            ["0-49", "0-49", "0-34", "0-59", "0-34, 50-59"],
        ),
    ];

    #[test]
    fn the_embedded_suites_are_valid() {
        for name in Suite::embedded() {
            assert_eq!(Suite::open(name).unwrap().name, name);
        }
        for (name, classes, [known, closed, partial, open, open_partial]) in PUBLISHED {
            let suite = Suite::open(name).unwrap();
            assert_eq!(suite.classes, classes, "{name}");
            assert_eq!(suite.known.to_string(), known, "{name}");
            let ranges: Vec<String> = suite.shifts.values().map(ToString::to_string).collect();
            assert_eq!(ranges, [closed, partial, open, open_partial], "{name}");
            assert_eq!(suite.present(Shift::AllKnown).unwrap().len(), classes);
        }
    }

    #[test]
    fn the_counts_of_the_publication_are_expected() {
        let counts = |name| -> Vec<(String, Option<usize>, Option<usize>)> {
            let domains = Suite::open(name).unwrap().domains;
            domains
                .into_iter()
                .map(|d| (d.name, d.images, d.test_images))
                .collect()
        };
        let one = |name: &str, images| (name.to_owned(), Some(images), None);
        let two = |name: &str, train, test| (name.to_owned(), Some(train), Some(test));
        assert_eq!(
            counts("office-31"),
            [one("amazon", 2817), one("dslr", 498), one("webcam", 795)]
        );
        assert_eq!(
            counts("office-home"),
            [
                one("Art", 2427),
                one("Clipart", 4365),
                one("Product", 4439),
                one("RealWorld", 4357)
            ]
        );
        assert!(counts("visda-c").contains(&one("validation", 55_388)));
        for expected in [
            two("clipart", 33_525, 14_604),
            two("infograph", 36_023, 15_582),
            two("painting", 50_416, 21_850),
            two("sketch", 48_212, 20_916),
        ] {
            assert!(counts("domainnet").contains(&expected), "{expected:?}");
        }
    }

    #[test]
    fn groups_stand_for_their_domains() {
        let suite = Suite::open("iconnet").unwrap();
        let select = |names: &[&str]| -> Vec<String> {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let domains = suite.select(&names).unwrap();
            domains
                .into_iter()
                .map(|domain| domain.name.clone())
                .collect()
        };
        assert_eq!(select(&["solid", "pixel"]), ["solid", "pixel"]);
        assert!(select(&["held-out"]).len() > 3);
        assert_eq!(select(&[]).len(), suite.domains.len());
        let error = suite
            .select(&["solids".to_owned()])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`solids`") && error.contains("held-out"),
            "{error}"
        );
    }

    #[test]
    fn what_a_suite_does_not_say_is_as_in_the_embedded_ones() {
        let text = r#"
            name = "mine"
            about = "What it shows"
            classes = 4
            known = "0-2"
            [shifts]
            closed = "0-2"
            [[domains]]
            name = "light"
            folders = ["light"]
        "#;
        let suite = Suite::parse(text, Path::new("mine.toml")).unwrap();
        assert_eq!(suite.roots, [PathBuf::new()]);
        assert!(suite.obtain.contains("--data"));
        for name in Suite::embedded() {
            let embedded = Suite::open(name).unwrap();
            assert_eq!(suite.methods, embedded.methods, "{name}");
            assert_eq!(suite.seeds, embedded.seeds, "{name}");
        }
        for profile in [suite.settings, suite.published] {
            assert_eq!(profile, Profile::default());
        }
    }

    #[test]
    fn a_range_beyond_the_classes_is_refused() {
        let text = EMBEDDED[0].1.replace("classes = 65", "classes = 55");
        let error = Suite::parse(&text, Path::new("mine.toml"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("mine.toml") && error.contains("class 59"),
            "{error}"
        );
    }
}
