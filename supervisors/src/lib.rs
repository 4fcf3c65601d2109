//! OTP supervision for [ractor](https://docs.rs/ractor).
//!
//! A [`Supervisor`] is a value: a name, a [`Strategy`], an [`Intensity`] and children. Started, it is a [`Tree`] that keeps
//! its children running, stops them in order, and can be looked at while it does.
//!
//! # Start
//!
//! Children start left to right, each after the one before it has started. `start` returns when all have. When one does not,
//! those that have are stopped in reverse order and the error names the child and the reason. A start that hangs is given up
//! after its `start_timeout`. Ids are unique among siblings.
//!
//! # Exits
//!
//! A child comes back by its [`Restart`]: permanent always, transient unless it ended normally or by shutdown, temporary
//! never, not even with its siblings, and its spec goes with it. [`ExitReason`] says why it ended: a kill, a cancelled task, a
//! panic, a lost heartbeat and each kind of [`Failure`] are reasons of their own, and all abnormal. Exits of earlier
//! incarnations and of actors unknown are ignored. The old incarnation is gone before the new one starts.
//!
//! # Strategies
//!
//! `one_for_one` restarts the child alone. `one_for_all` stops the others at once, last one first, and starts all;
//! `rest_for_one` does so with the later ones only. Failures of the old generation while a group restarts are part of that one
//! restart. A failure of the new one, or a start that fails, is another attempt and counts.
//!
//! As in OTP a group restart starts all its members, also one that was down, terminated or ended for good.
//!
//! A [`Dynamic`] supervisor has children that come and go by id, each independent of the others, started and stopped in
//! parallel.
//!
//! # Intensity
//!
//! More than `restarts` within `period` is a meltdown: all children stop in reverse order, the supervisor ends with a failure
//! of kind [`MELTDOWN`], and its parent decides. Failed attempts count. The window slides, so that failures far enough apart
//! never add up.
//!
//! Under a dynamic supervisor, and this departs from OTP on purpose, the budget is each child's own. A child that spends it is
//! `failed`: it stays visible and down until [`DynamicHandle::restart`] revives it, and its siblings live.
//!
//! # Backoff
//!
//! With a [`Backoff`] the first restart is immediate, the second waits `min`, each later one `factor` times longer up to `max`,
//! more or less by `jitter`, from the beginning again after an uptime of `reset_after`. Without one all restarts are immediate.
//! Delays that grow past the intensity's period keep a child from ever melting down: it is then retried for ever, slowly.
//!
//! # Shutdown
//!
//! A child is asked to stop and waited for, for as long as its [`Shutdown`] says; then it is killed and waited for again, at
//! most [`KILL_WAIT`]; what is still there then is reported as a zombie and left behind. Declared children stop in reverse
//! order, dynamic ones together. Whoever stops a supervisor stops what is below it in that order; only a kill does not.
//! A supervisor ends by itself, normally, as [`AutoShutdown`] says.
//!
//! # Heartbeat
//!
//! A child whose spec has a [`Heartbeat`] shows signs of life through its [`Pulse`]: it beats when idle and says when it is
//! busy. One that does neither is killed, and ends with [`ExitReason::HeartbeatLost`].
//!
//! # Commands
//!
//! A [`Handle`] is a way to a running supervisor that outlives its restarts: [`Supervisor::into_child_with_handle`],
//! [`Dynamic::into_child`], [`Tree::handle`]. `start_child`, `terminate`, `restart` and `delete` are those of OTP's
//! `supervisor`, under every strategy:
//!
//! - a child is added at the right end. One whose first start fails is not kept, and is no restart;
//! - a terminated child keeps its spec and stays down until `restart`, or until its group restarts. One that is terminated
//!   while its group restarts is left out of that, and a group waits no longer for the delay of one that is gone;
//! - a child that was down and does not start when told to stays down, and nothing is counted (`restart_child`). Under a
//!   dynamic supervisor it is retried under its own budget;
//! - none of them touches a sibling, uses the budget, or triggers an auto-shutdown;
//! - a supervisor that is restarted begins with what was declared and populated, whatever was added, replaced or deleted.
//!
//! Unlike OTP's, a supervisor takes commands while it starts or restarts children, and stops a running child before it
//! deletes or restarts it.
//!
//! [`SupervisorHandle::reconfigure`](Handle::reconfigure) changes strategy, intensity and auto-shutdown of a running
//! supervisor and restarts nothing; `reset` gives a budget back.
//!
//! # Upgrade
//!
//! The supervisor's part of OTP's `suspend`, `code_change` and `resume`. [`Handle::suspend`] leaves a child alone: its exits are
//! followed by no start, until [`Handle::resume`] decides them. [`Handle::replace`] exchanges its spec by an ordered stop and
//! start in the same place, puts the old spec back when the new one does not start, and is no restart either way. The mailbox
//! and the state are the owner's: to upgrade is to suspend, let the turn in flight end, export the state, replace by a spec
//! whose start imports it and fails if it is not healthy, and resume.
//!
//! # Looking at a tree
//!
//! [`Tree::snapshot`] is the whole tree as data. [`Tree::subscribe`] is its events in one order; a reader that is too slow stalls
//! nobody and is told how many it lost. After one crash come `child_exited`, `backoff` if there is a delay, then `restarted`.
//!
//! Metrics go through the `metrics` facade: `supervisor_restarts_total`, `supervisor_meltdowns_total` (also children that
//! became `failed`), `supervisor_intensity_used`, `supervisor_intensity_limit`, `supervisor_children{state}`,
//! `supervisor_recovery_seconds` (exit to running) and `supervisor_backoff_seconds`. A suspended child counts as such
//! whatever it does, unless it is down. Their labels are the supervisor's name or
//! `label`, the strategy and the reason. Below a dynamic supervisor, where names may come from users, it is that supervisor's.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use ractor::{Actor, ActorProcessingErr, ActorRef};
//! use supervisors::{Backoff, ChildSpec, Intensity, Strategy, Supervisor};
//!
//! struct Journal;
//! impl Actor for Journal {
//!     type Msg = ();
//!     type State = ();
//!     type Arguments = ();
//!     async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
//!         Ok(())
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let journal = ChildSpec::worker("journal", |context| async move {
//!     Ok(Actor::spawn_linked(None, Journal, (), context.supervisor).await?)
//! });
//! let tree = Supervisor::new("node", Strategy::RestForOne, Intensity::new(3, Duration::from_secs(5)))
//!     .child(journal.backoff(Backoff::default()))
//!     .start()
//!     .await
//!     .unwrap();
//! assert_eq!(tree.snapshot().await.children[0].state, "running");
//! tree.shutdown().await;
//! # });
//! ```
#![doc = include_str!("rules.md")]
#![forbid(unsafe_code)]

mod actor;
mod backoff;
mod core;
mod dynamic;
mod error;
mod event;
mod exit;
mod handle;
mod heartbeat;
mod intensity;
mod message;
mod meter;
mod note;
mod position;
mod rules;
mod scope;
mod snapshot;
mod spec;
mod stop;
mod supervisor;
mod termination;
mod tree;

pub use self::backoff::Backoff;
pub use self::dynamic::{Dynamic, DynamicHandle};
pub use self::error::{SpecError, StartChildError, StartError};
pub use self::event::{EVENT_CAPACITY, Event, EventError, EventStream};
pub use self::exit::{ExitReason, Failure, MELTDOWN};
pub use self::handle::{ChildCounts, ChildInfo, Handle};
pub use self::heartbeat::{Busy, Heartbeat, Pulse};
pub use self::intensity::Intensity;
pub use self::note::EventKind;
pub use self::position::Populate;
pub use self::rules::{AutoShutdown, Restart, Shutdown, Strategy};
pub use self::snapshot::{IntensityUse, LastExit, Snapshot};
pub use self::spec::{BoxError, ChildSpec, GiveUpFn, StartContext, Started, WORKER_SHUTDOWN, WORKER_START};
pub use self::stop::KILL_WAIT;
pub use self::supervisor::{Supervisor, SupervisorHandle};
pub use self::tree::Tree;
