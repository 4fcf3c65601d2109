//! The REST API and the listener that the WebSocket shares with it.
//!
//! Purpose: HTTP/1.1 for `/api/v1`, `/ws`, health and metrics. Owner: the `api` branch of the tree, through [`Server`].
//! Invariant: every answer that is an error has the published envelope, whoever found the error.
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
//! Errors: the status of a [`Code`](crate::error::Code) is in `failure.rs`. A path that does not exist is 404 `NOT_FOUND`,
//! another method 405 `INVALID_REQUEST` with `Allow`, a body that does not arrive 408 `INVALID_REQUEST`. Query parameters
//! and JSON members that are unknown are refused by name.

mod agents;
mod body;
mod edge;
pub(super) mod failure;
mod guard;
mod idempotency;
mod messages;
mod metrics;
mod query;
mod supervision;
mod supervisors;
mod system;

use std::any::Any;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
#[cfg(target_os = "linux")]
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpRequest, HttpServer, Resource, Route, guard as route_guard, middleware, web};
use tokio::sync::{Semaphore, watch};

use self::failure::Failure;
use super::limits;
use crate::node::Node;

/// What the handlers of a server share.
pub(super) struct State {
    pub(super) node: Arc<Node>,
    /// Room for bodies of deploys.
    pub(super) uploads: Semaphore,
    /// True once the server is stopping.
    pub(super) stopping: watch::Receiver<bool>,
}

/// A bound listener that does not answer yet: connections wait until [`Server::run`].
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    workers: usize,
}

/// Stops a running server, at the latest when it is dropped.
#[derive(Debug)]
pub struct Handle {
    server: ServerHandle,
    stopping: watch::Sender<bool>,
}

impl Server {
    /// Threads that serve, unless [`Server::workers`] says otherwise. Handlers only decode and encode: few do.
    pub const DEFAULT_WORKERS: usize = 2;

    /// Binds the address; port 0 takes a free one.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(addr)?,
            workers: Self::DEFAULT_WORKERS,
        })
    }

    /// Sets the number of threads that serve, at least 1.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Self {
            workers: workers.max(1),
            ..self
        }
    }

    /// Another server on the same socket, so that a restart loses no connection that waits.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            listener: self.listener.try_clone()?,
            workers: self.workers,
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the handle stops it. The future must be polled on a tokio runtime; it starts the workers, threads with
    /// runtimes of their own, and resolves when they are gone. Dropping it leaves them running: stop first.
    pub fn run(
        self,
        node: Arc<Node>,
    ) -> io::Result<(Handle, impl Future<Output = io::Result<()>> + Send + 'static + use<>)> {
        let (stopping, stopped) = watch::channel(false);
        let state = web::Data::new(State {
            node,
            uploads: Semaphore::new(limits::UPLOADS),
            stopping: stopped,
        });
        let server = HttpServer::new(move || {
            App::new()
                .app_data(state.clone())
                .configure(routes)
                .wrap(middleware::from_fn(edge::edge))
        })
        .workers(self.workers)
        .worker_max_blocking_threads(limits::UPLOADS)
        .max_connections(limits::CONNECTIONS)
        .keep_alive(Duration::from_secs(75))
        .client_request_timeout(Duration::from_secs(10))
        .client_disconnect_timeout(limits::LINGER)
        .on_connect(|connection, _| cut_when_stalled(connection))
        .shutdown_timeout(limits::DRAIN.as_secs())
        .disable_signals()
        .listen(self.listener)?
        .run();
        Ok((
            Handle {
                server: server.handle(),
                stopping,
            },
            server,
        ))
    }
}

impl Handle {
    /// Takes no more connections, closes each `WebSocket` with 1001, and waits [`limits::DRAIN`] for requests in flight; what
    /// then remains is cut off. The future of [`Server::run`] resolves then.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
        // The command is sent now; what it returns only waits for its end, which the future of `run` tells as well.
        drop(self.server.stop(true));
    }
}

/// A server that nobody can stop any more would hold its socket for ever.
impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Has the kernel cut the connection when its client reads nothing for [`limits::STALL`]. Nothing above could: a
/// `WebSocket`'s actor is not even polled while the socket is full.
fn cut_when_stalled(connection: &dyn Any) {
    #[cfg(target_os = "linux")]
    if let Some(stream) = connection.downcast_ref::<TcpStream>()
        && let Err(error) = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(limits::STALL))
    {
        tracing::warn!(%error, "clients that stop reading will not be cut");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = connection;
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/healthz", "GET, HEAD", [get(system::health)]))
        .service(resource("/readyz", "GET, HEAD", [get(system::ready)]))
        .service(resource("/metrics", "GET, HEAD", [get(metrics::prometheus)]))
        .service(resource("/ws", "GET", [web::get().to(super::ws::connect)]))
        .service(resource("/api/v1/ws", "GET", [web::get().to(super::ws::connect)]))
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
        .default_service(web::to(|request: HttpRequest| async move {
            Err::<&str, _>(Failure::no_route(request.path()))
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
    let refuse = move |request: HttpRequest| async move {
        Err::<&str, _>(Failure::wrong_method(request.method().as_str(), allow))
    };
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
        .guard(route_guard::Any(route_guard::Get()).or(route_guard::Head()))
        .to(handler)
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use serde_json::Value;

    use super::*;

    async fn answer(request: TestRequest) -> (u16, Option<String>, Value) {
        let app = App::new().configure(routes).wrap(middleware::from_fn(edge::edge));
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
