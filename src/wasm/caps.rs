//! Limits on what one turn may cost the host. They are the same for all agents; [`Limits`](super::Limits) and
//! [`Budget`](super::Budget) can differ.

/// Bytes of one draft in JSON, before it is parsed: room for the largest content in base64 and for everything else.
pub const DRAFT_BYTES: usize = 6 << 20;
/// Bytes of all messages that a turn sends and all state that it writes.
pub const EFFECT_BYTES: usize = 16 << 20;
/// Bytes of a key of an agent's state.
pub const KEY_BYTES: usize = 1_024;
/// Bytes of one log line. A longer line is cut off there.
pub const LOG_LINE_BYTES: usize = 4_096;
/// Bytes of log lines in one turn. Further lines are dropped, and a last line says so.
pub const LOG_TURN_BYTES: usize = 64 << 10;
/// Random bytes that a guest may draw in one turn.
pub const RANDOM_TURN_BYTES: usize = 1 << 20;
/// Bytes of the reason with which a guest fails a turn. A longer reason is cut off there.
pub const REASON_BYTES: usize = 4_096;
/// Searches of the directory that a guest may make in one turn.
pub const SEARCHES: u32 = 64;
/// Agents that one search of the directory finds: the first ones in the order of their names.
pub const FOUND: usize = 256;
/// Frames in the backtrace of a crash.
pub const BACKTRACE_FRAMES: usize = 32;
/// Bytes of state that an instance may hand over to its successor. Less than [`HOST_CALL_BYTES`], so that a component can pass
/// them to the host in one call.
pub const HANDOVER_BYTES: usize = 8 << 20;
/// Bytes that a component may pass to the host in one call.
pub const HOST_CALL_BYTES: usize = 16 << 20;
