//! `/api/v1/supervision`: the tree, its events, its figures, and the verbs on what stands in it.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::body::Json;
use super::query::{NoParameters, PageSize, Query};
use crate::api::http::Front;
use crate::api::http::caller::Credentials;
use crate::api::http::failure::Failure;
use crate::api::supervision::{EventsView, FiguresView, events_asked};
use crate::api::tree::TreeView;
use crate::node::Verb;
use crate::time::Timestamp;

/// Which part of the tree is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// A path of the tree, such as `node/core`; the whole tree if left out.
    path: Option<String>,
}

/// `GET /api/v1/supervision/tree?path=`: the tree, or the part of it under `path`.
pub(super) async fn tree(front: web::Data<Front>, Query(part): Query<Part>) -> Result<HttpResponse, Failure> {
    let tree = front.node.supervision_tree(part.path.as_deref()).await?;
    Ok(HttpResponse::Ok().json(TreeView::of(tree)))
}

/// Which events of supervisors are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Events {
    /// `next_seq` of the page before; from the first event on if left out.
    #[serde(default)]
    since_seq: u64,
    #[serde(default)]
    limit: PageSize,
    /// Those at this path of the tree and below it.
    path: Option<String>,
}

/// `GET /api/v1/supervision/events?since_seq=&limit=&path=`: those after `since_seq`, at `path` and below it.
pub(super) async fn events(front: web::Data<Front>, Query(asked): Query<Events>) -> Result<HttpResponse, Failure> {
    let query = events_asked(asked.since_seq, asked.limit.0, asked.path.as_deref());
    let page = front.node.supervision_events(query).await?;
    Ok(HttpResponse::Ok().json(EventsView::from(page)))
}

/// `GET /api/v1/metrics/supervision`.
pub(super) async fn figures(front: web::Data<Front>, _: Query<NoParameters>) -> Result<HttpResponse, Failure> {
    let figures = front.node.supervision_figures().await?;
    Ok(HttpResponse::Ok().json(FiguresView::of(figures, Timestamp::now())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Action {
    /// A path of the tree, or the name or id of an agent or a group.
    path: String,
    action: Verb,
}

/// What an action answers once it is done.
#[derive(Debug, Serialize)]
struct Done {
    path: String,
    action: &'static str,
    status: &'static str,
}

/// `POST /api/v1/supervision/actions`: `{"path", "action"}`, where a path is one of the tree, or an agent's or a group's name
/// or id. Answers once it is done.
pub(super) async fn act(
    front: web::Data<Front>,
    _: Query<NoParameters>,
    credentials: Credentials,
    asked: Json<Action>,
) -> Result<HttpResponse, Failure> {
    let caller = credentials.caller(&[&asked.bytes]);
    let Action { path, action } = asked.value;
    front.node.supervise(&caller, &path, action).await?;
    Ok(HttpResponse::Ok().json(Done {
        path,
        action: action.as_str(),
        status: "done",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::json::read;

    #[test]
    fn an_action_is_one_of_the_verbs() {
        let verb = |json: &str| read::<Action>(json.as_bytes()).map(|asked| asked.action);
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
