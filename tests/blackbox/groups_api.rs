//! Supervision groups over REST and gRPC: they are declared, changed and removed, and the tree shows them.

use caxton::api::grpc::proto::agent_service_client::AgentServiceClient;
use caxton::api::grpc::proto::supervision_service_client::SupervisionServiceClient;
use caxton::api::grpc::proto::{
    ActRequest, AgentConfig, AgentStatus, CreateSupervisorRequest, DeleteSupervisorRequest, DeployAgentRequest,
    GetAgentRequest, GetMetricsRequest, GetSupervisorRequest, GetTreeRequest, ListEventsRequest,
    ListSupervisorsRequest, RestartAgentRequest, ResumeAgentRequest, StartAgentRequest, Supervision, SupervisionAction,
    SupervisionStrategy, Supervisor, SuspendAgentRequest, UpdateSupervisorRequest,
};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::client::{Answer, Client};
use crate::guests;
use crate::harness::TestNode;

const GROUPS: &str = "/api/v1/supervisors";

async fn put(node: &Client, name: &str, changes: &Value) -> Answer {
    let request = node.request(Method::PUT, &format!("{GROUPS}/{name}")).json(changes);
    Client::try_answer(request).await.expect("the server answers")
}

async fn create(node: &Client, declaration: &Value) -> Value {
    node.post(GROUPS, declaration).await.good()
}

async fn deploy_into(node: &Client, group: &str, name: &str, guest: &str) -> String {
    let config = json!({"name": name, "supervision": {"group": group}});
    node.deploy_as(config, guests::example(guest)).await
}

/// The node of the tree at this path.
async fn at(node: &Client, path: &str) -> Value {
    node.get(&format!("/api/v1/supervision/tree?path={path}")).await.good()
}

#[tokio::test]
async fn a_group_is_declared_and_its_agents_stand_below_it() {
    let node = TestNode::start().await;
    let declaration = json!({"name": "shop", "strategy": "rest_for_one", "intensity": 5, "period": "30s"});
    let answer = node.post(GROUPS, &declaration).await;
    assert_eq!(
        (answer.status, &answer.headers["location"]),
        (201, &"/api/v1/supervisors/shop".parse().unwrap())
    );
    let shop = answer.good();
    assert_eq!(
        (&shop["strategy"], &shop["intensity"]),
        (&json!("rest_for_one"), &json!(5))
    );
    assert_eq!((&shop["parent"], &shop["agents"]), (&json!(null), &json!([])));
    assert_eq!(
        (&shop["period"], &shop["auto_shutdown"]),
        (&json!("30s"), &json!("never"))
    );
    assert!(shop["backoff"]["factor"].is_f64() && shop["created_at"].is_string());

    let first = deploy_into(&node, "shop", "cart", "echo").await;
    deploy_into(&node, "shop", "till", "counter").await;
    create(&node, &json!({"name": "cellar", "parent": "shop"})).await;
    deploy_into(&node, "cellar", "wine", "echo").await;

    let shop = node.get(&format!("{GROUPS}/shop")).await.good();
    assert_eq!(
        (&shop["agents"], &shop["supervisors"]),
        (&json!(["cart", "till"]), &json!(["cellar"]))
    );
    let path = shop["path"].as_str().unwrap();
    assert!(path.ends_with("/agents/shop"), "{path}");
    let seen = at(&node, path).await;
    assert_eq!(
        (&seen["kind"], &seen["strategy"]),
        (&json!("supervisor"), &json!("rest_for_one"))
    );
    let children: Vec<_> = seen["children"]
        .as_array()
        .unwrap()
        .iter()
        .map(|child| &child["path"])
        .collect();
    let below = |name: &str| json!(format!("{path}/{name}"));
    assert_eq!(children, [&below("cart"), &below("till"), &below("cellar")]);
    assert_eq!(at(&node, &format!("{path}/cellar/wine")).await["state"], "running");

    let cart = node.agent(&first).await;
    assert_eq!(
        cart["supervision"],
        json!({"path": format!("{path}/cart"), "group": "shop"})
    );
    assert_eq!(cart["config"]["supervision"]["group"], "shop");
    assert_eq!(node.told("cart", &json!(1)).await, 1);

    let list = node.get(GROUPS).await.good();
    assert_eq!(
        (&list["total"], &list["supervisors"][1]["parent"]),
        (&json!(2), &json!("shop"))
    );
}

#[tokio::test]
async fn changing_a_running_group_restarts_nothing() {
    let node = TestNode::start().await;
    create(&node, &json!({"name": "shop", "backoff": {"min": "2s"}})).await;
    for name in ["cart", "till"] {
        deploy_into(&node, "shop", name, "echo").await;
    }
    let asked = json!({"strategy": "one_for_all", "intensity": 3, "backoff": {"max": "9s"}, "period": null});
    let changed = put(&node, "shop", &asked).await.good();
    assert_eq!(
        (&changed["strategy"], &changed["intensity"]),
        (&json!("one_for_all"), &json!(3))
    );
    assert_eq!(
        (
            &changed["backoff"]["min"],
            &changed["backoff"]["max"],
            &changed["period"]
        ),
        (&json!("2s"), &json!("9s"), &json!("1m")),
        "what is not given stays"
    );
    let path = changed["path"].as_str().unwrap();
    let seen = at(&node, path).await;
    assert_eq!(
        (&seen["strategy"], &seen["intensity"]["limit"]),
        (&json!("one_for_all"), &json!(3))
    );
    for child in seen["children"].as_array().unwrap() {
        assert_eq!(
            (&child["incarnation"], &child["restarts"]),
            (&json!(1), &json!({})),
            "{child:#}"
        );
    }
    assert_eq!(node.get(&format!("{GROUPS}/shop")).await.good(), changed);

    for frozen in [json!({"name": "store"}), json!({"parent": "mall"})] {
        put(&node, "shop", &frozen).await.refused(409, "CONFLICT");
    }
    for (wrong, field) in [
        (json!({"colour": "red"}), "colour"),
        (json!({"strategy": "all_for_one"}), "strategy"),
        (json!({"intensity": 10_001}), "intensity"),
        (json!({"backoff": {"factor": 0}}), "backoff"),
        (json!([]), "body"),
    ] {
        let error = put(&node, "shop", &wrong).await.refused(400, "INVALID_REQUEST");
        assert_eq!(error["details"]["field"], field, "{wrong}");
    }
    assert_eq!(node.get(&format!("{GROUPS}/shop")).await.good(), changed);
    put(&node, "store", &json!({}))
        .await
        .refused(404, "SUPERVISOR_NOT_FOUND");
}

#[tokio::test]
async fn a_group_with_members_is_not_removed() {
    let node = TestNode::start().await;
    create(&node, &json!({"name": "shop"})).await;
    create(&node, &json!({"name": "cellar", "parent": "shop"})).await;
    node.delete(&format!("{GROUPS}/shop")).await.refused(409, "CONFLICT");
    node.delete(&format!("{GROUPS}/cellar")).await.good();
    deploy_into(&node, "shop", "cart", "echo").await;
    node.delete(&format!("{GROUPS}/shop")).await.refused(409, "CONFLICT");
    node.delete("/api/v1/agents/cart").await.good();

    let removed = node.delete(&format!("{GROUPS}/shop")).await.good();
    assert_eq!(removed, json!({"name": "shop", "status": "removed"}));
    node.delete(&format!("{GROUPS}/shop"))
        .await
        .refused(404, "SUPERVISOR_NOT_FOUND");
    node.get(&format!("{GROUPS}/shop"))
        .await
        .refused(404, "SUPERVISOR_NOT_FOUND");
    assert_eq!(node.get(GROUPS).await.good(), json!({"supervisors": [], "total": 0}));
    create(&node, &json!({"name": "shop"})).await;
}

#[tokio::test]
async fn a_declaration_that_cannot_be_is_refused_by_name() {
    let node = TestNode::start().await;
    for (wrong, field) in [
        (json!({}), "name"),
        (json!({"name": "not a name"}), "name"),
        (json!({"name": "shop", "colour": "red"}), "colour"),
        (json!({"name": "shop", "parent": "mall"}), "parent"),
        (json!({"name": "shop", "parent": "shop"}), "parent"),
        (json!({"name": "shop", "period": 0}), "period"),
        (json!({"name": "shop", "auto_shutdown": "sometimes"}), "auto_shutdown"),
    ] {
        let error = node.post(GROUPS, &wrong).await.refused(400, "INVALID_REQUEST");
        assert_eq!(error["details"]["field"], field, "{wrong}");
    }
    create(&node, &json!({"name": "shop"})).await;
    node.post(GROUPS, &json!({"name": "shop"}))
        .await
        .refused(409, "CONFLICT");
    node.deploy("cart", "echo").await;
    node.post(GROUPS, &json!({"name": "cart"}))
        .await
        .refused(409, "AGENT_ALREADY_EXISTS");
    let config = json!({"name": "till", "supervision": {"group": "mall"}});
    let error = node
        .try_deploy(&config, guests::example("echo"))
        .await
        .refused(400, "INVALID_REQUEST");
    assert_eq!(error["details"]["field"], "config.supervision.group");
    assert_eq!(node.call(Method::PATCH, GROUPS).await.status, 405);
}

#[tokio::test]
async fn groups_and_their_agents_come_back_after_a_kill() {
    let mut node = TestNode::start().await;
    create(
        &node,
        &json!({"name": "shop", "strategy": "one_for_all", "intensity": 4}),
    )
    .await;
    deploy_into(&node, "shop", "cart", "counter").await;
    assert_eq!(node.told("cart", &json!(null)).await, 1);
    let before = node.get(&format!("{GROUPS}/shop")).await.good();
    node.kill_nine();
    node.restart().await;
    assert_eq!(node.get(&format!("{GROUPS}/shop")).await.good(), before);
    let path = before["path"].as_str().unwrap();
    assert_eq!(at(&node, &format!("{path}/cart")).await["state"], "running");
    assert_eq!(node.told("cart", &json!(null)).await, 2);
}

async fn supervision(node: &TestNode) -> SupervisionServiceClient<Channel> {
    SupervisionServiceClient::connect(node.grpc()).await.unwrap()
}

#[track_caller]
fn refused(status: &Status, code: Code, reason: &str) {
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((status.code(), info.reason.as_str()), (code, reason), "{status:?}");
}

/// Deploys `cart` into `shop` over gRPC, and returns its id.
async fn cart_joins(node: &TestNode, shop: &Supervisor) -> String {
    let mut agents = AgentServiceClient::connect(node.grpc()).await.unwrap();
    let config = AgentConfig {
        name: "cart".to_owned(),
        supervision: Some(Supervision {
            group: "shop".to_owned(),
            shutdown: "brutal_kill".to_owned(),
            ..Supervision::default()
        }),
        ..AgentConfig::default()
    };
    let module = guests::example("echo").into();
    let deploy = DeployAgentRequest {
        wasm_module: module,
        config: Some(config),
    };
    agents.deploy_agent(deploy).await.unwrap();
    let get = GetAgentRequest {
        agent_id: "cart".to_owned(),
    };
    let cart = agents.get_agent(get).await.unwrap().into_inner();
    assert_eq!(
        (cart.path.as_str(), cart.group.as_str()),
        (format!("{}/cart", shop.path).as_str(), "shop")
    );
    assert_eq!(
        node.agent("cart").await["config"]["supervision"]["shutdown"],
        "brutal_kill"
    );
    cart.agent_id
}

#[tokio::test]
async fn a_group_lives_its_life_over_grpc() {
    let node = TestNode::start().await;
    let mut client = supervision(&node).await;
    let declaration = CreateSupervisorRequest {
        name: "shop".to_owned(),
        strategy: SupervisionStrategy::OneForAll.into(),
        period: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        ..CreateSupervisorRequest::default()
    };
    let shop = client
        .create_supervisor(declaration.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((shop.strategy(), shop.intensity), (SupervisionStrategy::OneForAll, 10));
    refused(
        &client.create_supervisor(declaration).await.unwrap_err(),
        Code::FailedPrecondition,
        "CONFLICT",
    );

    let cart = cart_joins(&node, &shop).await;

    let change = UpdateSupervisorRequest {
        name: "shop".to_owned(),
        intensity: Some(2),
        ..UpdateSupervisorRequest::default()
    };
    let changed = client.update_supervisor(change.clone()).await.unwrap().into_inner();
    assert_eq!(
        (changed.strategy(), changed.intensity),
        (SupervisionStrategy::OneForAll, 2)
    );
    let moved = UpdateSupervisorRequest {
        parent: "mall".to_owned(),
        ..change
    };
    let moved = client.update_supervisor(moved).await.unwrap_err();
    refused(&moved, Code::FailedPrecondition, "CONFLICT");

    let get = GetSupervisorRequest {
        name: "shop".to_owned(),
    };
    assert_eq!(client.get_supervisor(get.clone()).await.unwrap().into_inner(), changed);
    let list = client
        .list_supervisors(ListSupervisorsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!((list.supervisors, list.total), (vec![changed], 1));

    let tree = client
        .get_tree(GetTreeRequest {
            path: shop.path.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((tree.strategy.as_str(), tree.children.len()), ("one_for_all", 1));
    assert_eq!(
        (tree.children[0].name.as_str(), tree.children[0].agent_id.as_str()),
        ("cart", cart.as_str())
    );
    let whole = client.get_tree(GetTreeRequest::default()).await.unwrap().into_inner();
    assert_eq!(whole.path, "node");

    let delete = DeleteSupervisorRequest {
        name: "shop".to_owned(),
    };
    let full = client.delete_supervisor(delete.clone()).await.unwrap_err();
    refused(&full, Code::FailedPrecondition, "CONFLICT");
    node.delete("/api/v1/agents/cart").await.good();
    client.delete_supervisor(delete.clone()).await.unwrap();
    let gone = client.delete_supervisor(delete).await.unwrap_err();
    refused(&gone, Code::NotFound, "SUPERVISOR_NOT_FOUND");
    refused(
        &client.get_supervisor(get).await.unwrap_err(),
        Code::NotFound,
        "SUPERVISOR_NOT_FOUND",
    );
}

#[tokio::test]
async fn the_verbs_the_events_and_the_figures_are_there_over_grpc() {
    let node = TestNode::start().await;
    node.deploy("crasher", "crash_once").await;
    node.told("crasher", &json!("first")).await;
    let mut agents = AgentServiceClient::connect(node.grpc()).await.unwrap();
    let agent_id = || "crasher".to_owned();
    let suspended = agents
        .suspend_agent(SuspendAgentRequest { agent_id: agent_id() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(suspended.status(), AgentStatus::Suspended);
    let resumed = agents
        .resume_agent(ResumeAgentRequest { agent_id: agent_id() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(resumed.status(), AgentStatus::Running);
    agents
        .restart_agent(RestartAgentRequest { agent_id: agent_id() })
        .await
        .unwrap();
    let agent = agents
        .get_agent(GetAgentRequest { agent_id: agent_id() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (agent.metrics.unwrap().incarnation, agent.last_exits[0].reason.as_str()),
        (3, "trap")
    );

    let mut client = supervision(&node).await;
    let act = |path: &str, action: SupervisionAction| ActRequest {
        path: path.to_owned(),
        action: action.into(),
    };
    client
        .act(act(&agent.path, SupervisionAction::Terminate))
        .await
        .unwrap();
    node.until_status("crasher", "stopped").await;
    let started = agents
        .start_agent(StartAgentRequest { agent_id: agent_id() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(started.status(), AgentStatus::Running);
    let nothing = client
        .act(act("crasher", SupervisionAction::Unspecified))
        .await
        .unwrap_err();
    refused(&nothing, Code::InvalidArgument, "INVALID_REQUEST");
    let nobody = client.act(act("nobody", SupervisionAction::Reset)).await.unwrap_err();
    refused(&nobody, Code::NotFound, "SUPERVISOR_NOT_FOUND");

    let ask = ListEventsRequest {
        path: agent.path.clone(),
        ..ListEventsRequest::default()
    };
    let page = client.list_events(ask).await.unwrap().into_inner();
    let kinds: Vec<_> = page.events.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(kinds[0], "supervisor.child_started");
    let restarted = page
        .events
        .iter()
        .find(|event| event.r#type == "supervisor.restarted")
        .unwrap();
    assert_eq!((restarted.reason.as_str(), restarted.incarnation), ("trap", Some(2)));
    assert!(
        restarted.recovery.is_some() && restarted.agent_id == agent.agent_id,
        "{restarted:?}"
    );
    assert!(page.next_seq >= page.events.last().unwrap().seq);

    let figures = client.get_metrics(GetMetricsRequest {}).await.unwrap().into_inner();
    assert!(figures.recovery.unwrap().count >= 1);
}
