//! Connections are a resource that strangers can use up, so they are counted, bounded, and closed when they send nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use hyper::body::{Body, Frame};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;

use crate::client::request;
use crate::harness::{PATIENCE, TestNode, after, until};
use crate::socket::Socket;

/// The front answers at once, in spite of everything.
const AT_ONCE: Duration = Duration::from_secs(3);

/// The address of a URL.
fn address(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(address(url)).await.unwrap()
}

/// A gRPC client that has not connected yet.
fn channel(node: &TestNode) -> Channel {
    Endpoint::from_shared(node.grpc()).unwrap().connect_lazy()
}

async fn checked(channel: Channel) -> Result<(), Status> {
    HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await
        .map(|_| ())
}

/// Processor time that the server has used.
fn busy(node: &TestNode) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Reads until the server closes the connection, and returns what it sent.
async fn until_closed(connection: &mut TcpStream) -> String {
    let mut sent = Vec::new();
    let read = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut sent)).await;
    // A reset is an end as well.
    let _ = read.expect("the connection is closed");
    String::from_utf8_lossy(&sent).into_owned()
}

async fn silent_connections_use_up_nothing(descriptors: usize, connections: usize) {
    caxton::descriptors::raise_limit(); // this process has the other ends
    let config = "[retention]\nsegment = \"64KiB\"\n[limits]\nhandshake_time = \"8s\"\n";
    let node = TestNode::start_after(&format!("ulimit -n {descriptors};"), config).await;
    assert!(
        node.logged().contains(&format!("descriptors={descriptors}")),
        "{}",
        node.logged()
    );
    node.deploy("echo", "echo").await;
    let mut silent = Vec::new();
    for _ in 0..connections {
        silent.push(connect(node.base()).await);
        silent.push(connect(&node.grpc()).await);
    }
    let began = Instant::now();
    node.get("/healthz").await.good();
    let text = "x".repeat(20_000);
    for n in 0..10 {
        let message = request("echo", &json!({"n": n, "text": text}));
        node.post("/api/v1/messages/wait", &message).await.good();
    }
    tokio::time::timeout(AT_ONCE, checked(channel(&node)))
        .await
        .unwrap()
        .unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    let segments = std::fs::read_dir(node.data_dir().join("journal")).unwrap().count();
    assert!(segments > 3, "the log rotates: {segments}");
    for front in ["front=\"rest\"", "front=\"grpc\""] {
        let open = node.series("caxton_connections{", &[front]).await.unwrap();
        let most = node.series("caxton_connections_limit", &[front]).await.unwrap();
        assert!(open > most - 2.0 && open <= most, "{front}: {open} of {most}");
    }
    let open = node.series("process_open_fds", &[]).await.unwrap();
    let most = node.series("process_max_fds", &[]).await.unwrap();
    assert!(open < most, "{open} of {most}");

    let (before, began) = (busy(&node), Instant::now());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (used, took) = (busy(&node).saturating_sub(before), began.elapsed());
    assert!(used < took / 3, "{used:?} of {took:?}");

    let closed = join_all(silent.iter_mut().map(until_closed)).await;
    assert!(
        closed.iter().any(|sent| sent.contains("408 Request Timeout")),
        "REST says why"
    );
    until("the descriptors are free again", async || {
        let now = node.series("process_open_fds", &[]).await.unwrap();
        (now < open / 2.0).then_some(())
    })
    .await;
    let log = node.logged();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_use_up_nothing_where_there_are_256_descriptors() {
    silent_connections_use_up_nothing(256, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_use_up_nothing_where_there_are_1024_descriptors() {
    silent_connections_use_up_nothing(1_024, 500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_connections_may_be_websockets() {
    let node = TestNode::start_with("[limits]\nrest_connections = 8\n").await;
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(Socket::open(&node).await);
    }
    let refused = connect_async(node.websocket_url("/ws")).await;
    let Err(SocketError::Http(response)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(response.status(), 503);
    let body = String::from_utf8(response.into_body().unwrap()).unwrap();
    assert!(body.contains("UNAVAILABLE") && body.contains("4 WebSockets"), "{body}");
    node.get("/healthz").await.good();
    drop(sockets.pop());
    until("there is a place again", async || {
        connect_async(node.websocket_url("/ws")).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_websockets_leave_room_for_requests() {
    caxton::descriptors::raise_limit(); // this process has the other ends
    let node = TestNode::start_after("ulimit -n 1024;", "").await;
    node.deploy("echo", "echo").await;
    let limit = node.series("caxton_connections_limit", &["front=\"rest\""]).await;
    let half = (limit.unwrap() / 2.0).floor();
    let (mut open, mut refused) = (Vec::new(), 0_u32);
    for _ in 0..1_000 {
        match connect_async(node.websocket_url("/ws")).await {
            Ok(socket) => open.push(socket),
            Err(SocketError::Http(response)) => {
                assert_eq!(response.status(), 503);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(half > 100.0, "{half}");
    assert!(
        (f64::from(refused) + half - 1_000.0).abs() < 0.5,
        "{refused} of 1,000, where {half} may be open"
    );
    node.post("/api/v1/messages/wait", &request("echo", &json!(1)))
        .await
        .good();
    checked(channel(&node)).await.unwrap();
    let log = node.logged();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_beyond_those_that_are_busy_is_told_so() {
    let node = TestNode::start_with("[limits]\nrest_connections = 3\nbody_time = \"30s\"\n").await;
    let mut busy = Vec::new();
    for _ in 0..3 {
        let mut connection = connect(node.base()).await;
        let head =
            "POST /api/v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
        connection.write_all(head.as_bytes()).await.unwrap();
        // It is busy now, so that the next one does not take its place.
        let read = connection.read(&mut [0; 100]).await.unwrap();
        assert!(read > 0);
        busy.push(connection);
    }
    let refused = until("it is told", async || {
        let mut connection = connect(node.base()).await;
        connection
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
            .ok()?;
        let sent = until_closed(&mut connection).await;
        sent.starts_with("HTTP/1.1 503").then_some(sent)
    })
    .await;
    assert!(
        refused.contains("limits.rest_connections") && refused.contains("retry-after"),
        "{refused}"
    );
    drop(busy);
    until("there is a place again", async || {
        reqwest::get(format!("{}/healthz", node.base())).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_in_the_middle_is_not_waited_for() {
    let limits =
        "[limits]\nhandshake_time = \"1s\"\nrest_idle_time = \"2s\"\ngrpc_idle_time = \"1s\"\nbody_time = \"1s\"\n";
    let node = TestNode::start_with(limits).await;
    let health = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for (bytes, answer) in [
        // Half of the first head.
        ("GET /healthz HT", "408"),
        // Half of a later head.
        (&*format!("{health}GET /healthz HT"), "200"),
        // Nothing more.
        (health, "200"),
        // Half of a body.
        (
            "POST /api/v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{\"",
            "limits.body_time",
        ),
    ] {
        let mut connection = connect(node.base()).await;
        connection.write_all(bytes.as_bytes()).await.unwrap();
        let sent = until_closed(&mut connection).await;
        assert!(sent.contains(answer), "{bytes:?}: {sent}");
    }
    // Half of the preface, and nothing after it.
    for bytes in ["PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut connection = connect(&node.grpc()).await;
        connection.write_all(bytes.as_bytes()).await.unwrap();
        until_closed(&mut connection).await;
    }

    let channel = channel(&node);
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let body = stream::pending::<()>();
    let path = PathAndQuery::from_static("/caxton.v1.MessageService/SendMessage");
    let status = client
        .client_streaming::<_, (), (), _>(Request::new(body), path, ProstCodec::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("limits.body_time"), "{status:?}");

    checked(channel.clone()).await.unwrap();
    until("the idle connection is closed", async || {
        let open = node.series("caxton_connections{", &["front=\"grpc\""]).await;
        (open == Some(0.0)).then_some(())
    })
    .await;
    checked(channel).await.expect("the client connects again");
}

/// A body of which nothing ever comes.
struct Silence;

impl Body for Silence {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_when_the_time_that_its_client_gave_it_is_over() {
    let node = TestNode::start().await;
    // Without tonic's client, which would end the call by itself.
    let io = TokioIo::new(connect(&node.grpc()).await);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let call = hyper::Request::post(format!("{}/caxton.v1.MessageService/SendMessage", node.grpc()))
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "200m")
        .body(Silence)
        .unwrap();
    let response = sender.send_request(call).await.unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
}

#[tokio::test]
async fn connections_that_do_not_fit_into_the_descriptors_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = crate::harness::caxton();
    command
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--grpc-listen",
            "127.0.0.1:0",
            "--data-dir",
        ])
        .arg(folder.path().join("data"));
    let mut limited = after("ulimit -n 256;", &command);
    limited.env("CAXTON_LIMITS__REST_CONNECTIONS", "1000");
    let output = tokio::task::spawn_blocking(move || limited.output().unwrap())
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("limits.rest_connections") && said.contains("ulimit -n"),
        "{said}"
    );
    assert!(!folder.path().join("data").exists());
}
