//! `/api/v1/supervisors`: groups of agents that their users declare.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::query::Parameters;
use crate::api::http::Front;
use crate::api::http::caller::caller;
use crate::api::http::failure::Failure;
use crate::api::supervision::{SupervisorView, merged};
use crate::api::{json, limits};
use crate::error::Error;
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
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    Parameters::of(&request)?.finish()?;
    let body = super::body::read(&request, payload, "body", limits::SMALL_BODY_BYTES).await?;
    let spec: GroupSpec = json::read(&body)?;
    let caller = caller(&request, &[&body])?;
    let group = front.node.create_group(&caller, spec).await?;
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, format!("/api/v1/supervisors/{}", group.spec.name)))
        .json(SupervisorView::from(group)))
}

/// `GET /api/v1/supervisors`.
pub(super) async fn list(front: web::Data<Front>, request: HttpRequest) -> Result<HttpResponse, Failure> {
    Parameters::of(&request)?.finish()?;
    let supervisors: Vec<_> = front.node.groups().into_iter().map(SupervisorView::from).collect();
    Ok(HttpResponse::Ok().json(List {
        total: supervisors.len(),
        supervisors,
    }))
}

/// `GET /api/v1/supervisors/{name}`.
pub(super) async fn one(
    front: web::Data<Front>,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    Parameters::of(&request)?.finish()?;
    Ok(HttpResponse::Ok().json(SupervisorView::from(front.node.group(&name)?)))
}

/// `PUT /api/v1/supervisors/{name}`: the members that are given replace those that there are. Restarts nothing.
pub(super) async fn update(
    front: web::Data<Front>,
    name: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Failure> {
    Parameters::of(&request)?.finish()?;
    let body = super::body::read(&request, payload, "body", limits::SMALL_BODY_BYTES).await?;
    let changes =
        serde_json::from_slice(&body).map_err(|error| Error::invalid("body", format!("is not JSON: {error}")))?;
    let spec = merged(&front.node.group(&name)?.spec, changes)?;
    let group = front.node.update_group(&Caller::anonymous(), &name, spec).await?;
    Ok(HttpResponse::Ok().json(SupervisorView::from(group)))
}

/// `DELETE /api/v1/supervisors/{name}`: of a group that has no members.
pub(super) async fn remove(
    front: web::Data<Front>,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    #[derive(Serialize)]
    struct Removed<'a> {
        name: &'a str,
        status: &'static str,
    }
    Parameters::of(&request)?.finish()?;
    front.node.remove_group(&Caller::anonymous(), &name).await?;
    Ok(HttpResponse::Ok().json(Removed {
        name: &name,
        status: "removed",
    }))
}
