//! `caxton serve`: the server in the foreground.

use std::error::Error;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::journal::JournalError;
use crate::node::StartError;
use crate::server::Server;

pub(super) async fn serve(mut config: Config, addr_file: Option<PathBuf>) -> Result<(), Box<dyn Error>> {
    crate::telemetry::log(config.log_json);
    // Handled before the start: an early signal must not end the process while it is half started.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    config.wasm.compiler = Some(super::this_program()?);
    let data_dir = config.data_dir.clone();
    let server = Server::start(config)
        .await
        .map_err(|error| with_repair(error, &data_dir))?;
    if let Some(tree) = &server.node().config().tree
        && let Err(error) = super::tree_file::apply(server.node(), tree).await
    {
        server.shutdown().await;
        return Err(error.into());
    }
    let addresses = server.addresses();
    println!(
        "caxton listens: REST and WebSocket on http://{}, gRPC on {}",
        addresses.rest, addresses.grpc
    );
    if let Some(file) = addr_file {
        write_whole(&file, &serde_json::to_vec(&addresses)?)?;
    }
    let gave_up = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = server.node().gave_up() => true,
    };
    tracing::info!("shutting down");
    server.shutdown().await;
    if gave_up {
        return Err("the supervision tree gave up; the log lines above name what failed".into());
    }
    Ok(())
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

/// Writes a file so that no reader sees a part of it.
fn write_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    std::fs::write(&name, bytes)?;
    std::fs::rename(&name, file)
}
