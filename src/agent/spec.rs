//! The declaration of an agent by its owner: the `config` of a deploy, with its defaults and the node's ceilings.

mod environment;
mod resources;
mod strategy;
#[cfg(test)]
mod tests;

use std::time::Duration;

use globset::GlobMatcher;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::error::{Error, Result};
use crate::id::AgentName;
use crate::json;
use crate::pattern;
use crate::quantity::{self, Span};

pub use environment::{Environment, MASK};
pub use resources::{Ceilings, Resources};
pub use strategy::Strategy;

/// Limits on the declaration itself.
pub mod limits {
    pub const CAPABILITIES: usize = 64;
    pub const CAPABILITY_BYTES: usize = 128;
    pub const MESSAGE_PERMISSIONS: usize = 256;
    /// Number of variables in the environment.
    pub const VARIABLES: usize = 64;
    pub const VARIABLE_NAME_BYTES: usize = 128;
    /// Bytes of the names and values of all variables together.
    pub const ENVIRONMENT_BYTES: usize = 64 << 10;
}

/// The declaration of an agent. Unknown keys are refused by name.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentSpec {
    pub name: AgentName,
    /// The version's number. Default: the version that the module declares, else 1.0.0.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "version")]
    #[schema(value_type = Option<String>)]
    pub version: Option<semver::Version>,
    /// How later versions replace this one, unless they declare a strategy of their own.
    #[serde(default)]
    pub strategy: Strategy,
    /// Skills by which other agents find this one (`cap:<capability>`).
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Variables that only this agent can read. Their values are never shown.
    #[serde(default)]
    pub environment: Environment,
    #[serde(default)]
    pub resources: Resources,
    #[serde(default)]
    pub permissions: Permissions,
    #[serde(default)]
    pub supervision: Supervision,
    #[serde(default)]
    pub delivery: Delivery,
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<semver::Version>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let version = text.parse().map_err(|_| {
        let given = json::cut(&text);
        serde::de::Error::custom(format_args!(
            "is `{given}`, and must be a semantic version, such as 1.2.0"
        ))
    });
    version.map(Some)
}

/// What the agent may do besides replying. Nothing is granted by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a grant of its own, in the deploy too"
)]
pub struct Permissions {
    /// The receivers that the agent may message. `*` means everybody. Otherwise each entry is a glob over agent names,
    /// an agent's id, a glob after `cap:` (which also covers `all:…`), or a glob after `client:`.
    pub message: Vec<String>,
    pub state: bool,
    pub random: bool,
    pub timers: bool,
    /// Whether the agent may read its environment variables.
    pub environment: bool,
    /// Whether the agent may search for other agents.
    pub directory: bool,
}

/// How the supervisor treats the agent (OTP's child specification).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Supervision {
    /// The supervision group that the agent is a member of. None: the agent has a restart intensity of its own, and no
    /// siblings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<AgentName>,
    pub restart: Restart,
    /// Whether the end of this agent may end its group, as the group's `auto_shutdown` says.
    pub significant: bool,
    /// The restart intensity: how many restarts within `period` are allowed. One more and the agent is `failed`.
    /// Members of a group share the group's.
    pub intensity: u32,
    pub period: Span,
    pub backoff: Backoff,
    /// How long a turn in flight and the agent's last turn may take together when the agent is shut down.
    pub shutdown: Shutdown,
    /// How long an instance may neither work nor answer before its supervisor takes it for dead. None: it is not
    /// watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Span>,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            group: None,
            restart: Restart::Permanent,
            significant: false,
            intensity: 10,
            period: Span(Duration::from_secs(60)),
            backoff: Backoff::default(),
            shutdown: Shutdown::Timeout(Span(Duration::from_secs(5))),
            heartbeat: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    #[default]
    Permanent,
    Transient,
    Temporary,
}

/// How a child is ended, as in OTP's child specification: `"brutal_kill"`, `"infinity"`, or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    BrutalKill,
    Timeout(Span),
    Infinity,
}

impl Serialize for Shutdown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::BrutalKill => serializer.serialize_str("brutal_kill"),
            Self::Infinity => serializer.serialize_str("infinity"),
            Self::Timeout(time) => time.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Shutdown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = quantity::written(deserializer)?;
        match text.as_str() {
            "brutal_kill" => Ok(Self::BrutalKill),
            "infinity" => Ok(Self::Infinity),
            time => Span::parse(time)
                .map(Self::Timeout)
                .map_err(|problem| serde::de::Error::custom(format_args!("{problem}, or brutal_kill, or infinity"))),
        }
    }
}

/// The wait before the second and later restarts: `min * factor^n`, at most `max`, varied by `jitter`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    pub min: Span,
    pub max: Span,
    pub factor: f64,
    /// The random share of the wait, 0 to 1.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            min: Span(Duration::from_millis(100)),
            max: Span(Duration::from_secs(30)),
            factor: 2.0,
            jitter: 0.1,
        }
    }
}

impl Backoff {
    /// Checks the bounds. The error says what is expected.
    pub fn check(&self) -> Result<(), &'static str> {
        let in_bounds = (1.0..=100.0).contains(&self.factor) && (0.0..=1.0).contains(&self.jitter);
        if in_bounds && self.min <= self.max && self.max.0 <= Duration::from_secs(86_400) {
            Ok(())
        } else {
            Err("needs factor 1 to 100, jitter 0 to 1, min not above max, and max at most 24 h")
        }
    }
}

impl From<&Backoff> for supervisors::Backoff {
    fn from(backoff: &Backoff) -> Self {
        Self {
            min: backoff.min.0,
            max: backoff.max.0,
            factor: backoff.factor,
            jitter: backoff.jitter,
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// How often a message whose turn crashes is delivered, including the first time. After that it becomes a dead
    /// letter.
    pub max_deliveries: u32,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { max_deliveries: 3 }
    }
}

/// Checks that a value is within its bounds; the error names the field of the `config`.
fn within(field: &str, asked: u64, least: u64, most: u64) -> Result<()> {
    if (least..=most).contains(&asked) {
        return Ok(());
    }
    Err(Error::invalid(
        format!("config.{field}"),
        format!("is {asked}, and must be {least} to {most} on this node"),
    ))
}

fn millis(span: Span) -> u64 {
    u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
}

impl AgentSpec {
    /// Reads the `config` of a deploy. A null counts as absent; an error names the key.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        Ok(json::read(json, "config")?)
    }

    /// Checks the rules that the types do not enforce, among them the node's ceilings.
    pub fn check(&self, ceilings: &Ceilings) -> Result<()> {
        self.resources.check(ceilings)?;
        within("delivery.max_deliveries", self.delivery.max_deliveries.into(), 1, 100)?;
        within("supervision.intensity", self.supervision.intensity.into(), 0, 10_000)?;
        within(
            "supervision.period (ms)",
            millis(self.supervision.period),
            1,
            86_400_000,
        )?;
        if let Shutdown::Timeout(time) = self.supervision.shutdown {
            within("supervision.shutdown (ms)", millis(time), 0, 600_000)?;
        }
        if let Some(heartbeat) = self.supervision.heartbeat {
            within("supervision.heartbeat (ms)", millis(heartbeat), 100, 3_600_000)?;
        }
        if self.supervision.significant && self.supervision.restart == Restart::Permanent {
            let mend = "cannot be with restart permanent: such an agent never ends for good";
            return Err(Error::invalid("config.supervision.significant", mend));
        }
        let backoff = self.supervision.backoff.check();
        backoff.map_err(|mend| Error::invalid("config.supervision.backoff", mend))?;
        within(
            "capabilities (count)",
            self.capabilities.len() as u64,
            0,
            limits::CAPABILITIES as u64,
        )?;
        let plain =
            |c: &String| (1..=limits::CAPABILITY_BYTES).contains(&c.len()) && c.bytes().all(|b| b.is_ascii_graphic());
        if let Some(bad) = self.capabilities.iter().find(|c| !plain(c)) {
            return Err(Error::invalid(
                "config.capabilities",
                format!("has `{bad}`: 1 to 128 visible ASCII characters"),
            ));
        }
        within(
            "permissions.message (count)",
            self.permissions.message.len() as u64,
            0,
            limits::MESSAGE_PERMISSIONS as u64,
        )?;
        self.environment.check()?;
        self.permissions.matchers().map(|_| ())
    }
}

impl Permissions {
    /// Whether the permission of this name is granted. It covers the permissions that are either given or not.
    pub fn grants(&self, name: &str) -> bool {
        match name {
            "state" => self.state,
            "random" => self.random,
            "timers" => self.timers,
            "directory" => self.directory,
            "environment" => self.environment,
            _ => false,
        }
    }

    /// The compiled patterns of `message`, each with its text.
    pub fn matchers(&self) -> Result<Vec<(String, GlobMatcher)>> {
        let wrong = |problem: String| Error::invalid("config.permissions.message", problem);
        let compile = |text: &String| {
            let glob = pattern::compile(text).map_err(wrong)?;
            Ok((text.clone(), glob.compile_matcher()))
        };
        self.message.iter().map(compile).collect()
    }
}
