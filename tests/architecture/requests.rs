//! The types of a handler's parameters say what it reads of a request. A handler that takes the whole request hides that, so
//! that no description of the interface can be made from it.

use std::collections::{BTreeMap, BTreeSet};

use super::circles::SERVER;
use super::source::{Token, below, functions, without_imports};

/// Where handlers are.
const PLACES: &[&str] = &["api/http", "api/rest", "api/ws"];

/// Methods of actix-web's traits `FromRequest` and `Responder`. They take the request so that handlers need not.
const EXTRACTORS: &[&str] = &["from_request", "respond_to"];

/// Other functions that may take the whole request: the place, the function, and the reason.
const EXCUSED: &[(&str, &str, &str)] = &[
    (
        "api/ws",
        "connect",
        "actix-web-actors makes the handshake of a WebSocket from the whole request",
    ),
    (
        "api/ws",
        "connect_versioned",
        "it is `connect` under the path of this version of the API",
    ),
];

/// The functions that name `HttpRequest` among their parameters or in their bodies, where a closure may take it.
fn takers(tokens: &[Token]) -> BTreeSet<&str> {
    let functions = functions(tokens);
    without_imports(tokens)
        .filter(|(_, token)| token.is("HttpRequest"))
        .map(|(at, _)| {
            // Of several functions around a token, the innermost one begins last.
            let function = functions.iter().rev().find(|function| function.range.contains(&at));
            function.map_or("no function", |function| function.name)
        })
        .filter(|name| !EXTRACTORS.contains(name))
        .collect()
}

fn problems(files: &BTreeMap<String, Vec<Token>>, excused: &[(&str, &str, &str)]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut needed = BTreeSet::new();
    for (file, tokens) in files {
        if !PLACES.iter().any(|place| below(file, place)) {
            continue;
        }
        for name in takers(tokens) {
            let excuse = excused
                .iter()
                .position(|(place, function, _)| below(file, place) && *function == name);
            match excuse {
                Some(excuse) => drop(needed.insert(excuse)),
                None => problems.push(format!("{file}: {name} takes a raw HttpRequest")),
            }
        }
    }
    for (at, (place, function, reason)) in excused.iter().enumerate() {
        if !needed.contains(&at) {
            problems.push(format!(
                "{place}: {function} is excused ({reason}) and takes no HttpRequest"
            ));
        }
    }
    problems
}

#[test]
fn no_handler_takes_a_raw_request() {
    super::none(&problems(&SERVER.files, EXCUSED));
}

#[cfg(test)]
mod tests {
    use super::super::source::shipped;

    #[track_caller]
    fn problems(file: &str, text: &str, excused: &[(&str, &str, &str)], expected: &[&str]) {
        let files = [(file.to_owned(), shipped(text))].into();
        assert_eq!(super::problems(&files, excused), expected);
    }

    #[test]
    fn a_request_is_found_in_any_parameter() {
        for text in [
            "use actix_web::HttpRequest; async fn list(request: HttpRequest) -> A {}",
            "fn list(_: &HttpRequest, b: B) {}",
            "fn list(actix_web::HttpRequest { .. }: actix_web::HttpRequest) {}",
            "impl X { fn list() { web::to(|request: HttpRequest| async { fn other() {} }) } }",
        ] {
            problems(
                "api/rest/agents.rs",
                text,
                &[],
                &["api/rest/agents.rs: list takes a raw HttpRequest"],
            );
            problems("api/http.rs", text, &[], &["api/http.rs: list takes a raw HttpRequest"]);
            problems("api/grpc.rs", text, &[], &[]);
        }
    }

    #[test]
    fn extractors_and_tests_may_take_it() {
        let text = "use actix_web::{HttpRequest, web}; impl FromRequest for Caller { fn from_request(request: &HttpRequest) {} }
            fn list(query: web::Query<Q>) {} #[cfg(test)] mod tests { fn f(request: HttpRequest) {} }";
        problems("api/rest.rs", text, &[], &[]);
    }

    #[test]
    fn an_excuse_is_for_one_function_and_needed() {
        let text = "fn connect(request: HttpRequest) {} fn other(request: HttpRequest) {}";
        let (connect, gone) = (("api/ws", "connect", "why"), ("api/ws", "gone", "why"));
        problems(
            "api/ws.rs",
            text,
            &[connect],
            &["api/ws.rs: other takes a raw HttpRequest"],
        );
        problems(
            "api/ws.rs",
            "fn connect(request: HttpRequest) {}",
            &[connect, gone],
            &["api/ws: gone is excused (why) and takes no HttpRequest"],
        );
    }
}
