//! Health and upkeep.

use std::path::PathBuf;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::State;
use super::failure::Failure;
use super::idempotency::caller;
use super::query::Parameters;
use crate::api::{json, limits};

/// `GET /healthz`: the process answers. `{"status": "ok"}`.
pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /readyz`: `{"status": "ready"}`, or 503 with the reason while the journal is read back, before everything has
/// started, and while the disk is full.
pub(super) async fn ready(state: web::Data<State>) -> Result<HttpResponse, Failure> {
    state.node.ready()?;
    Ok(HttpResponse::Ok().json(json!({"status": "ready"})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    to: PathBuf,
}

/// `POST /api/v1/system/backup`: `{"to": "/absolute/path"}`, a folder of the server's machine that does not exist or is empty.
/// Answers once the backup is whole and on the disk: `{"to", "seq", "created_at", "files", "bytes", "key"}`. `key` is `{"id", "file"}`
/// of the key that is needed to restore it and that is not in it, or null if nothing in it is sealed.
pub(super) async fn backup(
    state: web::Data<State>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    Parameters::of(&request)?.finish()?;
    let body = super::body::read(&request, payload, "body", limits::SMALL_BODY_BYTES).await?;
    let Backup { to } = json::read(&body)?;
    let manifest = state.node.backup(&caller(&request, &[&body])?, to.clone()).await?;
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
