//! Starting and ending a node.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ractor::Actor;
use supervisors::{BoxError, ChildSpec, Dynamic, Intensity, Shutdown, Strategy, Supervisor};
use sysinfo::System;
use tokio::sync::{Semaphore, watch};

use super::restore::Restorer;
use super::{Node, disk, measure, tree};
use crate::config::{Config, ConfigError};
use crate::directory::Directory;
use crate::error::Error;
use crate::events::{Announcer, Chronicler, ChroniclerStart, Fanout};
use crate::id::Partition;
use crate::journal::local::{LocalJournal, LocalOptions};
use crate::journal::memory::MemoryJournal;
use crate::journal::projections::Projections;
use crate::journal::{Journal, JournalError};
use crate::message::Durability;
use crate::operation::Operations;
use crate::router::{Restore, Shared, Stranded, Waiters};
use crate::secret::{Sealer, Unopened};
use crate::telemetry::{Recoveries, Turns};
use crate::wasm::{Runtime, RuntimeConfig};

/// KiB of clients' messages that may be on their way to the journal at once.
const SEND_KIB: usize = 256 << 10;

/// How long a shutdown waits for the projections. If they do not finish, the next start catches up.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the data folder {dir}: {source}")]
    Folder { dir: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Secret(#[from] Unopened),
    #[error(
        "`key_file` names {}, which does not exist; make it with `head -c 32 /dev/urandom > FILE`, readable to the server's user \
         alone", .0.display()
    )]
    KeyFile(PathBuf),
    #[error("{front} cannot listen on {address}: {}", listen_problem(.source, .option))]
    Listen {
        front: &'static str,
        /// The option that names the address.
        option: &'static str,
        address: std::net::SocketAddr,
        source: std::io::Error,
    },
    #[error("{0}")]
    Node(#[from] Error),
    #[error("the machine's figures cannot be read: {0}")]
    Machine(#[from] sysinfo::Error),
    #[error("the supervision tree: {0}")]
    Tree(String),
}

/// Why an address cannot be bound, and the next step.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds of errors are many, and these are those that an operator meets"
)]
fn listen_problem(source: &std::io::Error, option: &str) -> String {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    let other = format!("choose another address with {option} (port 0 takes a free one)");
    let is = |kind| source.kind() == kind;
    let why = if is(AddrInUse) {
        return format!("another program uses the address, which may be another Caxton server; stop it, or {other}");
    } else if is(AddrNotAvailable) {
        "no interface of this machine has the address".to_owned()
    } else if is(PermissionDenied) {
        "this user may not use the port; ports below 1024 are for root".to_owned()
    } else {
        source.to_string()
    };
    format!("{why}; {other}")
}

/// A data folder that this process has locked, with its journal open. Nothing runs yet.
pub struct Opened {
    config: Config,
    journal: Arc<dyn Journal>,
    files: Option<Arc<LocalJournal>>,
    /// A node that keeps nothing has its history in this temporary folder while it runs.
    scratch: Option<tempfile::TempDir>,
}

impl Opened {
    /// Opens the data folder, or creates it. A folder that another server has locked is refused.
    pub fn open(config: Config) -> Result<Self, StartError> {
        config.check()?;
        crate::telemetry::prometheus();
        let (journal, files, scratch): (Arc<dyn Journal>, _, _) = match config.durability {
            Durability::Durable => {
                let options = LocalOptions {
                    segment_bytes: config.retention.segment.bytes(),
                    ..LocalOptions::default()
                };
                let journal = LocalJournal::open(&config.data_dir, options)?;
                journal.fix_partitions(config.partitions)?;
                (journal.clone(), Some(journal), None)
            }
            Durability::Memory => {
                let made = tempfile::Builder::new().prefix("caxton-memory-").tempdir();
                let scratch = made.map_err(|source| StartError::Folder {
                    dir: std::env::temp_dir(),
                    source,
                })?;
                (MemoryJournal::new(), None, Some(scratch))
            }
        };
        Ok(Self {
            config,
            journal,
            files,
            scratch,
        })
    }

    fn dir(&self) -> &Path {
        let scratch = self.scratch.as_ref();
        scratch.map_or(&*self.config.data_dir, tempfile::TempDir::path)
    }

    /// Restores what the folder holds and starts the tree. `api` makes the listeners; they start last, when all agents
    /// run.
    pub async fn start(self, api: impl FnOnce(&Weak<Node>) -> Vec<ChildSpec>) -> Result<Arc<Node>, StartError> {
        let dir = self.dir().to_owned();
        let Self {
            config,
            journal,
            files,
            scratch,
        } = self;
        let (projections, sealer) = open_projections(&dir, &journal, &config).await?;
        let directory = Arc::new(Directory::default());
        let shared = Arc::new(Shared {
            journal: journal.clone(),
            partitions: config.partitions,
            directory: directory.clone(),
            waiters: Waiters::default(),
            key_locks: Arc::default(),
            stranded: Stranded::default(),
            turns: Turns::default(),
            spawns: Arc::default(),
            recoveries: Arc::default(),
        });
        let system = measure::system()?;
        let runtime = Runtime::new(&guests(&config, &dir, &system))?;
        let fanout = Fanout::default();
        let intensity = Intensity::new(10, Duration::from_secs(60));
        let most = config.limits.operations as usize;
        let (modules, compilations) = Dynamic::new("modules", intensity).max_children(most).into_child();
        let (operations, lifecycle) = Dynamic::new("operations", intensity).max_children(most).into_child();

        let mut children = Vec::new();
        let mut restorer = None;
        let mut faces = Vec::new();
        let node = Arc::new_cyclic(|node: &Weak<Node>| {
            let restore = Arc::new(Restorer::new(node.clone()));
            let mut partitions = HashMap::new();
            for partition in (0..config.partitions).map(Partition) {
                let restore: Arc<dyn Restore> = restore.clone();
                let (child, handle) = tree::partition(partition, shared.clone(), restore, node.clone());
                children.push(child);
                partitions.insert(partition, handle);
            }
            restorer = Some(restore);
            faces = api(node);
            Node {
                data_dir: dir,
                _scratch: scratch,
                sends: Arc::new(Semaphore::new(config.limits.sends_in_flight as usize)),
                send_kib: Arc::new(Semaphore::new(SEND_KIB)),
                config,
                journal: journal.clone(),
                files,
                projections,
                sealer,
                runtime,
                directory: directory.clone(),
                shared,
                partitions,
                fanout: fanout.clone(),
                replaying: Arc::default(),
                upkeep: super::backup::Upkeep::default(),
                operations: Operations::under(lifecycle, "deploys, stops and removals", most),
                compilations: Operations::under(compilations, "compilations", most),
                system: system.into(),
                tree: tokio::sync::OnceCell::new(),
                stopping: watch::Sender::new(false),
                broken: tokio::sync::Notify::new(),
                full: disk::Full::new(None),
                #[cfg(test)]
                deploy_steps: parking_lot::Mutex::default(),
            }
        });
        let restorer = restorer.expect("the closure above ran");
        restorer.restore_all().await?;
        let recoveries = node.shared.recoveries.clone();
        let chronicle = Partition::of_supervision(node.config.partitions);
        let events = events(&journal, &directory, &fanout, &recoveries, chronicle);
        let core = tree::core(&journal, &node.projections, move || children.clone());
        let api = Supervisor::new("api", Strategy::OneForOne, Intensity::new(5, Duration::from_secs(60)));
        let api = faces.into_iter().fold(api, Supervisor::child);
        // Children stop in reverse order: the listeners first, then the agents, and `events` last, so that it sees all
        // events.
        let root = Supervisor::new("node", Strategy::OneForOne, Intensity::new(3, Duration::from_secs(60)))
            .child(events)
            .child(disk::child(
                &Arc::downgrade(&node),
                Partition::of_node(node.config.partitions),
            ))
            .child(modules)
            .child(operations)
            .child(core)
            .child(super::retention::child(&node))
            .child(api.into_child());
        let tree = root
            .start()
            .await
            .map_err(|error| StartError::Tree(error.to_string()))?;
        node.tree
            .set(tree)
            .map_err(|_| StartError::Tree("the node was started twice".to_owned()))?;
        Ok(node)
    }
}

async fn open_projections(
    dir: &Path,
    journal: &Arc<dyn Journal>,
    config: &Config,
) -> Result<(Arc<Projections>, Arc<Sealer>), StartError> {
    let (dir, journal, config) = (dir.to_owned(), journal.clone(), config.clone());
    let opening = tokio::task::spawn_blocking(move || {
        let projections = Projections::open(&dir, &*journal)?;
        let sealer = super::secrets::sealer(&config, &dir, &projections)?;
        Ok((projections, Arc::new(sealer)))
    });
    opening.await.map_err(|error| StartError::Tree(error.to_string()))?
}

impl Node {
    /// Shuts the node down: the listeners finish their responses, turns in flight end, and the journal is synced and
    /// closed. Agents, their state and their queues come back with the next start.
    pub async fn shutdown(&self) {
        self.stopping.send_replace(true);
        if let Some(tree) = self.tree.get()
            && tokio::time::timeout(self.config.shutdown.0, tree.shutdown())
                .await
                .is_err()
        {
            // Whatever still runs ends with the process. Nothing is lost, because a turn that was not recorded has no
            // effect.
            tracing::warn!(after = %self.config.shutdown, "not everything stopped in time");
        }
        self.journal.close();
        // The projections end after the journal has closed. They read only durable records, so nothing is lost if they
        // take too long.
        let _ = tokio::time::timeout(FAREWELL, self.projections.ended()).await;
    }

    /// Returns when the tree's root supervisor gave up: the node cannot keep its guarantees any more, and its process
    /// must end.
    pub async fn gave_up(&self) {
        let Some(tree) = self.tree.get() else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = tree.wait() => {}
            () = self.broken.notified() => {}
        }
    }
}

fn events(
    journal: &Arc<dyn Journal>,
    directory: &Arc<Directory>,
    fanout: &Fanout,
    recoveries: &Arc<Recoveries>,
    partition: Partition,
) -> ChildSpec {
    let announcer = {
        let (journal, fanout) = (journal.clone(), fanout.clone());
        ChildSpec::worker("announcer", move |context| {
            let start = (journal.clone(), fanout.clone());
            async move { Ok::<_, BoxError>(Actor::spawn_linked(None, Announcer, start, context.supervisor).await?) }
        })
    };
    let chronicler = {
        let (journal, directory, recoveries) = (journal.clone(), directory.clone(), recoveries.clone());
        ChildSpec::worker("chronicler", move |context| {
            let start = ChroniclerStart {
                stream: context.events(),
                journal: journal.clone(),
                directory: directory.clone(),
                recoveries: recoveries.clone(),
                partition,
            };
            async move { Ok::<_, BoxError>(Actor::spawn_linked(None, Chronicler, start, context.supervisor).await?) }
        })
    };
    // Both actors only wait inside their handlers and hold no resource that a kill could leave half changed.
    Supervisor::new(
        "events",
        Strategy::OneForOne,
        Intensity::new(10, Duration::from_secs(60)),
    )
    .child(announcer.shutdown(Shutdown::BrutalKill))
    .child(chronicler.shutdown(Shutdown::BrutalKill))
    .into_child()
}

/// The configuration of the wasm runtime. Unless the operator sets the guests' memory, they get a share of the
/// machine's.
fn guests(config: &Config, data_dir: &Path, system: &System) -> RuntimeConfig {
    let guests = config.wasm.runtime(data_dir);
    match config.wasm.memory.bytes() {
        0 => RuntimeConfig {
            memory: measure::memory_for_guests(system),
            ..guests
        },
        _ => guests,
    }
}
