//! What a supervisor passes on to the supervisors and workers below it.

use std::sync::Arc;

use crate::event::Bus;

/// The scope of everything below a supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) bus: Bus,
    /// The metric label of the closest dynamic supervisor above, if there is one: the names below it may come from users.
    pub(crate) label: Option<Arc<str>>,
}
