//! The life of an agent: one state, and a pure step that decides what each command makes of it.
//!
//! Nothing else decides the state: operators, supervisors and the router hand commands in, and the times of the
//! catalog's document, the mailbox and the events follow from the state that comes out. The table is the specification;
//! a test reads it.
//!
//! | command | loaded | running | suspended | draining | stopped | failed |
//! |---|---|---|---|---|---|---|
//! | start | busy | same | same | busy | loaded | loaded |
//! | started | running | refused | refused | refused | refused | refused |
//! | start failed | as before | refused | refused | refused | refused | refused |
//! | suspend | refused | suspended | same | refused | refused | refused |
//! | resume | refused | same | running | refused | refused | refused |
//! | stop | busy | draining | draining | same | same | draining |
//! | drained | refused | refused | refused | stopped | same | stopped |
//! | give up | failed | failed | failed | failed | same | same |
//! | revive | same | same | same | same | same | running or suspended |
//!
//! *Same*: the command changes nothing, and that is no error. *Busy*: an operation is in progress; try again when it is over.
//! *As before*: the state from which the start began; a new agent had none and is withdrawn, so there the command is refused.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The state of an agent's life, with the data of that state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The program is loaded, and the first instance has not started yet.
    Loaded {
        /// The state before somebody started the agent. None: the agent is new.
        before: Option<Down>,
    },
    Running,
    /// The agent takes messages but no turns.
    Suspended,
    /// The agent handles its queued messages and takes no more.
    Draining {
        /// When the messages that are still queued become dead letters.
        until: Timestamp,
    },
    Stopped,
    /// The agent's supervisor gave it up.
    Failed {
        why: String,
    },
}

/// A state in which no instance runs until somebody starts the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down {
    Stopped,
    Failed { why: String },
}

/// A command that may change the state of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Somebody starts the agent again.
    Start,
    /// The agent's first instance runs.
    Started,
    /// The agent's first instance could not be started.
    StartFailed,
    Suspend,
    Resume,
    /// Somebody stops the agent. It may handle its queued messages until the given time.
    Stop {
        until: Timestamp,
        /// Whether the agent's group is stopped as a whole. Then a restart of the group brings the agent back.
        with_group: bool,
    },
    /// The queue is empty, or the time to handle it is over.
    Drained,
    /// The agent's supervisor gives it up.
    GiveUp {
        /// The label of the last exit reason, such as `trap`.
        reason: &'static str,
        why: String,
    },
    /// The agent's group is restarted, and the agent comes back with it.
    Revive {
        /// Whether an operator had suspended the agent before it failed.
        suspended: bool,
    },
}

/// Why a command is refused in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An operation on the agent is in progress.
    Busy,
    /// The state does not allow the command.
    NotNow,
}

impl Standing {
    /// Decides the state after `command`. None: the state stays the same.
    pub fn step(&self, command: &Command) -> Result<Option<Self>, Refusal> {
        let to = match (command, self) {
            (Command::Start, Self::Stopped) => Self::Loaded {
                before: Some(Down::Stopped),
            },
            (Command::Start, Self::Failed { why }) => Self::Loaded {
                before: Some(Down::Failed { why: why.clone() }),
            },
            (Command::Start, Self::Running | Self::Suspended)
            | (Command::Suspend, Self::Suspended)
            | (Command::Resume, Self::Running)
            | (Command::Stop { .. }, Self::Draining { .. } | Self::Stopped)
            | (Command::Drained, Self::Stopped)
            | (Command::GiveUp { .. }, Self::Stopped | Self::Failed { .. })
            | (
                Command::Revive { .. },
                Self::Loaded { .. } | Self::Running | Self::Suspended | Self::Draining { .. } | Self::Stopped,
            ) => return Ok(None),
            (Command::Start, Self::Loaded { .. } | Self::Draining { .. })
            | (Command::Stop { .. }, Self::Loaded { .. }) => return Err(Refusal::Busy),
            (Command::Started, Self::Loaded { .. }) | (Command::Resume, Self::Suspended) => Self::Running,
            (Command::StartFailed, Self::Loaded { before: Some(before) }) => before.clone().into(),
            (Command::Suspend, Self::Running) => Self::Suspended,
            (Command::Stop { until, .. }, Self::Running | Self::Suspended | Self::Failed { .. }) => {
                Self::Draining { until: *until }
            }
            (Command::Drained, Self::Draining { .. } | Self::Failed { .. }) => Self::Stopped,
            (
                Command::GiveUp { why, .. },
                Self::Loaded { .. } | Self::Running | Self::Suspended | Self::Draining { .. },
            ) => Self::Failed { why: why.clone() },
            (Command::Revive { suspended }, Self::Failed { .. }) => {
                if *suspended {
                    Self::Suspended
                } else {
                    Self::Running
                }
            }
            (Command::Started | Command::StartFailed | Command::Suspend | Command::Resume | Command::Drained, _) => {
                return Err(Refusal::NotNow);
            }
        };
        Ok(Some(to))
    }

    /// The state of an agent that is restored from the journal. A shutdown of the node does not count as a stop, and a
    /// failed agent starts again with its node.
    pub const fn recovered(stopped: bool, suspended: bool) -> Self {
        match (stopped, suspended) {
            (true, _) => Self::Stopped,
            (false, true) => Self::Suspended,
            (false, false) => Self::Running,
        }
    }

    /// Whether a supervisor must keep an instance of the agent running.
    pub const fn runs(&self) -> bool {
        matches!(self, Self::Running | Self::Suspended)
    }

    /// Whether the supervisor of an agent in this state has its instances as children. The deploy of a new agent adds them
    /// itself.
    pub const fn has_instances(&self) -> bool {
        matches!(
            self,
            Self::Loaded { before: Some(_) } | Self::Running | Self::Suspended | Self::Draining { .. }
        )
    }

    /// Whether no instance runs until somebody starts the agent.
    pub const fn is_down(&self) -> bool {
        matches!(self, Self::Stopped | Self::Failed { .. })
    }

    pub const fn lifecycle(&self) -> Lifecycle {
        match self {
            Self::Loaded { .. } => Lifecycle::Loaded,
            Self::Running | Self::Suspended => Lifecycle::Running,
            Self::Draining { .. } => Lifecycle::Draining,
            Self::Stopped => Lifecycle::Stopped,
            Self::Failed { .. } => Lifecycle::Failed,
        }
    }
}

impl From<Down> for Standing {
    fn from(down: Down) -> Self {
        match down {
            Down::Stopped => Self::Stopped,
            Down::Failed { why } => Self::Failed { why },
        }
    }
}

/// The state of an agent's life as the API names it. A suspended agent is `running` there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// The agent does not exist on this node.
    Unloaded,
    /// The agent's module is loaded, but no instance runs yet.
    Loaded,
    Running,
    /// The agent handles its queued messages and takes no more.
    Draining,
    Stopped,
    /// The agent's supervisor gave it up.
    Failed,
}

impl Lifecycle {
    pub const ALL: &[Self] = &[
        Self::Unloaded,
        Self::Loaded,
        Self::Running,
        Self::Draining,
        Self::Stopped,
        Self::Failed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Loaded => "loaded",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The column of the table for a state.
    fn column(standing: &Standing) -> usize {
        match standing {
            Standing::Loaded { .. } => 1,
            Standing::Running => 2,
            Standing::Suspended => 3,
            Standing::Draining { .. } => 4,
            Standing::Stopped => 5,
            Standing::Failed { .. } => 6,
        }
    }

    /// The row of the table for a command.
    fn row(command: &Command) -> &'static str {
        match command {
            Command::Start => "start",
            Command::Started => "started",
            Command::StartFailed => "start failed",
            Command::Suspend => "suspend",
            Command::Resume => "resume",
            Command::Stop { .. } => "stop",
            Command::Drained => "drained",
            Command::GiveUp { .. } => "give up",
            Command::Revive { .. } => "revive",
        }
    }

    /// What the table in the documentation says about a command in a state.
    fn documented(command: &Command, standing: &Standing) -> &'static str {
        let line = include_str!("standing.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | "))
            .find(|line| line.split(" | ").next() == Some(row(command)))
            .expect("every command has a row");
        line.trim_end_matches(" |")
            .split(" | ")
            .nth(column(standing))
            .expect("every state has a column")
    }

    fn standings() -> impl Strategy<Value = Standing> {
        let down = prop_oneof![Just(Down::Stopped), ".{1,8}".prop_map(|why| Down::Failed { why })];
        prop_oneof![
            prop::option::of(down).prop_map(|before| Standing::Loaded { before }),
            Just(Standing::Running),
            Just(Standing::Suspended),
            any::<u32>().prop_map(|at| Standing::Draining {
                until: Timestamp::from_micros(at.into())
            }),
            Just(Standing::Stopped),
            ".{1,8}".prop_map(|why| Standing::Failed { why }),
        ]
    }

    fn commands() -> impl Strategy<Value = Command> {
        prop_oneof![
            Just(Command::Start),
            Just(Command::Started),
            Just(Command::StartFailed),
            Just(Command::Suspend),
            Just(Command::Resume),
            any::<(u32, bool)>().prop_map(|(at, with_group)| Command::Stop {
                until: Timestamp::from_micros(at.into()),
                with_group,
            }),
            Just(Command::Drained),
            ".{1,8}".prop_map(|why| Command::GiveUp { reason: "trap", why }),
            any::<bool>().prop_map(|suspended| Command::Revive { suspended }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_step_is_as_the_table_says(standing in standings(), command in commands()) {
            let became = standing.step(&command);
            match (documented(&command, &standing), &standing) {
                ("same", _) => prop_assert_eq!(became, Ok(None)),
                ("busy", _) => prop_assert_eq!(became, Err(Refusal::Busy)),
                ("refused", _) | ("as before", Standing::Loaded { before: None }) => {
                    prop_assert_eq!(became, Err(Refusal::NotNow));
                }
                ("as before", Standing::Loaded { before: Some(before) }) => {
                    prop_assert_eq!(became, Ok(Some(before.clone().into())));
                }
                ("running or suspended", _) => {
                    let suspended = command == Command::Revive { suspended: true };
                    let to = if suspended { Standing::Suspended } else { Standing::Running };
                    prop_assert_eq!(became, Ok(Some(to)));
                }
                (name, _) => {
                    let to = became.expect("the table allows it").expect("the table changes it");
                    let names = ["loaded", "running", "suspended", "draining", "stopped", "failed"];
                    prop_assert_eq!(names[column(&to) - 1], name);
                    if let (Command::Stop { until, .. }, Standing::Draining { until: set }) = (&command, &to) {
                        prop_assert_eq!(until, set);
                    }
                    if let (Command::GiveUp { why, .. }, Standing::Failed { why: kept }) = (&command, &to) {
                        prop_assert_eq!(why, kept);
                    }
                }
            }
        }

        /// After any sequence of commands, an agent that runs was started, and a stopped agent stays stopped until it
        /// is started.
        #[test]
        fn nothing_but_a_start_ends_a_stop(commands in prop::collection::vec(commands(), 0..40)) {
            let mut standing = Standing::Stopped;
            let mut started = false;
            for command in commands {
                started |= command == Command::Start;
                if let Ok(Some(next)) = standing.step(&command) {
                    standing = next;
                }
                prop_assert!(started || standing == Standing::Stopped);
            }
        }
    }
}
