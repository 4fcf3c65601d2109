//! The messages of clients, and the filters of their subscriptions.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use globset::{GlobSet, GlobSetBuilder};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::limits;
use crate::api::json;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::fipa::Performative;
use crate::id::{Seq, SubscriptionId};
use crate::json::cut;
use crate::message::Address;
use crate::pattern;

/// A message of a client.
#[derive(Debug)]
pub(super) enum Asked {
    Subscribe(Wanted),
    Unsubscribe(String),
    Ping,
}

impl Asked {
    pub(super) fn read(text: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Unsubscribe {
            subscription_id: String,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Ping {}

        let mut members: Map<String, Value> = json::read(text)?;
        let kind = members.remove("type");
        let message = Value::Object(members);
        match kind.as_ref().and_then(Value::as_str) {
            Some("subscribe") => {
                let wanted: Wanted = json::from_value(message)?;
                wanted.check()?;
                Ok(Self::Subscribe(wanted))
            }
            Some("unsubscribe") => Ok(Self::Unsubscribe(
                json::from_value::<Unsubscribe>(message)?.subscription_id,
            )),
            Some("ping") => json::from_value::<Ping>(message).map(|Ping {}| Self::Ping),
            Some(other) => {
                let problem = format!("is `{}`, and must be subscribe, unsubscribe or ping", cut(other));
                Err(Error::invalid("type", problem))
            }
            None => Err(Error::invalid(
                "type",
                "is missing; it is the text subscribe, unsubscribe or ping",
            )),
        }
    }
}

/// A subscription as the client wrote it. Agents are ids or names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    filter: Option<MessageFilter>,
    events: Option<Vec<String>>,
    filters: Option<EventFilter>,
    since_seq: Option<Seq>,
    /// Whether events of sent messages have their content.
    #[serde(default)]
    content: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageFilter {
    agents: Option<Vec<String>>,
    performatives: Option<Vec<Performative>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventFilter {
    agent_ids: Option<Vec<String>>,
}

impl Wanted {
    /// Checks that each present field has values, and not too many. A field without values would match nothing.
    fn check(&self) -> Result<()> {
        let lengths = [
            (
                "filter.agents",
                self.filter.as_ref().and_then(|f| f.agents.as_ref()).map(Vec::len),
            ),
            (
                "filter.performatives",
                self.filter
                    .as_ref()
                    .and_then(|f| f.performatives.as_ref())
                    .map(Vec::len),
            ),
            ("events", self.events.as_ref().map(Vec::len)),
            (
                "filters.agent_ids",
                self.filters.as_ref().and_then(|f| f.agent_ids.as_ref()).map(Vec::len),
            ),
        ];
        for (field, length) in lengths {
            if length.is_some_and(|length| !(1..=limits::VALUES).contains(&length)) {
                return Err(Error::invalid(
                    field,
                    format!("must have 1 to {} values, or be left out", limits::VALUES),
                ));
            }
        }
        Ok(())
    }

    /// The event after which the subscription begins. None: it begins with new events.
    pub(super) const fn since(&self) -> Option<Seq> {
        self.since_seq
    }

    /// Finds the addresses with `address` and compiles the patterns. An unknown name is an error of its field.
    pub(super) async fn resolve(self, address: impl AsyncFn(&str) -> Result<Address>) -> Result<Filter> {
        let find = async |field: &'static str, keys: Option<Vec<String>>| -> Result<_> {
            let Some(keys) = keys else { return Ok(None) };
            let mut addresses = HashSet::with_capacity(keys.len());
            for key in keys {
                let found = address(&key).await.map_err(|error| {
                    if let Error::AgentNotFound(key) = error {
                        let problem = format!(
                            "has `{key}`, which is no agent and no client of the history; write client:{key} for a client that \
                             has no messages yet"
                        );
                        Error::invalid(field, problem)
                    } else {
                        error
                    }
                })?;
                addresses.insert(found);
            }
            Ok(Some(addresses))
        };
        let messages_only = self.filter.is_some();
        let (ends, performatives) = self.filter.map_or((None, None), |f| (f.agents, f.performatives));
        Ok(Filter {
            messages_only,
            ends: find("filter.agents", ends).await?,
            performatives: performatives.map(HashSet::from_iter),
            kinds: self.events.as_deref().map(globs).transpose()?,
            agents: find("filters.agent_ids", self.filters.and_then(|f| f.agent_ids)).await?,
            content: self.content,
        })
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(pattern::compile(pattern).map_err(|problem| Error::invalid("events", problem))?);
    }
    set.build().map_err(|_| {
        Error::invalid(
            "events",
            "has patterns that are too large together; give fewer or shorter ones",
        )
    })
}

/// Which events a subscription wants. Fields are combined by AND, the values of a field by OR.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// The subscription has a `filter`, which only events of messages can match.
    messages_only: bool,
    ends: Option<HashSet<Address>>,
    performatives: Option<HashSet<Performative>>,
    kinds: Option<GlobSet>,
    agents: Option<HashSet<Address>>,
    /// The subscription wants the content of messages.
    content: bool,
}

impl Filter {
    pub(super) fn wants(&self, event: &Event) -> bool {
        let about = |wanted: &Option<HashSet<Address>>| match wanted {
            Some(wanted) => event.parties.iter().any(|party| wanted.contains(party)),
            None => true,
        };
        let says = match (&self.performatives, event.performative) {
            (None, _) => true,
            (Some(acts), Some(act)) => acts.contains(&act),
            (Some(_), None) => false,
        };
        (!self.messages_only || event.kind.is_about_message())
            && says
            && about(&self.ends)
            && about(&self.agents)
            && self
                .kinds
                .as_ref()
                .is_none_or(|kinds| kinds.is_match(event.kind.as_str()))
    }
}

/// The subscriptions of one connection, at most [`limits::SUBSCRIPTIONS`].
#[derive(Debug, Default)]
pub(super) struct Subscriptions(HashMap<SubscriptionId, Subscription>);

#[derive(Debug)]
struct Subscription {
    filter: Filter,
    /// The subscription does not get events up to this one: it got them already, or they were before it.
    after: Seq,
}

impl Subscriptions {
    /// A subscription to events after `after`.
    pub(super) fn add(&mut self, filter: Filter, after: Seq) -> Result<SubscriptionId> {
        if self.0.len() >= limits::SUBSCRIPTIONS {
            let limit = limits::SUBSCRIPTIONS as u64;
            return Err(Error::LimitExceeded {
                what: "the number of subscriptions of this connection",
                limit,
            });
        }
        let id = SubscriptionId::new();
        self.0.insert(id, Subscription { filter, after });
        Ok(id)
    }

    pub(super) fn remove(&mut self, id: &str) -> Result<()> {
        let known = id.parse().ok().and_then(|id: SubscriptionId| self.0.remove(&id));
        known
            .map(|_| ())
            .ok_or_else(|| Error::invalid("subscription_id", "is no subscription of this connection"))
    }

    /// Records that all subscriptions have got the events up to `seq`.
    pub(super) fn told(&mut self, seq: Seq) {
        for subscription in self.0.values_mut() {
            subscription.after = subscription.after.max(seq);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The subscriptions that want the event.
    pub(super) fn matching(&self, event: &Event) -> Matching {
        let wants = |(_, subscription): &(&SubscriptionId, &Subscription)| {
            subscription.after < event.seq && subscription.filter.wants(event)
        };
        let mut ids = Vec::new();
        let mut content = false;
        for (id, subscription) in self.0.iter().filter(wants) {
            ids.push(*id);
            content |= subscription.filter.content;
        }
        ids.sort_unstable();
        Matching {
            ids: ids.iter().map(ToString::to_string).collect(),
            content,
        }
    }
}

/// The subscriptions that want an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Matching {
    /// Oldest first.
    pub(super) ids: Vec<String>,
    /// One of them wants the content of messages.
    pub(super) content: bool,
}
