//! The REST API, and the list of all HTTP routes.
//!
//! Purpose: the use cases of the node as requests and answers in JSON. Owner: [`http::Server`](super::http::Server), on which
//! [`routes`] are mounted. Invariants: a handler decodes, calls the node, and encodes; every route is in the OpenAPI
//! document, because the routes are made from it.
//!
//! | request | answer |
//! |---|---|
//! | `POST /api/v1/agents` | 201 with `Location` |
//! | `POST /api/v1/agents/validate` | 200, for invalid modules too |
//! | `GET /api/v1/agents`, `GET /api/v1/agents/{id}` | 200 |
//! | `POST /api/v1/agents/{id}/stop` | 202 while the agent drains, 200 if it was stopped already |
//! | `POST /api/v1/agents/{id}/start`, `/restart`, `/suspend`, `/resume` | 200 when done |
//! | `DELETE /api/v1/agents/{id}` | 200 |
//! | `POST /api/v1/messages`, `POST /api/v1/messages/wait` | 200 |
//! | `GET /api/v1/messages`, `GET /api/v1/messages/{id}` | 200 |
//! | `POST /api/v1/supervisors` | 201 with `Location` |
//! | `GET /api/v1/supervisors`, `GET`, `PUT`, `DELETE /api/v1/supervisors/{name}` | 200 |
//! | `GET /api/v1/supervision/tree`, `GET /api/v1/supervision/events` | 200 |
//! | `POST /api/v1/supervision/actions` | 200 when done |
//! | `GET /api/v1/metrics/system`, `/agents/{id}`, `/supervision` | 200 |
//! | `POST /api/v1/system/backup` | 200 when complete |
//! | `GET /openapi.json` | 200 |
//! | `GET /healthz`, `GET /metrics` | 200 |
//! | `GET /readyz` | 200, or 503 `UNAVAILABLE` |
//! | `GET /ws`, `GET /api/v1/ws` | 101 |
//!
//! A `POST` may have an `Idempotency-Key`. If the request is sent again with the same key, it has no second effect and gets the
//! first response. Another request with the key gets 422 `IDEMPOTENCY_KEY_REUSED`, and a second request while the first is in
//! progress gets 409 `CONFLICT`. A refused request had no effect, and its key is not remembered. See [`crate::idempotency`].
//!
//! Errors: `http/failure.rs` has the status of each [`Code`](crate::error::Code). A path that does not exist is 404 `NOT_FOUND`, a
//! wrong method is 405 `INVALID_REQUEST` with `Allow`, a body that does not arrive in time is 408 `INVALID_REQUEST`, and a body of
//! another media type or in a content coding is 415 `INVALID_REQUEST`. A query parameter or JSON member that is unknown, or given
//! twice, is an error that names it.

#![allow(
    unused_qualifications,
    reason = "the code that `utoipa::path` generates qualifies the types of a handler's parameters"
)]

mod agents;
mod body;
mod history;
mod messages;
mod metrics;
mod openapi;
mod query;
mod supervision;
mod supervisors;
mod system;
mod upload;

use actix_web::http::{Method, Uri};
use actix_web::{Resource, Route, guard, web};
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};

use self::openapi::ForAll;
use super::http::failure::Failure;
use super::ws::connection;

/// Lists the handlers. From this one list come the OpenAPI document and the routes, so that they cannot differ.
macro_rules! operations {
    ($($module:ident::$handler:ident),+ $(,)?) => {
        #[derive(OpenApi)]
        #[openapi(
            info(title = "Caxton", description = ABOUT),
            paths($($module::$handler),+),
            components(schemas(openapi::ErrorDocument, openapi::Problem)),
            modifiers(&ForAll),
        )]
        struct Described;

        /// The handler of each operation, by the operation's id.
        const HANDLERS: &[(&str, fn(Route) -> Route)] = &[
            $((stringify!($handler), |route| route.to($module::$handler))),+
        ];
    };
}

operations! {
    system::health,
    system::ready,
    system::back_up,
    openapi::get_document,
    connection::connect,
    connection::connect_versioned,
    agents::deploy_agent,
    agents::validate_agent,
    agents::list_agents,
    agents::get_agent,
    agents::stop_agent,
    agents::start_agent,
    agents::restart_agent,
    agents::suspend_agent,
    agents::resume_agent,
    agents::remove_agent,
    messages::send_message,
    messages::send_message_and_wait,
    history::list_messages,
    history::get_message,
    supervisors::create_supervisor,
    supervisors::list_supervisors,
    supervisors::get_supervisor,
    supervisors::update_supervisor,
    supervisors::remove_supervisor,
    supervision::supervision_tree,
    supervision::supervision_events,
    supervision::supervise,
    metrics::prometheus_metrics,
    metrics::system_metrics,
    metrics::agent_metrics,
    supervision::supervision_metrics,
}

const ABOUT: &str = "The REST API of Caxton, a server for multi-agent systems. In every request a member that is null counts as \
    absent. An unknown member or query parameter is an error that names it. Every GET can also be sent as HEAD. All errors have \
    the schema `Error`, or `Problem` (RFC 9457) for clients that accept `application/problem+json`.";

/// Mounts every operation of the OpenAPI document, and the 404 for all other paths. Paths are matched in the document's order,
/// which sorts them as texts: there a literal segment precedes a parameter (`validate` before `{id}`).
pub fn routes(config: &mut web::ServiceConfig) {
    let document = Described::openapi();
    for (path, item) in &document.paths.paths {
        config.service(resource(path, item));
    }
    config
        .app_data(web::Data::new(openapi::Document::of(&document)))
        .default_service(web::to(|uri: Uri| async move {
            Err::<&str, _>(Failure::no_route(uri.path()))
        }));
}

/// A path with its operations. Other methods get 405 and the list of the allowed ones.
fn resource(path: &str, item: &PathItem) -> Resource {
    let operations = [
        (Method::GET, &item.get),
        (Method::POST, &item.post),
        (Method::PUT, &item.put),
        (Method::DELETE, &item.delete),
    ];
    let mut resource = web::resource(path);
    let mut allow = Vec::new();
    for (method, operation) in operations {
        let Some(operation) = operation else { continue };
        let mut guard = guard::Any(guard::Method(method.clone()));
        allow.push(method.to_string());
        // An upgrade to another protocol has no HEAD.
        if method == Method::GET && !operation.responses.responses.contains_key("101") {
            guard = guard.or(guard::Head());
            allow.push(Method::HEAD.to_string());
        }
        resource = resource.route(handler(operation)(web::route().guard(guard)));
    }
    let allow = allow.join(", ");
    resource.default_service(web::to(move |method: Method| {
        let refused = Failure::wrong_method(method.as_str(), &allow);
        async move { Err::<&str, _>(refused) }
    }))
}

fn handler(operation: &Operation) -> fn(Route) -> Route {
    let id = operation.operation_id.as_deref();
    let found = HANDLERS.iter().find(|(handler, _)| Some(*handler) == id);
    found
        .map(|(_, mount)| *mount)
        .expect("the id of an operation is the name of its handler")
}

#[cfg(test)]
mod tests {
    use actix_web::App;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use serde_json::Value;

    use super::*;
    use crate::api::http::edge::edge;

    async fn answer(request: TestRequest) -> (u16, Option<String>, Value) {
        let app = App::new().configure(routes).wrap(from_fn(edge));
        let response = call_service(&init_service(app).await, request.to_request()).await;
        let allow = response
            .headers()
            .get("allow")
            .map(|allow| allow.to_str().unwrap().to_owned());
        assert_eq!(response.headers().get("traceparent").unwrap().len(), 55);
        (response.status().as_u16(), allow, read_body_json(response).await)
    }

    #[actix_web::test]
    async fn unknown_paths_and_methods_answer_in_the_envelope() {
        for path in ["/", "/api/v1", "/api/v1/tasks", "/api/v1/agents/", "/api/v2/agents"] {
            let (status, _, body) = answer(TestRequest::get().uri(path)).await;
            assert_eq!(
                (status, body["error"]["code"].as_str()),
                (404, Some("NOT_FOUND")),
                "{path}"
            );
            assert_eq!(body["error"]["trace_id"].as_str().unwrap().len(), 32);
        }
        let (status, allow, body) = answer(TestRequest::default().method(Method::PUT).uri("/api/v1/agents")).await;
        assert_eq!((status, allow.as_deref()), (405, Some("GET, HEAD, POST")));
        assert_eq!(body["error"]["code"], "INVALID_REQUEST");
    }

    #[actix_web::test]
    async fn what_is_in_the_document_answers_and_nothing_else_does() {
        let document = serde_json::to_value(Described::openapi()).unwrap();
        let mut operations = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            let uri = path.replace(['{', '}'], "");
            for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
                let described = &item[method.as_str().to_lowercase()];
                let (status, allow, body) = answer(TestRequest::default().method(method.clone()).uri(&uri)).await;
                let place = format!("{method} {path}: {status} {body}");
                assert!(!body.to_string().contains("nothing is at this path"), "{place}");
                if described.is_null() {
                    assert_eq!(status, 405, "{place}");
                    assert!(!allow.unwrap().contains(method.as_str()), "{place}");
                } else {
                    assert_ne!(status, 405, "{place}");
                    operations += 1;
                }
            }
        }
        assert_eq!(operations, HANDLERS.len(), "two handlers have one path and method");
    }

    #[test]
    fn every_answer_and_every_operation_is_described() {
        let document = serde_json::to_value(Described::openapi()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let place = format!("{method} {path}");
                assert!(
                    operation["summary"].as_str().is_some_and(|text| text.ends_with('.')),
                    "{place}"
                );
                assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{place}");
                for (status, response) in operation["responses"].as_object().unwrap() {
                    assert!(response["description"].is_string(), "{place}: {status}");
                }
            }
        }
    }

    #[actix_web::test]
    async fn a_rebound_name_and_a_foreign_page_are_refused() {
        let (status, _, body) = answer(
            TestRequest::get()
                .uri("/healthz")
                .insert_header(("host", "evil.example")),
        )
        .await;
        assert_eq!((status, body["error"]["code"].as_str()), (403, Some("FORBIDDEN")));
        let page = TestRequest::get()
            .uri("/ws")
            .insert_header(("origin", "https://evil.example"));
        assert_eq!(answer(page).await.0, 403);
    }

    #[actix_web::test]
    async fn a_callers_trace_is_in_the_error() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let header = ("traceparent", format!("00-{id}-00f067aa0ba902b7-01"));
        let (_, _, body) = answer(TestRequest::get().uri("/nothing").insert_header(header)).await;
        assert_eq!(body["error"]["trace_id"], id);
    }
}
