//! Health, and the supervision tree.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::State;
use super::failure::Failure;
use super::query::Parameters;
use crate::api::tree::TreeView;
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

/// `GET /api/v1/supervision/tree?path=`: the tree, or the part of it under `path`.
pub(super) async fn tree(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Failure> {
    let mut query = Parameters::of(&request)?;
    let path = query.text("path")?;
    query.finish()?;
    let tree = state.node.supervision_tree(path.as_deref()).await?;
    Ok(HttpResponse::Ok().json(TreeView::of(tree)))
}
