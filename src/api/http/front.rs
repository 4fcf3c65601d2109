//! What the handlers of one server share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::api::limits;
use crate::api::stopping::Stopping;
use crate::node::Node;

/// The node, and what requests have to share.
pub(in crate::api) struct Front {
    pub(in crate::api) node: Arc<Node>,
    pub(in crate::api) limits: limits::Front,
    /// A permit for each deploy whose body is in memory.
    pub(in crate::api) uploads: Arc<Semaphore>,
    /// A permit for each open WebSocket.
    pub(in crate::api) websockets: Arc<Semaphore>,
    pub(in crate::api) stopping: Stopping,
}
