//! The HTTP listener, and what REST and the WebSocket share.
//!
//! Purpose: HTTP/1.1 for the routes that are mounted on it. Owner: the `api` branch of the tree, through [`Server`]. Invariants:
//! every error response has the published envelope, wherever the error was found; connections are counted and bounded
//! (`connections`); nothing here knows a route.

pub(super) mod caller;
mod cors;
pub(super) mod edge;
pub(super) mod failure;
mod front;
mod guard;
pub(super) mod representation;
mod stream;
mod unreadable;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;
use actix_web::{App, middleware, web};
use tokio::sync::{Semaphore, watch};

use self::failure::Failure;
pub(super) use self::front::Front;
use self::stream::Stream;
use super::connections::Connections;
use super::limits;
use super::stopping::Stopping;
use super::trace::Trace;
use crate::error::Error;
use crate::node::Node;

/// A bound listener that does not serve yet: connections wait until [`Server::run`].
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    workers: usize,
}

/// Stops a running server, at the latest when it is dropped.
#[derive(Debug)]
pub struct Handle {
    stopping: watch::Sender<bool>,
}

impl Server {
    /// The default number of worker threads. Few are enough, because handlers only decode and encode.
    pub const DEFAULT_WORKERS: usize = 2;

    /// Binds the address; port 0 takes a free one.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(addr)?,
            workers: Self::DEFAULT_WORKERS,
        })
    }

    /// Sets the number of worker threads, at least 1.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Self {
            workers: workers.max(1),
            ..self
        }
    }

    /// Another server on the same socket, so that a restart loses no waiting connection.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            listener: self.listener.try_clone()?,
            workers: self.workers,
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves what `mount` puts on it until the node stops or the handle stops it. The future must be polled on a tokio runtime; it
    /// starts the workers, which are threads with runtimes of their own, and resolves when they have ended. Dropping it does not
    /// stop them: stop the server first.
    pub fn run(
        self,
        node: Arc<Node>,
        limits: limits::Front,
        mount: fn(&mut web::ServiceConfig),
    ) -> io::Result<(Handle, impl Future<Output = io::Result<()>> + Send + 'static + use<>)> {
        let (stop, stopped) = watch::channel(false);
        let stopping = Stopping::new(&node, stopped, limits.drain);
        let connections = Connections::new("rest", limits);
        let front = web::Data::new(Front {
            node,
            limits,
            uploads: Arc::new(Semaphore::new(limits::UPLOADS)),
            websockets: Arc::new(Semaphore::new(limits.websockets())),
            stopping: stopping.clone(),
        });
        let admitted = connections.clone();
        let service = move || {
            let app = App::new()
                .app_data(front.clone())
                .configure(mount)
                .wrap(middleware::from_fn(edge::edge));
            let app = map_config(app.into_factory(), |()| AppConfig::default());
            let http = HttpService::build()
                .keep_alive(limits.idle)
                .client_request_timeout(limits.handshake)
                .client_disconnect_timeout(limits::LINGER)
                .on_connect_ext(|stream: &Stream, data| {
                    data.insert(stream.connection().clone());
                })
                .finish(app.map_err(|error: actix_web::Error| error.error_response()));
            let connections = admitted.clone();
            fn_service(move |tcp: TcpStream| {
                let stream = admit(tcp, &connections);
                async move { stream }
            })
            .and_then(http)
        };
        let drain = limits.drain + limits::LINGER;
        let server = actix_server::Server::build()
            .workers(self.workers)
            .worker_max_blocking_threads(limits::UPLOADS)
            // The connections are bounded by `admit`, which knows all workers' and can choose which one goes.
            .max_concurrent_connections(usize::MAX)
            .shutdown_timeout(drain.as_secs().max(1))
            .disable_signals()
            .listen("rest", self.listener, service)?
            .run();
        let handle = server.handle();
        let serve = async move {
            let stop_in_order = async {
                stopping.begun().await;
                connections.stop();
                // The command is sent now. The future that it returns only waits for the end, as that of the server does.
                drop(handle.stop(true));
            };
            let beside = async { tokio::join!(connections.watch(), stop_in_order).0 };
            let end = tokio::select! {
                end = server => end,
                never = beside => match never {},
            };
            // Whoever owns the handle expects no end before it has stopped the server, unless something is wrong.
            if stopping.has_begun() {
                stopping.front().await;
            }
            end
        };
        Ok((Handle { stopping: stop }, serve))
    }
}

impl Handle {
    /// Accepts no more connections, closes each `WebSocket` with 1001, and gives requests in progress their time; the rest is cut
    /// off. Then the future of [`Server::run`] resolves.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }
}

/// A server that nobody can stop would hold its socket forever.
impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Counts a connection. If there is no place for it, it gets 503.
fn admit(
    tcp: TcpStream,
    connections: &Arc<Connections>,
) -> Result<(Stream, Protocol, Option<SocketAddr>), DispatchError> {
    let Some(connection) = connections.admit() else {
        refuse(&tcp);
        return Err(DispatchError::Io(io::ErrorKind::ConnectionRefused.into()));
    };
    cut_when_stalled(&tcp);
    let peer = tcp.peer_addr().ok();
    Ok((Stream::new(tcp, connection), Protocol::Http1, peer))
}

/// Answers a connection that is not served. What cannot be written at once is lost: the client then sees only that the connection is
/// closed.
fn refuse(tcp: &TcpStream) {
    let busy = Failure::from(Error::Unavailable {
        reason: "all connections are in use, as many as `limits.rest_connections` allows".to_owned(),
        retry_after: std::time::Duration::from_secs(1),
    });
    let response = busy.as_last_response(Trace::new());
    // Not by tokio, which would wait until the kernel reports that the new socket can be written.
    let _ = socket2::SockRef::from(tcp).send(response.as_bytes());
}

/// Makes the kernel cut the connection when its client reads nothing for [`limits::STALL`]. Nothing above the kernel could: a
/// WebSocket's actor is not even polled while the socket is full.
fn cut_when_stalled(tcp: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(tcp).set_tcp_user_timeout(Some(limits::STALL)) {
        tracing::debug!(%error, "if this client stops reading, it is not cut");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = tcp;
}
