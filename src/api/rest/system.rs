//! Health.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::State;
use super::failure::Failure;

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
