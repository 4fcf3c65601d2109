//! `caxton serve`: the server in the foreground.

use std::error::Error;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::addr_file::AddrFile;
use crate::config::Config;
use crate::journal::JournalError;
use crate::message::Durability;
use crate::node::StartError;
use crate::server::Server;

/// The signals that end the server in order.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub(super) async fn serve(mut config: Config, addr_file: Option<PathBuf>) -> Result<(), Box<dyn Error>> {
    crate::telemetry::log(config.log_json)?;
    // Handled before the start: an early signal must not end the process while it is half started.
    let mut signals = Signals::new()?;
    let descriptors = crate::descriptors::raise_limit();
    tracing::info!(descriptors, "the limit of open files");
    let unknown = crate::config::unknown_variables();
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        tracing::warn!("environment variables that name no key of the configuration set nothing: {names}");
    }
    let addr_file = addr_file.map(AddrFile::find).transpose()?;
    config.wasm.compiler = Some(super::this_program()?);
    let data_dir = config.data_dir.clone();
    let server = Server::start(config)
        .await
        .map_err(|error| with_repair(error, &data_dir))?;
    let ended = run(&server, addr_file, &mut signals).await;
    tracing::info!("shutting down");
    server.shutdown().await;
    tracing::info!("stopped");
    ended
}

/// Serves until a signal, or until something makes the server end.
async fn run(server: &Server, addr_file: Option<AddrFile>, signals: &mut Signals) -> Result<(), Box<dyn Error>> {
    let work = async {
        if let Some(tree) = &server.node().config().tree {
            super::tree_file::apply(server.node(), tree).await?;
        }
        introduce(server);
        if let Some(file) = addr_file {
            file.write(serde_json::to_vec(&server.addresses())?).await?;
        }
        std::future::pending::<Result<(), Box<dyn Error>>>().await
    };
    tokio::select! {
        () = signals.any() => Ok(()),
        () = server.node().gave_up() => {
            Err("the supervision tree gave up; the log lines above name what failed".into())
        }
        ended = work => ended,
    }
}

/// Logs what an operator wants to know first.
fn introduce(server: &Server) {
    let (config, addresses) = (server.node().config(), server.addresses());
    let kept = match config.durability {
        Durability::Durable => {
            let dir = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
            format!("its data is in {}", dir.display())
        }
        Durability::Memory => "it keeps nothing (durability `memory`)".to_owned(),
    };
    tracing::info!("caxton {} serves, and {kept}", env!("CARGO_PKG_VERSION"));
    tracing::info!(
        "REST and WebSocket on http://{}, gRPC on {}",
        addresses.rest,
        addresses.grpc
    );
    tracing::info!(
        "deploy an agent with POST http://{0}/api/v1/agents; http://{0}/openapi.json describes the API, and http://{0}/metrics has the \
         figures",
        addresses.rest
    );
}

/// Adds the next step to an error that `caxton doctor` can help with.
fn with_repair(error: StartError, data_dir: &Path) -> Box<dyn Error> {
    if matches!(error, StartError::Journal(JournalError::Damaged { .. })) {
        let dir = data_dir.display();
        return format!(
            "{error}\n  repair: `caxton doctor --data-dir {dir}` finds all damage; with --salvage it keeps the log before the \
             damage. Or restore a backup with `caxton restore`."
        )
        .into();
    }
    error.into()
}
