//! The decisions of a supervisor, without actors: an exit and a time go in, actions come out.
//!
//! Nothing here waits. A start or a stop is an [`Action`]; that it is done comes back as `on_started`, `on_start_failed` or
//! `on_stopped`, so that every other exit, command and shutdown can come between. Inputs for an incarnation that is not the
//! child's latest are ignored.

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
