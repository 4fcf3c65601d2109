//! A client of the WebSocket.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::client::Client;
use crate::harness::PATIENCE;

pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Every event that has arrived, in order.
    pub heard: Vec<Value>,
}

impl Socket {
    pub(crate) async fn open(client: &Client) -> Self {
        Self::open_at(client, "/ws").await
    }

    pub(crate) async fn open_at(client: &Client, path: &str) -> Self {
        let (stream, _) = connect_async(client.websocket_url(path)).await.unwrap();
        Self {
            stream,
            heard: Vec::new(),
        }
    }

    /// Opens a WebSocket, and subscribes to events by globs.
    pub(crate) async fn subscribed(client: &Client, events: &[&str]) -> Self {
        let mut socket = Self::open(client).await;
        socket.subscribe(&json!({"events": events})).await;
        socket
    }

    /// Subscribes, and returns the subscription's id.
    pub(crate) async fn subscribe(&mut self, what: &Value) -> String {
        let mut message = what.clone();
        message["type"] = "subscribe".into();
        let answer = self.answered(&message, "subscribed").await;
        answer["subscription_id"].as_str().unwrap().to_owned()
    }

    /// Sends a frame, and waits for the answer of this type.
    pub(crate) async fn answered(&mut self, message: &Value, kind: &str) -> Value {
        self.say(&message.to_string()).await;
        self.until(kind, |_| true).await
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.stream.send(Frame::text(text.to_owned())).await.unwrap();
    }

    /// The next frame of the server.
    pub(crate) async fn next(&mut self) -> Value {
        let message: Value = serde_json::from_str(&self.next_text().await).unwrap();
        if message.get("seq").is_some() && message["type"] != "hello" {
            self.heard.push(message.clone());
        }
        message
    }

    /// The text of the next frame.
    pub(crate) async fn next_text(&mut self) -> String {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.stream.next()).await;
            let frame = frame.unwrap_or_else(|_| panic!("no frame within {PATIENCE:?}, after {:#?}", self.heard));
            let frame = frame.expect("the connection stays open").unwrap();
            if let Frame::Text(text) = frame {
                return text.to_string();
            }
        }
    }

    /// Reads until the server closes the connection, and returns its close code.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.stream.next())
                .await
                .expect("it is closed");
            match frame? {
                Ok(Frame::Close(close)) => return close.map(|close| close.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// The next frame of this type that `wanted` accepts. Events that arrive before it are only recorded.
    pub(crate) async fn until(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.next().await;
            if message["type"] == kind && wanted(&message) {
                return message;
            }
        }
    }

    /// The next event of this type about an agent.
    pub(crate) async fn until_about(&mut self, kind: &str, agent: &str) -> Value {
        self.until(kind, |event| event["agent_id"] == agent).await
    }

    /// An event of this type about an agent, whether it has arrived already or will arrive.
    pub(crate) async fn heard_about(&mut self, kind: &str, agent: &str) -> Value {
        let told = |event: &&Value| event["type"] == kind && event["agent_id"] == agent;
        match self.heard.iter().find(told) {
            Some(event) => event.clone(),
            None => self.until_about(kind, agent).await,
        }
    }
}
