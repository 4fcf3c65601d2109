//! What decides is a step: a state, an input and the time that it is handed. It reads no clock, waits for nothing and knows no
//! actor, so that the simulation drives the same decisions.

use super::none;
use super::source::{Kind, Token, shipped, texts};

/// Files that decide.
const STEPS: &[&str] = &[
    "agent/standing.rs",
    "agent/turn.rs",
    "mailbox/lanes.rs",
    "router/agenda.rs",
    "router/burial.rs",
    "router/catalog.rs",
    "router/core.rs",
    "router/dispatch.rs",
    "router/timers.rs",
    "router/waiters.rs",
];

/// Where the messages to a router are declared: values that it decides.
const ROUTER_MESSAGES: &[(&str, &str)] = &[("router.rs", "RouterMessage"), ("router/catalog.rs", "Change")];

/// The words of a step that it may not have.
fn unfit(tokens: &[Token]) -> Vec<String> {
    let words = tokens.iter().filter(|token| token.kind != Kind::Literal);
    let foreign = words
        .clone()
        .filter(|token| ["tokio", "ractor", "async", "await", "SystemTime"].contains(&token.text.as_str()))
        .map(|token| token.text.clone());
    let clocks = tokens.windows(3).filter_map(|window| {
        let [of, path, now] = window else { return None };
        let reads = path.is("::") && (now.is("now") || now.is("elapsed"));
        reads.then(|| format!("{}::{}", of.text, now.text))
    });
    let elapsed = tokens
        .windows(2)
        .filter(|pair| pair[0].is(".") && pair[1].is("elapsed"));
    foreign
        .chain(clocks)
        .chain(elapsed.map(|_| ".elapsed".to_owned()))
        .collect()
}

/// The tokens of an enum's declaration, from its name to the end of its braces.
fn declaration<'a>(tokens: &'a [Token], name: &str) -> &'a [Token] {
    let at = tokens
        .windows(2)
        .position(|pair| pair[0].is("enum") && pair[1].is(name));
    let at = at.unwrap_or_else(|| panic!("there is no enum {name}"));
    let open = at
        + tokens[at..]
            .iter()
            .position(|token| token.is("{"))
            .expect("an enum has braces");
    &tokens[at..super::source::closed(tokens, open)]
}

fn closures(tokens: &[Token]) -> bool {
    let of = ["dyn", "impl", "Fn", "FnOnce", "FnMut", "fn", "BoxFuture", "Future"];
    tokens.iter().any(|token| of.iter().any(|word| token.is(word)))
}

#[test]
fn what_decides_reads_no_clock_and_names_no_runtime() {
    let sources = texts("src");
    let mut problems = Vec::new();
    for step in STEPS {
        let Some(text) = sources.get(*step) else {
            problems.push(format!("{step} is a step and is not there"));
            continue;
        };
        problems.extend(
            unfit(&shipped(text))
                .into_iter()
                .map(|word| format!("{step} has `{word}`")),
        );
    }
    none(&problems);
}

#[test]
fn no_closure_goes_to_a_router() {
    let sources = texts("src");
    let carries = |(file, name): &&(&str, &str)| closures(declaration(&shipped(&sources[*file]), name));
    let problems: Vec<_> = ROUTER_MESSAGES
        .iter()
        .filter(carries)
        .map(|(file, name)| format!("{name} of {file} carries a closure"))
        .collect();
    none(&problems);
}

#[test]
fn a_clock_and_a_runtime_are_seen_in_the_code_alone() {
    let of = |text: &str| unfit(&shipped(text));
    assert!(of("// Timestamp::now()\nfn f(now: Moment) { let s = \"tokio\"; now.wall; }").is_empty());
    assert_eq!(of("fn f() { Timestamp::now(); }"), ["Timestamp::now"]);
    assert_eq!(of("use tokio::sync::oneshot; fn f() {}"), ["tokio"]);
    assert_eq!(of("fn f(at: Instant) { at.elapsed(); }"), [".elapsed"]);
    assert_eq!(of("async fn f() { g().await }"), ["async", "await"]);
    assert!(of("#[cfg(test)] mod tests { fn f() { Timestamp::now(); } }").is_empty());
}

#[test]
fn a_closure_is_seen_in_the_declaration_alone() {
    let of = |text: &str| closures(declaration(&shipped(text), "M"));
    assert!(!of("enum M { A { f: u32 }, B(Box<Draft>) } fn g(f: impl Fn()) {}"));
    assert!(of("enum M { A { f: Box<dyn FnOnce() + Send> } }"));
    assert!(of("enum M { A(fn(u32) -> u32) }"));
}
