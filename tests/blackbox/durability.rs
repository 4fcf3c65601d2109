//! What an acknowledgement promises, by the durability of the node and of the message.

use caxton::api::grpc::proto::message_service_client::MessageServiceClient;
use caxton::api::grpc::proto::{DeliveryOptions, FipaMessage, SendMessageRequest};
use serde_json::{Value, json};

use crate::client::{Client, request};
use crate::harness::{TestNode, until};

/// Waits until the history shows a message that was acknowledged before it was durable, and until it is no longer queued.
async fn settled(node: &Client, id: &str) -> Value {
    until("the history shows the message", async || {
        let shown = node.get(&format!("/api/v1/messages/{id}")).await;
        (shown.status == 200).then_some(())
    })
    .await;
    node.until_settled(id).await
}

#[tokio::test]
async fn a_node_in_memory_survives_crashes_of_agents_and_leaves_nothing_behind() {
    let mut node = TestNode::start_with("durability = \"memory\"").await;
    node.deploy("counter", "counter").await;
    node.deploy("crasher", "crash_once").await;
    assert_eq!(node.told("counter", &json!(null)).await, 1);
    node.told("crasher", &json!("first")).await;
    assert_eq!(node.agent("crasher").await["metrics"]["incarnation"], 2);
    node.post("/api/v1/agents/counter/restart", &json!({})).await.good();
    assert_eq!(node.told("counter", &json!(null)).await, 2, "its state outlives it");
    assert_eq!(node.history("agent=counter").await.len(), 4);
    assert!(!node.data_dir().exists(), "the data folder is not touched");

    assert!(node.terminate().await.success());
    node.restart().await;
    assert_eq!(node.agent_ids().await, [""; 0]);
    assert_eq!(node.history("").await, [json!(null); 0]);
}

#[tokio::test]
async fn a_message_that_waits_for_no_disk_is_acknowledged_handled_and_in_the_history() {
    let node = TestNode::start().await;
    node.deploy("counter", "counter").await;
    let mut message = request("counter", &json!(null));
    message["durability"] = json!("memory");
    let sent = node.post("/api/v1/messages", &message).await.good();
    assert_eq!(sent["status"], "delivered");
    let id = sent["message_id"].as_str().unwrap();
    assert_eq!(settled(&node, id).await["status"], "processed");

    message["durability"] = json!("perhaps");
    let refused = node
        .post("/api/v1/messages", &message)
        .await
        .refused(400, "INVALID_REQUEST");
    assert_eq!(refused["details"]["field"], "durability", "{refused:#}");
}

#[tokio::test]
async fn a_message_over_grpc_can_be_as_quick() {
    let node = TestNode::start().await;
    node.deploy("counter", "counter").await;
    let mut client = MessageServiceClient::connect(node.grpc()).await.unwrap();
    let asked = |durability: &str| SendMessageRequest {
        message: Some(FipaMessage {
            performative: "request".to_owned(),
            receiver: vec!["counter".to_owned()],
            ..FipaMessage::default()
        }),
        options: Some(DeliveryOptions {
            durability: durability.to_owned(),
            ..DeliveryOptions::default()
        }),
    };
    let sent = client.send_message(asked("memory")).await.unwrap().into_inner();
    assert_eq!(settled(&node, &sent.message_id).await["status"], "processed");
    let refused = client.send_message(asked("perhaps")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("options.durability"), "{refused:?}");
}
