//! `[limits]`: what the node and its fronts take.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::quantity::{ByteSize, Span};

/// Limits of the node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest module.
    pub module: ByteSize,
    /// Agents, stopped ones included.
    pub agents: u32,
    /// How many messages of clients may wait for the journal at one time.
    pub sends_in_flight: u32,
    /// How many deploys, stops and removals may be in progress at one time, and how many compilations.
    pub operations: u32,
    /// Free space to keep on the disk of the data folder. With less, the server refuses writes and starts no turn until there is
    /// more again.
    pub disk_reserve: ByteSize,
    /// Threads that serve REST and WebSockets.
    pub rest_workers: u16,
    /// Connections of REST. If one more comes, the one that waits longest without a request is closed for it; if all have a request
    /// in progress, the new one gets 503. At most half of them are WebSockets: one more gets 503 at its handshake. 0: as many as
    /// the limit of open files allows (`ulimit -n`), and 4,096 at most.
    pub rest_connections: u32,
    /// Connections of gRPC, as `rest_connections`, but one that finds all others busy is closed.
    pub grpc_connections: u32,
    /// The time in which a new connection must have sent the head of its first request (REST), or the preface of HTTP/2 (gRPC).
    pub handshake_time: Span,
    /// How long a connection of REST may be without a request in progress.
    pub rest_idle_time: Span,
    /// How long a connection of gRPC may be without a call in progress, although its client answers pings.
    pub grpc_idle_time: Span,
    /// The time in which the body of a request must have arrived.
    pub body_time: Span,
}

/// How many connections each front has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    pub rest: usize,
    pub grpc: usize,
}

impl Limits {
    /// Descriptors for everything that is no connection: the log, the database, modules, compilations, and connections that are
    /// closing. With few descriptors, half of them.
    pub const OTHER_DESCRIPTORS: u64 = 160;
    /// Connections of one front, unless the configuration says otherwise.
    pub const MOST_CONNECTIONS: u64 = 4_096;
    pub const DEFAULT_BODY_TIME: &str = "5m";

    /// How many connections each front has in a process with this limit of descriptors. Connections that the configuration asks for
    /// and that do not fit are an error.
    pub fn connections(&self, descriptors: u64) -> Result<Connections, ConfigError> {
        let free = descriptors - Self::OTHER_DESCRIPTORS.min(descriptors / 2);
        let share = (free / 2).clamp(1, Self::MOST_CONNECTIONS);
        let of = |asked: u32| if asked == 0 { share } else { asked.into() };
        let (rest, grpc) = (of(self.rest_connections), of(self.grpc_connections));
        if rest + grpc > free.max(2) {
            return Err(ConfigError::Invalid {
                field: if self.rest_connections == 0 {
                    "limits.grpc_connections"
                } else {
                    "limits.rest_connections"
                },
                problem: format!(
                    "is too large: REST has {rest} connections and gRPC {grpc}, and this process may have {descriptors} open files, of \
                     which {free} are for connections; lower it, or raise the limit of open files (`ulimit -n`, `LimitNOFILE=` of \
                     systemd)"
                ),
            });
        }
        let count = |connections| usize::try_from(connections).unwrap_or(usize::MAX);
        Ok(Connections {
            rest: count(rest),
            grpc: count(grpc),
        })
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let invalid = |field, problem: &str| {
            Err(ConfigError::Invalid {
                field,
                problem: problem.to_owned(),
            })
        };
        if self.rest_workers == 0 {
            return invalid("limits.rest_workers", "is 0, and must be at least 1");
        }
        for (field, span) in [
            ("limits.handshake_time", &self.handshake_time),
            ("limits.rest_idle_time", &self.rest_idle_time),
            ("limits.grpc_idle_time", &self.grpc_idle_time),
            ("limits.body_time", &self.body_time),
        ] {
            if span.0.is_zero() {
                return invalid(field, "is 0, and must be longer");
            }
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        const WELL_FORMED: &str = "a default is well-formed";
        let span = |text| Span::parse(text).expect(WELL_FORMED);
        let bytes = |text| ByteSize::parse(text).expect(WELL_FORMED);
        Self {
            module: bytes("64MiB"),
            agents: 10_000,
            sends_in_flight: 10_000,
            operations: 1_000,
            disk_reserve: bytes("256MiB"),
            rest_workers: 2,
            rest_connections: 0,
            grpc_connections: 0,
            handshake_time: span("10s"),
            rest_idle_time: span("75s"),
            grpc_idle_time: span("5m"),
            body_time: span(Self::DEFAULT_BODY_TIME),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fronts_share_the_descriptors_and_leave_some_for_the_rest() {
        let limits = Limits::default();
        let of = |descriptors| limits.connections(descriptors).map(|fronts| (fronts.rest, fronts.grpc));
        assert_eq!(of(1_024).unwrap(), (432, 432));
        assert_eq!(of(256).unwrap(), (64, 64));
        assert_eq!(of(1 << 20).unwrap(), (4_096, 4_096));
        assert_eq!(of(2).unwrap(), (1, 1));
    }

    #[test]
    fn connections_that_do_not_fit_are_refused_by_name() {
        let limits = Limits {
            grpc_connections: 800,
            ..Limits::default()
        };
        let refused = limits.connections(1_024).unwrap_err().to_string();
        assert!(refused.contains("`limits.grpc_connections`"), "{refused}");
        let fits = limits.connections(4_096).unwrap();
        assert_eq!((fits.rest, fits.grpc), (1_968, 800));
    }
}
