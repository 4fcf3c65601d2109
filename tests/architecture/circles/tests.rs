//! Small crates with a circle of files, and others without one.

use super::*;

type Files<'a> = &'a [(&'a str, &'a str)];

fn edges(files: Files) -> Edges {
    let texts = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    Crate::read(&texts).edges()
}

/// Each edge as `from -> to: names`.
fn uses(files: Files) -> Vec<String> {
    edges(files)
        .iter()
        .map(|((from, to), names)| {
            let names: Vec<_> = names.keys().map(String::as_str).collect();
            format!("{from} -> {to}: {}", names.join(", "))
        })
        .collect()
}

#[track_caller]
fn circle(files: Files, expected: &[&str]) {
    let found: Vec<BTreeSet<String>> = circles(&edges(files), "")
        .iter()
        .map(|circle| circle.keys().map(|(from, _)| from.clone()).collect())
        .collect();
    let expected: BTreeSet<String> = expected.iter().map(|&file| file.to_owned()).collect();
    let expected: Vec<_> = (!expected.is_empty()).then_some(expected).into_iter().collect();
    assert_eq!(found, expected);
}

#[test]
fn two_files_that_use_each_other_are_a_circle() {
    circle(
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", "use crate::a::A; pub struct B;"),
        ],
        &["a.rs", "b.rs"],
    );
}

#[test]
fn a_circle_may_be_long_and_what_leads_to_it_is_not_in_it() {
    circle(
        &[
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "fn f() { super::b::f() }"),
            ("b.rs", "fn f() { super::c::f() }"),
            ("c.rs", "fn f() { super::a::f() }"),
            ("d.rs", "fn f() { super::a::f() }"),
        ],
        &["a.rs", "b.rs", "c.rs"],
    );
}

#[test]
fn two_circles_are_told_apart() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B; use crate::c::C;"),
        ("b.rs", "use crate::a::A;"),
        ("c.rs", "use crate::d::D;"),
        ("d.rs", "use crate::c::C;"),
    ];
    let found: Vec<_> = circles(&edges(&files), "").iter().map(Edges::len).collect();
    assert_eq!(found, [2, 2]);
}

#[test]
fn only_circles_of_the_folder_are_asked_for() {
    let files = [
        ("lib.rs", "mod a; mod ab;"),
        ("a.rs", "mod b; use crate::ab::X; use b::B; pub struct A;"),
        ("a/b.rs", "use super::A; pub struct B;"),
        ("ab.rs", "use crate::a::A; pub struct X;"),
    ];
    let files_of = |folder| -> Vec<_> {
        circles(&edges(&files), folder)
            .iter()
            .flat_map(Edges::keys)
            .cloned()
            .collect()
    };
    assert_eq!(files_of("a").len(), 2);
    assert!(files_of("ab").is_empty());
}

#[test]
fn modules_may_be_in_a_circle_where_their_files_are_in_none() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "mod c; use crate::b::B;"),
        ("a/c.rs", "pub struct C;"),
        ("b.rs", "mod d; pub struct B;"),
        ("b/d.rs", "use crate::a::c::C;"),
    ];
    circle(&files, &[]);
    assert_eq!(
        described(&circles(&between_modules(&edges(&files)), "")[0]),
        "a circle of 2: a, b\n  a -> b: B (line 1)\n  b -> a: C (line 1)"
    );
}

#[test]
fn a_child_that_takes_an_item_of_its_parent_uses_it() {
    let child = "use super::Item; pub struct X;";
    let parent = "mod child; pub struct Item;";
    circle(&[("lib.rs", parent), ("child.rs", child)], &[]);
    assert_eq!(
        uses(&[("lib.rs", parent), ("child.rs", child)]),
        ["child.rs -> lib.rs: Item"]
    );
    for parent in [
        "mod child; pub struct Item; use child::X;",
        "mod child; pub struct Item; use self::child::{X as Y};",
        "mod child; pub struct Item; fn f() { child::f(1); }",
        "mod child; pub struct Item; fn f() { self::child::f(1); }",
        "mod child; pub struct Item; fn f() { crate::child::X; }",
        "mod child; pub struct Item; pub use child::X; fn f(x: X) {}",
        "mod child; pub struct Item; pub use child::*; fn f(x: X) {}",
    ] {
        circle(&[("lib.rs", parent), ("child.rs", child)], &["child.rs", "lib.rs"]);
    }
}

#[test]
fn what_a_parent_passes_on_belongs_to_the_file_that_defines_it() {
    for parent in [
        "mod a; mod b; pub use a::Item;",
        "mod a; mod b; pub(crate) use self::a::{Other, Item};",
        "mod a; mod b; pub(in crate::x) use a::*;",
        "mod a; mod b; pub use a::Thing as Item;",
    ] {
        let files = [
            ("lib.rs", parent),
            ("a.rs", "pub struct Item; pub struct Other; pub struct Thing;"),
            ("b.rs", "use super::Item;"),
        ];
        circle(&files, &[]);
        let found = uses(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("b.rs -> a.rs: "), "{found:?}");
    }
}

#[test]
fn what_is_passed_on_twice_is_followed_to_its_end() {
    let files = [
        ("lib.rs", "mod a; mod user; pub use a::deep::Item;"),
        ("a.rs", "pub mod deep;"),
        ("a/deep.rs", "mod deepest; pub use self::deepest::*;"),
        ("a/deep/deepest.rs", "pub struct Item;"),
        ("user.rs", "fn f() -> crate::Item { crate::a::deep::Item::new() }"),
    ];
    assert_eq!(uses(&files), ["user.rs -> a/deep/deepest.rs: Item"]);
}

#[test]
fn a_facade_over_two_that_use_each_other_hides_nothing() {
    circle(
        &[
            ("lib.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
            ("a.rs", "use crate::B; pub struct A;"),
            ("b.rs", "use crate::{A}; pub struct B;"),
        ],
        &["a.rs", "b.rs"],
    );
}

#[test]
fn groups_are_read_to_their_leaves() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "pub struct A; pub mod inner { pub struct I; }"),
        ("b.rs", "pub fn f() {}"),
        (
            "c.rs",
            "use crate::{a::{self, inner::{I, I as J}, A as Z}, b::f}; use std::{fmt, io::{self}};",
        ),
    ];
    assert_eq!(uses(&files), ["c.rs -> a.rs: A, I", "c.rs -> b.rs: f"]);
}

#[test]
fn an_imported_module_is_used_where_its_items_are() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "pub use crate::c::Item; pub fn f() {} pub struct Kept;"),
        ("b.rs", "use crate::a; use crate::a as z; fn g() { a::f(z::Item); }"),
        ("c.rs", "pub struct Item;"),
    ];
    assert_eq!(uses(&files), ["b.rs -> a.rs: f", "b.rs -> c.rs: Item"]);
}

#[test]
fn a_glob_uses_what_the_code_names_of_it() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "pub struct A; pub fn called() {} pub fn local() {} pub struct Other;",
        ),
        ("b.rs", "use super::a::*; fn f(local: u8) -> A { called(); local }"),
    ];
    assert_eq!(uses(&files), ["b.rs -> a.rs: A, called"]);
}

#[test]
fn what_a_macro_defines_belongs_to_the_file_that_calls_it() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "ids! { AgentId, GroupId }"),
        ("b.rs", "use crate::a::AgentId;"),
    ];
    assert_eq!(uses(&files), ["b.rs -> a.rs: AgentId"]);
}

#[test]
fn a_module_in_a_file_counts_as_the_file() {
    let files = [
        (
            "lib.rs",
            "mod a; mod b; pub mod limits { pub const MOST: u8 = super::b::LESS; }",
        ),
        (
            "a.rs",
            "mod own { pub const X: u8 = super::Y; } const Y: u8 = own::X + super::limits::MOST;",
        ),
        ("b.rs", "pub const LESS: u8 = 1;"),
    ];
    assert_eq!(uses(&files), ["a.rs -> lib.rs: MOST", "lib.rs -> b.rs: LESS"]);
}

#[test]
fn tests_comments_strings_and_visibilities_use_nothing() {
    let files = [
        ("lib.rs", "mod a; mod b; mod b_more; #[cfg(test)] mod tests;"),
        (
            "a.rs",
            "//! [`crate::b::B`]\n/* crate::b::B */ const S: &str = \"crate::b::B\"; pub(in crate::b) struct A;
             #[cfg(test)] mod tests { use crate::b::B; } #[cfg(test)] fn f() { crate::b::g() }",
        ),
        ("b.rs", "pub struct B;"),
        ("b_more.rs", "fn f(x: &X) { x.b::<u8>(); ::b::g(); std::b::g(); }"),
        ("tests.rs", "use crate::a::A; use crate::b::B;"),
    ];
    assert!(edges(&files).is_empty());
}

#[test]
fn other_crates_are_none_of_the_files() {
    let files = [
        ("lib.rs", "mod a; mod core; use tempfile; fn f() { tempfile::f() }"),
        (
            "a.rs",
            "use core::fmt; use std::a::X; fn f() { tempfile::f(); core::mem::take() }",
        ),
        ("core.rs", "pub struct Core;"),
    ];
    assert!(edges(&files).is_empty());
}

#[test]
fn a_function_may_have_the_name_of_a_module() {
    let files = [
        ("lib.rs", "mod a; mod b; pub fn a() {}"),
        ("a.rs", "pub struct A;"),
        ("b.rs", "use crate::a; fn f() { a(); a::A; }"),
    ];
    assert_eq!(uses(&files), ["b.rs -> a.rs: A", "b.rs -> lib.rs: a"]);
}

#[test]
fn a_circle_is_described_with_the_edges_that_make_it() {
    let edges = edges(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "\nuse crate::b::B;\nfn f() { B::new() }"),
        ("b.rs", "fn f() {}\npub struct B(super::a::A);"),
    ]);
    assert_eq!(
        described(&circles(&edges, "")[0]),
        "a circle of 2: a.rs, b.rs\n  a.rs -> b.rs: B (line 2)\n  b.rs -> a.rs: A (line 2)"
    );
}
