//! What a supervisor passes on to its children.

use std::sync::Arc;

use crate::event::Bus;

/// What a supervisor gives on to those below it.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) bus: Bus,
    /// The metric label of all below a dynamic supervisor, whose children may be named by users.
    pub(crate) label: Option<Arc<str>>,
}
