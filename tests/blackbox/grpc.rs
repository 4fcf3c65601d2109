//! gRPC, `caxton.v1`: the same use cases as REST, with the same errors as gRPC statuses.

use std::collections::BTreeMap;

use caxton::api::grpc::proto::agent_service_client::AgentServiceClient;
use caxton::api::grpc::proto::message_service_client::MessageServiceClient;
use caxton::api::grpc::proto::{
    AgentConfig, AgentStatus, DeployAgentRequest, DeployAgentResponse, FipaMessage, GetAgentRequest, ListAgentsRequest,
    MessageStatus, Permissions, RemoveAgentRequest, ResourceLimits, SendMessageRequest, StopAgentRequest,
};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;

use crate::guests;
use crate::harness::TestNode;

async fn channel(node: &TestNode) -> Channel {
    Channel::from_shared(node.grpc()).unwrap().connect().await.unwrap()
}

async fn agents(node: &TestNode) -> AgentServiceClient<Channel> {
    AgentServiceClient::new(channel(node).await)
}

async fn messages(node: &TestNode) -> MessageServiceClient<Channel> {
    MessageServiceClient::new(channel(node).await)
}

async fn deploy(node: &TestNode, name: &str, module: Vec<u8>) -> Result<DeployAgentResponse, Status> {
    let config = AgentConfig {
        name: name.to_owned(),
        resources: Some(ResourceLimits {
            memory: "50MB".to_owned(),
            cpu: "100000".to_owned(),
            ..ResourceLimits::default()
        }),
        permissions: Some(Permissions {
            message: vec!["*".to_owned()],
            state: true,
            random: false,
            timers: false,
            environment: false,
            directory: false,
        }),
        ..AgentConfig::default()
    };
    let request = DeployAgentRequest {
        wasm_module: module.into(),
        config: Some(config),
    };
    Ok(agents(node).await.deploy_agent(request).await?.into_inner())
}

fn request(receiver: &str) -> SendMessageRequest {
    let data = Value {
        kind: Some(Kind::StringValue("value".to_owned())),
    };
    let message = FipaMessage {
        performative: "request".to_owned(),
        sender: "client_001".to_owned(),
        receiver: vec![receiver.to_owned()],
        content: Some(Struct {
            fields: BTreeMap::from([("key".to_owned(), data)]),
        }),
        conversation_id: "conv_789".to_owned(),
        reply_with: "msg_001".to_owned(),
        ..FipaMessage::default()
    };
    SendMessageRequest {
        message: Some(message),
        options: None,
    }
}

#[track_caller]
fn refused(status: &Status, code: Code, reason: &str) {
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(
        (status.code(), info.reason.as_str(), info.domain.as_str()),
        (code, reason, "caxton"),
        "{status:?}"
    );
    assert!(status.message().len() > 10, "no sentence: {status:?}");
}

#[tokio::test]
async fn an_agent_lives_its_life_over_grpc() {
    let node = TestNode::start().await;
    let deployed = deploy(&node, "my-agent", guests::example("echo")).await.unwrap();
    assert_eq!(deployed.status(), AgentStatus::Running);
    assert!(deployed.deployed_at.is_some() && deployed.digest.starts_with("sha256:"));
    let mut client = agents(&node).await;

    let list = ListAgentsRequest {
        status_filter: AgentStatus::Running.into(),
        limit: 10,
        offset: 0,
    };
    let page = client.list_agents(list).await.unwrap().into_inner();
    assert_eq!((page.agents.len(), page.total, page.next_offset), (1, 1, None));
    assert_eq!(page.agents[0].agent_id, deployed.agent_id);

    let get = |key: &str| GetAgentRequest {
        agent_id: key.to_owned(),
    };
    let agent = client.get_agent(get("my-agent")).await.unwrap().into_inner();
    assert_eq!(
        (agent.agent_id.as_str(), agent.version.as_str()),
        (deployed.agent_id.as_str(), "1.0.0")
    );
    assert_eq!(agent.limits.unwrap().memory, "50MB");
    assert_eq!(agent.metrics.unwrap().incarnation, 1);
    assert_eq!(
        node.agent("my-agent").await["digest"],
        agent.digest,
        "REST tells the same"
    );

    let stop = StopAgentRequest {
        agent_id: deployed.agent_id.clone(),
        grace_period: None,
        drain_messages: Some(true),
    };
    let stopping = client.stop_agent(stop).await.unwrap().into_inner();
    assert!([AgentStatus::Draining, AgentStatus::Stopped].contains(&stopping.status()));
    node.until_status("my-agent", "stopped").await;

    let remove = RemoveAgentRequest {
        agent_id: deployed.agent_id.clone(),
        force: false,
    };
    let removed = client.remove_agent(remove.clone()).await.unwrap().into_inner();
    assert_eq!(
        (removed.status(), removed.agent_id),
        (AgentStatus::Removed, deployed.agent_id.clone())
    );
    refused(
        &client.get_agent(get(&deployed.agent_id)).await.unwrap_err(),
        Code::NotFound,
        "AGENT_NOT_FOUND",
    );
    refused(
        &client.remove_agent(remove).await.unwrap_err(),
        Code::NotFound,
        "AGENT_NOT_FOUND",
    );
}

#[tokio::test]
async fn a_message_goes_and_its_answer_comes_over_grpc() {
    let node = TestNode::start().await;
    let agent = deploy(&node, "my-agent", guests::example("echo")).await.unwrap();
    let mut client = messages(&node).await;
    let sent = client
        .send_message(request(&agent.agent_id))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (sent.status(), sent.conversation_id.as_str()),
        (MessageStatus::Delivered, "conv_789")
    );
    assert_eq!(
        node.until_settled(&sent.message_id).await["content"]["key"],
        "value",
        "REST tells the same"
    );

    let asked = request("my-agent");
    let answer = client.send_message_and_wait(asked.clone()).await.unwrap().into_inner();
    let reply = answer.reply.unwrap();
    assert_eq!(
        (reply.performative.as_str(), reply.sender.as_str()),
        ("inform", agent.agent_id.as_str())
    );
    assert_eq!(
        (reply.in_reply_to.as_str(), reply.conversation_id.as_str()),
        ("msg_001", "conv_789")
    );
    assert_eq!(reply.content, asked.message.unwrap().content);
}

#[tokio::test]
async fn a_wait_without_an_answer_exceeds_its_deadline() {
    let node = TestNode::start().await;
    deploy(&node, "my-agent", guests::example("echo")).await.unwrap();
    let mut asked = request("my-agent");
    let message = asked.message.as_mut().unwrap();
    message.performative = "inform".to_owned();
    asked.options = Some(caxton::api::grpc::proto::DeliveryOptions {
        timeout: Some(prost_types::Duration {
            seconds: 0,
            nanos: 200_000_000,
        }),
        first_answer: false,
        ..caxton::api::grpc::proto::DeliveryOptions::default()
    });
    let late = messages(&node).await.send_message_and_wait(asked).await.unwrap_err();
    refused(&late, Code::DeadlineExceeded, "TIMEOUT");
}

#[tokio::test]
async fn errors_have_their_status_and_their_published_code() {
    let node = TestNode::start().await;
    let garbage = deploy(&node, "garbage", b"garbage".to_vec()).await.unwrap_err();
    refused(&garbage, Code::InvalidArgument, "INVALID_WASM");
    let empty = deploy(&node, "empty", Vec::new()).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);
    let nameless = deploy(&node, "", guests::example("echo")).await.unwrap_err();
    refused(&nameless, Code::InvalidArgument, "INVALID_REQUEST");
    let trap = deploy(&node, "trap", guests::example("init_trap")).await.unwrap_err();
    refused(&trap, Code::Aborted, "DEPLOYMENT_FAILED");
    deploy(&node, "echo", guests::example("echo")).await.unwrap();
    let clash = deploy(&node, "echo", guests::example("echo")).await.unwrap_err();
    refused(&clash, Code::AlreadyExists, "AGENT_ALREADY_EXISTS");

    let mut client = messages(&node).await;
    let unknown = client.send_message(request("nobody")).await.unwrap_err();
    refused(&unknown, Code::NotFound, "AGENT_NOT_FOUND");
    let with = |change: fn(&mut FipaMessage)| {
        let mut request = request("echo");
        change(request.message.as_mut().unwrap());
        request
    };
    let shout = client
        .send_message(with(|message| message.performative = "shout".to_owned()))
        .await
        .unwrap_err();
    refused(&shout, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(
        shout.get_details_bad_request().unwrap().field_violations[0].field,
        "message.performative"
    );
    let stolen = client
        .send_message(with(|message| message.sender = "echo".to_owned()))
        .await
        .unwrap_err();
    refused(&stolen, Code::PermissionDenied, "FORBIDDEN");
    let nothing = client.send_message(SendMessageRequest::default()).await.unwrap_err();
    refused(&nothing, Code::InvalidArgument, "INVALID_REQUEST");
}

#[tokio::test]
async fn a_module_of_more_than_four_mebibytes_is_taken() {
    let node = TestNode::start().await;
    let mut module = guests::example("echo");
    // A custom section: its id, its size in LEB128, a name of one byte, and zeros as content.
    let size: u32 = 6 << 20;
    let leb = [0, 7, 14, 21].map(|shift| u8::try_from((size >> shift) & 0x7f).unwrap());
    module.extend([0, leb[0] | 0x80, leb[1] | 0x80, leb[2] | 0x80, leb[3], 1, b'x']);
    module.resize(module.len() + size as usize - 2, 0);
    deploy(&node, "large", module).await.unwrap();
    assert_eq!(node.told("large", &serde_json::json!(1)).await, 1);
}

#[tokio::test]
async fn health_is_serving() {
    let node = TestNode::start().await;
    for service in [
        "",
        "caxton.v1.AgentService",
        "caxton.v1.MessageService",
        "caxton.v1.SupervisionService",
    ] {
        let check = HealthCheckRequest {
            service: service.to_owned(),
        };
        let health = HealthClient::new(channel(&node).await)
            .check(check)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(health.status(), ServingStatus::Serving, "{service}");
    }
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let node = TestNode::start().await;
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel(&node).await);
    let mut answers = client
        .server_reflection_info(tokio_stream::once(list))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else {
        panic!("{answer:?}");
    };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    for name in [
        "caxton.v1.AgentService",
        "caxton.v1.MessageService",
        "caxton.v1.SupervisionService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.iter().any(|known| known == name), "{name} is not among {names:?}");
    }
}
