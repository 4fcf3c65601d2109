//! `caxton.v1.SupervisionService`.

mod view;

use std::sync::Arc;

use serde_json::Value;
use tonic::{Request, Response, Status};

use super::convert::{given, page_size};
use super::members::{Members, backoff};
use super::proto::supervision_service_server::SupervisionService;
use super::proto::{
    ActRequest, ActResponse, AutoShutdown, CreateSupervisorRequest, DeleteSupervisorRequest, DeleteSupervisorResponse,
    GetMetricsRequest, GetSupervisorRequest, GetTreeRequest, ListEventsRequest, ListEventsResponse,
    ListSupervisorsRequest, ListSupervisorsResponse, SupervisionAction, SupervisionMetrics, SupervisionStrategy,
    Supervisor, TreeNode, UpdateSupervisorRequest,
};
use super::status::call;
use crate::api::json;
use crate::api::supervision::{EventsView, events_asked, merged};
use crate::api::tree::TreeView;
use crate::error::{Error, Result};
use crate::group::GroupSpec;
use crate::node::{Node, Verb};
use crate::principal::Caller;
use crate::time::Timestamp;

pub(super) struct Supervision {
    node: Arc<Node>,
}

impl Supervision {
    pub(super) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    async fn create(&self, asked: CreateSupervisorRequest, caller: Caller) -> Result<Supervisor> {
        let mut members = declared(Declared {
            parent: asked.parent,
            strategy: asked.strategy,
            intensity: asked.intensity,
            period: asked.period,
            backoff: asked.backoff,
            auto_shutdown: asked.auto_shutdown,
        })?;
        members.put("name", Some(asked.name));
        let spec = json::from_value(Value::Object(members.0))?;
        let group = self.node.create_group(&caller, spec).await?;
        Ok(view::supervisor(group))
    }

    fn list(&self, caller: &Caller) -> Result<ListSupervisorsResponse> {
        let groups = self.node.groups(caller)?;
        let supervisors: Vec<_> = groups.into_iter().map(view::supervisor).collect();
        Ok(ListSupervisorsResponse {
            total: i32::try_from(supervisors.len()).unwrap_or(i32::MAX),
            supervisors,
        })
    }

    async fn update(&self, asked: UpdateSupervisorRequest, caller: Caller) -> Result<Supervisor> {
        let changes = declared(Declared {
            parent: asked.parent,
            strategy: asked.strategy,
            intensity: asked.intensity,
            period: asked.period,
            backoff: asked.backoff,
            auto_shutdown: asked.auto_shutdown,
        })?;
        let change = move |present: &GroupSpec| merged(present, changes.0);
        let group = self.node.update_group(&caller, &asked.name, change).await?;
        Ok(view::supervisor(group))
    }

    async fn delete(&self, asked: DeleteSupervisorRequest, caller: Caller) -> Result<DeleteSupervisorResponse> {
        self.node.remove_group(&caller, &asked.name).await?;
        Ok(DeleteSupervisorResponse { name: asked.name })
    }

    async fn tree(&self, asked: GetTreeRequest, caller: Caller) -> Result<TreeNode> {
        let tree = self
            .node
            .supervision_tree(&caller, given(asked.path).as_deref())
            .await?;
        Ok(view::tree(TreeView::of(tree)))
    }

    async fn events(&self, asked: ListEventsRequest, caller: Caller) -> Result<ListEventsResponse> {
        let query = events_asked(asked.since_seq, page_size(asked.limit)?, given(asked.path).as_deref());
        let page = EventsView::from(self.node.supervision_events(&caller, query).await?);
        Ok(ListEventsResponse {
            events: page.events.into_iter().map(view::event).collect(),
            next_seq: page.next_seq.0,
        })
    }

    async fn act(&self, asked: ActRequest, caller: Caller) -> Result<ActResponse> {
        let verb = verb(asked.action)?;
        self.node.supervise(&caller, &asked.path, verb).await?;
        Ok(ActResponse {
            path: asked.path,
            action: asked.action,
        })
    }
}

#[tonic::async_trait]
impl SupervisionService for Supervision {
    async fn create_supervisor(
        &self,
        request: Request<CreateSupervisorRequest>,
    ) -> Result<Response<Supervisor>, Status> {
        call(request, |asked, call| self.create(asked, call.caller)).await
    }

    async fn get_supervisor(&self, request: Request<GetSupervisorRequest>) -> Result<Response<Supervisor>, Status> {
        call(request, async |asked, call| {
            self.node.group(&call.caller, &asked.name).map(view::supervisor)
        })
        .await
    }

    async fn list_supervisors(
        &self,
        request: Request<ListSupervisorsRequest>,
    ) -> Result<Response<ListSupervisorsResponse>, Status> {
        call(request, async |ListSupervisorsRequest {}, call| self.list(&call.caller)).await
    }

    async fn update_supervisor(
        &self,
        request: Request<UpdateSupervisorRequest>,
    ) -> Result<Response<Supervisor>, Status> {
        call(request, |asked, call| self.update(asked, call.caller)).await
    }

    async fn delete_supervisor(
        &self,
        request: Request<DeleteSupervisorRequest>,
    ) -> Result<Response<DeleteSupervisorResponse>, Status> {
        call(request, |asked, call| self.delete(asked, call.caller)).await
    }

    async fn get_tree(&self, request: Request<GetTreeRequest>) -> Result<Response<TreeNode>, Status> {
        call(request, |asked, call| self.tree(asked, call.caller)).await
    }

    async fn list_events(&self, request: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        call(request, |asked, call| self.events(asked, call.caller)).await
    }

    async fn act(&self, request: Request<ActRequest>) -> Result<Response<ActResponse>, Status> {
        call(request, |asked, call| self.act(asked, call.caller)).await
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<SupervisionMetrics>, Status> {
        call(request, async |GetMetricsRequest {}, call| {
            let figures = self.node.supervision_figures(&call.caller).await?;
            Ok(view::metrics(figures, Timestamp::now()))
        })
        .await
    }
}

/// What a declaration and a change of it have in common.
struct Declared {
    parent: String,
    strategy: i32,
    intensity: Option<u32>,
    period: Option<prost_types::Duration>,
    backoff: Option<super::proto::Backoff>,
    auto_shutdown: i32,
}

fn declared(asked: Declared) -> Result<Members> {
    let mut members = Members::default();
    members.text("parent", asked.parent);
    members.put("strategy", strategy(asked.strategy)?);
    members.put("intensity", asked.intensity);
    members.span("period", "", asked.period)?;
    members.put("backoff", backoff("", asked.backoff)?);
    members.put("auto_shutdown", auto_shutdown(asked.auto_shutdown)?);
    Ok(members)
}

fn strategy(number: i32) -> Result<Option<&'static str>> {
    let known = SupervisionStrategy::try_from(number)
        .map_err(|_| Error::invalid("strategy", format!("is {number}, and must be 0 to 3")))?;
    Ok(match known {
        SupervisionStrategy::Unspecified => None,
        SupervisionStrategy::OneForOne => Some("one_for_one"),
        SupervisionStrategy::OneForAll => Some("one_for_all"),
        SupervisionStrategy::RestForOne => Some("rest_for_one"),
    })
}

fn auto_shutdown(number: i32) -> Result<Option<&'static str>> {
    let known = AutoShutdown::try_from(number)
        .map_err(|_| Error::invalid("auto_shutdown", format!("is {number}, and must be 0 to 3")))?;
    Ok(match known {
        AutoShutdown::Unspecified => None,
        AutoShutdown::Never => Some("never"),
        AutoShutdown::AnySignificant => Some("any_significant"),
        AutoShutdown::AllSignificant => Some("all_significant"),
    })
}

fn verb(number: i32) -> Result<Verb> {
    match SupervisionAction::try_from(number) {
        Ok(SupervisionAction::Restart) => Ok(Verb::Restart),
        Ok(SupervisionAction::Suspend) => Ok(Verb::Suspend),
        Ok(SupervisionAction::Resume) => Ok(Verb::Resume),
        Ok(SupervisionAction::Terminate) => Ok(Verb::Terminate),
        Ok(SupervisionAction::Reset) => Ok(Verb::Reset),
        Ok(SupervisionAction::Unspecified) | Err(_) => {
            Err(Error::invalid("action", "must be one of this release's actions"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::grpc::proto::Backoff;

    fn nothing() -> Declared {
        Declared {
            parent: String::new(),
            strategy: 0,
            intensity: None,
            period: None,
            backoff: None,
            auto_shutdown: 0,
        }
    }

    fn field<T>(result: Result<T>) -> String {
        let Some(Error::InvalidRequest { field, .. }) = result.err() else {
            panic!("no invalid request")
        };
        field
    }

    #[test]
    fn what_is_left_out_changes_nothing_and_what_is_given_arrives() {
        assert!(declared(nothing()).unwrap().0.is_empty());
        let mut members = declared(Declared {
            parent: "shop".to_owned(),
            strategy: SupervisionStrategy::RestForOne.into(),
            intensity: Some(0),
            period: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
            backoff: Some(Backoff {
                factor: Some(3.0),
                ..Backoff::default()
            }),
            auto_shutdown: AutoShutdown::AnySignificant.into(),
        })
        .unwrap();
        members.put("name", Some("checkout"));
        let spec: GroupSpec = json::from_value(Value::Object(members.0)).unwrap();
        let expected = serde_json::json!({
            "name": "checkout", "parent": "shop", "strategy": "rest_for_one", "intensity": 0, "period": 5,
            "backoff": {"factor": 3}, "auto_shutdown": "any_significant",
        });
        assert_eq!(spec, json::from_value(expected).unwrap());
    }

    #[test]
    fn what_is_unknown_or_wrong_is_named() {
        let wrong = |change: fn(&mut Declared)| {
            let mut asked = nothing();
            change(&mut asked);
            field(declared(asked))
        };
        assert_eq!(wrong(|asked| asked.strategy = 99), "strategy");
        assert_eq!(wrong(|asked| asked.auto_shutdown = 99), "auto_shutdown");
        let before = || Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let mut asked = nothing();
        asked.period = before();
        assert_eq!(field(declared(asked)), "period");
        let mut asked = nothing();
        asked.backoff = Some(Backoff {
            min: before(),
            ..Backoff::default()
        });
        assert_eq!(field(declared(asked)), "backoff.min");
        assert_eq!(field(verb(0)), "action");
        assert_eq!(field(verb(99)), "action");
    }

    #[test]
    fn every_verb_has_its_number() {
        let known: Vec<_> = (1..=5).map(|number| verb(number).unwrap()).collect();
        assert_eq!(known, Verb::ALL);
    }
}
