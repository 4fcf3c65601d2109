//! Health and upkeep.

use std::path::PathBuf;

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Json;
use super::openapi::IdempotencyKey;
use super::query::{NoParameters, Query};
use crate::api::http::Front;
use crate::api::http::caller::Credentials;
use crate::api::http::failure::Failure;
use crate::id::Seq;
use crate::time::Timestamp;

/// The state of the server: `ok`, or `ready`.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    status: &'static str,
}

/// Succeeds while the process responds.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "system",
    responses((status = 200, description = "The process responds", body = Health))
)]
pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok" })
}

/// Succeeds while the server accepts work.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "system",
    responses(
        (status = 200, description = "The server accepts work", body = Health),
        (status = 503, description = "`UNAVAILABLE`: the server is starting or stopping, or the disk is full"),
    )
)]
pub(super) async fn ready(front: web::Data<Front>) -> Result<HttpResponse, Failure> {
    front.node.ready()?;
    Ok(HttpResponse::Ok().json(Health { status: "ready" }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Backup {
    /// An absolute path on the server's machine, of a folder that does not exist or is empty.
    #[schema(value_type = String)]
    to: PathBuf,
}

/// A complete backup.
#[derive(Debug, Serialize, ToSchema)]
struct BackedUp {
    #[schema(value_type = String)]
    to: PathBuf,
    /// The backup has everything up to this sequence number.
    seq: Seq,
    created_at: Timestamp,
    files: usize,
    bytes: u64,
    /// The key that is needed to restore the backup and that is not in it. Null if nothing in the backup is sealed.
    key: Option<RequiredKey>,
}

/// The key of what is sealed in a backup.
#[derive(Debug, Serialize, ToSchema)]
struct RequiredKey {
    id: String,
    /// Where the key is on the server's machine.
    #[schema(value_type = String)]
    file: PathBuf,
}

/// Writes a backup into a folder on the server's machine.
///
/// The response comes when the backup is complete and on the disk.
#[utoipa::path(
    post,
    path = "/api/v1/system/backup",
    tag = "system",
    params(IdempotencyKey),
    responses(
        (status = 200, description = "The backup is complete", body = BackedUp),
        (status = 409, description = "`CONFLICT`"),
    )
)]
pub(super) async fn back_up(
    front: web::Data<Front>,
    _: Query<NoParameters>,
    credentials: Credentials,
    asked: Json<Backup>,
) -> Result<HttpResponse, Failure> {
    let caller = credentials.caller(&[&asked.bytes]);
    let Backup { to } = asked.value;
    let manifest = front.node.backup(&caller, to.clone()).await?;
    let bytes: u64 = manifest.files.iter().map(|file| file.size).sum();
    Ok(HttpResponse::Ok().json(BackedUp {
        to,
        seq: manifest.seq,
        created_at: manifest.created_at,
        files: manifest.files.len(),
        bytes,
        key: manifest.key.map(|key| RequiredKey {
            id: key.id.to_string(),
            file: key.file,
        }),
    }))
}
