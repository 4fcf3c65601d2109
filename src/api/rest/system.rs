//! Health and upkeep.

use std::path::PathBuf;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::State;
use super::failure::Failure;
use super::query::Parameters;
use crate::api::{json, limits};
use crate::error::Error;

/// `GET /healthz`: the process answers. `{"status": "ok"}`.
pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /readyz`: `{"status": "ready"}`, or 503 while the journal is read back and before everything has started.
pub(super) async fn ready(state: web::Data<State>) -> Result<HttpResponse, Failure> {
    if state.node.ready() {
        Ok(HttpResponse::Ok().json(json!({"status": "ready"})))
    } else {
        let reason = "it is starting or stopping".to_owned();
        Err(Error::Unavailable {
            reason,
            retry_after: Duration::from_secs(1),
        }
        .into())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    to: PathBuf,
}

/// `POST /api/v1/system/backup`: `{"to": "/absolute/path"}`, a folder of the server's machine that does not exist or is empty.
/// Answers once the backup is whole and on the disk: `{"to", "seq", "created_at", "files", "bytes"}`.
pub(super) async fn backup(
    state: web::Data<State>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    Parameters::of(&request)?.finish()?;
    let body = super::body::read(&request, payload, "body", limits::SMALL_BODY_BYTES).await?;
    let Backup { to } = json::read(&body)?;
    let manifest = state.node.backup(to.clone()).await?;
    let bytes: u64 = manifest.files.iter().map(|file| file.size).sum();
    Ok(HttpResponse::Ok().json(json!({
        "to": to,
        "seq": manifest.seq,
        "created_at": manifest.created_at,
        "files": manifest.files.len(),
        "bytes": bytes,
    })))
}
