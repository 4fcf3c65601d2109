//! The node's configuration. Each source overrides the one before it: built-in defaults, a TOML file, `CAXTON_…` environment
//! variables, the command line. Values are parsed into types that hold only valid ones. An unknown key in the file is refused; see
//! `config/environment.rs` for unknown variables.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::agent::spec::Ceilings;
use crate::message::Durability;
use crate::quantity::Span;

mod environment;
mod guests;
mod limits;
mod retention;
mod wrong;

pub use environment::unknown_variables;
pub use guests::Guests;
pub use limits::{Connections, Limits};
pub use retention::{AtMost, Retention};
pub use wrong::Wrong;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder of the log and of everything else that is stored.
    pub data_dir: PathBuf,
    /// The file of the key that seals the values of agents' environments: 32 bytes. None: `key` in the data folder, which the first
    /// start makes.
    pub key_file: Option<PathBuf>,
    /// With `memory` there is no journal file, the data folder is not touched, and nothing outlives the process. Queues and state
    /// still survive crashes of agents and of parts of the node.
    pub durability: Durability,
    /// REST, WebSocket, health and metrics. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// gRPC. Port 0 takes a free one.
    pub grpc_listen: SocketAddr,
    /// How many partitions there are: 1 to 4,096. Fixed when the data folder is made.
    pub partitions: u16,
    /// A TOML file of supervision groups and agents that the server makes at its start.
    pub tree: Option<PathBuf>,
    /// Limits of the node and its fronts.
    pub limits: Limits,
    /// How many guests there may be, and how modules are compiled and cached.
    pub wasm: Guests,
    /// How much of the log is kept.
    pub retention: Retention,
    /// The most that one agent may ask for in its declaration.
    pub ceilings: Ceilings,
    /// How long a shutdown waits for turns in flight.
    pub shutdown: Span,
    /// Whether log lines are JSON.
    pub log_json: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("caxton-data"),
            key_file: None,
            durability: Durability::Durable,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            grpc_listen: SocketAddr::from(([127, 0, 0, 1], 50051)),
            partitions: 64,
            tree: None,
            limits: Limits::default(),
            wasm: Guests::default(),
            retention: Retention::default(),
            ceilings: Ceilings::default(),
            shutdown: Span(std::time::Duration::from_secs(10)),
            log_json: false,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Wrong(#[from] Wrong),
    #[error("there is no file {0}")]
    NoFile(PathBuf),
    #[error("`{field}` {problem}")]
    Invalid { field: &'static str, problem: String },
}

impl Config {
    /// Reads the configuration from a file, if one is named, and from the environment (`CAXTON_LISTEN`; `CAXTON_LIMITS__MODULE`
    /// for `limits.module`).
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            figment = figment.merge(toml(file)?);
        }
        figment
            .merge(environment::provider())
            .extract()
            .map_err(|error| ConfigError::Wrong(Wrong::new(error)))
    }

    /// Checks the rules that the types cannot express.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |field, problem: String| Err(ConfigError::Invalid { field, problem });
        if !(1..=4_096).contains(&self.partitions) {
            return invalid("partitions", format!("is {}, and must be 1 to 4096", self.partitions));
        }
        for (field, address) in [("listen", self.listen), ("grpc_listen", self.grpc_listen)] {
            if !address.ip().is_loopback() {
                return invalid(
                    field,
                    format!(
                        "is {address}, which other machines can reach. There are no access tokens yet, so anybody could deploy \
                         code; listen on 127.0.0.1 or [::1]"
                    ),
                );
            }
        }
        if self.listen == self.grpc_listen && self.listen.port() != 0 {
            return invalid(
                "grpc_listen",
                format!("is {}, the address of `listen`; each needs its own", self.listen),
            );
        }
        let (segment, least) = (&self.retention.segment, Retention::SMALLEST_SEGMENT);
        if segment.bytes() < least {
            return invalid(
                "retention.segment",
                format!("is {segment}, and must be at least {least} bytes"),
            );
        }
        self.wasm.check()?;
        self.limits.check()
    }
}

/// Reads a TOML file other than that of the configuration.
pub fn read<T: DeserializeOwned>(file: &Path) -> Result<T, ConfigError> {
    Figment::from(toml(file)?)
        .extract()
        .map_err(|error| ConfigError::Wrong(Wrong::new(error)))
}

fn toml(file: &Path) -> Result<figment::providers::Data<Toml>, ConfigError> {
    if !file.exists() {
        return Err(ConfigError::NoFile(file.to_owned()));
    }
    Ok(Toml::file_exact(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_survive_print_and_parse() {
        let config = Config::default();
        config.check().unwrap();
        let figment = Figment::from(Serialized::defaults(&config));
        assert_eq!(figment.extract::<Config>().unwrap().partitions, 64);
    }

    #[test]
    fn a_public_address_is_refused_without_tokens() {
        let config = Config {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            ..Config::default()
        };
        assert!(config.check().unwrap_err().to_string().contains("listen"));
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("caxton.toml");
        std::fs::write(&file, "colour = 1").unwrap();
        assert!(Config::load(Some(&file)).unwrap_err().to_string().contains("colour"));
        std::fs::write(&file, "partitions = 8\n[limits]\nmodule = \"1MiB\"").unwrap();
        let config = Config::load(Some(&file)).unwrap();
        assert_eq!((config.partitions, config.limits.module.bytes()), (8, 1 << 20));
        assert!(Config::load(Some(&dir.path().join("absent.toml"))).is_err());
    }

    #[test]
    fn what_is_wrong_is_said_with_the_key_the_value_and_what_is_expected() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("caxton.toml");
        for (text, said) in [
            ("[limits]\ncolour = 1", "`limits.colour` is no key; there are "),
            (
                "partitions = \"many\"",
                "`partitions` is `many`, and must be a whole number from 0 to 65535",
            ),
            (
                "partitions = -1",
                "`partitions` is -1, and must be a whole number from 0 to 65535",
            ),
            (
                "[wasm]\npooled = \"yes\"",
                "`wasm.pooled` is `yes`, and must be true or false",
            ),
            ("[limits]\nmodule = \"much\"", "`limits.module` "),
            ("limits = 3", "`limits` is 3, and must be a table"),
        ] {
            std::fs::write(&file, text).unwrap();
            let wrong = Config::load(Some(&file)).unwrap_err().to_string();
            assert!(wrong.starts_with(said), "{wrong}");
            assert!(wrong.contains("caxton.toml)") && !wrong.contains("default"), "{wrong}");
        }
    }
}
