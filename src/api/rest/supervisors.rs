//! `/api/v1/supervisors`: groups of agents that their users declare.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{self, Path};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body::Json;
use super::openapi::{GroupChanges, IdempotencyKey};
use super::query::{NoParameters, Query};
use crate::api::http::Front;
use crate::api::http::caller::Credentials;
use crate::api::http::failure::Failure;
use crate::api::supervision::{SupervisorView, merged};
use crate::group::GroupSpec;

/// All of them, oldest first; [`crate::group::limits::GROUPS`] at the most, so that one page holds them.
#[derive(Debug, Serialize, ToSchema)]
struct SupervisorList {
    total: usize,
    supervisors: Vec<SupervisorView>,
}

/// Creates a supervision group without members.
#[utoipa::path(
    post,
    path = "/api/v1/supervisors",
    tag = "supervisors",
    params(IdempotencyKey),
    responses(
        (
            status = 201, description = "The group is created", body = SupervisorView,
            headers(("Location" = String, description = "The path of the group"))
        ),
        (status = 404, description = "`SUPERVISOR_NOT_FOUND`: the group in `parent`"),
        (status = 409, description = "`AGENT_ALREADY_EXISTS`, or `CONFLICT`"),
        (status = 429, description = "`RESOURCE_LIMIT_EXCEEDED`: a node has at most 1,000 groups"),
    )
)]
pub(super) async fn create_supervisor(
    front: web::Data<Front>,
    _: Query<NoParameters>,
    credentials: Credentials,
    asked: Json<GroupSpec>,
) -> Result<HttpResponse, Failure> {
    let caller = credentials.caller(&[&asked.bytes]);
    let group = front.node.create_group(&caller, asked.value).await?;
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, format!("/api/v1/supervisors/{}", group.spec.name)))
        .json(SupervisorView::from(group)))
}

/// Lists the supervision groups, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/supervisors",
    tag = "supervisors",
    responses((status = 200, description = "All groups", body = SupervisorList))
)]
pub(super) async fn list_supervisors(
    front: web::Data<Front>,
    _: Query<NoParameters>,
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    let groups = front.node.groups(&credentials.caller(&[]))?;
    let supervisors: Vec<_> = groups.into_iter().map(SupervisorView::from).collect();
    Ok(HttpResponse::Ok().json(SupervisorList {
        total: supervisors.len(),
        supervisors,
    }))
}

/// Returns a supervision group and its members.
#[utoipa::path(
    get,
    path = "/api/v1/supervisors/{name}",
    tag = "supervisors",
    params(("name" = String, Path, description = "The name of the group")),
    responses(
        (status = 200, description = "The group", body = SupervisorView),
        (status = 404, description = "`SUPERVISOR_NOT_FOUND`"),
    )
)]
pub(super) async fn get_supervisor(
    front: web::Data<Front>,
    name: Path<String>,
    _: Query<NoParameters>,
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    let group = front.node.group(&credentials.caller(&[]), &name)?;
    Ok(HttpResponse::Ok().json(SupervisorView::from(group)))
}

/// Changes the declaration of a supervision group. Restarts nothing.
#[utoipa::path(
    put,
    path = "/api/v1/supervisors/{name}",
    tag = "supervisors",
    params(("name" = String, Path, description = "The name of the group")),
    request_body = GroupChanges,
    responses(
        (status = 200, description = "The changed group", body = SupervisorView),
        (status = 404, description = "`SUPERVISOR_NOT_FOUND`"),
        (status = 409, description = "`CONFLICT`"),
    )
)]
pub(super) async fn update_supervisor(
    front: web::Data<Front>,
    name: Path<String>,
    _: Query<NoParameters>,
    credentials: Credentials,
    changes: Json<Map<String, Value>>,
) -> Result<HttpResponse, Failure> {
    let caller = credentials.caller(&[]);
    let change = move |present: &GroupSpec| merged(present, changes.value);
    let group = front.node.update_group(&caller, &name, change).await?;
    Ok(HttpResponse::Ok().json(SupervisorView::from(group)))
}

/// What the removal of a group answers.
#[derive(Debug, Serialize, ToSchema)]
struct RemovedSupervisor<'a> {
    name: &'a str,
    status: &'static str,
}

/// Removes a supervision group that has no members.
#[utoipa::path(
    delete,
    path = "/api/v1/supervisors/{name}",
    tag = "supervisors",
    params(("name" = String, Path, description = "The name of the group")),
    responses(
        (status = 200, description = "The group is removed", body = RemovedSupervisor),
        (status = 404, description = "`SUPERVISOR_NOT_FOUND`"),
        (status = 409, description = "`CONFLICT`: the group has members"),
    )
)]
pub(super) async fn remove_supervisor(
    front: web::Data<Front>,
    name: Path<String>,
    _: Query<NoParameters>,
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    front.node.remove_group(&credentials.caller(&[]), &name).await?;
    Ok(HttpResponse::Ok().json(RemovedSupervisor {
        name: &name,
        status: "removed",
    }))
}
