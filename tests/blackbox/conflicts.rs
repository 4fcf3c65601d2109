//! What a conflict is about, for programs: each refusal of the kind `CONFLICT` has the names and keys in its details.

use caxton::api::grpc::proto::supervision_service_client::SupervisionServiceClient;
use caxton::api::grpc::proto::{CreateSupervisorRequest, DeleteSupervisorRequest, UpdateSupervisorRequest};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::client::{Answer, Client, request};
use crate::guests;
use crate::harness::{TestNode, until};

/// The details of a conflict.
#[track_caller]
fn conflict(answer: Answer) -> Value {
    answer.refused(409, "CONFLICT")["details"].clone()
}

async fn sent(node: &Client, method: Method, path: &str, body: &Value) -> Answer {
    let request = node.request(method, path).json(body);
    Client::try_answer(request).await.expect("the server answers")
}

/// A group `shop` with the member `cart`.
async fn shop(node: &TestNode) {
    node.post("/api/v1/supervisors", &json!({"name": "shop"})).await.good();
    let config = json!({"name": "cart", "supervision": {"group": "shop"}});
    node.deploy_as(config, guests::example("echo")).await;
}

#[tokio::test]
async fn a_conflict_of_a_group_names_the_group_and_what_is_in_the_way() {
    let node = TestNode::start().await;
    shop(&node).await;
    let create = node.post("/api/v1/supervisors", &json!({"name": "shop"})).await;
    assert_eq!(conflict(create), json!({"name": "shop"}));
    let deploy = node.try_deploy(&json!({"name": "shop"}), guests::example("echo")).await;
    assert_eq!(conflict(deploy), json!({"name": "shop"}));
    let remove = node.delete("/api/v1/supervisors/shop").await;
    assert_eq!(conflict(remove), json!({"name": "shop", "member": "cart"}));
    let rename = sent(
        &node,
        Method::PUT,
        "/api/v1/supervisors/shop",
        &json!({"name": "store"}),
    )
    .await;
    assert_eq!(conflict(rename), json!({"name": "shop"}));
    let moved = sent(
        &node,
        Method::PUT,
        "/api/v1/supervisors/shop",
        &json!({"parent": "mall"}),
    )
    .await;
    assert_eq!(conflict(moved), json!({"name": "shop", "parent": "mall"}));
}

#[tokio::test]
async fn a_conflict_of_a_wait_names_the_answer_that_another_call_waits_for() {
    let node = TestNode::start().await;
    node.deploy("counter", "counter").await;
    node.post("/api/v1/agents/counter/suspend", &json!({})).await.good();
    let mut asked = request("counter", &json!(null));
    asked["conversation_id"] = "order-1".into();
    asked["reply_with"] = "q1".into();
    // Of two calls at once the second one is refused, and the first waits.
    let mut waits = JoinSet::new();
    for _ in 0..2 {
        let (client, asked) = (node.client(), asked.clone());
        waits.spawn(async move { client.post("/api/v1/messages/wait", &asked).await });
    }
    let refused = waits.join_next().await.unwrap().unwrap();
    assert_eq!(
        conflict(refused),
        json!({"conversation_id": "order-1", "reply_with": "q1"})
    );
    node.post("/api/v1/agents/counter/resume", &json!({})).await.good();
    waits.join_next().await.unwrap().unwrap().good();
}

#[tokio::test]
async fn a_conflict_of_a_key_names_the_key() {
    let node = TestNode::start().await;
    node.deploy_as(json!({"name": "slow"}), guests::slow_counter(2_000))
        .await;
    node.send("slow", &json!(null)).await;
    let restart = |client: Client| async move {
        let request = client.request(Method::POST, "/api/v1/agents/slow/restart");
        let request = request.header("Idempotency-Key", "again-1").json(&json!({}));
        Client::try_answer(request).await.expect("the server answers")
    };
    let first = tokio::spawn(restart(node.client()));
    until("the first restart waits for the turn", async || {
        let seen = node.in_tree("slow").await?;
        (seen["state"] == "stopping").then_some(())
    })
    .await;
    let refused = restart(node.client()).await;
    assert_eq!(conflict(refused), json!({"field": "Idempotency-Key", "key": "again-1"}));
    first.await.unwrap().good();
    restart(node.client()).await.good();
}

#[tokio::test]
async fn a_conflict_of_a_backup_says_why_there_is_none() {
    let node = TestNode::start_with("durability = \"memory\"").await;
    let to = tempfile::tempdir().unwrap();
    let asked = json!({"to": to.path().join("backup")});
    let backup = node.post("/api/v1/system/backup", &asked).await;
    assert_eq!(conflict(backup), json!({"durability": "memory"}));
}

/// The details of a conflict over gRPC.
#[track_caller]
fn details(status: &Status) -> Vec<(String, String)> {
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(
        (status.code(), info.reason.as_str()),
        (Code::FailedPrecondition, "CONFLICT")
    );
    let mut details: Vec<_> = info.metadata.into_iter().collect();
    details.sort();
    details
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(pair).collect()
}

#[tokio::test]
async fn a_conflict_has_the_same_details_over_grpc() {
    let node = TestNode::start().await;
    shop(&node).await;
    let mut client = SupervisionServiceClient::connect(node.grpc()).await.unwrap();
    let name = || "shop".to_owned();
    let create = CreateSupervisorRequest {
        name: name(),
        ..CreateSupervisorRequest::default()
    };
    let created = client.create_supervisor(create).await.unwrap_err();
    assert_eq!(details(&created), pairs(&[("name", "shop")]));
    let deleted = client
        .delete_supervisor(DeleteSupervisorRequest { name: name() })
        .await
        .unwrap_err();
    assert_eq!(details(&deleted), pairs(&[("member", "cart"), ("name", "shop")]));
    let update = UpdateSupervisorRequest {
        name: name(),
        parent: "mall".to_owned(),
        ..UpdateSupervisorRequest::default()
    };
    let updated = client.update_supervisor(update).await.unwrap_err();
    assert_eq!(details(&updated), pairs(&[("name", "shop"), ("parent", "mall")]));
}
