//! The HTTP listener, and what REST and the WebSocket share.
//!
//! Purpose: HTTP/1.1 for the routes that are mounted on it. Owner: the `api` branch of the tree, through [`Server`]. Invariants:
//! every error response has the published envelope, wherever the error was found; nothing here knows a route.

pub(super) mod caller;
mod cors;
pub(super) mod edge;
pub(super) mod failure;
mod guard;
pub(super) mod representation;

use std::any::Any;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
#[cfg(target_os = "linux")]
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, middleware, web};
use tokio::sync::{Semaphore, watch};

use super::limits;
use crate::node::Node;

/// What the handlers of one server share.
pub(super) struct Front {
    pub(super) node: Arc<Node>,
    /// A permit for each deploy whose body is in memory.
    pub(super) uploads: Arc<Semaphore>,
    /// True once the server is stopping.
    pub(super) stopping: watch::Receiver<bool>,
}

/// A bound listener that does not serve yet: connections wait until [`Server::run`].
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

    /// Serves what `mount` puts on it until the handle stops it. The future must be polled on a tokio runtime; it starts the
    /// workers, which are threads with runtimes of their own, and resolves when they have ended. Dropping it does not stop them:
    /// stop the server first.
    pub fn run(
        self,
        node: Arc<Node>,
        mount: fn(&mut web::ServiceConfig),
    ) -> io::Result<(Handle, impl Future<Output = io::Result<()>> + Send + 'static + use<>)> {
        let (stopping, stopped) = watch::channel(false);
        let front = web::Data::new(Front {
            node,
            uploads: Arc::new(Semaphore::new(limits::UPLOADS)),
            stopping: stopped,
        });
        let server = HttpServer::new(move || {
            App::new()
                .app_data(front.clone())
                .configure(mount)
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
    /// Accepts no more connections, closes each `WebSocket` with 1001, and waits [`limits::DRAIN`] for requests in flight; the
    /// rest is cut off. Then the future of [`Server::run`] resolves.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
        // The command is sent now. The future that it returns only waits for the end, as the future of `run` does.
        drop(self.server.stop(true));
    }
}

/// A server that nobody can stop would hold its socket forever.
impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes the kernel cut the connection when its client reads nothing for [`limits::STALL`]. Nothing above the kernel could: a
/// WebSocket's actor is not even polled while the socket is full.
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
