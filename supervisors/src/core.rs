//! The decision core of a supervisor, without actors: reports, commands and a time go in, actions come out.
//!
//! Nothing here waits. A start or a stop is an [`Action`] for the shell, the supervisor's actor, to carry out. The shell reports
//! the result by `on_started`, `on_start_failed` or `on_stopped`, and any exit, command or shutdown may come before that report.
//! Reports about an incarnation that is not the latest of its child are ignored.

mod action;
mod child;
mod commands;
mod decide;
mod group;
mod group_restart;
mod machine;
mod replace;
mod reports;
mod start;
#[cfg(test)]
mod tests;

pub(crate) use self::action::{Action, Exit, Outcome, Refused};
pub(crate) use self::child::{Child, ChildId, STATES, State};
pub(crate) use self::machine::{Core, Mode};
