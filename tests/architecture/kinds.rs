//! The kinds of events are one enum, `EventKind`. Their texts are in the file that defines it and nowhere else.

use std::collections::BTreeMap;

use super::circles::SERVER;
use super::source::{Kind, Token, begins, below};

/// The part of a kind before its dot.
const FAMILIES: &[&str] = &[
    "agent",
    "conversation",
    "deployment",
    "group",
    "message",
    "supervisor",
    "system",
    "task",
];

/// Kinds without a dot.
const ALONE: &[&str] = &["dead_letter"];

/// Where a text of a family has another meaning, and which. What `EventKind` has as a text is a kind even there.
const OTHERWISE: &[(&str, &str, &str)] = &[(
    "api/grpc",
    "message",
    "errors name the fields of a request, such as `message.performative`",
)];

/// Whether a text is a kind or its beginning, `agent.deployed` or `agent.`. A pattern such as `agent.*` is no kind.
fn looks_like_a_kind(text: &str) -> bool {
    let in_family = |(family, rest): (&str, &str)| {
        FAMILIES.contains(&family) && rest.chars().all(|c| c.is_ascii_lowercase() || "_.{}".contains(c))
    };
    ALONE.contains(&text) || text.split_once('.').is_some_and(in_family)
}

fn literals(tokens: &[Token]) -> impl Iterator<Item = &Token> {
    tokens.iter().filter(|token| token.kind == Kind::Literal)
}

fn problems(files: &BTreeMap<String, Vec<Token>>) -> Vec<String> {
    let has_it = |tokens: &[Token]| (0..tokens.len()).any(|at| begins(&tokens[at..], &["enum", "EventKind"]));
    let definers: Vec<_> = files.iter().filter(|(_, tokens)| has_it(tokens)).collect();
    let mut problems = Vec::new();
    if definers.len() != 1 {
        problems.push(format!("{} files have an `enum EventKind`", definers.len()));
    }
    let own: Vec<&str> = definers
        .iter()
        .flat_map(|(_, tokens)| literals(tokens))
        .map(|token| token.text.as_str())
        .filter(|text| looks_like_a_kind(text))
        .collect();
    for (file, tokens) in files {
        if definers.iter().any(|(definer, _)| *definer == file) {
            continue;
        }
        for token in literals(tokens).filter(|token| looks_like_a_kind(&token.text)) {
            let otherwise = OTHERWISE
                .iter()
                .any(|(place, family, _)| below(file, place) && token.text.starts_with(&format!("{family}.")));
            if !otherwise || own.contains(&token.text.as_str()) {
                problems.push(format!(
                    "{file}:{} has the kind \"{}\" as a text",
                    token.line, token.text
                ));
            }
        }
    }
    problems
}

#[test]
fn the_kinds_of_events_are_an_enum_and_no_texts() {
    super::none(&problems(&SERVER.files));
}

#[cfg(test)]
mod tests {
    use super::super::source::shipped;

    #[track_caller]
    fn problems(files: &[(&str, &str)], expected: &[&str]) {
        let files = files
            .iter()
            .map(|(file, text)| ((*file).to_owned(), shipped(text)))
            .collect();
        assert_eq!(super::problems(&files), expected);
    }

    const EVENTS: (&str, &str) = (
        "events.rs",
        r#"pub enum EventKind { Sent } fn text() { "message.sent"; "agent.deployed"; "dead_letter" }"#,
    );

    #[test]
    fn a_kind_stands_in_one_file() {
        let elsewhere = r#"fn f() { "agent.deployed"; "task.done"; "supervisor."; "dead_letter"; "system.{}" }"#;
        problems(&[EVENTS], &[]);
        problems(
            &[EVENTS, ("node.rs", elsewhere)],
            &[
                r#"node.rs:1 has the kind "agent.deployed" as a text"#,
                r#"node.rs:1 has the kind "task.done" as a text"#,
                r#"node.rs:1 has the kind "supervisor." as a text"#,
                r#"node.rs:1 has the kind "dead_letter" as a text"#,
                r#"node.rs:1 has the kind "system.{}" as a text"#,
            ],
        );
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        let node = r#"//! "agent.deployed"
            fn f() { "agent.*"; "agent"; "An agent. It runs"; "config.name"; "agent.wasm file" } #[cfg(test)] fn g() { "agent.removed" }"#;
        problems(&[EVENTS, ("node.rs", node)], &[]);
    }

    #[test]
    fn grpc_may_name_fields_but_no_kind() {
        let text = r#"fn f() { "message.content"; "message.sent"; "agent.config" }"#;
        problems(
            &[EVENTS, ("api/grpc/messages.rs", text)],
            &[
                r#"api/grpc/messages.rs:1 has the kind "message.sent" as a text"#,
                r#"api/grpc/messages.rs:1 has the kind "agent.config" as a text"#,
            ],
        );
    }

    #[test]
    fn there_is_one_enum() {
        problems(&[("node.rs", "")], &["0 files have an `enum EventKind`"]);
        problems(
            &[EVENTS, ("event.rs", "enum EventKind {}")],
            &["2 files have an `enum EventKind`"],
        );
    }
}
