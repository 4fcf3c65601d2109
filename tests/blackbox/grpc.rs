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

/// Checks the services that one version of the reflection protocol lists. The versions differ in nothing but their package.
macro_rules! lists_the_services {
    ($name:ident, $version:ident) => {
        #[tokio::test]
        async fn $name() {
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

            let node = TestNode::start().await;
            let ask = |wanted| ServerReflectionRequest {
                host: String::new(),
                message_request: Some(wanted),
            };
            let mut client = ServerReflectionClient::new(channel(&node).await);
            let list = tokio_stream::once(ask(MessageRequest::ListServices(String::new())));
            let mut answers = client.server_reflection_info(list).await.unwrap().into_inner();
            let answer = answers
                .message()
                .await
                .unwrap()
                .unwrap()
                .message_response
                .unwrap();
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
                assert!(
                    names.iter().any(|known| known == name),
                    "{name} is not among {names:?}"
                );
            }
            let unknown = MessageRequest::FileContainingSymbol("caxton.v1.Nothing".to_owned());
            let unknown = tokio_stream::once(ask(unknown));
            let mut answers = client.server_reflection_info(unknown).await.unwrap().into_inner();
            refused(&answers.message().await.unwrap_err(), Code::NotFound, "NOT_FOUND");
        }
    };
}

lists_the_services!(reflection_lists_the_services, v1);
lists_the_services!(the_reflection_of_older_clients_lists_the_services, v1alpha);

/// A request whose content is this JSON, in bytes.
fn written(receiver: &str, media: &str, json: impl Into<Vec<u8>>) -> SendMessageRequest {
    let mut request = request(receiver);
    let message = request.message.as_mut().unwrap();
    (message.content, message.content_type) = (None, media.to_owned());
    message.content_bytes = json.into().into();
    request
}

#[tokio::test]
async fn json_in_bytes_is_json_in_every_spelling_of_its_media_type() {
    let node = TestNode::start().await;
    deploy(&node, "echo", guests::example("echo")).await.unwrap();
    let mut client = messages(&node).await;
    let json = r#"{"wei": 123456789012345678901234567890, "price":1.10,"b":1,"a":2,"b":3}"#;
    for media in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
    ] {
        let mut asked = written("echo", media, json);
        let extensions = [("x_b".to_owned(), json.to_owned())];
        asked.message.as_mut().unwrap().extensions = extensions.into();
        let reply = client
            .send_message_and_wait(asked)
            .await
            .unwrap()
            .into_inner()
            .reply
            .unwrap();
        assert_eq!(
            (reply.content_type.as_str(), reply.content_bytes.as_ref()),
            ("application/json", json.as_bytes()),
            "{media}"
        );
        assert!(reply.content.is_some(), "what fits into a Struct is there too");
    }
    let sent = node
        .request(reqwest::Method::GET, "/api/v1/messages")
        .send()
        .await
        .unwrap();
    let history = sent.text().await.unwrap();
    assert_eq!(history.matches(&format!(r#""x_b":{json}"#)).count(), 3, "{history}");
    for (bytes, problem) in [("{", "not JSON"), (r#""\ud800""#, "surrogate"), ("", "empty")] {
        let refused_json = client
            .send_message(written("echo", "application/json", bytes))
            .await
            .unwrap_err();
        refused(&refused_json, Code::InvalidArgument, "INVALID_REQUEST");
        assert!(refused_json.message().contains(problem), "{refused_json}");
    }
}

#[tokio::test]
async fn content_too_deep_for_readers_of_protobuf_comes_in_bytes_alone() {
    let node = TestNode::start().await;
    deploy(&node, "echo", guests::example("echo")).await.unwrap();
    let mut client = messages(&node).await;
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    for (depth, deep) in [(32, false), (33, true), (34, true), (100, true)] {
        let asked = written("echo", "application/json", nested(depth));
        // This client stops at 100 levels of messages, as most do.
        let reply = client
            .send_message_and_wait(asked)
            .await
            .unwrap()
            .into_inner()
            .reply
            .unwrap();
        assert_eq!(
            (reply.content.is_none(), reply.content_too_deep),
            (deep, deep),
            "{depth}"
        );
        if deep {
            assert_eq!(reply.content_bytes, nested(depth), "{depth}");
        }
    }
    let too_deep = client
        .send_message(written("echo", "application/json", nested(101)))
        .await
        .unwrap_err();
    refused(&too_deep, Code::InvalidArgument, "INVALID_REQUEST");
    assert!(too_deep.message().contains("100"), "{too_deep}");
}

#[tokio::test]
async fn the_range_of_times_is_that_of_rest() {
    const LAST: i64 = 253_402_300_799;
    let node = TestNode::start().await;
    deploy(&node, "echo", guests::example("echo")).await.unwrap();
    let mut client = messages(&node).await;
    let by = |seconds: i64| {
        let mut request = request("echo");
        request.message.as_mut().unwrap().reply_by = Some(prost_types::Timestamp { seconds, nanos: 0 });
        request
    };
    let sent = client.send_message(by(LAST)).await.unwrap().into_inner();
    assert_eq!(
        node.until_settled(&sent.message_id).await["reply_by"],
        "9999-12-31T23:59:59.000000Z"
    );
    for wrong in [LAST + 1, i64::MAX, i64::MIN] {
        let status = client.send_message(by(wrong)).await.unwrap_err();
        refused(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert!(status.message().contains("message.reply_by"), "{status}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_exhausts_a_resource_whoever_found_it() {
    let node = TestNode::start_with("[limits]\nmodule = \"1MiB\"\n").await;
    deploy(&node, "echo", guests::example("echo")).await.unwrap();
    let mut client = messages(&node).await;
    for bytes in [(4 << 20) + 1, 7 << 20] {
        let status = client
            .send_message(written("echo", "image/png", vec![0; bytes]))
            .await
            .unwrap_err();
        refused(&status, Code::ResourceExhausted, "PAYLOAD_TOO_LARGE");
    }
    for bytes in [(1 << 20) + 1, 3 << 20] {
        let status = deploy(&node, "large", vec![0; bytes]).await.unwrap_err();
        refused(&status, Code::ResourceExhausted, "PAYLOAD_TOO_LARGE");
        let info = status.get_details_error_info().unwrap();
        assert!(
            info.metadata["limit_bytes"]
                .parse::<u64>()
                .is_ok_and(|limit| limit >= 1 << 20)
        );
    }
    let mut large = tonic::Request::new(request("echo"));
    let value = "x".repeat(20_000);
    large.metadata_mut().insert("x-large", value.parse().unwrap());
    let status = client.send_message(large).await.unwrap_err();
    refused(&status, Code::ResourceExhausted, "PAYLOAD_TOO_LARGE");
    client
        .send_message(request("echo"))
        .await
        .expect("the connection goes on");
}

#[tokio::test]
async fn errors_that_the_protocol_finds_have_the_envelope_too() {
    let node = TestNode::start().await;
    let mut client = tonic::client::Grpc::new(channel(&node).await);
    client.ready().await.unwrap();
    let codec = || tonic_prost::ProstCodec::<Struct, Struct>::default();
    for path in [
        "/caxton.v1.AgentService/Dance",
        "/caxton.v1.Nothing/GetAgent",
        "/nothing",
    ] {
        let asked = client.unary(tonic::Request::new(Struct::default()), path.parse().unwrap(), codec());
        let status = asked.await.unwrap_err();
        refused(&status, Code::Unimplemented, "NOT_FOUND");
        assert!(status.message().contains(path), "{status}");
        client.ready().await.unwrap();
    }
    // A message of another kind, which has a text where a message is expected.
    let codec = tonic_prost::ProstCodec::<GetAgentRequest, GetAgentRequest>::default();
    let other = GetAgentRequest {
        agent_id: "\u{fffd}".repeat(10),
    };
    let path = "/caxton.v1.MessageService/SendMessage".parse().unwrap();
    let status = client.unary(tonic::Request::new(other), path, codec).await.unwrap_err();
    refused(&status, Code::InvalidArgument, "INVALID_REQUEST");
    let trace = status.get_details_request_info().unwrap().request_id;
    assert_eq!(trace.len(), 32);

    let mut compressed = tonic::Request::new(request("echo"));
    compressed
        .metadata_mut()
        .insert("grpc-encoding", "gzip".parse().unwrap());
    let status = messages(&node).await.send_message(compressed).await.unwrap_err();
    refused(&status, Code::Unimplemented, "INVALID_REQUEST");
    assert!(status.message().contains("gzip"), "{status}");

    let check = HealthCheckRequest {
        service: "caxton.v1.Nothing".to_owned(),
    };
    let status = HealthClient::new(channel(&node).await).check(check).await.unwrap_err();
    refused(&status, Code::NotFound, "NOT_FOUND");
}

#[tokio::test]
async fn a_call_that_its_client_gives_up_ends_a_little_earlier_with_the_reason() {
    let node = TestNode::start().await;
    deploy(&node, "echo", guests::example("echo")).await.unwrap();
    let mut silent = request("echo");
    silent.message.as_mut().unwrap().performative = "inform".to_owned();
    let mut asked = tonic::Request::new(silent);
    asked.set_timeout(std::time::Duration::from_millis(500));
    let late = messages(&node).await.send_message_and_wait(asked).await.unwrap_err();
    refused(&late, Code::DeadlineExceeded, "TIMEOUT");
    let info = late.get_details_error_info().unwrap();
    assert!(
        info.metadata["message_id"].starts_with("msg_"),
        "the message stays delivered: {info:?}"
    );
}
