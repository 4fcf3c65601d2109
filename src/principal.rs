//! Who calls, and whether the caller may do what it asks for.
//!
//! Purpose: each use case of the node takes a [`Caller`] first, and asks [`Caller::may`] before it does anything. Invariant: a
//! `Caller` is made here and nowhere else. Its fields are private, each source of callers has a constructor, and
//! `tests/architecture/callers.rs` lists who may use it.
//!
//! There are no tokens yet: every caller is anonymous, may do everything, and is never an agent.

use crate::error::Result;
use crate::idempotency::Attempt;
use crate::journal::projections::MessageQuery;
use crate::message::{ClientName, Draft};

/// Who calls a use case, and by what key the request may be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    principal: ClientName,
    attempt: Option<Attempt>,
}

impl Caller {
    /// A caller that shows no credentials.
    pub fn anonymous() -> Self {
        Self::for_request(None)
    }

    /// The sender of a request over HTTP or gRPC. With an attempt the request takes effect once, however often it is sent, and has
    /// the same answer each time.
    pub fn for_request(attempt: Option<Attempt>) -> Self {
        Self {
            principal: ClientName::anonymous(),
            attempt,
        }
    }

    /// The node itself, which does what its operator declared at the start. What it deploys and sends is recorded under the
    /// anonymous name until principals have names.
    pub fn platform() -> Self {
        Self::for_request(None)
    }

    /// The same caller, for a part of its request: the answer to the part is not remembered under the key of the whole.
    #[must_use]
    pub fn without_attempt(&self) -> Self {
        Self {
            principal: self.principal.clone(),
            attempt: None,
        }
    }

    /// The name under which the caller's changes are recorded, and as which it sends messages.
    pub const fn principal(&self) -> &ClientName {
        &self.principal
    }

    /// The key of the request, if it has one.
    pub const fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    /// Whether the caller may do this, decided from the arguments alone: nothing is looked up, and nothing is recorded. The first
    /// line of each use case asks, so that who may not do something learns nothing from the other errors.
    ///
    /// Everything is allowed until there are tokens. Then the action must be one of the caller's role, and what the request
    /// names must be within the scopes of its token; otherwise the answer is `FORBIDDEN`. A query of the history that names no agent
    /// within the scopes is `INVALID_REQUEST`. (A token that is missing, mistyped, expired or revoked is `UNAUTHORIZED` before a
    /// use case is called.)
    ///
    /// Scopes are about names, and some subjects are given by an id or are a whole list. There the use case compares the names when
    /// it has looked them up: it leaves out of a list what is not within the scopes, and answers as if it were not there
    /// (`AGENT_NOT_FOUND`, `MESSAGE_NOT_FOUND`, `SUPERVISOR_NOT_FOUND`, `NOT_FOUND`).
    #[allow(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "the roles and scopes of tokens decide here, and callers must not know since when"
    )]
    pub fn may(&self, action: Action, subject: &Subject<'_>) -> Result<()> {
        let _ = (action, subject);
        Ok(())
    }
}

/// What a use case does. A role is a set of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Shows agents, groups, messages or the supervision tree.
    Read,
    /// Shows what the node has measured of itself or of an agent.
    ReadMetrics,
    /// Shows or streams events.
    ReadEvents,
    /// Sends a message.
    Send,
    /// Judges a module and deploys nothing.
    Validate,
    /// Deploys an agent.
    Deploy,
    /// Starts an agent that is stopped or has failed.
    Start,
    /// Stops an agent after it has handled its queue.
    Stop,
    Restart,
    Suspend,
    Resume,
    /// Stops an agent, or all of a group, at once.
    Terminate,
    /// Forgets the restarts that count against a restart intensity.
    Reset,
    RemoveAgent,
    CreateGroup,
    UpdateGroup,
    RemoveGroup,
    /// Copies the data folder.
    Backup,
}

/// What an action is done to, as the request names it. Whether it exists is not known yet.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// The node as a whole: its lists, its figures, its data folder.
    Node,
    /// An agent, by its id or name, or by the name that it is to have.
    Agent(&'a str),
    /// A supervision group, by the name that it has or is to have.
    Group(&'a str),
    /// A path of the supervision tree, or the name or id of an agent or a group.
    Path(&'a str),
    /// The message that is to be sent, with its receivers and with the sender that it claims.
    Draft(&'a Draft),
    /// A message of the history, by its id.
    Message(&'a str),
    /// The messages of the history that a query matches.
    History(&'a MessageQuery),
    /// A sender or receiver in a query: the id or name of an agent, `client:<name>`, or `platform`.
    Address(&'a str),
}

impl<'a> Subject<'a> {
    /// What is at a path of the supervision tree; without a path, the node.
    pub fn part(path: Option<&'a str>) -> Self {
        path.map_or(Self::Node, Self::Path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idempotency::Key;

    #[test]
    fn a_part_of_a_request_has_its_caller_and_not_its_key() {
        let attempt = Attempt::new(Key::parse("order-1").unwrap(), "POST /api/v1/messages", &[]);
        let caller = Caller::for_request(Some(attempt.clone()));
        assert_eq!(caller.attempt(), Some(&attempt));
        let part = caller.without_attempt();
        assert_eq!((part.principal(), part.attempt()), (caller.principal(), None));
    }
}
