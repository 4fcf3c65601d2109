//! The table of rules in the documentation of the crate is complete.

use std::collections::BTreeSet;
use std::path::Path;

/// Adds the names of the tests in all files below a folder.
fn tests_in(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).expect("it is a directory") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            tests_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let mut lines = text.lines().map(str::trim);
            while let Some(line) = lines.next() {
                if !line.starts_with("#[test]") && !line.starts_with("#[tokio::test") {
                    continue;
                }
                let function = lines.next().and_then(|line| line.split_once("fn "));
                let name = function.and_then(|(_, name)| name.split_once('('));
                names.insert(name.expect("a test is a function").0.to_owned());
            }
        }
    }
}

#[test]
fn the_table_names_every_test_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    tests_in(&root.join("src"), &mut tests);
    tests_in(&root.join("tests"), &mut tests);
    let table = include_str!("../src/rules.md");
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.split('|').nth(2));
    let named: BTreeSet<String> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = tests.difference(&named).collect();
    let invented: Vec<_> = named.difference(&tests).collect();
    assert!(missing.is_empty(), "not in the table: {missing:#?}");
    assert!(invented.is_empty(), "no such tests: {invented:#?}");
}
