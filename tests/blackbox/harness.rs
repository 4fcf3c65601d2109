//! A server in a process of its own, with a data folder of its own. Tests can kill it and start it again.

use std::fs::{self, File};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::faults::FaultyDisk;

/// How long a test waits for anything before it fails. The time is generous, because it matters only if something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Calls `look` until it finds something. This is the only function by which tests wait for something that has no event.
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

/// A random number generator whose seed is printed, so that a run can be repeated.
pub(crate) fn dice() -> StdRng {
    // The name has no prefix CAXTON_, because the server reads those variables as its configuration.
    let seed = std::env::var("TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random);
    println!("TEST_SEED={seed} repeats what the dice chose");
    StdRng::seed_from_u64(seed)
}

/// A running server. Dropping it kills the process and deletes its folder.
pub(crate) struct TestNode {
    folder: TempDir,
    process: Child,
    client: Client,
    grpc: String,
    config: String,
    disk: Option<FaultyDisk>,
}

impl TestNode {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// Starts a server with a configuration file of this text.
    pub(crate) async fn start_with(config: &str) -> Self {
        Self::start_changed(config, |command| command).await
    }

    /// Starts a server with a configuration, by a command that `change` makes of the usual one. A restart uses the usual one.
    pub(crate) async fn start_changed(config: &str, change: impl FnOnce(Command) -> Command) -> Self {
        Self::start_as(tempfile::tempdir().unwrap(), config.to_owned(), None, change).await
    }

    /// Starts a server with a configuration, on a disk that has these faults at first. Files that match `unsynced` are never synced.
    pub(crate) async fn start_on_faulty_disk(config: &str, faults: &str, unsynced: Option<&'static str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (data, dir) = (folder.path().join(DATA), folder.path().join("faults"));
        let disk = FaultyDisk::new(&data, &dir, unsynced);
        disk.goes_wrong(faults);
        Self::start_as(folder, config.to_owned(), Some(disk), |command| command).await
    }

    /// Starts a server on an existing data folder, and takes the folder over.
    pub(crate) async fn start_on(data: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::rename(data, folder.path().join(DATA)).unwrap();
        Self::start_as(folder, String::new(), None, |command| command).await
    }

    /// Starts a server with a configuration, from a shell that does `first` before it.
    pub(crate) async fn start_after(first: &str, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = log_file(folder.path());
        let change = |command: Command| {
            let mut shell = after(first, &command);
            shell.stdout(log.try_clone().unwrap()).stderr(log);
            shell
        };
        Self::start_as(folder, config.to_owned(), None, change).await
    }

    async fn start_as(
        folder: TempDir,
        config: String,
        disk: Option<FaultyDisk>,
        change: impl FnOnce(Command) -> Command,
    ) -> Self {
        let process = change(command(folder.path(), &config, disk.as_ref())).spawn().unwrap();
        let mut node = Self {
            folder,
            process,
            client: Client::new("http://nowhere"),
            grpc: String::new(),
            config,
            disk,
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

    /// The URL of gRPC.
    pub(crate) fn grpc(&self) -> String {
        self.grpc.clone()
    }

    /// A client that can move to another task. Its address is invalid after a restart of the server.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join(DATA)
    }

    /// The faulty disk of a server that was started on one.
    pub(crate) fn disk(&self) -> &FaultyDisk {
        self.disk.as_ref().unwrap()
    }

    /// The log lines of all starts of the server.
    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    /// The file with the log lines of the server.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join(LOG)
    }

    /// `kill -9`: the process cannot react to it.
    pub(crate) fn kill_nine(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends a signal, by its name without `SIG`, to a process that has not been waited for.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.unwrap().success(), "SIG{name}");
    }

    /// Sends SIGTERM, and returns the exit status of the server.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.until_it_ended().await
    }

    pub(crate) async fn until_it_ended(&mut self) -> ExitStatus {
        let process = &mut self.process;
        until("the server ends", async || process.try_wait().unwrap()).await
    }

    /// Starts the server again on the same data folder.
    pub(crate) async fn restart(&mut self) {
        self.begin_start();
        self.until_it_listens().await;
    }

    /// Starts the server, and does not wait until it listens.
    pub(crate) fn begin_start(&mut self) {
        let mut command = command(self.folder.path(), &self.config, self.disk.as_ref());
        self.process = command.spawn().unwrap();
    }

    /// Sets whether the folder stays when this is dropped, so that people can look into it. Returns its path.
    pub(crate) fn keep(&mut self, keep: bool) -> &Path {
        self.folder.disable_cleanup(keep);
        self.folder.path()
    }

    /// Starts the server again, expects that it ends before it listens, and returns its exit status.
    pub(crate) async fn restart_in_vain(&mut self) -> ExitStatus {
        self.begin_start();
        let status = self.until_it_ended().await;
        assert!(!self.folder.path().join(ADDRESSES).exists(), "it listened");
        status
    }

    /// The processes that are compiling modules for the server.
    pub(crate) fn compilers(&self) -> Vec<u32> {
        let children = format!("/proc/{0}/task", self.process.id());
        let tasks = fs::read_dir(children).into_iter().flatten().flatten();
        let children = tasks.flat_map(|task| {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            children.split_whitespace().flat_map(str::parse).collect::<Vec<u32>>()
        });
        let compiles = |child: &u32| {
            let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            line.windows(15).any(|word| word == b"compile-module\0")
        };
        children.filter(compiles).collect()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The resident memory of the process, in bytes.
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
        let _ = self.process.kill(); // an error means that it has ended already
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

/// The command that runs the server of a test.
fn command(folder: &Path, config: &str, disk: Option<&FaultyDisk>) -> Command {
    let addresses = folder.join(ADDRESSES);
    let _ = fs::remove_file(&addresses); // the file of the previous start, if there was one
    let log = log_file(folder);
    let mut command = caxton();
    command
        .arg("serve")
        .arg("--data-dir")
        .arg(folder.join(DATA))
        .arg("--addr-file")
        .arg(addresses);
    command.args(["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"]);
    let file = folder.join("caxton.toml");
    fs::write(&file, config).unwrap();
    command.arg("--config").arg(file);
    if let Some(disk) = disk {
        disk.put_under(&mut command);
    }
    command.stdout(log.try_clone().unwrap()).stderr(log);
    command
}

fn log_file(folder: &Path) -> File {
    let path = folder.join(LOG);
    File::options().create(true).append(true).open(path).unwrap()
}

/// The command, run by a shell that does `first` before it.
pub(crate) fn after(first: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{first} exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args());
    shell.stdin(Stdio::null());
    shell
}

/// The program under test, without arguments.
pub(crate) fn caxton() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_caxton"));
    command.stdin(Stdio::null());
    command
}
