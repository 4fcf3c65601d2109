//! How long a server takes from its start after `kill -9` until it answers: with 1,000 agents and 100,000 queued messages.
//!
//! `cargo bench --bench restart` runs the real program in a process of its own, over REST. The baseline in the same run is a plain
//! file to which synced groups of 256 records of 400 bytes are appended, as many records as there are queued messages.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const AGENTS: usize = 1_000;
const MESSAGES: usize = 100_000;
const ROUNDS: usize = 3;
const CLIENTS: usize = 32;

struct Server {
    process: Child,
    http: reqwest::Client,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill(); // an error means that it has ended already
        let _ = self.process.wait();
    }
}

impl Server {
    async fn start(folder: &Path) -> Self {
        let addresses = folder.join("addresses.json");
        let _ = std::fs::remove_file(&addresses); // the file of the previous start, if there was one
        let process = Command::new(env!("CARGO_BIN_EXE_caxton"))
            .args(["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(folder.join("data"))
            .arg("--addr-file")
            .arg(&addresses)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let rest = loop {
            let text = std::fs::read_to_string(&addresses).unwrap_or_default();
            if let Ok(addresses) = serde_json::from_str::<Value>(&text) {
                break addresses["rest"].as_str().expect("an address").to_owned();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        Self {
            process,
            http: reqwest::Client::new(),
            url: format!("http://{rest}/api/v1"),
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let sent = self.http.post(format!("{}{path}", self.url)).json(body).send().await;
        let answer = sent.expect("it answers").error_for_status().expect("it is well");
        answer.json().await.expect("it is JSON")
    }

    async fn deploy(&self, name: &str, module: &[u8]) {
        let form = reqwest::multipart::Form::new()
            .part("wasm", reqwest::multipart::Part::bytes(module.to_vec()))
            .text("config", json!({"name": name}).to_string());
        let sent = self
            .http
            .post(format!("{}/agents", self.url))
            .multipart(form)
            .send()
            .await;
        sent.expect("it answers").error_for_status().expect("it is deployed");
    }

    async fn ask(&self) {
        let message = json!({"performative": "request", "receiver": "awake", "content": {"n": 1}});
        assert_eq!(
            self.post("/messages/wait", &message).await["reply"]["performative"],
            "inform"
        );
    }
}

/// Runs `work` for each number below `count`, several at a time.
async fn each<F: Future<Output = ()> + Send + 'static>(
    count: usize,
    work: impl Fn(usize) -> F + Send + Sync + 'static,
) {
    let (next, work) = (Arc::new(AtomicUsize::new(0)), Arc::new(work));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (next, work) = (next.clone(), work.clone());
        clients.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return;
                }
                work(n).await;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client ends well");
    }
}

fn plain_append(folder: &Path) -> Duration {
    const GROUP: usize = 256;
    let mut file = File::create(folder.join("plain")).expect("a file");
    let group = vec![7_u8; 400 * GROUP];
    let began = Instant::now();
    for _ in 0..MESSAGES.div_ceil(GROUP) {
        file.write_all(&group).expect("it is written");
        file.sync_data().expect("it is synced");
    }
    began.elapsed()
}

async fn run() {
    let folder = tempfile::tempdir().expect("a folder");
    let module = wat::parse_str(include_str!("../examples/agents/wat/echo.wat")).expect("it is well-formed");
    let server = Arc::new(Server::start(folder.path()).await);
    server.deploy("awake", &module).await;
    let (to, module) = (server.clone(), Arc::new(module));
    each(AGENTS, move |n| {
        let (server, module) = (to.clone(), module.clone());
        async move {
            let name = format!("agent-{n}");
            server.deploy(&name, &module).await;
            server.post(&format!("/agents/{name}/suspend"), &json!({})).await;
        }
    })
    .await;
    let to = server.clone();
    each(MESSAGES, move |n| {
        let server = to.clone();
        async move {
            let receiver = format!("agent-{}", n % AGENTS);
            let content = json!({"text": "x".repeat(200)});
            let message =
                json!({"performative": "request", "receiver": receiver, "content": content, "durability": "memory"});
            server.post("/messages", &message).await;
        }
    })
    .await;
    server.ask().await; // when this is answered, everything before it is durable
    let plain = plain_append(folder.path());
    println!(
        "plain append of {MESSAGES} records: {:.0} ms",
        plain.as_secs_f64() * 1e3
    );
    let mut server = Arc::into_inner(server).expect("nobody else has it");
    for _ in 0..ROUNDS {
        server.process.kill().expect("it runs");
        server.process.wait().expect("it ends");
        let began = Instant::now();
        server = Server::start(folder.path()).await;
        let listens = began.elapsed();
        server.ask().await;
        let answers = began.elapsed();
        println!(
            "kill -9 to answering, {AGENTS} agents, {MESSAGES} queued: listens after {:.0} ms, answers after {:.0} ms, {:.2} x plain \
             append (goal: 2,000 ms)",
            listens.as_secs_f64() * 1e3,
            answers.as_secs_f64() * 1e3,
            answers.as_secs_f64() / plain.as_secs_f64()
        );
    }
}

fn main() {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(run());
}
