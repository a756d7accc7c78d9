//! The stack machine on pickles written by hand.

use super::machine::long;
use super::{Machine, Pickle, PickleError, Source, Value};

fn read(pickle: &[u8]) -> Result<Pickle, PickleError> {
    Machine::new(false).run(&mut Source::new(pickle))
}

#[test]
fn a_forbidden_name_is_refused_before_anything_else_is_read() {
    for pickle in [
        &b"cposix\nsystem\n\xff\xff"[..],
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\xff",
        b"iposix\nsystem\n\xff",
    ] {
        match read(pickle) {
            Err(PickleError::Forbidden(name)) => assert_eq!(name, "posix.system"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn script_classes_belong_to_script_archives() {
    let pickle = b"c__torch__.clip\nCLIP\n.";
    assert!(matches!(read(pickle), Err(PickleError::Forbidden(_))));
    assert!(
        Machine::new(true)
            .run(&mut Source::new(&pickle[..]))
            .is_ok()
    );
}

#[test]
fn a_huge_declared_length_costs_no_memory() {
    let pickle = |length: u64| [&[0x8d][..], &length.to_le_bytes(), b"short"].concat();
    assert!(matches!(
        read(&pickle(5 << 20)),
        Err(PickleError::Malformed { .. })
    ));
    assert!(matches!(
        read(&pickle(50 << 20)),
        Err(PickleError::TooLarge(_))
    ));
}

/// OrderedDict of one memoized list of pairs, again and again.
#[test]
fn a_list_that_is_listed_again_counts_again() {
    let mut pickle = b"\x80\x02ccollections\nOrderedDict\nq\x00]q\x01(K\x01K\x02\x86q\x02".to_vec();
    pickle.extend(b"h\x02".repeat(5_000));
    pickle.extend(b"e\x85q\x030");
    pickle.extend(b"h\x00h\x03R0".repeat(5_000));
    pickle.extend(b"}.");
    assert!(matches!(read(&pickle), Err(PickleError::TooLarge(_))));
}

#[test]
fn settings_beside_the_tensors_are_passed_over() {
    for pickle in [
        &b"\x80\x02}X\x01\0\0\0acargparse\nNamespace\n)\x81}b."[..],
        b"\x80\x02cpathlib\nPosixPath\nX\x01\0\0\0/\x85R.",
        b"\x80\x04\x8f(K\x01K\x02\x90.",
        b"\x80\x02clightning_fabric.utilities.data\nAttributeDict\n)\x81(K\x01K\x02u.",
    ] {
        assert!(read(pickle).is_ok(), "{}", pickle.escape_ascii());
    }
}

#[test]
fn a_stack_that_runs_empty_is_an_error() {
    for pickle in [
        &b"."[..],
        b"t.",
        b"\x85.",
        b"(N\x86.",
        b"s.",
        b"R.",
        b"h\x00.",
        b"b.",
    ] {
        assert!(read(pickle).is_err(), "{pickle:?}");
    }
}

#[test]
fn integers_of_every_width_are_signed() {
    for (bytes, value) in [
        (&[][..], 0),
        (&[0xff], -1),
        (&[0xff, 0x00], 255),
        (&[0, 1], 256),
    ] {
        assert!(
            matches!(long(bytes), Value::Int(found) if found == value),
            "{bytes:?}"
        );
    }
    assert!(matches!(long(&[1; 10]), Value::BigInt));
}
