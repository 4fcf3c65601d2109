//! FIPA's communicative acts (SC00037), and what each of them asks of its receiver.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text names none of FIPA's acts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is `{0}`, and must be one of FIPA's 22 performatives, such as request, inform, query_ref, cfp or propose")]
pub struct UnknownPerformative(String);

macro_rules! performatives {
    ($($variant:ident = $wire:literal,)+) => {
        /// One of the 22 acts of SC00037. Wire spelling is `snake_case`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Performative { $($variant,)+ }

        impl Performative {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire,)+ }
            }

            fn from_wire(wire: &str) -> Option<Self> {
                match wire { $($wire => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

performatives! {
    AcceptProposal = "accept_proposal",
    Agree = "agree",
    Cancel = "cancel",
    Cfp = "cfp",
    Confirm = "confirm",
    Disconfirm = "disconfirm",
    Failure = "failure",
    Inform = "inform",
    InformIf = "inform_if",
    InformRef = "inform_ref",
    NotUnderstood = "not_understood",
    Propagate = "propagate",
    Propose = "propose",
    Proxy = "proxy",
    QueryIf = "query_if",
    QueryRef = "query_ref",
    Refuse = "refuse",
    RejectProposal = "reject_proposal",
    Request = "request",
    RequestWhen = "request_when",
    RequestWhenever = "request_whenever",
    Subscribe = "subscribe",
}

impl Performative {
    /// Reads an act in snake, kebab or upper case. `inform_done` and `inform_result` are read as `inform`; the second part of
    /// the result is then `done` or `result`, and the message has it as `x_inform_kind`.
    pub fn parse(text: &str) -> Result<(Self, Option<&'static str>), UnknownPerformative> {
        let normal = text.to_ascii_lowercase().replace('-', "_");
        match normal.as_str() {
            "inform_done" => Ok((Self::Inform, Some("done"))),
            "inform_result" => Ok((Self::Inform, Some("result"))),
            other => Self::from_wire(other)
                .map(|act| (act, None))
                .ok_or_else(|| UnknownPerformative(text.chars().take(40).collect())),
        }
    }

    /// Whether the sender of this act expects a reply: the act opens a session of its receiver, or continues one.
    pub const fn expects_reply(self) -> bool {
        match self {
            Self::Request
            | Self::RequestWhen
            | Self::RequestWhenever
            | Self::QueryIf
            | Self::QueryRef
            | Self::Cfp
            | Self::Propose
            | Self::AcceptProposal
            | Self::Subscribe
            | Self::Cancel
            | Self::Proxy
            | Self::Propagate => true,
            Self::Agree
            | Self::Confirm
            | Self::Disconfirm
            | Self::Failure
            | Self::Inform
            | Self::InformIf
            | Self::InformRef
            | Self::NotUnderstood
            | Self::Refuse
            | Self::RejectProposal => false,
        }
    }

    /// Whether this act, as a reply to `asked`, ends the wait of who asked. An `agree` only promises a later reply; for a
    /// subscription it is the reply.
    pub const fn ends_wait_for(self, asked: Self) -> bool {
        !matches!(self, Self::Agree) || matches!(asked, Self::Subscribe | Self::RequestWhenever)
    }

    /// Whether the platform may answer a message of this act with a `failure`. A failure never causes another failure: the
    /// exchange would have no end (FIPA SC00037, not-understood).
    pub const fn may_be_answered(self) -> bool {
        !matches!(self, Self::Failure | Self::NotUnderstood)
    }

    /// The protocol that this act starts when a message names none.
    pub const fn starts_protocol(self) -> Option<&'static str> {
        match self {
            Self::Request => Some("fipa-request"),
            Self::RequestWhen | Self::RequestWhenever => Some("fipa-request-when"),
            Self::QueryIf | Self::QueryRef => Some("fipa-query"),
            Self::Cfp => Some("fipa-contract-net"),
            Self::Subscribe => Some("fipa-subscribe"),
            Self::Propose => Some("fipa-propose"),
            Self::AcceptProposal
            | Self::Agree
            | Self::Cancel
            | Self::Confirm
            | Self::Disconfirm
            | Self::Failure
            | Self::Inform
            | Self::InformIf
            | Self::InformRef
            | Self::NotUnderstood
            | Self::Propagate
            | Self::Proxy
            | Self::Refuse
            | Self::RejectProposal => None,
        }
    }
}

impl fmt::Display for Performative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Performative {
    type Err = UnknownPerformative;

    fn from_str(text: &str) -> Result<Self, UnknownPerformative> {
        Self::parse(text).map(|(act, _)| act)
    }
}

impl Serialize for Performative {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Performative {
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
    fn all_22_acts_parse_in_every_spelling() {
        assert_eq!(Performative::ALL.len(), 22);
        for &act in Performative::ALL {
            let wire = act.as_str();
            for spelling in [wire.to_owned(), wire.replace('_', "-"), wire.to_uppercase()] {
                assert_eq!(Performative::parse(&spelling), Ok((act, None)), "{spelling}");
            }
        }
    }

    #[test]
    fn the_informs_of_request_are_aliases() {
        assert_eq!(
            Performative::parse("inform-done"),
            Ok((Performative::Inform, Some("done")))
        );
        assert_eq!(
            Performative::parse("INFORM_RESULT"),
            Ok((Performative::Inform, Some("result")))
        );
        assert!(Performative::parse("shout").is_err());
    }

    #[test]
    fn agree_ends_only_a_wait_for_a_subscription() {
        assert!(!Performative::Agree.ends_wait_for(Performative::Request));
        assert!(Performative::Agree.ends_wait_for(Performative::Subscribe));
        assert!(Performative::Inform.ends_wait_for(Performative::Request));
    }
}
