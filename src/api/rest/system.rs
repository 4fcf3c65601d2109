//! Health and upkeep.

use std::path::PathBuf;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::body::Json;
use super::query::{NoParameters, Query};
use crate::api::http::Front;
use crate::api::http::caller::Credentials;
use crate::api::http::failure::Failure;

/// `GET /healthz`: the process answers. `{"status": "ok"}`.
pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /readyz`: `{"status": "ready"}`, or 503 with the reason while the journal is read back, before everything has
/// started, and while the disk is full.
pub(super) async fn ready(front: web::Data<Front>) -> Result<HttpResponse, Failure> {
    front.node.ready()?;
    Ok(HttpResponse::Ok().json(json!({"status": "ready"})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backup {
    /// An absolute path on the server's machine, of a folder that does not exist or is empty.
    to: PathBuf,
}

/// `POST /api/v1/system/backup`: `{"to": "/absolute/path"}`, a folder of the server's machine that does not exist or is empty.
/// Answers once the backup is whole and on the disk: `{"to", "seq", "created_at", "files", "bytes", "key"}`. `key` is `{"id", "file"}`
/// of the key that is needed to restore it and that is not in it, or null if nothing in it is sealed.
pub(super) async fn backup(
    front: web::Data<Front>,
    _: Query<NoParameters>,
    credentials: Credentials,
    asked: Json<Backup>,
) -> Result<HttpResponse, Failure> {
    let caller = credentials.caller(&[&asked.bytes]);
    let Backup { to } = asked.value;
    let manifest = front.node.backup(&caller, to.clone()).await?;
    let bytes: u64 = manifest.files.iter().map(|file| file.size).sum();
    Ok(HttpResponse::Ok().json(json!({
        "to": to,
        "seq": manifest.seq,
        "created_at": manifest.created_at,
        "files": manifest.files.len(),
        "bytes": bytes,
        "key": manifest.key,
    })))
}
