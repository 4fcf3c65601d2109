//! `caxton backup` and `caxton restore`.

use std::error::Error;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::KEY_FILE;
use super::output::print;
use crate::journal::backup::{self, KeyFile};

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
    print(&format!(
        "backup in {}: everything up to record {}, {} files, {} bytes",
        to.display(),
        number("seq"),
        number("files"),
        number("bytes")
    ))?;
    if let (Some(id), Some(file)) = (body["key"]["id"].as_str(), body["key"]["file"].as_str()) {
        print(&format!(
            "The values of agents' environments in it are sealed with key {id}, which is not in it. To restore it you need the file \
             {file} as well: keep a copy of it in another place than the backups."
        ))?;
    }
    Ok(())
}

/// `key_file` is copied into the folder. Without it, the key of `CAXTON_KEY_FILE` counts, which stays where it is.
pub(super) fn restore(from: &Path, data_dir: &Path, key_file: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let named = std::env::var_os(KEY_FILE).map(PathBuf::from);
    let key = key_file.map(KeyFile::Copied).or(named.as_deref().map(KeyFile::Named));
    let manifest = backup::restore(from, data_dir, key)?;
    print(&format!(
        "restored {} files to {}: everything up to record {}, as of {}",
        manifest.files.len(),
        data_dir.display(),
        manifest.seq,
        manifest.created_at
    ))?;
    Ok(())
}
