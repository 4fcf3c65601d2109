//! `/api/v1/supervisors`: groups of agents that their users declare.

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::{Map, Value};

use super::body::Json;
use super::query::{NoParameters, Query};
use crate::api::http::Front;
use crate::api::http::caller::Credentials;
use crate::api::http::failure::Failure;
use crate::api::supervision::{SupervisorView, merged};
use crate::group::GroupSpec;
use crate::node::Caller;

/// All of them, oldest first; [`crate::group::limits::GROUPS`] at the most, so that one page holds them.
#[derive(Debug, Serialize)]
struct List {
    total: usize,
    supervisors: Vec<SupervisorView>,
}

/// `POST /api/v1/supervisors`: a declaration. Answers once the group is there, empty, and durable.
pub(super) async fn create(
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

/// `GET /api/v1/supervisors`.
pub(super) async fn list(front: web::Data<Front>, _: Query<NoParameters>) -> HttpResponse {
    let supervisors: Vec<_> = front.node.groups().into_iter().map(SupervisorView::from).collect();
    HttpResponse::Ok().json(List {
        total: supervisors.len(),
        supervisors,
    })
}

/// `GET /api/v1/supervisors/{name}`.
pub(super) async fn one(
    front: web::Data<Front>,
    name: web::Path<String>,
    _: Query<NoParameters>,
) -> Result<HttpResponse, Failure> {
    Ok(HttpResponse::Ok().json(SupervisorView::from(front.node.group(&name)?)))
}

/// `PUT /api/v1/supervisors/{name}`: the members that are given replace those that there are. Restarts nothing.
pub(super) async fn update(
    front: web::Data<Front>,
    name: web::Path<String>,
    _: Query<NoParameters>,
    changes: Json<Map<String, Value>>,
) -> Result<HttpResponse, Failure> {
    let spec = merged(&front.node.group(&name)?.spec, changes.value)?;
    let group = front.node.update_group(&Caller::anonymous(), &name, spec).await?;
    Ok(HttpResponse::Ok().json(SupervisorView::from(group)))
}

/// What the removal of a group answers.
#[derive(Debug, Serialize)]
struct Removed<'a> {
    name: &'a str,
    status: &'static str,
}

/// `DELETE /api/v1/supervisors/{name}`: of a group that has no members.
pub(super) async fn remove(
    front: web::Data<Front>,
    name: web::Path<String>,
    _: Query<NoParameters>,
) -> Result<HttpResponse, Failure> {
    front.node.remove_group(&Caller::anonymous(), &name).await?;
    Ok(HttpResponse::Ok().json(Removed {
        name: &name,
        status: "removed",
    }))
}
