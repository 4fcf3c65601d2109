//! What a request shows of its sender must not contradict itself, on any front.

use caxton::api::grpc::proto::ListAgentsRequest;
use caxton::api::grpc::proto::agent_service_client::AgentServiceClient;
use reqwest::Method;
use serde_json::json;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::client::{Client, request};
use crate::harness::TestNode;

const CONTRADICTIONS: &[&[(&str, &str)]] = &[
    &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
    &[("x-caxton-token", "a"), ("x-caxton-token", "b")],
    &[("x-caxton-token", "a"), ("authorization", "Bearer b")],
    &[("x-caxton-token", "a"), ("authorization", "Basic a")],
    &[("idempotency-key", "a"), ("idempotency-key", "b")],
];
const AGREEMENTS: &[&[(&str, &str)]] = &[
    &[("x-caxton-token", "a"), ("authorization", "Bearer a")],
    &[("authorization", "Bearer a"), ("authorization", "bearer a")],
];

#[tokio::test]
async fn rest_refuses_what_contradicts_itself() {
    let node = TestNode::start().await;
    node.deploy("echo", "echo").await;
    let send = async |headers: &[(&str, &str)]| {
        let asked = node
            .request(Method::POST, "/api/v1/messages")
            .json(&request("echo", &json!(1)));
        let asked = headers
            .iter()
            .fold(asked, |asked, (name, value)| asked.header(*name, *value));
        Client::try_answer(asked).await.unwrap()
    };
    for headers in CONTRADICTIONS {
        let error = send(headers).await.refused(400, "INVALID_REQUEST");
        assert!(error["details"]["field"].is_string(), "{headers:?}: {error:#}");
    }
    for headers in AGREEMENTS {
        send(headers).await.good();
    }
}

#[tokio::test]
async fn grpc_refuses_the_same() {
    let node = TestNode::start().await;
    let mut client = AgentServiceClient::connect(node.grpc()).await.unwrap();
    let asked = |metadata: &'static [(&str, &str)]| {
        let mut asked = Request::new(ListAgentsRequest::default());
        for (name, value) in metadata {
            asked.metadata_mut().append(*name, value.parse().unwrap());
        }
        asked
    };
    for metadata in CONTRADICTIONS {
        let status = client.list_agents(asked(metadata)).await.unwrap_err();
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (status.code(), info.reason.as_str()),
            (Code::InvalidArgument, "INVALID_REQUEST"),
            "{metadata:?}"
        );
    }
    for metadata in AGREEMENTS {
        client.list_agents(asked(metadata)).await.unwrap();
    }
}
