//! The ids of an agent's instances as children of a supervisor.

use std::fmt;

use crate::id::AgentName;

/// The id of an instance among the children of its supervisor: the last part of its path in the supervision tree.
///
/// The names of agents have neither `@` nor `#`, so the id of one of several instances is no name, and the text of an id tells
/// which agent it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildId {
    /// The only instance of its agent has the agent's name: `cart`.
    Only(AgentName),
    /// One of several instances, or of several versions, which are children beside each other: `pricer@1.4.0#2`.
    OneOf {
        agent: AgentName,
        version: semver::Version,
        /// Counts from 1 among the instances of the version.
        number: u32,
    },
}

impl ChildId {
    /// Reads an id as it is printed. None: the text is not the id of an instance.
    pub fn parse(text: &str) -> Option<Self> {
        let Some((agent, instance)) = text.split_once('@') else {
            return text.parse().ok().map(Self::Only);
        };
        let (version, number) = instance.rsplit_once('#')?;
        let id = Self::OneOf {
            agent: agent.parse().ok()?,
            version: version.parse().ok()?,
            number: number.parse().ok().filter(|number| *number > 0)?,
        };
        // A number may be written in several ways, such as `01`, and only one of them is an id.
        (id.to_string() == text).then_some(id)
    }

    pub const fn agent(&self) -> &AgentName {
        match self {
            Self::Only(agent) | Self::OneOf { agent, .. } => agent,
        }
    }
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only(agent) => agent.fmt(f),
            Self::OneOf { agent, version, number } => write!(f, "{agent}@{version}#{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_print_and_parse() {
        let only = ChildId::Only("cart".parse().unwrap());
        let one_of = |version: &str| ChildId::OneOf {
            agent: "pricer-2.x".parse().unwrap(),
            version: version.parse().unwrap(),
            number: 12,
        };
        assert_eq!(only.to_string(), "cart");
        assert_eq!(one_of("1.4.0").to_string(), "pricer-2.x@1.4.0#12");
        for id in [only, one_of("1.4.0"), one_of("1.4.0-rc.1+build.5")] {
            assert_eq!(ChildId::parse(&id.to_string()), Some(id));
        }
    }

    #[test]
    fn what_is_not_printed_is_not_read() {
        for text in [
            "",
            "a b",
            "pricer@",
            "pricer@1.4.0",
            "pricer@1.4.0#",
            "pricer@1.4.0#0",
            "pricer@1.4.0#01",
            "pricer@1.4.0#+1",
            "pricer@1.4#1",
            "@1.4.0#1",
            "pricer#1",
            "pricer@1.4.0#1#1",
            "pricer@1.4.0#1/x",
        ] {
            assert_eq!(ChildId::parse(text), None, "{text}");
        }
    }
}
