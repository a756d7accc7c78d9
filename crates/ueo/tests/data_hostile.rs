//! Files that were made to do harm, and valid ones that were damaged at random: no panic, little time and memory, short
//! messages.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tar::{EntryType, Header};
use tempfile::TempDir;
use ueo::data::{
    ClassList, ClassNameMap, DataError, Dataset, DatasetOptions, Location, index_shard_bytes,
    read_list,
};

/// Most memory that the tests of this file may take together, in bytes.
const MEMORY: u64 = 512 << 20;

fn header(kind: EntryType, name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    header
}

/// An entry with its bytes, filled up to whole blocks.
fn entry(header: &Header, content: &[u8]) -> Vec<u8> {
    let mut bytes = [header.as_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(
        &header(EntryType::Regular, name, content.len() as u64),
        content,
    )
}

fn attributes(records: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let length = (1..).find(|&length: &usize| length == length.to_string().len() + rest.len());
        text += &format!("{}{rest}", length.unwrap());
    }
    entry(
        &header(EntryType::XHeader, "pax", text.len() as u64),
        text.as_bytes(),
    )
}

fn gzip(bytes: impl std::io::Read) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut { bytes }, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// Runs within the time that any input may take, and within the memory.
fn quickly<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = busy();
    let result = run();
    if let (Some(start), Some(end)) = (start, busy()) {
        assert!(
            end - start < Duration::from_secs(2),
            "{what}: {:?}",
            end - start
        );
    }
    assert_memory();
    result
}

/// Time that a processor spent on this thread, which does not depend on what else the machine does.
fn busy() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

fn assert_memory() {
    // The kernel's record of the most that this process ever took.
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return;
    };
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes * 1024 < MEMORY, "{peak}");
}

/// An error that can be shown: short, without anything that steers a terminal.
fn assert_shown(error: &DataError) {
    let text = error.to_string();
    assert!(text.len() < 1000, "{} bytes: {}", text.len(), &text[..500]);
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// What a shard's skipped images say.
fn reasons(dataset: &Dataset) -> String {
    let texts = dataset
        .skipped
        .iter()
        .map(|skipped| format!("{}: {}", skipped.id, skipped.reason));
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_archive_keeps_what_comes_before_a_claim_of_gigabytes() {
    let good = file("good.png", b"picture");
    let mut huge = header(EntryType::Regular, "huge.txt", 0);
    huge.as_old_mut().size = [
        0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ];
    huge.set_cksum();
    let gigabytes = 8 << 30;
    let attacks = [
        (
            "a long name",
            entry(&header(EntryType::GNULongName, "long", gigabytes), b""),
            "long name or attributes claim",
        ),
        (
            "a long link",
            entry(&header(EntryType::GNULongLink, "long", gigabytes), b""),
            "long name or attributes claim",
        ),
        (
            "attributes",
            entry(&header(EntryType::XHeader, "pax", gigabytes), b""),
            "long name or attributes claim",
        ),
        (
            "attributes of all",
            entry(&header(EntryType::XGlobalHeader, "pax", gigabytes), b""),
            "long name or attributes claim",
        ),
        (
            "a size past all numbers",
            entry(&huge, b""),
            "an entry claims",
        ),
        (
            "a name of 60 kB",
            [
                entry(
                    &header(EntryType::GNULongName, "long", 60_000),
                    &[b'x'; 60_000],
                ),
                file("y.png", b"y"),
            ]
            .concat(),
            "an entry's name has 60000 bytes",
        ),
        (
            "records that are none",
            entry(&header(EntryType::XHeader, "pax", 12), b"0 path=a.png"),
            "no `LENGTH KEY=VALUE` records",
        ),
        (
            "a size that is none",
            [attributes(&[("size", "-5")]), file("y.png", b"y")].concat(),
            "no `LENGTH KEY=VALUE` records",
        ),
    ];
    for (what, attack, expected) in attacks {
        let bytes = [good.clone(), attack, vec![0; 1024]].concat();
        for bytes in [gzip(&*bytes), bytes] {
            let dataset = quickly(what, || index_shard_bytes(&bytes)).unwrap();
            assert_eq!(dataset.len(), 1, "{what}");
            assert!(
                reasons(&dataset).contains(expected),
                "{what}: {}",
                reasons(&dataset)
            );
        }
    }
    // The claim may be backed by a file with holes.
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("sparse.tar");
    let mut sparse = File::create(&path).unwrap();
    sparse
        .write_all(&entry(
            &header(EntryType::GNULongName, "long", gigabytes),
            b"",
        ))
        .unwrap();
    sparse.set_len(gigabytes + 1024).unwrap();
    let error = quickly("sparse", || {
        Dataset::open(&path, &DatasetOptions::default())
    })
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("long name or attributes claim 8589934592 bytes"),
        "{error}"
    );
    assert_shown(&error);
}

#[test]
fn sparse_members_are_refused_and_the_archive_read_on() {
    let mut map = header(EntryType::GNUSparse, "old.png", 512);
    map.as_gnu_mut().unwrap().set_is_extended(true);
    map.set_cksum();
    let mut extension = [0; 1024];
    extension[504] = 1;
    let holes = [
        [map.as_bytes(), &extension[..], &[b'x'; 512]].concat(),
        attributes(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.realsize", "99999999999"),
        ]),
        file("new.png", b"x"),
        file("good.png", b"picture"),
        vec![0; 1024],
    ]
    .concat();
    let dataset = index_shard_bytes(&holes).unwrap();
    assert_eq!(dataset.samples.len(), 1);
    assert_eq!(dataset.samples.id(0), "memory.tar/good.png");
    assert_eq!(
        reasons(&dataset),
        "memory.tar/new.png: expected an image in one piece, found a sparse entry\n\
         memory.tar/old.png: expected an image in one piece, found a sparse entry"
    );
    // A map that never ends.
    let mut block = [0; 512];
    block[504] = 1;
    let endless = [map.as_bytes(), block.repeat(2_000).as_slice()].concat();
    let dataset = quickly("map", || index_shard_bytes(&endless)).unwrap();
    assert!(reasons(&dataset).contains("the map of a sparse entry has more than 1024 blocks"));
}

#[test]
fn a_compressed_shard_may_not_grow_without_end() {
    let zeros = 400 << 20;
    let content = header(EntryType::Regular, "zeros.txt", zeros);
    let bomb = gzip(content.as_bytes().chain(std::io::repeat(0).take(zeros)));
    let good = gzip(&*file("good.png", b"picture"));
    let bytes = [good, bomb].concat();
    let dataset = quickly("bomb", || index_shard_bytes(&bytes)).unwrap();
    assert_eq!(dataset.len(), 1);
    let text = reasons(&dataset);
    assert!(
        text.contains("it unpacks to more than a hundred times its length"),
        "{text}"
    );
}

#[test]
fn several_archives_in_one_file_are_told() {
    let end = vec![0; 1024];
    let bytes = [
        file("a.png", b"x"),
        end.clone(),
        vec![0; 8 * 512],
        file("b.png", b"x"),
        end,
    ]
    .concat();
    let dataset = index_shard_bytes(&bytes).unwrap();
    assert_eq!(dataset.len(), 1);
    assert!(reasons(&dataset).contains("are these several archives in one?"));
}

#[test]
fn texts_of_any_size_are_refused_at_once() {
    let folder = TempDir::new().unwrap();
    let large = folder.path().join("large.txt");
    File::create(&large).unwrap().set_len(1 << 40).unwrap();
    for extension in ["txt", "csv", "json"] {
        let path = folder.path().join(format!("large.{extension}"));
        File::create(&path).unwrap().set_len(1 << 36).unwrap();
        assert_shown(&quickly("classes", || ClassList::read(&path)).unwrap_err());
        assert_shown(&quickly("map", || ClassNameMap::read(&path)).unwrap_err());
        let options = DatasetOptions::default();
        assert_shown(&quickly("list", || Dataset::open(&path, &options)).unwrap_err());
    }
    let texts = [
        ("one name", "x".repeat(15 << 20)),
        ("brackets", "[".repeat(15 << 20)),
        ("names", format!("[{}\"\"]", "\"\",".repeat(5 << 20))),
        (
            "numbers",
            format!("{{{}\"\":0}}", "\"\":0,".repeat(3 << 20)),
        ),
        ("cells", ",".repeat(15 << 20)),
        ("escapes", "\u{1b}[2J".repeat(1 << 20)),
        ("short lines", "x\n".repeat(7 << 20)),
        (
            "images",
            format!(
                "{{\"a\":[{}[\"\",0,\"\"]]}}",
                "[\"\",0,\"\"],".repeat(1 << 20)
            ),
        ),
    ];
    for (what, text) in &texts {
        for name in ["a.txt", "a.csv", "a.json"] {
            let path = Path::new(name);
            let what = format!("{what} in {name}");
            assert_shown(&quickly(&what, || ClassList::parse(text.as_bytes(), path)).unwrap_err());
            if let Err(error) = quickly(&what, || read_list(text.as_bytes(), path, |_| false)) {
                assert_shown(&error);
            }
        }
    }
}

/// Damages bytes in a few places.
fn mutate(bytes: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    const TELLING: [&[u8]; 16] = [
        b"\0",
        b"\xff",
        b"\n",
        b"\r",
        b"\t",
        b",",
        b"\"",
        b"[",
        b"{",
        b"]",
        b"\x1b",
        b"7777777",
        b"-1",
        b"99999999999999999999",
        b"\xef\xbb\xbf",
        b"../",
    ];
    let mut bytes = bytes.to_vec();
    let below =
        |rng: &mut ChaCha8Rng, limit: usize| (rng.next_u64() % limit.max(1) as u64) as usize;
    for _ in 0..=below(rng, 4) {
        let at = below(rng, bytes.len() + 1);
        match below(rng, 6) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << below(rng, 8),
            2 if at < bytes.len() => bytes[at] = below(rng, 256) as u8,
            3 => {
                let telling = TELLING[below(rng, TELLING.len())];
                let end = (at + telling.len() * below(rng, 2)).min(bytes.len());
                bytes.splice(at..end, telling.iter().copied());
            }
            4 => {
                let end = (at + below(rng, 600)).min(bytes.len());
                let copied = bytes[at..end].to_vec();
                let to = below(rng, bytes.len() + 1);
                bytes.splice(to..to, copied);
            }
            _ => {
                let end = (at + below(rng, 64)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

/// Writes the checksums anew, so that damage gets past them.
fn mend_checksums(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            let mut header = Header::new_gnu();
            header.as_mut_bytes().copy_from_slice(block);
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
}

#[test]
fn damaged_shards_do_no_harm() {
    let long = format!("{}/long.png", "d".repeat(150));
    let valid = [
        file("a/1.png", b"first picture"),
        file("a/1.cls", b"cat"),
        file("a/1.json", br#"{"label": 3}"#),
        attributes(&[("path", &long), ("size", "6"), ("mtime", "1.5")]),
        file("short.png", b"second"),
        entry(
            &header(EntryType::GNULongName, "long", long.len() as u64),
            long.as_bytes(),
        ),
        file("short.png", &[7; 1500]),
        file(".hidden/x.png", b"x"),
        entry(&header(EntryType::Symlink, "link.png", 0), b""),
        entry(&header(EntryType::Directory, "a/", 0), b""),
        entry(&header(EntryType::GNUSparse, "s.png", 512), &[1; 512]),
        file("2.tiff", b"third"),
        vec![0; 1024],
    ]
    .concat();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut taken = 0;
    for round in 0..20_000 {
        let mut bytes = mutate(&valid, &mut rng);
        if round % 2 == 0 {
            mend_checksums(&mut bytes);
        }
        let is_compressed = round % 8 == 0;
        let bytes = match is_compressed {
            true if round % 16 == 0 => mutate(&gzip(&*valid), &mut rng),
            true => gzip(&*bytes),
            false => bytes,
        };
        match index_shard_bytes(&bytes) {
            Ok(dataset) => {
                taken += dataset.len();
                let is_sorted = dataset.samples.iter().is_sorted_by(|a, b| a.id < b.id);
                assert!(is_sorted, "{round}");
                for (index, sample) in dataset.samples.iter().enumerate() {
                    match sample.location {
                        Location::TarMember { offset, length, .. } => {
                            assert!(offset + length <= bytes.len() as u64, "{round}");
                        }
                        Location::Spooled { length, .. } => {
                            assert_eq!(dataset.read_bytes(index).unwrap().len() as u64, length);
                        }
                        Location::File(_) | Location::Memory | Location::Row { .. } => {
                            panic!("{round}: {sample:?}")
                        }
                    }
                }
            }
            Err(error) => assert_shown(&error),
        }
    }
    // Most of the damage leaves something to read, so that the reader was reached.
    assert!(taken > 20_000, "{taken}");
    assert_memory();
}

#[test]
fn damaged_class_files_and_maps_do_no_harm() {
    let valid = [
        ("a.txt", "cat\nalarm clock\ncafé\nice_cream\n"),
        ("b.txt", "0 cat\n1 alarm clock\n2 café\n"),
        ("c.txt", "n02084071 dog\nn02121808 house cat\n"),
        ("d.csv", "id,name,other\n0,cat,x\n1,\"alarm, clock\",y\n"),
        ("e.tsv", "0\tcat\n1\tdog\n"),
        ("f.json", r#"["cat", "dog", "caf\u00e9"]"#),
        ("g.json", r#"{"0": "cat", "1": "dog"}"#),
        ("h.json", r#"{"cat": 0, "dog": 1}"#),
        (
            "i.json",
            r#"{"train": [["a.jpg", 0, "cat"], ["b.jpg", 1, "dog"]], "val": []}"#,
        ),
        (
            "j.json",
            r#"{"0": ["n02121808", "cat"], "1": ["n02084071", "dog"]}"#,
        ),
        (
            "k.json",
            r#"{"id2label": {"0": "cat", "1": "dog"}, "x": [1, {}]}"#,
        ),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut read = 0;
    for round in 0..60_000 {
        let (name, text) = valid[round % valid.len()];
        let bytes = mutate(text.as_bytes(), &mut rng);
        let path = Path::new(name);
        match ClassList::parse(&bytes, path) {
            Ok(classes) => {
                read += 1;
                assert!(!classes.is_empty());
                assert!(classes.names().iter().all(|name| {
                    !name.is_empty() && !name.contains(char::is_control) && name.len() < 1200
                }));
                assert!(classes.ids().is_none_or(|ids| ids.len() == classes.len()));
            }
            Err(error) => assert_shown(&error),
        }
        match ClassNameMap::parse(&bytes, path) {
            Ok(map) => {
                if let Err(error) =
                    ClassList::from_names(vec!["0".into(), "1".into()]).renamed(&map)
                {
                    assert_shown(&error);
                }
            }
            Err(error) => assert_shown(&error),
        }
    }
    assert!(read > 10_000, "{read}");
    assert_memory();
}

#[test]
fn damaged_lists_do_no_harm() {
    let valid = [
        (
            "a.txt",
            "# images\na/b.jpg 0\na/c d.png alarm clock\ne.heic\tx\nodd 7\n",
        ),
        ("b.csv", "path,label\na.jpg,cat\n\"b, c.jpg\",dog\n"),
        (
            "c.json",
            r#"{"train": [["a.jpg", 0, "cat"], ["b.jpg", 1, "dog"]], "val": []}"#,
        ),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut read = 0;
    for round in 0..60_000 {
        let (name, text) = valid[round % valid.len()];
        let bytes = mutate(text.as_bytes(), &mut rng);
        match read_list(bytes.as_slice(), Path::new(name), |path| {
            path.len() % 2 == 0
        }) {
            Ok(entries) => {
                read += 1;
                assert!(entries.is_sorted_by(|a, b| a.line < b.line));
            }
            Err(error) => assert_shown(&error),
        }
    }
    assert!(read > 10_000, "{read}");
    assert_memory();
}
