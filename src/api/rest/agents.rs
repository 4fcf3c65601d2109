//! `/api/v1/agents`.

mod view;

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{self, Path};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::view::{Agent, AgentList, AgentStanding, DeployAnswer};
use super::body::{NoMembers, OptionalJson};
use super::openapi::{DeployDocument, DeployForm, IdempotencyKey};
use super::query::{NoParameters, PageSize, Query};
use super::upload::Upload;
use crate::agent::spec::AgentSpec;
use crate::api::agents::{Status, stop_options};
use crate::api::http::Front;
use crate::api::http::caller::Credentials;
use crate::api::http::failure::Failure;
use crate::api::validation::{UNNAMED, ValidationView};
use crate::error::Error;
use crate::id::AgentId;
use crate::node::{AgentSummary, Lifecycle, StopOptions};
use crate::time::Timestamp;

/// Deploys an agent.
///
/// The body is a form or JSON, with the module and its configuration.
#[utoipa::path(
    post,
    path = "/api/v1/agents",
    tag = "agents",
    params(IdempotencyKey),
    request_body(content((DeployForm = "multipart/form-data"), (DeployDocument = "application/json"))),
    responses(
        (
            status = 201, description = "The agent runs", body = DeployAnswer,
            headers(("Location" = String, description = "The path of the agent"))
        ),
        (status = 400, description = "`INVALID_WASM` with `details.findings`, or `INVALID_REQUEST`"),
        (status = 404, description = "`SUPERVISOR_NOT_FOUND`: the group in `supervision.group`"),
        (status = 409, description = "`AGENT_ALREADY_EXISTS`, or `CONFLICT`"),
        (status = 429, description = "`RESOURCE_LIMIT_EXCEEDED`: the node has no room for another agent"),
        (status = 500, description = "`DEPLOYMENT_FAILED`: the agent did not start, or `INTERNAL_ERROR`"),
    )
)]
pub(super) async fn deploy_agent(
    front: web::Data<Front>,
    _: Query<NoParameters>,
    credentials: Credentials,
    upload: Upload,
) -> Result<HttpResponse, Failure> {
    let Upload { deploy, permit } = upload;
    let config = deploy.required_config()?;
    let spec = AgentSpec::from_json(config)?;
    let caller = credentials.caller(&[&deploy.module, config]);
    let deployed = front.node.deploy(&caller, deploy.module, spec).await?;
    drop(permit);
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, format!("/api/v1/agents/{}", deployed.agent.id)))
        .json(DeployAnswer::of(&deployed)))
}

/// Checks a module as a deploy does, and deploys nothing.
///
/// The body is that of a deploy. The configuration is optional.
#[utoipa::path(
    post,
    path = "/api/v1/agents/validate",
    tag = "agents",
    request_body(content((DeployForm = "multipart/form-data"), (DeployDocument = "application/json"))),
    responses((status = 200, description = "The result, for invalid modules too", body = ValidationView))
)]
pub(super) async fn validate_agent(
    front: web::Data<Front>,
    _: Query<NoParameters>,
    credentials: Credentials,
    upload: Upload,
) -> Result<HttpResponse, Failure> {
    let Upload { deploy, permit } = upload;
    let spec = AgentSpec::from_json(deploy.config().map_or(UNNAMED, |config| config))?;
    let validation = front
        .node
        .validate(&credentials.caller(&[]), deploy.module, &spec)
        .await?;
    drop(permit);
    Ok(HttpResponse::Ok().json(ValidationView::of(&validation)))
}

/// Which agents a list has.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listed {
    /// Only agents in this lifecycle state.
    #[param(inline)]
    status: Option<Lifecycle>,
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// How many agents to skip.
    #[serde(default)]
    offset: usize,
}

/// Lists the agents, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/agents",
    tag = "agents",
    params(Listed),
    responses((status = 200, description = "A page of agents", body = AgentList))
)]
pub(super) async fn list_agents(
    front: web::Data<Front>,
    Query(listed): Query<Listed>,
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    let caller = credentials.caller(&[]);
    let page = front
        .node
        .agents(&caller, listed.status, listed.limit.0, listed.offset)
        .await?;
    Ok(HttpResponse::Ok().json(AgentList::of(&page)))
}

/// Returns an agent: its declaration, state, metrics and use of resources.
#[utoipa::path(
    get,
    path = "/api/v1/agents/{id}",
    tag = "agents",
    params(("id" = String, Path, description = "The id or the name of the agent")),
    responses(
        (status = 200, description = "The agent", body = Agent),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    )
)]
pub(super) async fn get_agent(
    front: web::Data<Front>,
    key: Path<String>,
    _: Query<NoParameters>,
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    let agent = front.node.agent(&credentials.caller(&[]), &key).await?;
    Ok(HttpResponse::Ok().json(Agent::of(&agent)))
}

/// How to stop an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StopRequest {
    /// How long queued messages may still be handled. Default: 30.
    #[schema(minimum = 0, maximum = 3_600)]
    grace_period_seconds: Option<f64>,
    /// False: queued messages become dead letters at once. Default: true.
    drain_messages: Option<bool>,
}

impl StopRequest {
    fn options(&self) -> Result<StopOptions, Error> {
        let field = "grace_period_seconds";
        let no_span = |_| Error::invalid(field, "is no time: write seconds, 0 or more");
        let grace = self.grace_period_seconds.map(Duration::try_from_secs_f64).transpose();
        stop_options(field, grace.map_err(no_span)?, self.drain_messages)
    }
}

/// What a stop or a removal answers.
#[derive(Debug, Serialize, ToSchema)]
struct Ending {
    agent_id: AgentId,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_completion: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_at: Option<Timestamp>,
}

/// Stops an agent.
///
/// The agent accepts no more messages and handles the queued ones until the grace period ends. It stays stopped when the server
/// restarts.
#[utoipa::path(
    post,
    path = "/api/v1/agents/{id}/stop",
    tag = "agents",
    params(IdempotencyKey, ("id" = String, Path, description = "The id or the name of the agent")),
    request_body(content = Option<StopRequest>),
    responses(
        (status = 200, description = "The agent was stopped already", body = Ending),
        (
            status = 202, description = "The agent is draining", body = Ending,
            headers(("Location" = String, description = "The path of the agent"))
        ),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
        (status = 409, description = "`INVALID_STATE`, or `CONFLICT`"),
    )
)]
pub(super) async fn stop_agent(
    front: web::Data<Front>,
    key: Path<String>,
    _: Query<NoParameters>,
    credentials: Credentials,
    OptionalJson(asked): OptionalJson<StopRequest>,
) -> Result<HttpResponse, Failure> {
    let caller = credentials.caller(&[&asked.bytes]);
    let stopping = front.node.stop_agent(&caller, &key, asked.value.options()?).await?;
    let answer = Ending {
        agent_id: stopping.id,
        status: Status::of_lifecycle(stopping.lifecycle),
        estimated_completion: Some(stopping.estimated_completion),
        removed_at: None,
    };
    Ok(if stopping.lifecycle == Lifecycle::Draining {
        HttpResponse::Accepted()
            .insert_header((header::LOCATION, format!("/api/v1/agents/{}", stopping.id)))
            .json(answer)
    } else {
        HttpResponse::Ok().json(answer)
    })
}

fn standing(agent: &AgentSummary) -> HttpResponse {
    HttpResponse::Ok().json(AgentStanding::of(agent))
}

/// Starts an agent that is stopped or failed. Its state is kept.
#[utoipa::path(
    post,
    path = "/api/v1/agents/{id}/start",
    tag = "agents",
    params(IdempotencyKey, ("id" = String, Path, description = "The id or the name of the agent")),
    request_body(content = Option<NoMembers>),
    responses(
        (status = 200, description = "Done", body = AgentStanding),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
        (status = 409, description = "`INVALID_STATE`, or `CONFLICT`"),
        (status = 500, description = "`DEPLOYMENT_FAILED`: the agent did not start, or `INTERNAL_ERROR`"),
    )
)]
pub(super) async fn start_agent(
    front: web::Data<Front>,
    key: Path<String>,
    _: Query<NoParameters>,
    credentials: Credentials,
    _: OptionalJson<NoMembers>,
) -> Result<HttpResponse, Failure> {
    let agent = front.node.start_agent(&credentials.caller(&[]), &key).await?;
    Ok(standing(&agent))
}

/// Restarts an agent. Its queue and its state are kept.
#[utoipa::path(
    post,
    path = "/api/v1/agents/{id}/restart",
    tag = "agents",
    params(IdempotencyKey, ("id" = String, Path, description = "The id or the name of the agent")),
    request_body(content = Option<NoMembers>),
    responses(
        (status = 200, description = "Done", body = AgentStanding),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
        (status = 409, description = "`INVALID_STATE`, or `CONFLICT`"),
        (status = 500, description = "`DEPLOYMENT_FAILED`: the agent did not start, or `INTERNAL_ERROR`"),
    )
)]
pub(super) async fn restart_agent(
    front: web::Data<Front>,
    key: Path<String>,
    _: Query<NoParameters>,
    credentials: Credentials,
    _: OptionalJson<NoMembers>,
) -> Result<HttpResponse, Failure> {
    let agent = front.node.restart_agent(&credentials.caller(&[]), &key).await?;
    Ok(standing(&agent))
}

/// Suspends an agent: it accepts messages and handles none until it is resumed.
#[utoipa::path(
    post,
    path = "/api/v1/agents/{id}/suspend",
    tag = "agents",
    params(IdempotencyKey, ("id" = String, Path, description = "The id or the name of the agent")),
    request_body(content = Option<NoMembers>),
    responses(
        (status = 200, description = "Done", body = AgentStanding),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
        (status = 409, description = "`INVALID_STATE`, or `CONFLICT`"),
        (status = 500, description = "`DEPLOYMENT_FAILED`: the agent did not start, or `INTERNAL_ERROR`"),
    )
)]
pub(super) async fn suspend_agent(
    front: web::Data<Front>,
    key: Path<String>,
    _: Query<NoParameters>,
    credentials: Credentials,
    _: OptionalJson<NoMembers>,
) -> Result<HttpResponse, Failure> {
    let agent = front.node.suspend_agent(&credentials.caller(&[]), &key, true).await?;
    Ok(standing(&agent))
}

/// Resumes a suspended agent.
#[utoipa::path(
    post,
    path = "/api/v1/agents/{id}/resume",
    tag = "agents",
    params(IdempotencyKey, ("id" = String, Path, description = "The id or the name of the agent")),
    request_body(content = Option<NoMembers>),
    responses(
        (status = 200, description = "Done", body = AgentStanding),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
        (status = 409, description = "`INVALID_STATE`, or `CONFLICT`"),
        (status = 500, description = "`DEPLOYMENT_FAILED`: the agent did not start, or `INTERNAL_ERROR`"),
    )
)]
pub(super) async fn resume_agent(
    front: web::Data<Front>,
    key: Path<String>,
    _: Query<NoParameters>,
    credentials: Credentials,
    _: OptionalJson<NoMembers>,
) -> Result<HttpResponse, Failure> {
    let agent = front.node.suspend_agent(&credentials.caller(&[]), &key, false).await?;
    Ok(standing(&agent))
}

/// How to remove an agent.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Removal {
    /// True: queued messages become dead letters at once.
    #[serde(default)]
    force: bool,
}

/// Removes an agent, its state and its queue.
///
/// Queued messages are handled first, unless `force` is true. The messages of the agent stay in the history.
#[utoipa::path(
    delete,
    path = "/api/v1/agents/{id}",
    tag = "agents",
    params(("id" = String, Path, description = "The id or the name of the agent"), Removal),
    responses(
        (status = 200, description = "The agent is removed", body = Ending),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
        (status = 409, description = "`INVALID_STATE`"),
    )
)]
pub(super) async fn remove_agent(
    front: web::Data<Front>,
    key: Path<String>,
    Query(removal): Query<Removal>,
    credentials: Credentials,
) -> Result<HttpResponse, Failure> {
    let caller = credentials.caller(&[]);
    let removed = front.node.remove_agent(&caller, &key, removal.force).await?;
    Ok(HttpResponse::Ok().json(Ending {
        agent_id: removed.id,
        status: Status::Removed,
        estimated_completion: None,
        removed_at: Some(removed.removed_at),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_has_defaults_and_limits() {
        let options =
            |json: &str| crate::api::json::read::<StopRequest>(json.as_bytes()).and_then(|asked| asked.options());
        let default = options("{}").unwrap();
        assert_eq!((default.grace, default.drain), (Duration::from_secs(30), true));
        let asked = options(r#"{"grace_period_seconds": 0.5, "drain_messages": false}"#).unwrap();
        assert_eq!((asked.grace, asked.drain), (Duration::from_millis(500), false));
        for bad in ["-1", "3601", "1e300"] {
            assert!(
                options(&format!(r#"{{"grace_period_seconds": {bad}}}"#)).is_err(),
                "{bad}"
            );
        }
        assert!(options(r#"{"grace": 1}"#).unwrap_err().to_string().contains("grace"));
    }
}
