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

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    status: &'static str,
}

/// Answers while the process does.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "system",
    responses((status = 200, description = "`ok`", body = Health))
)]
pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok" })
}

/// Says whether the server takes work.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "system",
    responses(
        (status = 200, description = "`ready`", body = Health),
        (status = 503, description = "`UNAVAILABLE`: it starts or stops, or the disk is full"),
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

/// What a backup answers.
#[derive(Debug, Serialize, ToSchema)]
struct BackedUp {
    #[schema(value_type = String)]
    to: PathBuf,
    /// Everything up to this place in the journal is in it.
    seq: Seq,
    created_at: Timestamp,
    files: usize,
    bytes: u64,
}

/// Copies all that is stored into a folder of the server's machine.
///
/// Answers once the backup is whole and on the disk.
#[utoipa::path(
    post,
    path = "/api/v1/system/backup",
    tag = "system",
    params(IdempotencyKey),
    responses(
        (status = 200, description = "The backup is whole", body = BackedUp),
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
    }))
}
