//! Class lists: what is accepted, what is refused and how, and which class a label means.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use ueo::data::{ClassList, ClassNameMap, DataError, read_utf8};

fn read(bytes: impl AsRef<[u8]>) -> Result<ClassList, DataError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("classes.txt");
    fs::write(&path, bytes).unwrap();
    ClassList::read(&path)
}

fn parse(name: &str, text: &str) -> Result<ClassList, DataError> {
    ClassList::parse(text.as_bytes(), Path::new(name))
}

/// The message, without the folder.
fn message(bytes: impl AsRef<[u8]>) -> String {
    let error = read(bytes).unwrap_err();
    let text = error.to_string();
    let at = text.find("classes.txt").unwrap();
    let start = text[..at].rfind(' ').map_or(0, |space| space + 1);
    format!("{}{}", &text[..start], &text[at..])
}

#[test]
fn byte_order_mark_line_ends_and_surrounding_space_are_tolerated() {
    let classes = read("\u{FEFF}alarm clock\r\n ice_cream \t\r\ncafé\r\n").unwrap();
    assert_eq!(classes.names(), ["alarm clock", "ice_cream", "café"]);
    assert_eq!(read("one\ntwo").unwrap().len(), 2);
}

#[test]
fn a_blank_line_is_named() {
    assert_eq!(
        message("cat\n \ndog\n"),
        "classes.txt:2: expected a class name, found a blank line"
    );
    assert_eq!(
        message("cat\n\n"),
        "classes.txt:2: expected a class name, found a blank line"
    );
}

#[test]
fn a_duplicate_is_named() {
    assert_eq!(
        message("cat\ndog\ncat\n"),
        "classes.txt:3: expected every class once, found \"cat\" again (first on line 1)"
    );
}

#[test]
fn names_that_mean_the_same_are_refused_with_both_lines() {
    assert_eq!(
        message("ice_cream\ndog\nIce cream\n"),
        "classes.txt:3: expected classes that differ, found \"Ice cream\", which is the same as \"ice_cream\" on line 1 \
         (case, underscores, hyphens, spaces and Unicode's form make no difference)"
    );
    for (first, second) in [
        ("café", "cafe\u{301}"),
        ("t-shirt", "T shirt"),
        ("Straße", "STRAßE"),
    ] {
        let text = message(format!("dog\n{first}\n{second}\n"));
        assert!(
            text.starts_with("classes.txt:3: ") && text.contains("on line 2"),
            "{text}"
        );
    }
}

#[test]
fn names_of_a_program_are_checked_like_those_of_a_file() {
    let names = |names: &[&str]| ClassList::of_names(names).map(|list| list.names().to_vec());
    assert_eq!(names(&["cat", " red fox "]).unwrap(), ["cat", "red fox"]);
    assert!(names(&[]).unwrap().is_empty());
    for (wrong, expected) in [
        (
            ["cat", "cat"],
            "classes, entry 2: expected every class once",
        ),
        (["red fox", "red_fox"], "classes, entry 2"),
        (["cat", " "], "classes, entry 2: expected a class name"),
        (["a\tb", "cat"], "classes, entry 1: expected a class name"),
    ] {
        let error = names(&wrong).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn several_names_in_a_single_line_are_refused() {
    for (text, found) in [
        (
            "airplane,anchor,apple\n",
            "3 names between commas, \"airplane,anchor,apple\"",
        ),
        ("cat; dog; red fox;", "3 names between semicolons"),
    ] {
        let said = message(text);
        assert!(
            said.starts_with("expected class names in classes.txt, found a single line with "),
            "{said}"
        );
        assert!(said.contains(found), "{said}");
    }
    // Names of WordNet have commas, and one name may have one.
    assert_eq!(read("tench, Tinca tinca, fish\ndog\n").unwrap().len(), 2);
    assert_eq!(read("crane, machine\n").unwrap().len(), 1);
}

#[test]
fn a_file_that_does_not_exist() {
    let path = Path::new("no/such/classes.txt");
    let said = ClassList::read(path).unwrap_err().to_string();
    let expected =
        "expected a file of class names at no/such/classes.txt, but it cannot be opened: ";
    assert!(said.starts_with(expected), "{said}");
    let said = ClassNameMap::read(path).unwrap_err().to_string();
    assert!(
        said.starts_with("expected a file of ids and names at "),
        "{said}"
    );
    let said = read_utf8(path).unwrap_err().to_string();
    assert!(said.starts_with("expected a text file at "), "{said}");
}

#[test]
fn an_empty_file() {
    assert_eq!(
        message(""),
        "expected one class name per line in classes.txt, found an empty file"
    );
}

#[test]
fn other_encodings_are_named_with_line_and_byte() {
    assert_eq!(
        message(b"cat\ncaf\xe9\n"),
        "classes.txt:2: expected UTF-8 text, found 0xe9 (Latin-1, Windows-1252 or another encoding?) at byte 7 of the file"
    );
    assert_eq!(
        message(b"\xff\xfec\0a\0t\0"),
        "classes.txt:1: expected UTF-8 text, found UTF-16 (its byte order mark) at byte 0 of the file"
    );
    assert_eq!(
        message(b"c\0a\0t\0"),
        "classes.txt:1: expected UTF-8 text, found a zero byte (UTF-16, or not text) at byte 1 of the file"
    );
}

#[test]
fn ends_of_lines_are_those_of_all_systems() {
    assert_eq!(
        read("apple\ranchor\rbear\r").unwrap().names(),
        ["apple", "anchor", "bear"]
    );
    assert_eq!(
        message("apple\r\rbear"),
        "classes.txt:2: expected a class name, found a blank line"
    );
}

/// Name of the file, its text, the names in it, and the ids beside them.
type Form = (
    &'static str,
    &'static str,
    &'static [&'static str],
    Option<&'static [&'static str]>,
);

#[test]
fn other_forms_are_read_where_they_are_certain() {
    let (plain, pair): (&[&str], &[&str]) = (&["apple", "anchor"], &["0", "1"]);
    let wordnet: &[&str] = &["n01440764", "n01443537"];
    let forms: &[Form] = &[
        (
            "a.txt",
            "n01440764 apple\nn01443537 anchor\n",
            plain,
            Some(wordnet),
        ),
        ("b.txt", "0 apple\n1 anchor\n", plain, Some(pair)),
        ("c.txt", "0: apple\n1: anchor\n", plain, Some(pair)),
        ("d.txt", "1 anchor\n0 apple\n", plain, Some(pair)),
        ("e.txt", "1\tapple\n2\tanchor\n", plain, Some(&["1", "2"])),
        ("f.txt", "id,name\n0,apple\n1,anchor\n", plain, Some(pair)),
        ("g.csv", "id,name\n0,apple\n1,anchor\n", plain, Some(pair)),
        (
            "h.csv",
            "class_name;wnid\napple;n01440764\nanchor;n01443537\n",
            plain,
            Some(wordnet),
        ),
        (
            "i.csv",
            "label,name,count\n17,apple,3\n4,anchor,9\n",
            &["anchor", "apple"],
            Some(&["4", "17"]),
        ),
        ("j.csv", "name\napple\nanchor\n", plain, None),
        ("k.csv", "apple\nanchor\n", plain, None),
        ("l.csv", "apple,0\nanchor,1\n", plain, Some(pair)),
        (
            "m.txt",
            "n01440764 tench, Tinca tinca\nn01443537 anchor\n",
            &["tench, Tinca tinca", "anchor"],
            Some(wordnet),
        ),
        (
            "n.txt",
            "0,\"tench, Tinca tinca\"\n1,anchor\n",
            &["tench, Tinca tinca", "anchor"],
            Some(pair),
        ),
        ("o.json", r#"["apple", "anchor"]"#, plain, None),
        ("p.txt", "[\n  \"apple\",\n  \"anchor\"\n]\n", plain, None),
        (
            "q.json",
            r#"{"1": "anchor", "0": "apple"}"#,
            plain,
            Some(pair),
        ),
        ("r.json", r#"{"anchor": 1, "apple": 0}"#, plain, Some(pair)),
        (
            "s.json",
            r#"{"n01440764": "apple", "n01443537": "anchor"}"#,
            plain,
            Some(wordnet),
        ),
        (
            "t.json",
            r#"{"1": ["n01443537", "anchor"], "0": ["n01440764", "apple"]}"#,
            plain,
            Some(wordnet),
        ),
        (
            "u.json",
            r#"{"train": [["x.jpg", 1, "anchor"], ["y.jpg", 0, "apple"]], "test": [["z.jpg", 1, "anchor"]]}"#,
            plain,
            Some(pair),
        ),
        (
            "v.json",
            r#"{"model_type": "vit", "id2label": {"0": "apple", "1": "anchor"}, "layers": [1]}"#,
            plain,
            Some(pair),
        ),
        // Names that only look like something else stay names.
        (
            "w.txt",
            "tench, Tinca tinca\ngoldfish, Carassius auratus\n",
            &["tench, Tinca tinca", "goldfish, Carassius auratus"],
            None,
        ),
        (
            "x.txt",
            "2 door car\n2 door van\ncat\n",
            &["2 door car", "2 door van", "cat"],
            None,
        ),
        ("y.txt", "type 0\ntype 1\n", &["type 0", "type 1"], None),
        ("z.txt", "[unused]\ncat\n", &["[unused]", "cat"], None),
        ("digits.txt", "7\n1\n", &["7", "1"], None),
        ("name.txt", "name\nclass\n", &["name", "class"], None),
    ];
    for (file, text, names, ids) in forms {
        let classes = parse(file, text).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(classes.names(), *names, "{file}");
        let found: Option<Vec<&str>> = classes
            .ids()
            .map(|ids| ids.iter().map(String::as_str).collect());
        assert_eq!(found.as_deref(), *ids, "{file}");
    }
}

#[test]
fn what_is_not_certain_is_refused_with_what_to_write() {
    let refused = [
        (
            "a.txt",
            "['apple', 'anchor']",
            "expected class names in a.txt, found a program's text or damaged JSON, which begins \"['apple', 'anchor']\"",
        ),
        (
            "b.json",
            r#"{"apple": "fruit", "anchor": "thing"}"#,
            "expected class names in b.json, found JSON that may name its classes on either side, as in \"apple\": \"fruit\"",
        ),
        (
            "c.json",
            r#"[["apple"], ["anchor"]]"#,
            "expected class names in c.json, found JSON of another form, which begins \"[[\"apple\"], [\"anchor\"]]\"",
        ),
        (
            "d.json",
            r#"{"train": [["x.jpg", 0, "apple"], ["y.jpg", 0, "anchor"]]}"#,
            "expected class names in d.json, found class 0 with two names, \"apple\" and \"anchor\"",
        ),
        (
            "e.txt",
            "7 up\n3 musketeers\n",
            "expected class names in e.txt, found a number at the start of every line, as in \"7 up\", that may be an id or part of the name",
        ),
        (
            "f.txt",
            "apple\tfruit\nanchor\tthing\n",
            "expected class names in f.txt, found a table with tabs, as in \"apple\\tfruit\"",
        ),
        (
            "g.csv",
            "apple,fruit\nanchor,thing\n",
            "expected class names in g.csv, found a table whose first line, \"apple,fruit\", does not say where the names are",
        ),
        (
            "h.txt",
            "a/x.jpg 0\na/y.jpg 1\n",
            "expected class names in h.txt, found a list of images, as in \"a/x.jpg 0\"",
        ),
        (
            "i.txt",
            "- apple\n- anchor\n",
            "expected class names in i.txt, found a list with a dash at the start of every line, as in \"- apple\"",
        ),
        (
            "j.txt",
            "'apple',\n'anchor',\n",
            "expected class names in j.txt, found quotation marks around every name, as in \"'apple',\"",
        ),
        (
            "k.txt",
            "apple\nan\u{1b}[2Jchor\n",
            "k.txt:2: expected a class name, found a control character in \"an\\u{1b}[2Jchor\"",
        ),
        (
            "l.json",
            r#"{"0": "apple", "0": "anchor"}"#,
            "l.json, entry 2: expected every id once, found \"0\" again (first on entry 1)",
        ),
        (
            "m.json",
            r#"["apple", " "]"#,
            "m.json, entry 2: expected a class name, found an empty name",
        ),
        (
            "n.txt",
            "0 apple\n\n1 anchor\n",
            "n.txt:2: expected a class name, found a blank line",
        ),
    ];
    for (file, text, expected) in refused {
        let error = parse(file, text)
            .map(|classes| panic!("{file}: {classes:?}"))
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn large_files_and_names_are_refused_with_a_short_message() {
    let name = "x".repeat(301);
    let text = parse("a.txt", &format!("cat\n{name}\n"))
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("a.txt:2: expected a class name, found more than 300 characters in \"xxx"),
        "{text}"
    );
    assert!(text.len() < 250, "{text}");
    let text = parse("a.txt", &"x".repeat(1 << 20))
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "a.txt:1: expected at most 8192 bytes in a line, found more"
    );
    let many: String = (0..100_001)
        .map(|number| format!("class {number}\n"))
        .collect();
    let text = parse("a.txt", &many).unwrap_err().to_string();
    assert_eq!(text, "a.txt: expected at most 100000 classes, found more");

    // Not read at all: the file has holes instead of bytes.
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("classes.txt");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(
        matches!(ClassList::read(&path), Err(DataError::Limit { limit, .. }) if limit == 16 << 20)
    );
}

#[test]
fn ids_get_the_names_of_a_map_and_stay_ids() {
    let map = |name: &str, text: &str| ClassNameMap::parse(text.as_bytes(), Path::new(name));
    let names = map(
        "map.csv",
        "id,name\nn02084071,dog\nn02121808,house cat\nn00000001,unused\n",
    )
    .unwrap();
    let classes = parse("a.txt", "n02121808\nN02084071\n")
        .unwrap()
        .renamed(&names)
        .unwrap();
    assert_eq!(classes.names(), ["house cat", "dog"]);
    assert_eq!(classes.ids().unwrap(), ["n02121808", "N02084071"]);
    let spaced = map(
        "LOC_synset_mapping.txt",
        "n02084071 dog\nn02121808 house cat\n",
    )
    .unwrap();
    assert_eq!(spaced.len(), 2);

    let error = parse("a.txt", "n02121808\nhorse\n")
        .unwrap()
        .renamed(&names)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected a name for each of the classes in map.csv, found none for \"horse\" (1 of 2 are missing)"
    );
    assert_eq!(
        map("map.txt", "dog\ncat\n").unwrap_err().to_string(),
        "expected an id and a name for each class in map.txt, found a name without an id on line 1"
    );
    assert_eq!(
        map("map.csv", "id,name\nn1,dog\nN1,cat\n")
            .unwrap_err()
            .to_string(),
        "map.csv:3: expected every id once, found \"N1\" again (first on line 2)"
    );
    let same = map("map.csv", "id,name\na,dog\nb,Dog\n").unwrap();
    assert!(matches!(
        parse("a.txt", "a\nb\n").unwrap().renamed(&same),
        Err(DataError::SameWords { .. })
    ));
}
