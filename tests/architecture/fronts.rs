//! Each public method of `Node` is a use case, and both fronts, REST and gRPC, call it.

use std::collections::{BTreeMap, BTreeSet};

use super::circles::SERVER;
use super::source::{Token, begins, below, closed, functions};

type Files = BTreeMap<String, Vec<Token>>;

/// The fronts and their places. Functions elsewhere in `api` count for the fronts that call them.
const FRONTS: [(&str, &[&str]); 2] = [("REST", &["api/http", "api/rest", "api/ws"]), ("gRPC", &["api/grpc"])];

/// Use cases that only one front calls: the method, that front, and the reason.
const EXCUSED: &[(&str, &str, &str)] = &[
    ("address", "REST", "gRPC has no history yet"),
    ("agent_metrics", "REST", "gRPC has no metrics yet"),
    ("backup", "REST", "gRPC has no service for the system yet"),
    ("events", "REST", "gRPC has no stream of events yet"),
    ("events_after", "REST", "gRPC has no stream of events yet"),
    ("message", "REST", "gRPC has no history yet"),
    ("messages", "REST", "gRPC has no history yet"),
    ("prometheus", "REST", "Prometheus reads over HTTP only"),
    ("system_metrics", "REST", "gRPC has no metrics yet"),
];

/// Public methods that are no use cases, and what they are for.
pub(super) const NO_USE_CASES: &[(&str, &str)] = &[
    (
        "config",
        "the command line reads the settings that the server runs with",
    ),
    ("durable", "an export ends and a subscription begins at this sequence"),
    ("full", "the health service of gRPC watches it"),
    ("gave_up", "the command line waits for it and ends the process"),
    ("has_room", "the health service of gRPC asks it at the start"),
    (
        "ready",
        "`/readyz` answers with it; the health service of gRPC watches `full` instead",
    ),
    ("shutdown", "the server calls it at its end"),
];

/// The public methods of `Node`, each with its tokens from the word `fn` on.
pub(super) fn methods(files: &Files) -> BTreeMap<&str, &[Token]> {
    let mut methods = BTreeMap::new();
    for (_, tokens) in files.iter().filter(|(file, _)| below(file, "node")) {
        for at in (0..tokens.len()).filter(|at| begins(&tokens[*at..], &["impl", "Node", "{"])) {
            let body = &tokens[at + 3..closed(tokens, at + 2) - 1];
            methods.extend(functions(body).iter().filter_map(|function| {
                let before = &body[..function.range.start];
                let modifiers = before
                    .iter()
                    .rev()
                    .take_while(|token| token.is("async") || token.is("const"));
                let is_public = before[..before.len() - modifiers.count()].last()?.is("pub");
                is_public.then(|| (function.name, &body[function.range.clone()]))
            }));
        }
    }
    methods
}

/// The names of the functions that are called, whatever path is before them. Methods are none of them.
fn called(tokens: &[Token]) -> BTreeSet<&str> {
    let call = |at: usize| {
        let name = tokens[at].word()?;
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        let free = before.is_none_or(|before| !before.is(".") && !before.is("fn"));
        (free && begins(&tokens[at + 1..], &["("])).then_some(name)
    };
    (0..tokens.len()).filter_map(call).collect()
}

/// The names of the methods that are called on a variable, field or accessor `node`.
fn called_on_node(tokens: &[Token]) -> BTreeSet<&str> {
    let method = |at: usize| {
        let mut call = &tokens[at..];
        if begins(call, &["Node", "::"]) {
            call = &call[2..];
        } else {
            let receivers: [&[&str]; 2] = [&["node", "."], &["node", "(", ")", "."]];
            let receiver = receivers.iter().find(|receiver| begins(call, receiver))?;
            call = &call[receiver.len()..];
            while begins(call, &["clone", "(", ")", "."]) {
                call = &call[4..];
            }
        }
        begins(call.get(1..)?, &["("]).then(|| call[0].word()).flatten()
    };
    (0..tokens.len()).filter_map(method).collect()
}

/// The methods of `Node` that a front calls, directly or through a function that the fronts share.
fn reached<'a>(files: &'a Files, places: &[&str]) -> BTreeSet<&'a str> {
    let is_in = |file: &str, places: &[&str]| places.iter().any(|place| below(file, place));
    let own: Vec<&[Token]> = files
        .iter()
        .filter(|(file, _)| is_in(file, places))
        .map(|(_, tokens)| tokens.as_slice())
        .collect();
    let shared: Vec<_> = files
        .iter()
        .filter(|(file, _)| below(file, "api") && !FRONTS.iter().any(|(_, places)| is_in(file, places)))
        .flat_map(|(_, tokens)| {
            functions(tokens)
                .into_iter()
                .map(|function| (function.name, &tokens[function.range]))
        })
        .collect();
    let mut names: BTreeSet<&str> = own.iter().flat_map(|tokens| called(tokens)).collect();
    loop {
        let further: BTreeSet<&str> = shared
            .iter()
            .filter(|(name, _)| names.contains(name))
            .flat_map(|(_, tokens)| called(tokens))
            .collect();
        if further.is_subset(&names) {
            break;
        }
        names.extend(further);
    }
    let shared = shared
        .iter()
        .filter(|(name, _)| names.contains(name))
        .map(|(_, tokens)| *tokens);
    own.into_iter().chain(shared).flat_map(called_on_node).collect()
}

fn problems(files: &Files, excused: &[(&str, &str, &str)], no_use_cases: &[(&str, &str)]) -> Vec<String> {
    let reached = FRONTS.map(|(front, places)| (front, reached(files, places)));
    let mut problems = Vec::new();
    let mut needed = BTreeSet::new();
    for method in methods(files).into_keys() {
        let fronts: Vec<_> = reached
            .iter()
            .filter(|(_, methods)| methods.contains(method))
            .map(|(front, _)| *front)
            .collect();
        let accounted = no_use_cases.iter().any(|(name, _)| *name == method)
            || excused
                .iter()
                .any(|(name, front, _)| *name == method && fronts == [*front]);
        match fronts.as_slice() {
            [_, _] => {}
            _ if accounted => drop(needed.insert(method)),
            [front] => problems.push(format!("Node::{method} is called by {front} alone")),
            _ => problems.push(format!("Node::{method} is called by no front")),
        }
    }
    let excused = excused.iter().map(|(name, _, reason)| (name, reason));
    for (name, reason) in excused.chain(no_use_cases.iter().map(|(name, reason)| (name, reason))) {
        if !needed.contains(name) {
            problems.push(format!("Node::{name} needs no excuse ({reason})"));
        }
    }
    problems
}

#[test]
fn both_fronts_have_every_use_case() {
    super::none(&problems(&SERVER.files, EXCUSED, NO_USE_CASES));
}

#[cfg(test)]
mod tests {
    use super::super::source::shipped;
    use super::*;

    const NODE: (&str, &str) = (
        "node/agents.rs",
        "impl Node { pub async fn deploy(&self) { fn inner() {} } pub(super) fn own(&self) {} fn private() {} }
         impl Other { pub fn other() {} }",
    );
    const REST: (&str, &str) = ("api/rest/agents.rs", "fn f() { state.node.deploy(1) }");
    const GRPC: (&str, &str) = ("api/grpc.rs", "fn f() { self.node\n.clone().deploy(1) }");

    fn files(files: &[(&str, &str)]) -> Files {
        files
            .iter()
            .map(|(file, text)| ((*file).to_owned(), shipped(text)))
            .collect()
    }

    #[track_caller]
    fn problems(read: &[(&str, &str)], expected: &[&str]) {
        assert_eq!(super::problems(&files(read), &[], &[]), expected);
    }

    #[test]
    fn a_use_case_is_a_public_method_of_the_node() {
        let node =
            "impl Node { pub const fn a() {} pub fn b(self: &Arc<Self>) {} pub(crate) fn c() {} async fn d() {} }";
        let read = files(&[NODE, ("node.rs", node), ("noded.rs", "impl Node { pub fn e() {} }")]);
        assert!(methods(&read).into_keys().eq(["a", "b", "deploy"]));
    }

    #[test]
    fn both_fronts_call_it() {
        problems(&[NODE, REST, GRPC], &[]);
        problems(&[NODE, REST], &["Node::deploy is called by REST alone"]);
        problems(&[NODE, GRPC], &["Node::deploy is called by gRPC alone"]);
        problems(&[NODE], &["Node::deploy is called by no front"]);
    }

    #[test]
    fn a_call_is_one_on_the_node() {
        for call in [
            "node.deploy(x)",
            "self.node().deploy(x)",
            "Node::deploy(&node)",
            "node.clone().deploy(x)",
        ] {
            let rest = format!("fn f() {{ {call} }}");
            problems(&[NODE, ("api/ws.rs", &rest), GRPC], &[]);
        }
        for call in ["queue.deploy(x)", "node.deploy", "node.agent.deploy(x)", "deploy(x)"] {
            let rest = format!("fn f() {{ {call} }}");
            problems(
                &[NODE, ("api/ws.rs", &rest), GRPC],
                &["Node::deploy is called by gRPC alone"],
            );
        }
    }

    #[test]
    fn a_shared_function_counts_for_the_fronts_that_call_it() {
        let shared = (
            "api/agents.rs",
            "fn install() { further() } fn further() { node.deploy() }",
        );
        let rest = ("api/rest.rs", "fn f() { agents::install(x) }");
        problems(&[NODE, GRPC, shared, rest], &[]);
        for text in ["fn install() {}", "fn f() { pump.install(x) }", "fn f() { install; }"] {
            let expected = ["Node::deploy is called by gRPC alone"];
            problems(&[NODE, GRPC, shared, ("api/rest.rs", text)], &expected);
        }
    }

    #[test]
    fn an_excuse_is_needed_and_names_the_front() {
        let with = |excused, no_use_cases| super::problems(&files(&[NODE, REST]), excused, no_use_cases);
        assert!(with(&[("deploy", "REST", "why")], &[]).is_empty());
        assert!(with(&[], &[("deploy", "what")]).is_empty());
        assert_eq!(
            with(&[("deploy", "gRPC", "why")], &[]),
            [
                "Node::deploy is called by REST alone",
                "Node::deploy needs no excuse (why)"
            ]
        );
        assert_eq!(
            super::problems(
                &files(&[NODE, REST, GRPC]),
                &[("deploy", "REST", "why")],
                &[("gone", "what")]
            ),
            [
                "Node::deploy needs no excuse (why)",
                "Node::gone needs no excuse (what)"
            ]
        );
    }
}
