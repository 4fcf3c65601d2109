//! The README, as a stranger reads it: its shell blocks in their order, in one folder, against one server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use caxton::config::Config;
use figment::Figment;
use figment::providers::{Format as _, Toml};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::harness::until;

const README: &str = include_str!("../../README.md");
/// A block that begins so is not run, and the rest of the line says why.
const NOT_RUN: &str = "# Not run by the tests: ";
/// How long one block may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The blocks in a language, each with its line in the README.
fn blocks(language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = README.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if line == format!("```{language}") {
            let block: Vec<_> = lines
                .by_ref()
                .map(|(line, _)| line)
                .take_while(|line| *line != "```")
                .collect();
            blocks.push((number, block.join("\n")));
        }
    }
    blocks
}

/// A folder with what the README takes for granted: the examples, and `caxton` and `curl` on the PATH.
struct Reader {
    folder: tempfile::TempDir,
    server: Option<Child>,
    address: String,
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::os::unix::fs::symlink(root.join("examples"), folder.path().join("examples")).unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let caxton = format!(
            "#!/bin/sh
            case $1 in
                serve) exec {0} \"$@\" --addr-file \"$ADDRESSES\" ;;
                backup) exec {0} \"$@\" --server \"http://$ADDRESS\" ;;
                *) exec {0} \"$@\" ;;
            esac
            ",
            env!("CARGO_BIN_EXE_caxton")
        );
        // curl's own status says nothing of an answer that refuses.
        let curl = "#!/bin/sh\nPATH=$REST_OF_PATH exec curl --silent --show-error --fail-with-body \"$@\"\n".to_owned();
        for (name, script) in [("caxton", caxton), ("curl", curl)] {
            let file = bin.join(name);
            fs::write(&file, script).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self {
            folder,
            server: None,
            address: String::new(),
        }
    }

    fn addresses(&self) -> PathBuf {
        self.folder.path().join("addresses")
    }

    fn shell(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.folder.path().join("bin").display()))
            .env("REST_OF_PATH", path)
            .env("ADDRESSES", self.addresses())
            .env("ADDRESS", &self.address)
            .env("CAXTON_LISTEN", "127.0.0.1:0")
            .env("CAXTON_GRPC_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        shell
    }

    /// Starts the server that a block starts, and waits until it serves.
    async fn serve(&mut self, block: &str) {
        assert!(self.server.is_none(), "the README starts a second server");
        let script = format!("exec {block}");
        self.server = Some(self.shell(&script).stderr(Stdio::null()).spawn().unwrap());
        let addresses = until("the server listens", async || {
            let text = fs::read_to_string(self.addresses()).ok()?;
            serde_json::from_str::<Value>(&text).ok()
        });
        addresses.await["rest"].as_str().unwrap().clone_into(&mut self.address);
    }

    async fn run(&self, line: usize, block: &str) {
        let script = block.replace("localhost:8080", &self.address);
        let running = self.shell(&script).output();
        let ran = tokio::time::timeout(PATIENCE, running).await.expect("it ends").unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(2_000).collect::<String>();
        assert!(
            ran.status.success(),
            "the block at line {line} of the README ended with {}:\n{block}\n{}\n{}",
            ran.status,
            said(&ran.stdout),
            said(&ran.stderr)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shell_block_runs_in_its_order() {
    let mut reader = Reader::new();
    let (mut ran, mut skipped) = (0, 0);
    for (line, block) in blocks("sh") {
        if block.starts_with(NOT_RUN) {
            skipped += 1;
        } else if block.starts_with("caxton serve") {
            reader.serve(&block).await;
        } else {
            reader.run(line, &block).await;
            ran += 1;
        }
    }
    assert!(ran >= 4 && skipped <= 4, "{ran} ran, {skipped} did not");
}

#[test]
fn the_configuration_is_whole_and_has_the_defaults() {
    let blocks = blocks("toml");
    let (_, block) = blocks
        .iter()
        .find(|(_, block)| block.contains("data_dir"))
        .expect("it is there");
    let shown: Value = Figment::from(Toml::string(block)).extract().unwrap();
    // What is optional has no default, and is commented out.
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let (mut shown_keys, mut keys) = (Vec::new(), Vec::new());
    paths("", &shown, &mut shown_keys);
    paths("", &defaults, &mut keys);
    assert_eq!(shown_keys, keys);
    let read: Config = Figment::from(Toml::string(block)).extract().unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), defaults);
}

/// The keys of a document that have a value, in order.
fn paths(path: &str, document: &Value, found: &mut Vec<String>) {
    match document {
        Value::Object(members) => {
            for (key, member) in members {
                paths(&format!("{path}.{key}"), member, found);
            }
            found.sort();
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => found.push(path.to_owned()),
    }
}
