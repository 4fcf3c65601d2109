//! `caxton demo`: what the server is for, shown in a few seconds over its public interfaces.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::output::print;
use crate::config::Config;
use crate::event::EventKind;
use crate::server::Server;

/// The demo fails if its story takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

const SELLER: &[u8] = include_bytes!("../../examples/agents/built/seller.wasm");
const SELLER_AS: &[u8] = include_bytes!("../../examples/agents/built/seller_as.wasm");
const BUYER: &[u8] = include_bytes!("../../examples/agents/built/buyer.wasm");

type Failed = Box<dyn Error>;
type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(super) async fn demo(listen: SocketAddr, keep: bool) -> Result<(), Failed> {
    crate::telemetry::log_at("error")?;
    crate::descriptors::raise_limit();
    let folder = tempfile::Builder::new().prefix("caxton-demo-").tempdir()?;
    let mut config = Config {
        data_dir: folder.path().to_owned(),
        listen,
        grpc_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..Config::default()
    };
    config.wasm.compiler = Some(super::this_program()?);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::start(config).await?;
    // Whatever the end is, the server is shut down, and then the folder is deleted.
    let result = tokio::select! {
        shown = show(&server, folder.path(), keep) => shown,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    server.shutdown().await;
    result
}

/// Shows the story, and with `keep` goes on until a signal.
async fn show(server: &Server, folder: &Path, keep: bool) -> Result<(), Failed> {
    let addresses = server.addresses();
    let base = format!("http://{}", addresses.rest);
    print(&format!("A server of its own: {base}, data in {}\n", folder.display()))?;
    let played = tokio::time::timeout(PATIENCE, play(&base)).await;
    let played = played.unwrap_or_else(|_| Err(format!("it did not end within {} s", PATIENCE.as_secs()).into()));
    played.map_err(|error| format!("the story went wrong: {error}"))?;
    if keep {
        print(&format!("  grpcurl -plaintext {} list", addresses.grpc))?;
        print("\nThe server goes on until Ctrl-C.")?;
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Deploys the agents, places the order, prints what happens, and sums up.
async fn play(base: &str) -> Result<(), Failed> {
    let http = reqwest::Client::new();
    let mut stage = Stage {
        http: http.clone(),
        base: base.to_owned(),
        socket: listen(base).await?,
        names: HashMap::new(),
        began: Instant::now(),
        messages: 0,
        restarts: 0,
    };
    let grants = json!({"message": ["*"], "state": true});
    for (name, module, language) in [
        ("alder", SELLER, "Rust"),
        ("birch", SELLER, "Rust"),
        ("cedar", SELLER_AS, "AssemblyScript"),
        ("buyer", BUYER, "Rust"),
    ] {
        let config = json!({"name": name, "permissions": grants, "capabilities": ["demo"]});
        let agent = deploy(&http, base, &config, module).await?;
        let id = agent["agent_id"]
            .as_str()
            .ok_or("the deploy's answer has no agent_id")?;
        stage.names.insert(id.to_owned(), name.to_owned());
        stage.line(
            "deployed",
            &format!("{name:<8} {language}, {} KB of WebAssembly", module.len() / 1_000),
        )?;
    }
    print("")?;
    let order = json!({
        "performative": "request",
        "sender": "you",
        "receiver": "buyer",
        "content": {"action": "buy", "item": "widgets", "quantity": 100, "sellers": ["alder", "birch", "cedar"]},
    });
    let url = format!("{base}/api/v1/messages/wait?timeout_seconds=15");
    let ask = async { checked(http.post(url).json(&order).send().await?).await };
    let answer = stage.watch(ask).await?;
    stage.sum_up(&answer).await
}

async fn deploy(http: &reqwest::Client, base: &str, config: &Value, module: &'static [u8]) -> Result<Value, Failed> {
    let form = reqwest::multipart::Form::new()
        .part("wasm", reqwest::multipart::Part::bytes(module))
        .text("config", config.to_string());
    checked(
        http.post(format!("{base}/api/v1/agents"))
            .multipart(form)
            .send()
            .await?,
    )
    .await
}

/// The body of a successful response. Any other becomes an error with the message that it has.
async fn checked(response: reqwest::Response) -> Result<Value, Failed> {
    let good = response.status().is_success();
    let body: Value = response.json().await?;
    if good {
        Ok(body)
    } else {
        Err(body["error"]["message"]
            .as_str()
            .unwrap_or("an error without a message")
            .into())
    }
}

/// Opens the WebSocket and subscribes to the events that the demo shows.
async fn listen(base: &str) -> Result<Socket, Failed> {
    let url = format!("{}/ws", base.replacen("http", "ws", 1));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
    let events = [
        EventKind::MessageSent,
        EventKind::MessageCrashed,
        EventKind::ChildExited,
        EventKind::ChildRestarted,
        EventKind::DeadLetter,
    ];
    let subscribe = json!({"type": "subscribe", "events": events, "content": true});
    socket.send(Frame::text(subscribe.to_string())).await?;
    while let Some(frame) = socket.next().await {
        let frame: Value = serde_json::from_str(frame?.to_text()?)?;
        match frame["type"].as_str() {
            Some("subscribed") => return Ok(socket),
            Some("error") => return Err(frame.to_string().into()),
            _ => {}
        }
    }
    Err("the WebSocket closed before it was subscribed".into())
}

struct Stage {
    http: reqwest::Client,
    base: String,
    socket: Socket,
    /// Names of agents by id.
    names: HashMap<String, String>,
    began: Instant,
    messages: usize,
    restarts: usize,
}

impl Stage {
    fn line(&self, what: &str, text: &str) -> std::io::Result<()> {
        print(&format!(
            "{:>7.3} s  {what:<10} {text}",
            self.began.elapsed().as_secs_f64()
        ))
    }

    /// Prints events until the answer to `ask` is there and both its event and that of the restart have been seen. Events of
    /// messages and of supervisors are recorded independently of each other, so the restart may come last.
    async fn watch(&mut self, ask: impl Future<Output = Result<Value, Failed>>) -> Result<Value, Failed> {
        /// How long to wait for further events after the answer.
        const EPILOGUE: Duration = Duration::from_secs(5);
        tokio::pin!(ask);
        let mut answer: Option<Value> = None;
        let mut seen = Vec::new();
        let over = tokio::time::sleep(Duration::MAX);
        tokio::pin!(over);
        loop {
            if let Some(answer) = &answer
                && self.restarts > 0
                && seen.iter().any(|id| *id == answer["reply"]["message_id"])
            {
                return Ok(answer.clone());
            }
            tokio::select! {
                result = &mut ask, if answer.is_none() => {
                    answer = Some(result?);
                    over.as_mut().reset(tokio::time::Instant::now() + EPILOGUE);
                }
                () = &mut over => return answer.ok_or_else(|| "the story did not end".into()),
                frame = self.socket.next() => {
                    let frame = frame.ok_or("the WebSocket closed in the middle of the story")??;
                    if let Frame::Text(text) = frame {
                        let event: Value = serde_json::from_str(&text)?;
                        seen.push(event["message_id"].clone());
                        self.show(&event)?;
                    }
                }
            }
        }
    }

    fn show(&mut self, event: &Value) -> Result<(), Failed> {
        let detail = event["detail"].as_str().unwrap_or_default();
        let path = event["path"].as_str().unwrap_or_default();
        let child = path.rsplit('/').next().unwrap_or_default();
        let reason = event["reason"].as_str().unwrap_or_default();
        match event["type"].as_str().and_then(EventKind::parse) {
            Some(EventKind::MessageSent) => {
                self.messages += 1;
                let who = |field: &str| self.name(event[field].as_str().unwrap_or_default());
                let act = event["performative"].as_str().unwrap_or_default();
                let text = format!(
                    "{:>8} → {:<8} {act:<16} {}",
                    who("from"),
                    who("to"),
                    brief(&event["content"])
                );
                self.line("message", &text)?;
            }
            Some(EventKind::MessageCrashed) => {
                let agent = self.name(event["agent_id"].as_str().unwrap_or_default());
                let text = format!(
                    "{agent}'s turn never happened: {} (attempt {})",
                    brief_text(detail),
                    event["attempt"]
                );
                self.line("CRASH", &text)?;
            }
            Some(EventKind::ChildExited) if event["agent_id"].is_string() => {
                self.line("supervisor", &format!("{child} exited: {reason}"))?;
            }
            Some(EventKind::ChildRestarted) if event["agent_id"].is_string() => {
                self.restarts += 1;
                let recovery = event["recovery_seconds"].as_f64().unwrap_or_default() * 1_000.0;
                let text = format!(
                    "{child} restarted, incarnation {}, after {recovery:.2} ms",
                    event["incarnation"]
                );
                self.line("supervisor", &text)?;
            }
            Some(EventKind::DeadLetter) => self.line("DEAD", &format!("{reason}: {}", brief_text(detail)))?,
            _ => {}
        }
        Ok(())
    }

    fn name(&self, address: &str) -> String {
        let name = self.names.get(address).map(String::as_str);
        name.unwrap_or_else(|| address.trim_start_matches("client:")).to_owned()
    }

    async fn sum_up(&self, answer: &Value) -> Result<(), Failed> {
        let reply = &answer["reply"];
        let deal = &reply["content"];
        if reply["performative"] != "inform" || deal["seller"].as_str().is_none() {
            return Err(format!("the buyer made no deal: {reply}").into());
        }
        if self.restarts == 0 {
            return Err("the crash on purpose did not happen".into());
        }
        let metrics = self
            .http
            .get(format!("{}/api/v1/metrics/system", self.base))
            .send()
            .await?;
        let metrics = checked(metrics).await?;
        // The crashed turn had no effects: otherwise the seller would count one more order.
        if deal["order"]["order"] != 1 || metrics["messages"]["dead_letters"] != 0 {
            return Err(format!("something was lost or done twice: {deal}").into());
        }
        let base = &self.base;
        print(&format!(
            "\nThe deal: {} {} from {} for {}. {}, {}, nothing lost and nothing done twice.",
            deal["quantity"],
            deal["item"].as_str().unwrap_or_default(),
            deal["seller"].as_str().unwrap_or_default(),
            deal["total"],
            counted(self.messages, "message"),
            counted(self.restarts, "restart"),
        ))?;
        print(&format!(
            "From a message's acceptance to the end of its turn: {:.2} ms at the median, {:.2} ms at the 99th percentile.",
            metrics["performance"]["message_latency_p50"]
                .as_f64()
                .unwrap_or_default(),
            metrics["performance"]["message_latency_p99"]
                .as_f64()
                .unwrap_or_default(),
        ))?;
        let conversation = deal["conversation_id"].as_str().unwrap_or_default();
        print("\nWhere to look (with --keep the server goes on):")?;
        print(&format!("  curl {base}/api/v1/agents"))?;
        print(&format!(
            "  curl '{base}/api/v1/messages?conversation_id={conversation}'"
        ))?;
        print(&format!("  curl {base}/api/v1/supervision/tree?path=node/core"))?;
        print(&format!("  curl {base}/metrics"))?;
        print(&format!("  curl -X POST {base}/api/v1/messages/wait \\"))?;
        print(
            r#"    -d '{"performative":"request","receiver":"buyer","content":{"action":"buy","item":"bolts","quantity":5,"sellers":["alder","birch"]}}'"#,
        )?;
        Ok(())
    }
}

/// A number of things.
fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Content on one line, shortened.
fn brief(content: &Value) -> String {
    brief_text(&content.to_string())
}

fn brief_text(text: &str) -> String {
    const LONGEST: usize = 96;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
