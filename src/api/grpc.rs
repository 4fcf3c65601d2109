//! The gRPC API, `caxton.v1`, with reflection (v1 and v1alpha) and `grpc.health.v1`.
//!
//! Purpose: the use cases of the REST API in protobuf. Owner: the `api` branch of the tree, through [`Server`]. Invariant:
//! every error has a `google.rpc.ErrorInfo` whose `reason` is the published code, whoever found it; REST calls the same methods of
//! the node.

mod agents;
mod caller;
mod calls;
mod convert;
mod edge;
mod members;
mod messages;
pub mod proto;
mod serving;
mod status;
mod supervision;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::watch;
use tonic::server::NamedService as _;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::HealthReporter;

use self::agents::Agents;
use self::calls::Calls;
use self::edge::Edge;
use self::messages::Messages;
use self::proto::agent_service_server::AgentServiceServer;
use self::proto::message_service_server::MessageServiceServer;
use self::proto::supervision_service_server::SupervisionServiceServer;
use self::supervision::Supervision;
use super::connections::Connections;
use super::limits;
use super::stopping::Stopping;
use crate::node::Node;

/// A bound listener that does not serve yet: connections wait until [`Server::run`].
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
}

/// Stops a running server, at the latest when it is dropped.
#[derive(Debug)]
pub struct Handle {
    stopping: watch::Sender<bool>,
}

impl Server {
    /// Binds the address; port 0 takes a free one.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// Another server on the same socket, so that a restart loses no waiting connection.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            listener: self.listener.try_clone()?,
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the node stops or the handle stops it. The future must be polled on a tokio runtime; each connection becomes a
    /// task there.
    pub fn run(
        self,
        node: Arc<Node>,
        limits: limits::Front,
    ) -> (Handle, impl Future<Output = io::Result<()>> + Send + 'static + use<>) {
        let (stop, stopped) = watch::channel(false);
        let stopping = Stopping::new(&node, stopped, limits.drain);
        (Handle { stopping: stop }, serve(self.listener, node, limits, stopping))
    }
}

impl Handle {
    /// Accepts no more calls, and gives calls in progress their time; the rest is cut off. Then the future of [`Server::run`]
    /// resolves.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }
}

async fn serve(listener: TcpListener, node: Arc<Node>, limits: limits::Front, stopping: Stopping) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (health, health_service) = tonic_health::server::health_reporter();
    set(&health, node.has_room().is_ok()).await;
    let (end_streams, streams_end) = watch::channel(false);
    let calls = Calls {
        services: services(Arc::clone(&node), health_service)?,
        stopping: stopping.clone(),
        streams_end,
        body_time: limits.body,
    };
    let connections = Connections::new("grpc", limits);
    let beside = async {
        tokio::join!(connections.watch(), async {
            report(&node, &stopping, &health).await;
            end_streams.send_replace(true);
        })
        .0
    };
    let too_late = async {
        stopping.overdue().await;
        tokio::time::sleep(limits::LINGER).await;
    };
    tokio::select! {
        () = serving::serve(listener, &connections, &calls, &stopping) => {}
        () = too_late => {}
        never = beside => match never {},
    }
    // Whoever owns the handle expects no end before it has stopped the server.
    stopping.front().await;
    Ok(())
}

/// All services, with what is around every call.
fn services(node: Arc<Node>, health: HealthServer<impl Health>) -> io::Result<Edge> {
    let module_bytes = node.limits().module_bytes;
    let largest = |service: &str| edge::largest(service, module_bytes);
    let agents = AgentServiceServer::new(Agents::new(Arc::clone(&node)))
        .max_decoding_message_size(largest(AgentServiceServer::<Agents>::NAME));
    let supervision = SupervisionServiceServer::new(Supervision::new(Arc::clone(&node)))
        .max_decoding_message_size(largest(SupervisionServiceServer::<Supervision>::NAME));
    let messages = MessageServiceServer::new(Messages::new(node))
        .max_decoding_message_size(largest(MessageServiceServer::<Messages>::NAME));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(reflection().build_v1().map_err(io::Error::other)?)
        // Python's grpcio-reflection and older clients know no other version.
        .add_service(reflection().build_v1alpha().map_err(io::Error::other)?)
        .add_service(health)
        .add_service(agents)
        .add_service(messages)
        .add_service(supervision);
    Ok(Edge::new(routes.prepare(), module_bytes))
}

/// Keeps `grpc.health.v1` equal to `/readyz`: not serving while the disk is full. Resolves when the server stops, and then it is
/// not serving either.
async fn report(node: &Node, stopping: &Stopping, health: &HealthReporter) {
    let mut full = node.full();
    loop {
        let serves = full.borrow_and_update().is_none();
        set(health, serves).await;
        tokio::select! {
            () = stopping.begun() => return set(health, false).await,
            Ok(()) = full.changed() => {}
        }
    }
}

async fn set(health: &HealthReporter, serves: bool) {
    let status = if serves {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    // The empty name stands for the whole server.
    let services = [
        "",
        AgentServiceServer::<Agents>::NAME,
        MessageServiceServer::<Messages>::NAME,
        SupervisionServiceServer::<Supervision>::NAME,
    ];
    for service in services {
        health.set_service_status(service, status).await;
    }
}
