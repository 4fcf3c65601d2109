//! What an agent may use, and the ceilings of a node.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{millis, within};
use crate::error::Result;
use crate::quantity::{ByteSize, Cpu, Span};

/// What the agent may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Limit on all memories and tables of one instance together.
    pub memory: ByteSize,
    /// Processor share or fuel. None: up to one whole core, with each turn limited by its deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Wall-clock time that one turn may take.
    pub turn_deadline: Span,
    /// How many messages may wait for the agent. The next one is refused (`MAILBOX_FULL`, or `failure (overloaded)`
    /// between agents).
    pub mailbox_messages: u32,
    pub mailbox_bytes: ByteSize,
    /// Bytes of the keys and values of the agent's state together.
    pub state_bytes: ByteSize,
    /// Number of keys in the agent's state.
    pub state_keys: u32,
    /// Messages that one turn may send.
    pub sends_per_turn: u32,
    /// Messages that the agent may send per second. After a rest it may send one second's worth at once. Beyond that
    /// its next turn waits.
    pub sends_per_second: u32,
    /// Bytes that the agent may log per second. After a rest it may log one second's worth at once. The rest is
    /// dropped, and the log says so.
    pub log_bytes_per_second: ByteSize,
    /// Number of timers that are set and may still fire.
    pub timers: u32,
}

impl Default for Resources {
    fn default() -> Self {
        let size = |text| ByteSize::parse(text).expect("a default is well-formed");
        Self {
            memory: size("64MiB"),
            cpu: None,
            turn_deadline: Span(Duration::from_secs(5)),
            mailbox_messages: 4_096,
            mailbox_bytes: size("16MiB"),
            state_bytes: size("16MiB"),
            state_keys: 100_000,
            sends_per_turn: 256,
            sends_per_second: 10_000,
            log_bytes_per_second: size("64KiB"),
            timers: 1_000,
        }
    }
}

/// The most that any agent of the node may declare.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ceilings {
    pub memory: ByteSize,
    pub fuel: u64,
    pub turn_deadline: Span,
    pub mailbox_messages: u32,
    pub mailbox_bytes: ByteSize,
    pub state_bytes: ByteSize,
    pub state_keys: u32,
    pub sends_per_turn: u32,
    pub sends_per_second: u32,
    pub log_bytes_per_second: ByteSize,
    pub timers: u32,
}

impl Default for Ceilings {
    fn default() -> Self {
        let size = |text| ByteSize::parse(text).expect("a default is well-formed");
        Self {
            memory: size("1GiB"),
            fuel: 1_000_000_000_000,
            turn_deadline: Span(Duration::from_secs(600)),
            mailbox_messages: 1_000_000,
            mailbox_bytes: size("1GiB"),
            state_bytes: size("256MiB"),
            state_keys: 1_000_000,
            sends_per_turn: 10_000,
            sends_per_second: 1_000_000,
            log_bytes_per_second: size("16MiB"),
            timers: 100_000,
        }
    }
}

impl Resources {
    pub(super) fn check(&self, most: &Ceilings) -> Result<()> {
        if let Some(Cpu::Fuel(fuel)) = self.cpu {
            within("resources.cpu", fuel, 1, most.fuel)?;
        }
        let bounds = [
            ("memory", self.memory.bytes(), 1, most.memory.bytes()),
            (
                "turn_deadline (ms)",
                millis(self.turn_deadline),
                1,
                millis(most.turn_deadline),
            ),
            (
                "mailbox_messages",
                self.mailbox_messages.into(),
                1,
                most.mailbox_messages.into(),
            ),
            (
                "mailbox_bytes",
                self.mailbox_bytes.bytes(),
                1,
                most.mailbox_bytes.bytes(),
            ),
            ("state_bytes", self.state_bytes.bytes(), 0, most.state_bytes.bytes()),
            ("state_keys", self.state_keys.into(), 0, most.state_keys.into()),
            (
                "sends_per_turn",
                self.sends_per_turn.into(),
                0,
                most.sends_per_turn.into(),
            ),
            (
                "sends_per_second",
                self.sends_per_second.into(),
                1,
                most.sends_per_second.into(),
            ),
            (
                "log_bytes_per_second",
                self.log_bytes_per_second.bytes(),
                0,
                most.log_bytes_per_second.bytes(),
            ),
            ("timers", self.timers.into(), 0, most.timers.into()),
        ];
        let check = |(field, asked, least, most)| within(&format!("resources.{field}"), asked, least, most);
        bounds.into_iter().try_for_each(check)
    }
}
