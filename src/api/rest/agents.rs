//! `/api/v1/agents`.

mod view;

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use self::view::{DeployAnswer, Details, Page, Standing};
use super::body::{NoMembers, OptionalJson, Upload};
use super::query::{NoParameters, PageSize, Query};
use crate::agent::spec::AgentSpec;
use crate::api::agents::{Status, stop_options};
use crate::api::http::Front;
use crate::api::http::caller::Credentials;
use crate::api::http::failure::Failure;
use crate::api::validation::{UNNAMED, ValidationView};
use crate::error::Error;
use crate::id::AgentId;
use crate::node::{AgentSummary, Caller, Lifecycle, StopOptions};
use crate::time::Timestamp;

/// `POST /api/v1/agents`: the parts `wasm` and `config` of a form, or `{"wasm_module": "<base64>", "config": {…}}`.
pub(super) async fn deploy(
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

/// `POST /api/v1/agents/validate`: as a deploy, and the `config` may be left out. Answers with all that a deploy would say of the
/// module, and deploys nothing. 200, whatever is found.
pub(super) async fn validate(
    front: web::Data<Front>,
    _: Query<NoParameters>,
    upload: Upload,
) -> Result<HttpResponse, Failure> {
    let Upload { deploy, permit } = upload;
    let spec = AgentSpec::from_json(deploy.config().map_or(UNNAMED, |config| config))?;
    let validation = front.node.validate(deploy.module, &spec).await?;
    drop(permit);
    Ok(HttpResponse::Ok().json(ValidationView::of(&validation)))
}

/// Which agents a list shows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    /// Those in this state of the lifecycle.
    status: Option<Lifecycle>,
    #[serde(default)]
    limit: PageSize,
    /// How many of them to pass over.
    #[serde(default)]
    offset: usize,
}

/// `GET /api/v1/agents?status=&limit=&offset=`.
pub(super) async fn list(front: web::Data<Front>, Query(listed): Query<Listed>) -> HttpResponse {
    let page = front.node.agents(listed.status, listed.limit.0, listed.offset).await;
    HttpResponse::Ok().json(Page::of(&page))
}

/// `GET /api/v1/agents/{id or name}`.
pub(super) async fn details(
    front: web::Data<Front>,
    key: web::Path<String>,
    _: Query<NoParameters>,
) -> Result<HttpResponse, Failure> {
    Ok(HttpResponse::Ok().json(Details::of(&front.node.agent(&key).await?)))
}

/// How to stop an agent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StopRequest {
    /// How long queued messages may still be handled: 0 to 3600, 30 if left out.
    grace_period_seconds: Option<f64>,
    /// False: what is queued becomes dead letters at once. True if left out.
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
#[derive(Debug, Serialize)]
struct Ending {
    agent_id: AgentId,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_completion: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_at: Option<Timestamp>,
}

/// `POST /api/v1/agents/{id or name}/stop`, with `{"grace_period_seconds": 30, "drain_messages": true}` or no body.
pub(super) async fn stop(
    front: web::Data<Front>,
    key: web::Path<String>,
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
    HttpResponse::Ok().json(Standing::of(agent))
}

/// `POST /api/v1/agents/{id or name}/start`: one that is stopped or has failed runs again, with its state.
pub(super) async fn start(
    front: web::Data<Front>,
    key: web::Path<String>,
    _: Query<NoParameters>,
    credentials: Credentials,
    _: OptionalJson<NoMembers>,
) -> Result<HttpResponse, Failure> {
    let agent = front.node.start_agent(&credentials.caller(&[]), &key).await?;
    Ok(standing(&agent))
}

/// `POST /api/v1/agents/{id or name}/restart`: an ordered stop of its instance and a start; its queue and its state stay.
pub(super) async fn restart(
    front: web::Data<Front>,
    key: web::Path<String>,
    _: Query<NoParameters>,
    credentials: Credentials,
    _: OptionalJson<NoMembers>,
) -> Result<HttpResponse, Failure> {
    let agent = front.node.restart_agent(&credentials.caller(&[]), &key).await?;
    Ok(standing(&agent))
}

/// `POST /api/v1/agents/{id or name}/suspend`: it takes messages and no turns, until it is resumed.
pub(super) async fn suspend(
    front: web::Data<Front>,
    key: web::Path<String>,
    _: Query<NoParameters>,
    credentials: Credentials,
    _: OptionalJson<NoMembers>,
) -> Result<HttpResponse, Failure> {
    let agent = front.node.suspend_agent(&credentials.caller(&[]), &key, true).await?;
    Ok(standing(&agent))
}

/// `POST /api/v1/agents/{id or name}/resume`.
pub(super) async fn resume(
    front: web::Data<Front>,
    key: web::Path<String>,
    _: Query<NoParameters>,
    credentials: Credentials,
    _: OptionalJson<NoMembers>,
) -> Result<HttpResponse, Failure> {
    let agent = front.node.suspend_agent(&credentials.caller(&[]), &key, false).await?;
    Ok(standing(&agent))
}

/// How to remove an agent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removal {
    /// True: what is queued becomes dead letters at once.
    #[serde(default)]
    force: bool,
}

/// `DELETE /api/v1/agents/{id or name}?force=`: `true` does not wait for the queue to drain.
pub(super) async fn remove(
    front: web::Data<Front>,
    key: web::Path<String>,
    Query(removal): Query<Removal>,
) -> Result<HttpResponse, Failure> {
    let removed = front
        .node
        .remove_agent(&Caller::anonymous(), &key, removal.force)
        .await?;
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
