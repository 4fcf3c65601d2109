//! The REST API, and the one table of everything that answers over HTTP.
//!
//! Purpose: the use cases of the node as requests and answers in JSON. Owner: [`http::Server`](super::http::Server), on which
//! [`routes`] are mounted. Invariant: a handler decodes, calls the node once, and encodes.
//!
//! | request | answer |
//! |---|---|
//! | `POST /api/v1/agents` | 201 with `Location` |
//! | `POST /api/v1/agents/validate` | 200, whatever is found |
//! | `GET /api/v1/agents`, `GET /api/v1/agents/{id}` | 200 |
//! | `POST /api/v1/agents/{id}/stop` | 202 while it drains, 200 when it has stopped already |
//! | `POST /api/v1/agents/{id}/start`, `/restart`, `/suspend`, `/resume` | 200 once it is done |
//! | `DELETE /api/v1/agents/{id}` | 200 |
//! | `POST /api/v1/messages`, `POST /api/v1/messages/wait` | 200 |
//! | `GET /api/v1/messages`, `GET /api/v1/messages/{id}` | 200 |
//! | `POST /api/v1/supervisors` | 201 with `Location` |
//! | `GET /api/v1/supervisors`, `GET`, `PUT`, `DELETE /api/v1/supervisors/{name}` | 200 |
//! | `GET /api/v1/supervision/tree`, `GET /api/v1/supervision/events` | 200 |
//! | `POST /api/v1/supervision/actions` | 200 once it is done |
//! | `GET /api/v1/metrics/system`, `/agents/{id}`, `/supervision` | 200 |
//! | `POST /api/v1/system/backup` | 200 once it is whole |
//! | `GET /healthz`, `GET /metrics` | 200 |
//! | `GET /readyz` | 200, or 503 `UNAVAILABLE` |
//! | `GET /ws`, `GET /api/v1/ws` | 101 |
//!
//! A `POST` may have an `Idempotency-Key`: sent again with the same key it has its first answer again and no second effect; 422
//! `IDEMPOTENCY_KEY_REUSED` for another request, 409 `CONFLICT` while the first is being answered. What was refused had no effect
//! and is not remembered. See [`crate::idempotency`].
//!
//! Errors: the status of a [`Code`](crate::error::Code) is in `http/failure.rs`. A path that does not exist is 404 `NOT_FOUND`,
//! another method 405 `INVALID_REQUEST` with `Allow`, a body that does not arrive 408 `INVALID_REQUEST`. Query parameters
//! and JSON members that are unknown are refused by name.

mod agents;
mod body;
mod messages;
mod metrics;
mod query;
mod supervision;
mod supervisors;
mod system;

use actix_web::http::{Method, Uri};
use actix_web::{Resource, Route, guard, web};

use super::http::failure::Failure;
use super::ws;

/// Mounts every route, and the answer to what is none.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/healthz", "GET, HEAD", [get(system::health)]))
        .service(resource("/readyz", "GET, HEAD", [get(system::ready)]))
        .service(resource("/metrics", "GET, HEAD", [get(metrics::prometheus)]))
        .service(resource("/ws", "GET", [web::get().to(ws::connect)]))
        .service(resource("/api/v1/ws", "GET", [web::get().to(ws::connect)]))
        .service(resource(
            "/api/v1/agents",
            "GET, HEAD, POST",
            [get(agents::list), web::post().to(agents::deploy)],
        ))
        .service(resource(
            "/api/v1/agents/validate",
            "POST",
            [web::post().to(agents::validate)],
        ))
        .service(resource(
            "/api/v1/agents/{id}",
            "GET, HEAD, DELETE",
            [get(agents::details), web::delete().to(agents::remove)],
        ))
        .service(resource(
            "/api/v1/agents/{id}/stop",
            "POST",
            [web::post().to(agents::stop)],
        ))
        .service(resource(
            "/api/v1/agents/{id}/start",
            "POST",
            [web::post().to(agents::start)],
        ))
        .service(resource(
            "/api/v1/agents/{id}/restart",
            "POST",
            [web::post().to(agents::restart)],
        ))
        .service(resource(
            "/api/v1/agents/{id}/suspend",
            "POST",
            [web::post().to(agents::suspend)],
        ))
        .service(resource(
            "/api/v1/agents/{id}/resume",
            "POST",
            [web::post().to(agents::resume)],
        ))
        .service(resource(
            "/api/v1/messages",
            "GET, HEAD, POST",
            [get(messages::history), web::post().to(messages::send)],
        ))
        .service(resource(
            "/api/v1/messages/wait",
            "POST",
            [web::post().to(messages::send_and_wait)],
        ))
        .service(resource("/api/v1/messages/{id}", "GET, HEAD", [get(messages::one)]))
        .service(resource("/api/v1/metrics/system", "GET, HEAD", [get(metrics::system)]))
        .service(resource(
            "/api/v1/metrics/agents/{id}",
            "GET, HEAD",
            [get(metrics::agent)],
        ))
        .service(resource(
            "/api/v1/system/backup",
            "POST",
            [web::post().to(system::backup)],
        ))
        .configure(supervised)
        .default_service(web::to(|uri: Uri| async move {
            Err::<&str, _>(Failure::no_route(uri.path()))
        }));
}

fn supervised(config: &mut web::ServiceConfig) {
    config
        .service(resource(
            "/api/v1/supervisors",
            "GET, HEAD, POST",
            [get(supervisors::list), web::post().to(supervisors::create)],
        ))
        .service(resource(
            "/api/v1/supervisors/{name}",
            "GET, HEAD, PUT, DELETE",
            [
                get(supervisors::one),
                web::put().to(supervisors::update),
                web::delete().to(supervisors::remove),
            ],
        ))
        .service(resource(
            "/api/v1/supervision/tree",
            "GET, HEAD",
            [get(supervision::tree)],
        ))
        .service(resource(
            "/api/v1/supervision/events",
            "GET, HEAD",
            [get(supervision::events)],
        ))
        .service(resource(
            "/api/v1/supervision/actions",
            "POST",
            [web::post().to(supervision::act)],
        ))
        .service(resource(
            "/api/v1/metrics/supervision",
            "GET, HEAD",
            [get(supervision::figures)],
        ));
}

/// A path with its routes. Any other method is refused with what is allowed.
fn resource<const N: usize>(path: &str, allow: &'static str, routes: [Route; N]) -> Resource {
    let refuse = move |method: Method| async move { Err::<&str, _>(Failure::wrong_method(method.as_str(), allow)) };
    routes
        .into_iter()
        .fold(web::resource(path), Resource::route)
        .default_service(web::to(refuse))
}

/// A route for GET and for HEAD, which has the same answer without its body.
fn get<F, Args>(handler: F) -> Route
where
    F: actix_web::Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    web::route()
        .guard(guard::Any(guard::Get()).or(guard::Head()))
        .to(handler)
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
