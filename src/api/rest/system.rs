//! Health.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::State;
use super::failure::Failure;
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
