//! Ids and names. Each kind has a type of its own, so that two kinds cannot be confused.
//!
//! Ids are `UUIDv7` and made without coordination: they sort by time of creation and print with the prefix of their kind
//! (`agent_0192f0c1…`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The text is not an id or name of the kind that is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is `{given}`, and must be {expected}")]
pub struct InvalidId {
    given: String,
    expected: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, greater than all that this process made before.
            #[allow(clippy::new_without_default, reason = "an id is an event, not a default value")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The id that the text is, if it is one. Where most texts are none, this costs less than an error.
            pub fn read(text: &str) -> Option<Self> {
                let hex = text.strip_prefix(concat!($prefix, "_"))?;
                Uuid::try_parse(hex).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::read(text).ok_or_else(|| InvalidId {
                    given: text.chars().take(80).collect(),
                    expected: concat!("an id of the form ", $prefix, "_<32 hex digits>"),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

ids! {
    /// An agent: a name, a slot in the supervision tree and a mailbox. Outlives its instances and versions.
    AgentId = "agent";
    /// A message. The host makes this id, and never looks it up among `reply_with` texts, which senders choose.
    MessageId = "msg";
    /// A rollout from a version of an agent to another.
    DeploymentId = "deploy";
    /// A live subscription of a WebSocket client.
    SubscriptionId = "sub";
}

/// The name of an agent: 1 to 64 characters out of `a-z A-Z 0-9 . _ -`, beginning with a letter or a digit. A name that could not be
/// addressed is none: an agent's id, and the [words](AgentName::RESERVED) that mean something else where a name stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct AgentName(String);

impl AgentName {
    pub const MAX_LENGTH: usize = 64;
    /// The address of the host, the root of the supervision tree, and words of paths below or beside agents and groups. Some of
    /// these are used by a later release; an agent must not lose its address then.
    pub const RESERVED: [&str; 7] = [
        "all",
        "conversations",
        "deployments",
        "node",
        "platform",
        "tasks",
        "validate",
    ];

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AgentName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.len() <= Self::MAX_LENGTH
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(legal)
            // In a path or a `receiver`, nobody could tell such a name from an id.
            && AgentId::read(text).is_none()
            && !Self::RESERVED.contains(&text)
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId {
                given: text.chars().take(80).collect(),
                expected: "a name: 1 to 64 characters out of a-z A-Z 0-9 . _ -, beginning with a letter or a digit, not an agent id, and not one of `all`, `conversations`, `deployments`, `node`, `platform`, `tasks`, `validate`",
            })
        }
    }
}

impl<'de> Deserialize<'de> for AgentName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// An instance of an agent: the revision of the version that it runs, and its number among the instances of that version. Both
/// count from 1. A restart of the instance changes neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId {
    pub revision: u32,
    pub number: u32,
}

impl InstanceId {
    /// The first instance of an agent's first version.
    pub const FIRST: Self = Self { revision: 1, number: 1 };
}

/// The unit of ownership, recovery and scale: a router, the agents of the partition, and its part of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Partition(pub u16);

impl Partition {
    /// The partition, out of `count`, to which a placement key belongs: the same on every machine and in every release. The hash is
    /// CRC-32C, which is cheap enough for each message to a client.
    pub fn of(key: &str, count: u16) -> Self {
        let hash = crc32c::crc32c(key.as_bytes());
        Self(u16::try_from(hash % u32::from(count)).expect("a remainder below a u16 is one"))
    }

    /// The partition of the supervisors' reports, beside the `count` partitions of agents.
    pub const fn of_supervision(count: u16) -> Self {
        Self(count)
    }

    /// The partition of what the node reports of its own state, such as a full disk, beside the `count` partitions of agents.
    pub const fn of_node(count: u16) -> Self {
        Self(count + 1)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A sequence number: the position of a record in the log. The first record has 1; 0 means "before all records".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Proves that its holder owns a partition. Each claim of a partition makes a new fence, and the journal refuses an append with
/// an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub u64);

/// A SHA-256 digest, mostly of a module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest of everything that `from` still has.
    pub fn read(mut from: impl std::io::Read) -> std::io::Result<Self> {
        let (mut hasher, mut piece) = (Sha256::new(), vec![0; 64 << 10]);
        loop {
            match from.read(&mut piece)? {
                0 => return Ok(Self(hasher.finalize().into())),
                read => hasher.update(&piece[..read]),
            }
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId {
            given: text.chars().take(80).collect(),
            expected: "a digest of the form sha256:<64 hex digits>",
        };
        let hex = text
            .strip_prefix("sha256:")
            .filter(|hex| hex.len() == 64 && hex.is_ascii())
            .ok_or_else(invalid)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).expect("ASCII is UTF-8");
            *byte = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_print_and_parse() {
        let id = AgentId::new();
        assert_eq!(id.to_string().parse::<AgentId>(), Ok(id));
        assert!(id.to_string().starts_with("agent_"));
        assert!(id.to_string().parse::<MessageId>().is_err(), "kinds are not mixed up");
    }

    #[test]
    fn a_name_that_reads_as_an_id_is_refused() {
        assert!(AgentId::new().to_string().parse::<AgentName>().is_err());
        // `@`, `#` and `/` separate the parts of ids and paths of the supervision tree.
        for bad in [
            "",
            "platform",
            "-a",
            "a b",
            "a@1.0.0",
            "a#1",
            "a/b",
            "client:x",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(bad.parse::<AgentName>().is_err(), "{bad}");
        }
        for reserved in AgentName::RESERVED {
            let refused = reserved.parse::<AgentName>().unwrap_err().to_string();
            assert!(refused.matches(&format!("`{reserved}`")).count() == 2, "{refused}");
        }
        assert!("my-agent_1.x".parse::<AgentName>().is_ok());
    }

    #[test]
    fn placement_is_frozen() {
        // A change here would lose every queue of every existing data folder.
        // The check value of CRC-32C is that of these nine digits.
        assert_eq!(
            Partition::of("123456789", 1_000),
            Partition(u16::try_from(0xE306_9283_u32 % 1_000).unwrap())
        );
    }

    #[test]
    fn a_digest_survives_print_and_parse() {
        let digest = Digest::of(b"module");
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        assert!("sha256:zz".parse::<Digest>().is_err());
    }
}
