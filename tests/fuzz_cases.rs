//! Runs every case that the fuzzer ever found, the files of `fuzz/cases`, through the functions that the fuzz targets call. It also
//! tries some random bytes, for machines without the fuzzer.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "to the fuzzer it is a crate of its own")]
mod checks;

/// The cases of one target, by name.
fn cases(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/cases").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no case", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

type Check = fn(&[u8]);

/// The checks that take microseconds.
const QUICK: &[(&str, Check)] = &[
    ("draft", checks::draft),
    ("batch", checks::batch),
    ("key", checks::key),
    ("spec", checks::spec),
    ("module", checks::module),
];

#[test]
fn what_was_found_is_found_no_more() {
    for (target, check) in QUICK.iter().copied().chain([("guest", checks::guest as Check)]) {
        for case in cases(target) {
            check(&case);
        }
    }
}

proptest! {
    #[test]
    fn what_holds_of_any_bytes_holds_of_bytes_by_chance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for (_, check) in QUICK {
            check(&bytes);
        }
    }

    #[test]
    fn what_holds_of_any_bytes_holds_of_damage(case: Index, at: Index, byte: u8, cut: Index) {
        for (target, check) in QUICK {
            let mut bytes = case.get(&cases(target)).clone();
            let place = at.index(bytes.len());
            bytes[place] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            check(&bytes);
        }
    }
}
