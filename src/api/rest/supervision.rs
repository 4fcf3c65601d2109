//! `/api/v1/supervision`: the tree, its events, its figures, and the verbs on what stands in it.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::Json;
use super::openapi::IdempotencyKey;
use super::query::{NoParameters, PageSize, Query};
use crate::api::http::Front;
use crate::api::http::caller::Credentials;
use crate::api::http::failure::Failure;
use crate::api::supervision::{EventsView, FiguresView, events_asked};
use crate::api::tree::TreeView;
use crate::node::Verb;
use crate::time::Timestamp;

/// Which part of the tree to return.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Part {
    /// A path of the tree, such as `node/core`. Default: the whole tree.
    path: Option<String>,
}

/// Returns the supervision tree: each child with its state, restarts and last exit.
#[utoipa::path(
    get,
    path = "/api/v1/supervision/tree",
    tag = "supervision",
    params(Part),
    responses(
        (status = 200, description = "The tree, or a part of it", body = TreeView),
        (status = 404, description = "`SUPERVISOR_NOT_FOUND`: no child has this path"),
    )
)]
pub(super) async fn supervision_tree(
    front: web::Data<Front>,
    Query(part): Query<Part>,
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    let caller = credentials.caller(&[]);
    let tree = front.node.supervision_tree(&caller, part.path.as_deref()).await?;
    Ok(HttpResponse::Ok().json(TreeView::of(tree)))
}

/// Which events of supervisors to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Events {
    /// `next_seq` of the previous page. Default: from the first event on.
    #[serde(default)]
    since_seq: u64,
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// Only events at this path of the tree and below it.
    path: Option<String>,
}

/// Lists the events of supervisors, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/supervision/events",
    tag = "supervision",
    params(Events),
    responses((status = 200, description = "A page of events", body = EventsView))
)]
pub(super) async fn supervision_events(
    front: web::Data<Front>,
    Query(asked): Query<Events>,
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    let query = events_asked(asked.since_seq, asked.limit.0, asked.path.as_deref());
    let page = front.node.supervision_events(&credentials.caller(&[]), query).await?;
    Ok(HttpResponse::Ok().json(EventsView::from(page)))
}

/// Returns metrics of supervision since the server started.
#[utoipa::path(
    get,
    path = "/api/v1/metrics/supervision",
    tag = "metrics",
    responses((status = 200, description = "Restarts by reason and by path", body = FiguresView))
)]
pub(super) async fn supervision_metrics(
    front: web::Data<Front>,
    _: Query<NoParameters>,
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    let figures = front.node.supervision_figures(&credentials.caller(&[])).await?;
    Ok(HttpResponse::Ok().json(FiguresView::of(figures, Timestamp::now())))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Action {
    /// A whole path of the tree, or the name of a group, or the name or id of an agent.
    path: String,
    action: Verb,
}

/// What an action answers once it is done.
#[derive(Debug, Serialize, ToSchema)]
struct Done {
    path: String,
    action: &'static str,
    status: &'static str,
}

/// Performs an action on an agent or a group. A `restart` of a group starts the members that failed and those that its `terminate`
/// stopped; a member that was stopped by itself stays stopped.
#[utoipa::path(
    post,
    path = "/api/v1/supervision/actions",
    tag = "supervision",
    params(IdempotencyKey),
    responses(
        (status = 200, description = "Done", body = Done),
        (status = 404, description = "`SUPERVISOR_NOT_FOUND`: no agent or group has this path, name or id"),
        (status = 409, description = "`INVALID_STATE`, or `CONFLICT`"),
        (status = 500, description = "`DEPLOYMENT_FAILED`: an agent did not start, or `INTERNAL_ERROR`"),
    )
)]
pub(super) async fn supervise(
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
