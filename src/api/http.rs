//! The HTTP listener, and what REST and the WebSocket share on it.
//!
//! Purpose: HTTP/1.1 for whatever is mounted on it. Owner: the `api` branch of the tree, through [`Server`]. Invariant: every
//! answer that is an error has the published envelope, whoever found the error. Nothing here knows a route.

pub(super) mod caller;
pub(super) mod edge;
pub(super) mod failure;
mod guard;

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
    /// Permits for bodies of deploys that are in memory.
    pub(super) uploads: Arc<Semaphore>,
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

    /// Serves what `mount` puts on it until the handle stops it. The future must be polled on a tokio runtime; it starts the workers, threads with
    /// runtimes of their own, and resolves when they are gone. Dropping it leaves them running: stop first.
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
