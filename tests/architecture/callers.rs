//! Each use case of `Node` knows who calls and asks first whether the caller may do this. Only `principal.rs` makes a `Caller`, for
//! the few places where a caller comes from.

use std::collections::{BTreeMap, BTreeSet};

use super::circles::SERVER;
use super::fronts::{NO_USE_CASES, methods};
use super::source::{Token, begins, below, closed, functions};

type Files = BTreeMap<String, Vec<Token>>;

/// Where callers are made.
const PRINCIPAL: &str = "principal";

/// Where callers come from: the place, the constructor that it may call, and the reason. Tests and benches may call all of them.
const SOURCES: &[(&str, &str, &str)] = &[
    (
        "api/http/caller",
        "for_request",
        "it reads the credentials of an HTTP request",
    ),
    (
        "api/grpc/caller",
        "for_request",
        "it reads the credentials of a gRPC request",
    ),
    (
        "cli/tree_file",
        "platform",
        "the operator who starts the server declared what is in the file",
    ),
];

/// Public methods of `Node` that are used as use cases are and take no caller, with the reason. Those that are no use cases take
/// none either.
const WITHOUT_CALLER: &[(&str, &str)] = &[
    (
        "limits",
        "the fronts need the sizes before they read a request, and everybody may know them",
    ),
    ("stopping", "the fronts answer everybody who waits when the node stops"),
];

/// The functions of `Caller` that make one from something else.
fn constructors(files: &Files) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for (_, tokens) in files.iter().filter(|(file, _)| below(file, PRINCIPAL)) {
        for at in (0..tokens.len()).filter(|at| begins(&tokens[*at..], &["impl", "Caller", "{"])) {
            let body = &tokens[at + 3..closed(tokens, at + 2) - 1];
            let makes = |function: &[Token]| !parts(function).0.iter().any(|token| token.is("self"));
            let made = functions(body)
                .into_iter()
                .filter(|function| makes(&body[function.range.clone()]));
            names.extend(made.map(|function| function.name));
        }
    }
    names
}

/// The parameters and the body of a function, whose tokens begin with the word `fn`.
fn parts(function: &[Token]) -> (&[Token], &[Token]) {
    let mut angles = 0;
    let opens = |token: &Token| {
        angles += i32::from(token.is("<")) - i32::from(token.is(">"));
        angles == 0 && token.is("(")
    };
    let open = function.iter().position(opens).expect("a function has parameters");
    let behind = closed(function, open);
    let body = (behind..function.len()).find(|at| function[*at].is("{"));
    let body = body.map_or(&[][..], |body| &function[body + 1..closed(function, body) - 1]);
    (&function[open + 1..behind - 1], body)
}

/// How a file makes callers: by which constructors, and whether by a literal.
fn made<'a>(tokens: &'a [Token], constructors: &BTreeSet<&str>) -> BTreeSet<&'a str> {
    let maker = |at: usize| {
        let here = &tokens[at..];
        if begins(here, &["Caller", "{"]) {
            // Behind the type that a function returns, and in the head of an `impl`, the brace begins a body.
            let before = tokens[..at]
                .iter()
                .rev()
                .find(|token| !token.is("&") && !token.is("mut"));
            let is_head = before.is_some_and(|token| ["->", "impl", "for"].iter().any(|head| token.is(head)));
            return (!is_head).then_some("a literal");
        }
        let name = begins(here, &["Caller", "::"]).then(|| here.get(2)?.word()).flatten()?;
        constructors.contains(name).then_some(name)
    };
    (0..tokens.len()).filter_map(maker).collect()
}

fn makers(files: &Files, sources: &[(&str, &str, &str)]) -> Vec<String> {
    let constructors = constructors(files);
    let (mut problems, mut needed) = (Vec::new(), BTreeSet::new());
    for (file, tokens) in files.iter().filter(|(file, _)| !below(file, PRINCIPAL)) {
        for maker in made(tokens, &constructors) {
            let source = sources
                .iter()
                .position(|(place, constructor, _)| below(file, place) && *constructor == maker);
            match source {
                Some(source) => drop(needed.insert(source)),
                None => problems.push(format!("{file} makes a caller by {maker}")),
            }
        }
    }
    for (at, (place, constructor, reason)) in sources.iter().enumerate() {
        if !needed.contains(&at) {
            problems.push(format!("{place} makes no caller by {constructor} ({reason})"));
        }
    }
    problems
}

/// What a use case lacks.
fn lacks(function: &[Token]) -> Option<&'static str> {
    let (parameters, body) = parts(function);
    let behind_self = parameters.iter().position(|token| token.is(",")).map_or(0, |at| at + 1);
    if !begins(&parameters[behind_self..], &["caller", ":", "&", "Caller"]) {
        return Some("does not take `caller: &Caller` first");
    }
    let asks = begins(body, &["caller", ".", "may", "("]) && begins(&body[closed(body, 3)..], &["?", ";"]);
    (!asks).then_some("does not begin with `caller.may(…)?;`")
}

fn use_cases(files: &Files, exceptions: &[(&str, &str)]) -> Vec<String> {
    let methods = methods(files);
    let is_exception = |name: &str| exceptions.iter().any(|(exception, _)| *exception == name);
    let mut problems: Vec<_> = methods
        .iter()
        .filter(|(name, _)| !is_exception(name))
        .filter_map(|(name, function)| Some(format!("Node::{name} {}", lacks(function)?)))
        .collect();
    for (name, reason) in exceptions {
        if methods.get(name).is_none_or(|function| lacks(function).is_none()) {
            problems.push(format!("Node::{name} needs no exception ({reason})"));
        }
    }
    problems
}

#[test]
fn only_principal_makes_a_caller() {
    super::none(&makers(&SERVER.files, SOURCES));
}

#[test]
fn each_use_case_asks_first_whether_its_caller_may() {
    super::none(&use_cases(&SERVER.files, &[NO_USE_CASES, WITHOUT_CALLER].concat()));
}

#[cfg(test)]
mod tests {
    use super::super::source::shipped;
    use super::*;

    const CALLER: (&str, &str) = (
        "principal.rs",
        "impl Caller { pub fn anonymous() -> Self { Self {} } pub fn of<F: Fn(A)>(f: F) -> Self { Caller {} }
         pub fn part(&self) -> Self { Self {} } fn other(self: &Arc<Self>) {} } impl Other { fn other() {} }",
    );

    fn files(files: &[(&str, &str)]) -> Files {
        files
            .iter()
            .map(|(file, text)| ((*file).to_owned(), shipped(text)))
            .collect()
    }

    #[track_caller]
    fn made_by(text: &str, sources: &[(&str, &str, &str)], expected: &[&str]) {
        assert_eq!(makers(&files(&[CALLER, ("node/once.rs", text)]), sources), expected);
    }

    #[track_caller]
    fn node(methods: &str, exceptions: &[(&str, &str)], expected: &[&str]) {
        let node = format!("impl Node {{ {methods} }}");
        assert_eq!(use_cases(&files(&[("node/agents.rs", &node)]), exceptions), expected);
    }

    #[test]
    fn a_constructor_is_a_function_without_self() {
        assert_eq!(constructors(&files(&[CALLER])), ["anonymous", "of"].into());
    }

    #[test]
    fn a_caller_is_made_by_a_constructor_or_a_literal() {
        for text in [
            "Caller::anonymous()",
            "principal::Caller::anonymous()",
            "x.map(Caller::anonymous)",
        ] {
            let text = format!("fn f() {{ {text} }}");
            made_by(&text, &[], &["node/once.rs makes a caller by anonymous"]);
        }
        for text in [
            "Caller { a, ..b }",
            "principal::Caller {}",
            "g(&Caller {})",
            "let Caller { a } = b;",
        ] {
            let text = format!("fn f() {{ {text} }}");
            made_by(&text, &[], &["node/once.rs makes a caller by a literal"]);
        }
    }

    #[test]
    fn a_caller_that_there_is_already_is_not_made() {
        for text in [
            "fn f(a: &Caller) -> Caller { a.part() }",
            "fn f<'a>(a: &'a Caller) -> &'a Caller { a }",
            "impl From<B> for Caller {} impl Caller {}",
            "fn f() { Caller::part(&a); Caller::unknown(); OtherCaller {}; Other::anonymous() }",
            "#[cfg(test)] mod tests { fn f() { Caller::anonymous() } }",
        ] {
            made_by(text, &[], &[]);
        }
    }

    #[test]
    fn a_source_may_use_one_constructor_and_needs_it() {
        let source = |place, constructor| (place, constructor, "why");
        made_by("Caller::anonymous()", &[source("node/once", "anonymous")], &[]);
        made_by(
            "Caller::anonymous()",
            &[source("node/once", "of"), source("node", "anonymous")],
            &["node/once makes no caller by of (why)"],
        );
        made_by(
            "Caller {}",
            &[source("cli", "anonymous")],
            &[
                "node/once.rs makes a caller by a literal",
                "cli makes no caller by anonymous (why)",
            ],
        );
    }

    #[test]
    fn a_use_case_takes_its_caller_first_and_asks_first() {
        for asks in [
            "pub fn f(&self, caller: &Caller) -> Result<()> { caller.may(A, &S(x))?; g() }",
            "pub async fn f(self: &Arc<Self>, caller: &Caller, a: A) { caller.may(if a { B } else { C }, &S)?; }",
            "pub fn f<F: Fn(A)>(&self, caller: &Caller, f: F) where F: B { caller.may(A, &S)?; }",
            "fn private(&self) {} pub(super) fn inner(&self) {}",
        ] {
            node(asks, &[], &[]);
        }
        for lacks in [
            "pub fn f(&self) {}",
            "pub fn f() { caller.may(A, &S)?; }",
            "pub fn f(&self, a: A, caller: &Caller) { caller.may(A, &S)?; }",
            "pub fn f(&self, caller: Caller) { caller.may(A, &S)?; }",
            "pub fn f(&self, _caller: &Caller) {}",
        ] {
            node(lacks, &[], &["Node::f does not take `caller: &Caller` first"]);
        }
        for late in [
            "let a = b?; caller.may(A, &S)?;",
            "let _ = caller.may(A, &S);",
            "caller.may(A, &S).ok();",
            "if a { caller.may(A, &S)?; }",
            "",
        ] {
            let late = format!("pub fn f(&self, caller: &Caller) {{ {late} }}");
            node(&late, &[], &["Node::f does not begin with `caller.may(…)?;`"]);
        }
    }

    #[test]
    fn an_exception_is_for_a_method_that_needs_it() {
        let asks = "pub fn f(&self, caller: &Caller) { caller.may(A, &S)?; }";
        node("pub fn f(&self) {}", &[("f", "why")], &[]);
        for methods in [asks, ""] {
            node(methods, &[("f", "why")], &["Node::f needs no exception (why)"]);
        }
    }
}
