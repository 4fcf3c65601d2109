//! A mistake of a client is no error of the server: the client is told, and the log has neither errors nor warnings.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::client::request;
use crate::guests;
use crate::harness::TestNode;
use crate::socket::Socket;

/// Sends bytes that are no request, or half of one, closes, and reads what comes back.
async fn raw(url: &str, bytes: &[u8]) {
    let mut connection = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    connection.write_all(bytes).await.unwrap();
    let _ = connection.shutdown().await; // the server may have closed already
    let _ = connection.read_to_end(&mut Vec::new()).await;
}

/// Connects, and resets the connection: closing with bytes unread does that.
async fn reset(url: &str, bytes: &[u8]) {
    let mut connection = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    connection.write_all(bytes).await.unwrap();
    socket2::SockRef::from(&connection)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
}

async fn wrong_requests(node: &TestNode) {
    let backup = async |to: &str| node.post("/api/v1/system/backup", &json!({"to": to})).await;
    for to in ["relative", "/does/not/exist", "/", node.data_dir().to_str().unwrap()] {
        backup(to).await.refused(400, "INVALID_REQUEST");
    }
    let full = tempfile::tempdir().unwrap();
    std::fs::write(full.path().join("letter"), "to somebody").unwrap();
    backup(full.path().to_str().unwrap())
        .await
        .refused(400, "INVALID_REQUEST");
    node.post_text("/api/v1/messages", "application/json", "nonsense")
        .await
        .refused(400, "INVALID_REQUEST");
    let large = "x".repeat(7 << 20);
    node.post_text("/api/v1/messages", "application/json", large)
        .await
        .refused(413, "PAYLOAD_TOO_LARGE");
    node.get("/api/v1/nothing").await.refused(404, "NOT_FOUND");
    node.post("/api/v1/messages", &request("nobody", &json!(1)))
        .await
        .refused(404, "AGENT_NOT_FOUND");
    let mut socket = Socket::open(node).await;
    socket.say("nonsense").await;
    socket.until("error", |_| true).await;
    let asked = tokio_stream::iter([ServerReflectionRequest::default()]);
    let channel = Channel::from_shared(node.grpc()).unwrap().connect().await.unwrap();
    let _ = ServerReflectionClient::new(channel).server_reflection_info(asked).await;
}

async fn wrong_modules(node: &TestNode) {
    let wrong_body = wat::parse_str(r#"(module (func (export "f") (result i32) (i32.const 1)))"#).unwrap();
    let broken: &[u8] = b"\0asm\x01\0\0\0\x0a\x04\x01\x02\0\x41";
    for (module, name) in [
        (&wrong_body[..], "lacks"),
        (broken, "broken"),
        (b"nonsense", "nonsense"),
    ] {
        let refused = node.try_deploy(&json!({"name": name}), module).await;
        refused.refused(400, "INVALID_WASM");
    }
    for (guest, config) in [
        ("init_trap", json!({"name": "traps"})),
        ("echo", json!({"name": "small", "resources": {"memory": "1KiB"}})),
    ] {
        let refused = node.try_deploy(&config, guests::example(guest)).await;
        assert!(refused.status >= 400, "{refused:?}");
    }
    let spins = json!({"name": "spins", "resources": {"turn_deadline": "10s"}});
    let refused = node.try_deploy(&spins, guests::spins_in_init()).await;
    assert!(refused.status >= 400, "{refused:?}");
}

async fn wrong_bytes(node: &TestNode) {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let half = b"POST /api/v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{\"";
    let long = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(200_000));
    let pieces: [&[u8]; 8] = [
        b"",
        b"\0\0\0\0",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        half,
        long.as_bytes(),
        &[PREFACE, &[0xff; 100]].concat(),
    ];
    for bytes in pieces {
        for url in [node.base(), &node.grpc()] {
            raw(url, bytes).await;
            reset(url, bytes).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_of_a_client_is_neither_an_error_nor_a_warning() {
    let node = TestNode::start().await;
    wrong_requests(&node).await;
    wrong_modules(&node).await;
    wrong_bytes(&node).await;
    node.get("/healthz").await.good();
    let log = node.logged();
    let loud: Vec<_> = log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .collect();
    assert!(loud.is_empty(), "{loud:#?}");
}
