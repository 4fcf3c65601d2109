//! `/api/v1/supervision`: the tree, its events, its figures, and the verbs on what stands in it.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::query::Parameters;
use crate::api::http::Front;
use crate::api::http::caller::caller;
use crate::api::http::failure::Failure;
use crate::api::supervision::{EventsView, FiguresView, events_asked};
use crate::api::tree::TreeView;
use crate::api::{json, limits};
use crate::error::{Error, Result};
use crate::node::Verb;
use crate::time::Timestamp;

/// `GET /api/v1/supervision/tree?path=`: the tree, or the part of it under `path`.
pub(super) async fn tree(front: web::Data<Front>, request: HttpRequest) -> Result<HttpResponse, Failure> {
    let mut query = Parameters::of(&request)?;
    let path = query.text("path")?;
    query.finish()?;
    let tree = front.node.supervision_tree(path.as_deref()).await?;
    Ok(HttpResponse::Ok().json(TreeView::of(tree)))
}

/// `GET /api/v1/supervision/events?since_seq=&limit=&path=`: those after `since_seq`, at `path` and below it.
pub(super) async fn events(front: web::Data<Front>, request: HttpRequest) -> Result<HttpResponse, Failure> {
    let mut query = Parameters::of(&request)?;
    let since = query.parsed("since_seq")?.unwrap_or(0);
    let limit = query.limit()?;
    let path = query.text("path")?;
    query.finish()?;
    let asked = events_asked(since, limit, path.as_deref());
    let page = front.node.supervision_events(asked).await?;
    Ok(HttpResponse::Ok().json(EventsView::from(page)))
}

/// `GET /api/v1/metrics/supervision`.
pub(super) async fn figures(front: web::Data<Front>, request: HttpRequest) -> Result<HttpResponse, Failure> {
    Parameters::of(&request)?.finish()?;
    let figures = front.node.supervision_figures().await?;
    Ok(HttpResponse::Ok().json(FiguresView::of(figures, Timestamp::now())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    path: String,
    action: String,
}

impl Action {
    fn verb(&self) -> Result<Verb> {
        let known = Verb::ALL.iter().copied().find(|verb| verb.as_str() == self.action);
        known.ok_or_else(|| {
            let words: Vec<_> = Verb::ALL.iter().map(|verb| verb.as_str()).collect();
            Error::invalid("action", format!("must be one of {}", words.join(", ")))
        })
    }
}

/// `POST /api/v1/supervision/actions`: `{"path", "action"}`, where a path is one of the tree, or an agent's or a group's name
/// or id. Answers once it is done.
pub(super) async fn act(
    front: web::Data<Front>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    #[derive(Serialize)]
    struct Done {
        path: String,
        action: &'static str,
        status: &'static str,
    }
    Parameters::of(&request)?.finish()?;
    let body = super::body::read(&request, payload, "body", limits::SMALL_BODY_BYTES).await?;
    let asked: Action = json::read(&body)?;
    let verb = asked.verb()?;
    let caller = caller(&request, &[&body])?;
    front.node.supervise(&caller, &asked.path, verb).await?;
    Ok(HttpResponse::Ok().json(Done {
        path: asked.path,
        action: verb.as_str(),
        status: "done",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_one_of_the_verbs() {
        let verb = |json: &str| json::read::<Action>(json.as_bytes()).and_then(|asked| asked.verb());
        for &known in Verb::ALL {
            let json = format!(r#"{{"path": "cart", "action": "{}"}}"#, known.as_str());
            assert_eq!(verb(&json).unwrap(), known);
        }
        for (bad, field) in [
            (r#"{"path": "cart", "action": "explode"}"#, "action"),
            (r#"{"path": "cart"}"#, "action"),
            (r#"{"action": "reset"}"#, "path"),
            (r#"{"path": "cart", "action": "reset", "force": true}"#, "force"),
        ] {
            assert_eq!(verb(bad).unwrap_err().details()["field"], field, "{bad}");
        }
    }
}
