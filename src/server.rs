//! The server: a node with its listeners.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::Serialize;
use supervisors::{BoxError, ChildSpec, Failure, Shutdown};
use tokio::task::JoinHandle;

use crate::api::{grpc, http, limits, rest};
use crate::config::Config;
use crate::node::{Node, Opened, StartError};

/// The addresses on which the server listens. `--addr-file` writes them as JSON.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Addresses {
    pub rest: SocketAddr,
    pub grpc: SocketAddr,
}

/// What an error of a listener names.
struct Front {
    name: &'static str,
    option: &'static str,
}

const REST: Front = Front {
    name: "REST",
    option: "--listen",
};
const GRPC: Front = Front {
    name: "gRPC",
    option: "--grpc-listen",
};

pub struct Server {
    node: Arc<Node>,
    addresses: Addresses,
}

impl Server {
    /// Starts the server, and returns when it answers requests. The addresses are bound first: if one is in use, nothing is made.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let refused = |front: &'static Front, address| {
            move |source| StartError::Listen {
                front: front.name,
                option: front.option,
                address,
                source,
            }
        };
        let rest = http::Server::bind(config.listen).map_err(refused(&REST, config.listen))?;
        let rest = rest.workers(config.limits.rest_workers.into());
        let grpc = grpc::Server::bind(config.grpc_listen).map_err(refused(&GRPC, config.grpc_listen))?;
        let addresses = Addresses {
            rest: rest.local_addr().map_err(refused(&REST, config.listen))?,
            grpc: grpc.local_addr().map_err(refused(&GRPC, config.grpc_listen))?,
        };
        let connections = config.limits.connections(crate::descriptors::limit())?;
        let rest_limits = limits::Front::rest(&config, connections.rest);
        let grpc_limits = limits::Front::grpc(&config, connections.grpc);
        let opened = Opened::open(config)?;
        let starting = opened.start(|node| {
            vec![
                rest_child(rest, rest_limits, node.clone()),
                grpc_child(grpc, grpc_limits, node.clone()),
            ]
        });
        let node = Box::pin(starting).await?; // boxed, because it is large
        Ok(Self { node, addresses })
    }

    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    pub const fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub async fn shutdown(&self) {
        self.node.shutdown().await;
    }
}

/// The actor that owns a listener. Its incarnations share one socket, so a restart loses no connection that waits to be accepted.
struct Listener;

type Ended = std::io::Result<()>;
type Stop = Box<dyn FnOnce() + Send>;

struct Serving {
    /// Asks `serve` to end.
    stop: Stop,
    serve: BoxFuture<'static, Ended>,
}

struct ListenerState {
    /// Taken when the actor stops.
    running: Option<(Stop, JoinHandle<()>)>,
}

impl Drop for ListenerState {
    /// Stops the accept loop if the actor was killed: it must not run beside that of the next incarnation.
    fn drop(&mut self) {
        if let Some((stop, _)) = self.running.take() {
            stop();
        }
    }
}

impl Actor for Listener {
    type Msg = Ended;
    type State = ListenerState;
    type Arguments = Serving;

    async fn pre_start(&self, myself: ActorRef<Ended>, serving: Serving) -> Result<ListenerState, ActorProcessingErr> {
        // The accept loop runs in a task of its own, so that the actor can take a stop while the loop runs.
        let task = tokio::spawn(async move {
            let ended = serving.serve.await;
            let _ = myself.cast(ended); // an error means that the actor is gone: it stopped the loop itself
        });
        Ok(ListenerState {
            running: Some((serving.stop, task)),
        })
    }

    async fn handle(&self, _: ActorRef<Ended>, ended: Ended, _: &mut ListenerState) -> Result<(), ActorProcessingErr> {
        let why = ended.map_or_else(|error| error.to_string(), |()| "it ended by itself".to_owned());
        Err(Box::new(Failure::new("listener", why)))
    }

    async fn post_stop(&self, _: ActorRef<Ended>, state: &mut ListenerState) -> Result<(), ActorProcessingErr> {
        if let Some((stop, task)) = state.running.take() {
            stop();
            let _ = task.await; // an error means that the loop panicked, which has been logged
        }
        Ok(())
    }
}

fn listener_child(
    name: &'static str,
    serve: impl Fn() -> std::io::Result<Serving> + Send + Sync + 'static,
) -> ChildSpec {
    ChildSpec::worker(name, move |context| {
        let serving = serve();
        async move { Ok::<_, BoxError>(Actor::spawn_linked(None, Listener, serving?, context.supervisor).await?) }
    })
    // The listeners have a deadline of their own for requests in progress, and end by themselves.
    .shutdown(Shutdown::Infinity)
}

fn gone() -> std::io::Error {
    std::io::Error::other("the node is gone")
}

fn rest_child(server: http::Server, limits: limits::Front, node: Weak<Node>) -> ChildSpec {
    listener_child("rest", move || {
        let node = node.upgrade().ok_or_else(gone)?;
        let (handle, serve) = server.try_clone()?.run(node, limits, rest::routes)?;
        Ok(Serving {
            stop: Box::new(move || handle.stop()),
            serve: Box::pin(serve),
        })
    })
}

fn grpc_child(server: grpc::Server, limits: limits::Front, node: Weak<Node>) -> ChildSpec {
    listener_child("grpc", move || {
        let node = node.upgrade().ok_or_else(gone)?;
        let (handle, serve) = server.try_clone()?.run(node, limits);
        Ok(Serving {
            stop: Box::new(move || handle.stop()),
            serve: Box::pin(serve),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::Caller;

    /// Counts the requests it answers in its state.
    const COUNTER: &str = include_str!("../examples/agents/wat/counter.wat");

    #[tokio::test(flavor = "multi_thread")]
    async fn a_killed_listener_comes_back_on_its_address_and_stops_no_guest() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: dir.path().to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            grpc_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            wasm: crate::config::Guests::at_most(100),
            ..Config::default()
        };
        let server = Server::start(config).await.unwrap();
        let caller = Caller::anonymous();
        let url = format!("http://{}/api/v1", server.addresses().rest);
        let client = reqwest::Client::new();
        let config = serde_json::json!({"name": "counter", "permissions": {"state": true}});
        let form = reqwest::multipart::Form::new()
            .part(
                "wasm",
                reqwest::multipart::Part::bytes(wat::parse_str(COUNTER).unwrap()),
            )
            .text("config", config.to_string());
        let deployed = client.post(format!("{url}/agents")).multipart(form).send().await;
        assert!(deployed.unwrap().status().is_success());
        let ask = async || {
            let message = serde_json::json!({"performative": "request", "receiver": "counter", "content": {}});
            let sent = client.post(format!("{url}/messages/wait")).json(&message).send().await;
            let answer: serde_json::Value = sent.ok()?.json().await.ok()?;
            answer["reply"]["content"].as_u64()
        };
        assert_eq!(ask().await, Some(1));
        for part in ["node/api/rest", "node/api/grpc", "node/api"] {
            let incarnation = || async {
                let tree = server.node().supervision_tree(&caller, Some(part)).await.ok()?;
                (tree.snapshot.state == "running").then_some(tree.snapshot.incarnation)
            };
            let before = incarnation().await;
            server.node().actor(part).unwrap().kill();
            let came_back = tokio::time::timeout(std::time::Duration::from_secs(30), async {
                while incarnation().await.is_none_or(|now| Some(now) == before) {
                    tokio::task::yield_now().await;
                }
            });
            came_back.await.expect("it is restarted");
        }
        let mut tries = 0;
        let count = loop {
            match ask().await {
                Some(count) => break count,
                // A connection of the killed listener may be cut. The agent may then have handled the request or not.
                None if tries < 10 => tries += 1,
                None => panic!("REST does not answer"),
            }
        };
        assert!(
            (2..=2 + tries).contains(&count),
            "the agent counts on: {count} after {tries} cut connections"
        );
        assert_eq!(server.node().agent(&caller, "counter").await.unwrap().incarnation, 1);
        server.shutdown().await;
    }
}
