//! A server in a process of its own, on a data folder of its own, that can be killed and started again.

use std::fs::{self, File};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;

/// How long anything may take before a test gives up on it. Generous: it only matters when something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Looks until `look` finds something. This is the one place where tests wait for what no event tells.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A running server. Dropping it kills the process and deletes its folder.
pub(crate) struct TestNode {
    folder: TempDir,
    process: Child,
    client: Client,
    grpc: String,
    config: Option<String>,
}

impl TestNode {
    pub(crate) async fn start() -> Self {
        Self::start_as(None, None).await
    }

    /// Starts with a configuration file of this text.
    pub(crate) async fn start_with(config: &str) -> Self {
        Self::start_as(Some(config.to_owned()), None).await
    }

    /// Starts on a data folder that is there already, and takes it over.
    pub(crate) async fn start_on(data: &Path) -> Self {
        Self::start_as(None, Some(data)).await
    }

    async fn start_as(config: Option<String>, data: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some(data) = data {
            fs::rename(data, folder.path().join(DATA)).unwrap();
        }
        let process = spawn(folder.path(), config.as_deref());
        let mut node = Self {
            folder,
            process,
            client: Client::new("http://nowhere"),
            grpc: String::new(),
            config,
        };
        node.until_it_listens().await;
        node
    }

    async fn until_it_listens(&mut self) {
        let (file, log) = (self.folder.path().join(ADDRESSES), self.log());
        let process = &mut self.process;
        let addresses = until("the server listens", async || {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", fs::read_to_string(&log).unwrap());
            }
            let text = fs::read_to_string(&file).ok()?;
            serde_json::from_str::<Value>(&text).ok()
        })
        .await;
        let address = |name: &str| format!("http://{}", addresses[name].as_str().unwrap());
        self.client = Client::new(&address("rest"));
        self.grpc = address("grpc");
    }

    /// Where gRPC answers, as a URL.
    pub(crate) fn grpc(&self) -> String {
        self.grpc.clone()
    }

    /// A client that can move to another task. It knows the address of this start only.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join(DATA)
    }

    /// What the server said, in a file.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join(LOG)
    }

    /// `kill -9`: the process has no say in it.
    pub(crate) fn kill_nine(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM, and how the server ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let process = &mut self.process;
        until("the server ends after SIGTERM", async || process.try_wait().unwrap()).await
    }

    /// Starts the server again on the same data folder.
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(self.folder.path(), self.config.as_deref());
        self.until_it_listens().await;
    }

    /// Memory that the process has in RAM, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes * 1024
    }
}

impl Deref for TestNode {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended already
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!(
                "the server's last lines:\n{}",
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
    }
}

const DATA: &str = "data";
const LOG: &str = "server.log";
const ADDRESSES: &str = "addresses.json";

fn spawn(folder: &Path, config: Option<&str>) -> Child {
    let addresses = folder.join(ADDRESSES);
    let _ = fs::remove_file(&addresses); // of the start before
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join(LOG))
        .unwrap();
    let mut command = caxton();
    command
        .arg("serve")
        .arg("--data-dir")
        .arg(folder.join(DATA))
        .arg("--addr-file")
        .arg(addresses);
    command.args(["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"]);
    if let Some(config) = config {
        let file = folder.join("caxton.toml");
        fs::write(&file, config).unwrap();
        command.arg("--config").arg(file);
    }
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// The program under test, without arguments.
pub(crate) fn caxton() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_caxton"));
    command.stdin(Stdio::null());
    command
}
