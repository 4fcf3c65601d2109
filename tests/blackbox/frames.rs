//! The frames of the WebSocket (RFC 6455, section 5), as no client library cuts them.

use serde_json::{Value, json};

use crate::harness::TestNode;
use crate::raw::Connection;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;

/// A frame of a client. The mask is zeros, which leaves the payload as it is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(short @ ..126) => frame.push(MASKED | u8::try_from(short).unwrap()),
        Ok(length) => {
            frame.push(MASKED + 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(MASKED + 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

struct Socket(Connection);

impl Socket {
    async fn open(node: &TestNode) -> Self {
        let mut connection = Connection::open(node).await;
        connection
            .write(
                "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .await;
        let head = String::from_utf8(connection.read_until(b"\r\n\r\n").await).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let mut socket = Self(connection);
        assert_eq!(socket.told().await["type"], "hello");
        socket
    }

    /// The next frame of the server: its first byte, and its payload.
    async fn next(&mut self) -> (u8, Vec<u8>) {
        let head = self.0.read(2).await;
        let length = match head[1] {
            126 => u16::from_be_bytes(self.0.read(2).await.try_into().unwrap()).into(),
            127 => panic!("no such message is expected"),
            short => usize::from(short),
        };
        (head[0], self.0.read(length).await)
    }

    async fn told(&mut self) -> Value {
        let (first, payload) = self.next().await;
        assert_eq!(first, FINAL | TEXT, "{payload:?}");
        serde_json::from_slice(&payload).unwrap()
    }

    /// Expects that the server closes the connection with this code.
    async fn closes(&mut self, code: u16) {
        let (first, payload) = self.next().await;
        assert_eq!(first, FINAL | CLOSE, "{payload:?}");
        assert_eq!(u16::from_be_bytes([payload[0], payload[1]]), code);
    }
}

#[tokio::test]
async fn a_message_in_fragments_is_one_message() {
    let node = TestNode::start().await;
    let mut socket = Socket::open(&node).await;
    let ping = br#"{"type":"ping"}"#;
    for pieces in [2, 3, ping.len()] {
        let pieces: Vec<&[u8]> = ping.chunks(ping.len().div_ceil(pieces)).collect();
        let (last, others) = pieces.split_last().unwrap();
        for (at, piece) in others.iter().enumerate() {
            let opcode = if at == 0 { TEXT } else { CONTINUATION };
            socket.0.write(frame(opcode, piece)).await;
        }
        socket.0.write(frame(FINAL | CONTINUATION, last)).await;
        assert_eq!(socket.told().await, json!({"type": "pong"}));
    }
    // Empty fragments, and control frames between fragments, which are answered at once.
    socket.0.write(frame(TEXT, b"")).await;
    socket.0.write(frame(FINAL | PING, b"still there?")).await;
    assert_eq!(socket.next().await, (FINAL | PONG, b"still there?".to_vec()));
    socket.0.write(frame(CONTINUATION, &ping[..5])).await;
    socket.0.write(frame(FINAL | PONG, b"")).await;
    socket.0.write(frame(CONTINUATION, &ping[5..])).await;
    socket.0.write(frame(FINAL | CONTINUATION, b"")).await;
    assert_eq!(socket.told().await, json!({"type": "pong"}));
}

#[tokio::test]
async fn a_character_may_be_cut_by_fragments_and_must_be_one() {
    let node = TestNode::start().await;
    let mut socket = Socket::open(&node).await;
    let text = r#"{"type":"ping","ä":"😀"}"#.as_bytes();
    for cut in [text.iter().position(|byte| *byte > 0x7f).unwrap() + 1, text.len() - 3] {
        socket.0.write(frame(TEXT, &text[..cut])).await;
        socket.0.write(frame(FINAL | CONTINUATION, &text[cut..])).await;
        let answer = socket.told().await;
        assert_eq!(
            (&answer["type"], &answer["error"]["details"]["field"]),
            (&json!("error"), &json!("ä"))
        );
    }
    socket.0.write(frame(TEXT, b"\xe2\x82")).await;
    socket.0.write(frame(FINAL | CONTINUATION, b"(")).await;
    socket.closes(1007).await;

    let mut whole = Socket::open(&node).await;
    whole.0.write(frame(FINAL | TEXT, b"\xff")).await;
    whole.closes(1007).await;
}

#[tokio::test]
async fn what_is_over_the_limit_closes_the_connection_however_it_is_cut() {
    const LIMIT: usize = 64 << 10;
    let node = TestNode::start().await;
    let padded = |bytes: usize| {
        let ping = r#"{"type":"ping"}"#;
        format!("{ping}{}", " ".repeat(bytes - ping.len())).into_bytes()
    };
    let mut socket = Socket::open(&node).await;
    for pieces in [1, 2, 64] {
        let text = padded(LIMIT);
        for (at, piece) in text.chunks(LIMIT / pieces).enumerate() {
            let opcode = if at == 0 { TEXT } else { CONTINUATION };
            let end = if at + 1 == pieces { FINAL } else { 0 };
            socket.0.write(frame(end | opcode, piece)).await;
        }
        assert_eq!(socket.told().await["type"], "pong", "{pieces} pieces");
    }
    let text = padded(LIMIT + 1024);
    socket.0.write(frame(TEXT, &text[..LIMIT - 1024])).await;
    socket.0.write(frame(CONTINUATION, &text[LIMIT - 1024..])).await;
    socket.closes(1009).await;

    let mut whole = Socket::open(&node).await;
    whole.0.write(frame(FINAL | TEXT, &text)).await;
    whole.closes(1009).await;
}

#[tokio::test]
async fn broken_frames_and_binary_ones_close_the_connection_with_their_codes() {
    let node = TestNode::start().await;
    let unmasked = vec![FINAL | TEXT, 2, b'{', b'}'];
    for (bytes, code) in [
        (unmasked, 1002),
        (frame(FINAL | CONTINUATION, b"{}"), 1002),
        ([frame(TEXT, b"{"), frame(FINAL | TEXT, b"}")].concat(), 1002),
        (frame(PING, b""), 1002),
        (frame(FINAL | PING, &[b'x'; 126]), 1002),
        (frame(FINAL | 0x40 | TEXT, b"{}"), 1002),
        (frame(FINAL | 3, b"{}"), 1002),
        (frame(FINAL | BINARY, b"{}"), 1003),
        (frame(BINARY, b"{}"), 1003),
    ] {
        let mut socket = Socket::open(&node).await;
        socket.0.write(&bytes).await;
        socket.closes(code).await;
    }
}
