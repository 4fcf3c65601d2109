//! `caxton backup` and `caxton restore`.

use std::error::Error;
use std::path::Path;

use serde_json::{Value, json};

use crate::journal::backup;

/// Asks the server for a backup, and waits until it is complete.
pub(super) async fn backup(to: &Path, server: &str) -> Result<(), Box<dyn Error>> {
    // The server may have another working directory.
    let to = std::path::absolute(to)?;
    let url = format!("{}/api/v1/system/backup", server.trim_end_matches('/'));
    let request = reqwest::Client::new().post(&url).json(&json!({"to": to}));
    let answer = request.send().await.map_err(|error| {
        let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        format!("no server answers at {server} ({why}); start one, or name its REST address with --server")
    })?;
    let (status, body) = (answer.status(), answer.bytes().await?);
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if !status.is_success() {
        let message = body["error"]["message"].as_str();
        let message = message.map_or_else(|| format!("{server} answered {status}"), str::to_owned);
        return Err(message.into());
    }
    let number = |name: &str| body[name].as_u64().unwrap_or_default();
    println!(
        "backup in {}: everything up to record {}, {} files, {} bytes",
        to.display(),
        number("seq"),
        number("files"),
        number("bytes")
    );
    Ok(())
}

pub(super) fn restore(from: &Path, data_dir: &Path) -> Result<(), Box<dyn Error>> {
    let manifest = backup::restore(from, data_dir)?;
    println!(
        "restored {} files to {}: everything up to record {}, as of {}",
        manifest.files.len(),
        data_dir.display(),
        manifest.seq,
        manifest.created_at
    );
    Ok(())
}
