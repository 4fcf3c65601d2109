//! OTP supervision for [ractor](https://docs.rs/ractor).
//!
//! A [`Supervisor`] is a value: a name, a [`Strategy`], a restart intensity ([`Intensity`]) and child specifications
//! ([`ChildSpec`]). Started, it becomes a [`Tree`], which keeps its children running, stops them in order, and can be
//! inspected while it runs.
//!
//! Where a rule comes from OTP, it is that of the module `supervisor` in Erlang's standard library. Each departure from OTP is
//! named as one.
//!
//! # Start
//!
//! Children start from left to right: each one starts when the one before it has started. [`Supervisor::start`] returns when
//! all children have started. When a child does not start, the children that had started are stopped in reverse order, and
//! the error names the child and the reason. A start that takes longer than its `start_timeout` is a failed start. The ids of
//! siblings are unique.
//!
//! # Exits
//!
//! The [`Restart`] type of a child decides whether the supervisor restarts it. A permanent child is always restarted. A
//! transient child is restarted unless it ended normally or by shutdown. A temporary child is never restarted, not even
//! together with its siblings, and its child specification is removed when it ends.
//!
//! [`ExitReason`] says why a child ended. A kill, a cancelled task, a panic, a lost heartbeat and each kind of [`Failure`] are
//! distinct reasons, and all of them are abnormal.
//!
//! Each start of a child makes a new incarnation of it. An incarnation starts only when the one before it has ended. Exits of
//! earlier incarnations and of unknown actors are ignored.
//!
//! # Strategies
//!
//! - `one_for_one` restarts only the child that ended.
//! - `one_for_all` stops all other children, the last one first, and then starts all children.
//! - `rest_for_one` stops the children that started after the one that ended, the last one first, and then starts that child
//!   and those after it.
//!
//! A restart of several children is a group restart. When another child of the group fails while the group is being stopped,
//! that failure belongs to the same group restart. When a child fails after the group has begun to start again, or does not
//! start, that is another restart and counts toward the restart intensity. The children
//! that were stopped for it are counted as restarted for the reason [`SIBLING`], which counts toward no intensity. In the same way
//! the children of a supervisor that is itself restarted are counted for the reason [`SUPERVISOR`].
//!
//! As in OTP, a group restart starts every child of the group, also a child that was terminated or had ended for good.
//!
//! A [`Dynamic`] supervisor has children that are added and removed by id while it runs. They are independent of each other,
//! and they are started and stopped in parallel.
//!
//! # Restart intensity
//!
//! An [`Intensity`] allows `restarts` restarts within `period`. One more is a meltdown: the supervisor stops all its children
//! in reverse order and ends with a failure of the kind [`MELTDOWN`], and the supervisor above it decides what follows.
//! Attempts to restart that fail count as restarts. The period is a sliding window, so failures that are far enough apart
//! never add up to a meltdown. The restarts that the intensity still allows are called the restart budget.
//!
//! A dynamic supervisor applies the intensity to each child on its own. This departs from OTP on purpose. A child that exceeds
//! its intensity becomes `failed`: it stays down, remains visible, and does not affect its siblings.
//! [`DynamicHandle::restart`](Handle::restart) starts it again.
//!
//! # Backoff
//!
//! With a [`Backoff`] the first restart of a child is immediate and the second waits for `min`. Each further delay is `factor`
//! times longer, up to `max`, and is varied by `jitter`. After an uptime of `reset_after` the next restart is a first one
//! again. Without a backoff every restart is immediate.
//!
//! When the delays grow longer than the period of the restart intensity, the child never exceeds the intensity. It is then
//! retried for ever, at the rate of its longest delay.
//!
//! # Shutdown
//!
//! The [`Shutdown`] of a child says how long it may take to stop after it was asked to. When that time is over, the child is
//! killed, and the supervisor waits for at most [`KILL_WAIT`] until it has ended. A child that is still running then is
//! reported as a zombie and left behind.
//!
//! Declared children are stopped in reverse order, the children of a dynamic supervisor all at once. This order also holds
//! when somebody other than its supervisor stops a supervisor. It does not hold when a supervisor is killed.
//!
//! With an [`AutoShutdown`], a supervisor ends by itself when its significant children have ended. Its exit reason is then
//! [`ExitReason::AutoShutdown`], which has the exit reason of that child and counts as a shutdown.
//!
//! # Heartbeat
//!
//! A child whose specification has a [`Heartbeat`] reports through its [`Pulse`] that it is alive: it beats while it is idle,
//! and it says when it is busy. A child that does neither in time is killed, and its exit reason is
//! [`ExitReason::HeartbeatLost`].
//!
//! # Commands
//!
//! A [`Handle`] gives commands to a running supervisor and stays valid when the supervisor is restarted. It comes from
//! [`Supervisor::into_child_with_handle`], [`Dynamic::into_child`] or [`Tree::handle`]. The commands `start_child`,
//! `terminate`, `restart` and `delete` are OTP's, and they work under every strategy:
//!
//! - `start_child` adds a child after all others. When the first start of the new child fails, the child is removed again, and
//!   no restart is counted.
//! - `terminate` stops a child and keeps its specification. The child stays down until `restart`, or until a group restart that
//!   begins later. A child that is terminated during a group restart is not started by it. When the group was waiting for
//!   the backoff of that child, it no longer waits.
//! - `restart` starts a child again. When a child that was down does not start, it stays down and nothing is counted, as with
//!   OTP's `restart_child`. A dynamic supervisor instead retries it within the restart intensity of the child.
//! - No command touches a sibling, counts as a restart, or causes an auto-shutdown.
//! - A supervisor that is restarted begins again with its declared and populated children, whatever commands have added,
//!   replaced or deleted.
//!
//! Two things differ from OTP: a supervisor accepts commands while it starts or restarts children, and `delete` and `restart`
//! stop the child first when it is running.
//!
//! [`SupervisorHandle::reconfigure`](Handle::reconfigure) changes the strategy, the restart intensity and the auto-shutdown of
//! a running supervisor and restarts nothing. [`Handle::reconfigure_child`] does the same for the restart type and the backoff of
//! a child. `reset` restores the restart budget.
//!
//! # Upgrade
//!
//! The library does the supervisor's part of OTP's `suspend`, `code_change` and `resume`:
//!
//! - While a child is suspended ([`Handle::suspend`]), no exit of it is followed by a start. [`Handle::resume`] makes the
//!   supervisor decide about the exits that it has postponed.
//! - [`Handle::replace`] stops a child in order and starts it by a new specification, at the same position among its siblings.
//!   When the new one does not start, the old specification is restored and started. Neither counts as a restart.
//!
//! The mailbox and the state of a child belong to whoever wrote its actor. An upgrade therefore has these steps: suspend the
//! child, let the message that it is handling finish, export its state, replace its specification by one whose start imports
//! that state and fails when the child is not healthy, and resume it.
//!
//! # Inspecting a tree
//!
//! [`Tree::snapshot`] returns the whole tree as data. [`Tree::subscribe`] returns its events in one order. A reader that is too
//! slow delays nobody and learns how many events it has lost. A crash is followed by the events `child_exited`, `backoff` if
//! the restart is delayed, and `restarted`.
//!
//! Metrics are recorded through the `metrics` facade:
//!
//! | metric | value |
//! |---|---|
//! | `supervisor_restarts_total` | restarts, by reason |
//! | `supervisor_meltdowns_total` | meltdowns, and children that became `failed`, by reason |
//! | `supervisor_intensity_used`, `supervisor_intensity_limit` | restarts within the period, and how many are allowed; only of a supervisor with declared children whose label is its own name, because intensities do not add up |
//! | `supervisor_children` | children, by `state`; a suspended child counts as `suspended` unless it is down |
//! | `supervisor_recovery_seconds` | the time from an exit until the child is running again |
//! | `supervisor_backoff_seconds` | delays of restarts |
//!
//! The label `supervisor` is the name of the supervisor, or what its `label` says, and the label `strategy` is its strategy.
//! The names of supervisors below a dynamic supervisor may come from users. Their metrics therefore have the label of that
//! dynamic supervisor.
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
pub use self::exit::{ExitReason, Failure, MELTDOWN, SIBLING, SUPERVISOR};
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
