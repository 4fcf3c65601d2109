//! The environment variables that set keys: `CAXTON_LISTEN` for `listen`, `CAXTON_LIMITS__MODULE` for `limits.module`.
//!
//! Others set variables with this prefix as well: Kubernetes gives each container `CAXTON_PORT`, `CAXTON_SERVICE_HOST` and more for
//! a service that is called `caxton`. Therefore a variable that names no key is passed over. The server warns of it, because the
//! name may be misspelt.

use figment::providers::Env;
use serde_json::Value;

use super::Config;

const PREFIX: &str = "CAXTON_";
/// What separates a section from its key.
const SEPARATOR: &str = "__";
/// Variables with the prefix that are read elsewhere: the filter of the log.
const ELSEWHERE: [&str; 1] = ["log"];

/// The variables that set keys.
pub(super) fn provider() -> Env {
    let keys = keys();
    Env::prefixed(PREFIX)
        .filter(move |name| is_key(&keys, name.as_str()))
        .split(SEPARATOR)
}

/// The variables with our prefix that set nothing, in alphabetical order.
pub fn unknown_variables() -> Vec<String> {
    unknown(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
}

fn unknown(names: impl Iterator<Item = String>) -> Vec<String> {
    let keys = keys();
    let is_unknown = |name: &String| {
        let key = name.strip_prefix(PREFIX).map(str::to_lowercase);
        key.is_some_and(|key| !ELSEWHERE.contains(&key.as_str()) && !is_key(&keys, &key))
    };
    let mut unknown: Vec<_> = names.filter(is_unknown).collect();
    unknown.sort_unstable();
    unknown
}

fn keys() -> Value {
    serde_json::to_value(Config::default()).expect("a configuration is plain data")
}

/// Whether the variable, without its prefix, names a key or a section.
fn is_key(keys: &Value, name: &str) -> bool {
    let name = name.to_lowercase();
    name.split(SEPARATOR)
        .try_fold(keys, |section, key| section.get(key))
        .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_no_key_is_unknown() {
        let names = [
            "CAXTON_PORT",
            "CAXTON_SERVICE_HOST",
            "CAXTON_PORT_8080_TCP_ADDR",
            "CAXTON_LIMITS__COLOUR",
            "CAXTON_LISTEN",
            "CAXTON_KEY_FILE",
            "CAXTON_TREE",
            "CAXTON_LIMITS__MODULE",
            "CAXTON_CEILINGS",
            "CAXTON_LOG",
            "PATH",
        ];
        let unknown = unknown(names.iter().map(ToString::to_string));
        let expected = [
            "CAXTON_LIMITS__COLOUR",
            "CAXTON_PORT",
            "CAXTON_PORT_8080_TCP_ADDR",
            "CAXTON_SERVICE_HOST",
        ];
        assert_eq!(unknown, expected);
    }
}
