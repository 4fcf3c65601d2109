//! The messages of clients, and the filters of their subscriptions.

use std::collections::{HashMap, HashSet};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use serde_json::Value;

use super::limits;
use crate::api::json;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::fipa::Performative;
use crate::id::{AgentId, Seq, SubscriptionId};

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

        let mut message: Value =
            serde_json::from_slice(text).map_err(|error| Error::invalid("body", format!("is not JSON: {error}")))?;
        let kind = message.as_object_mut().and_then(|members| members.remove("type"));
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
            _ => Err(Error::invalid("type", "must be subscribe, unsubscribe or ping")),
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

    /// Finds the agents with `agent` and compiles the patterns. An unknown agent is an error of its field.
    pub(super) async fn resolve(self, agent: impl AsyncFn(&str) -> Result<AgentId>) -> Result<Filter> {
        let find = async |field: &'static str, keys: Option<Vec<String>>| -> Result<_> {
            let Some(keys) = keys else { return Ok(None) };
            let mut ids = HashSet::with_capacity(keys.len());
            for key in keys {
                // The agent of an id may be removed already. Its last events still have the id.
                let id = match key.parse() {
                    Ok(id) => id,
                    Err(_) => agent(&key).await.map_err(|error| {
                        if let Error::AgentNotFound(key) = error {
                            Error::invalid(field, format!("has `{key}`, which is no agent"))
                        } else {
                            error
                        }
                    })?,
                };
                ids.insert(id);
            }
            Ok(Some(ids))
        };
        let messages_only = self.filter.is_some();
        let (ends, performatives) = self.filter.map_or((None, None), |f| (f.agents, f.performatives));
        Ok(Filter {
            messages_only,
            ends: find("filter.agents", ends).await?,
            performatives: performatives.map(HashSet::from_iter),
            kinds: self.events.as_deref().map(globs).transpose()?,
            agents: find("filters.agent_ids", self.filters.and_then(|f| f.agent_ids)).await?,
        })
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet> {
    let wrong = |error: globset::Error| Error::invalid("events", format!("has a bad pattern: {error}"));
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).build().map_err(wrong)?);
    }
    set.build().map_err(wrong)
}

/// Which events a subscription wants. Fields are combined by AND, the values of a field by OR.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// The subscription has a `filter`, which only events of messages can match.
    messages_only: bool,
    ends: Option<HashSet<AgentId>>,
    performatives: Option<HashSet<Performative>>,
    kinds: Option<GlobSet>,
    agents: Option<HashSet<AgentId>>,
}

impl Filter {
    pub(super) fn wants(&self, event: &Event) -> bool {
        let about = |ids: &Option<HashSet<AgentId>>| match ids {
            Some(ids) => event.agents.iter().any(|agent| ids.contains(agent)),
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

    /// The subscriptions that want the event, oldest first.
    pub(super) fn matching(&self, event: &Event) -> Vec<String> {
        let wants = self
            .0
            .iter()
            .filter(|(_, subscription)| subscription.after < event.seq && subscription.filter.wants(event))
            .map(|(id, _)| *id);
        let mut ids: Vec<SubscriptionId> = wants.collect();
        ids.sort_unstable();
        ids.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;
    use crate::time::Timestamp;

    fn event(kind: EventKind, agents: &[AgentId], performative: Option<Performative>) -> Event {
        Event {
            seq: Seq(1),
            kind,
            timestamp: Timestamp::now(),
            agents: agents.to_vec(),
            performative,
            body: serde_json::Map::new(),
        }
    }

    async fn subscribe(json: &str, cart: AgentId) -> Result<Filter> {
        let Asked::Subscribe(wanted) = Asked::read(json.as_bytes())? else {
            panic!("{json}")
        };
        let find = async |key: &str| {
            if key == "cart" {
                Ok(cart)
            } else {
                Err(Error::AgentNotFound(key.to_owned()))
            }
        };
        wanted.resolve(find).await
    }

    fn field<T>(result: Result<T>) -> String {
        let Some(Error::InvalidRequest { field, .. }) = result.err() else {
            panic!("no invalid request")
        };
        field
    }

    #[tokio::test]
    async fn a_message_filter_joins_fields_by_and_and_values_by_or() {
        let (cart, other) = (AgentId::new(), AgentId::new());
        let json = r#"{"type":"subscribe","filter":{"agents":["cart","cart"],"performatives":["inform","query-ref"]}}"#;
        let filter = subscribe(json, cart).await.unwrap();
        assert!(filter.wants(&event(
            EventKind::MessageSent,
            &[other, cart],
            Some(Performative::Inform)
        )));
        assert!(filter.wants(&event(
            EventKind::MessageProcessed,
            &[cart],
            Some(Performative::QueryRef)
        )));
        assert!(!filter.wants(&event(EventKind::MessageSent, &[other], Some(Performative::Inform))));
        assert!(!filter.wants(&event(EventKind::MessageSent, &[cart], Some(Performative::Request))));
        assert!(!filter.wants(&event(EventKind::AgentDeployed, &[cart], None)));
    }

    #[tokio::test]
    async fn event_globs_and_agents() {
        let (cart, other) = (AgentId::new(), AgentId::new());
        let json = format!(
            r#"{{"type":"subscribe","events":["agent.*","message.failed"],"filters":{{"agent_ids":["{cart}"]}}}}"#
        );
        let filter = subscribe(&json, cart).await.unwrap();
        assert!(filter.wants(&event(EventKind::AgentDeployed, &[cart], None)));
        assert!(filter.wants(&event(EventKind::MessageFailed, &[cart], None)));
        assert!(!filter.wants(&event(EventKind::AgentDeployed, &[other], None)));
        assert!(!filter.wants(&event(EventKind::MessageSent, &[cart], None)));
    }

    #[tokio::test]
    async fn nothing_said_means_everything_and_both_forms_are_joined() {
        let all = subscribe(r#"{"type":"subscribe","filter":null}"#, AgentId::new())
            .await
            .unwrap();
        assert!(all.wants(&event(EventKind::SystemAlert, &[], None)));
        let messages = subscribe(r#"{"type":"subscribe","filter":{}}"#, AgentId::new())
            .await
            .unwrap();
        assert!(
            messages.wants(&event(EventKind::MessageSent, &[], None))
                && !messages.wants(&event(EventKind::SystemAlert, &[], None))
        );
        let json = r#"{"type":"subscribe","filter":{"performatives":["request"]},"events":["message.processed"]}"#;
        let both = subscribe(json, AgentId::new()).await.unwrap();
        assert!(both.wants(&event(EventKind::MessageProcessed, &[], Some(Performative::Request))));
        assert!(!both.wants(&event(EventKind::MessageSent, &[], Some(Performative::Request))));
    }

    #[tokio::test]
    async fn wrong_messages_name_the_field() {
        let read = |json: &str| field(Asked::read(json.as_bytes()));
        assert_eq!(read("nonsense"), "body");
        assert_eq!(read("[]"), "type");
        assert_eq!(read(r#"{"type":"shout"}"#), "type");
        assert_eq!(read(r#"{"type":"unsubscribe"}"#), "subscription_id");
        assert_eq!(read(r#"{"type":"ping","extra":1}"#), "extra");
        assert_eq!(read(r#"{"type":"subscribe","filter":{"agent":["a"]}}"#), "filter.agent");
        assert_eq!(
            read(r#"{"type":"subscribe","filter":{"performatives":["shout"]}}"#),
            "filter.performatives[0]"
        );
        assert_eq!(read(r#"{"type":"subscribe","events":[]}"#), "events");
        assert!(matches!(Asked::read(br#"{"type":"ping"}"#), Ok(Asked::Ping)));
        let cart = AgentId::new();
        assert_eq!(
            field(subscribe(r#"{"type":"subscribe","filter":{"agents":["nobody"]}}"#, cart).await),
            "filter.agents"
        );
        assert_eq!(
            field(subscribe(r#"{"type":"subscribe","events":["[a"]}"#, cart).await),
            "events"
        );
    }

    #[test]
    fn an_event_has_all_its_subscriptions_and_they_are_bounded() {
        let mut subscriptions = Subscriptions::default();
        let first = subscriptions.add(Filter::default(), Seq(0)).unwrap();
        let second = subscriptions.add(Filter::default(), Seq(0)).unwrap();
        let happened = event(EventKind::SystemAlert, &[], None);
        assert_eq!(
            subscriptions.matching(&happened),
            [first.to_string(), second.to_string()]
        );
        subscriptions.remove(&first.to_string()).unwrap();
        assert_eq!(field(subscriptions.remove(&first.to_string())), "subscription_id");
        assert_eq!(subscriptions.matching(&happened), [second.to_string()]);
        while subscriptions.0.len() < limits::SUBSCRIPTIONS {
            subscriptions.add(Filter::default(), Seq(0)).unwrap();
        }
        assert_eq!(
            subscriptions
                .add(Filter::default(), Seq(0))
                .unwrap_err()
                .code()
                .as_str(),
            "RESOURCE_LIMIT_EXCEEDED"
        );
    }

    #[tokio::test]
    async fn a_subscription_may_say_after_which_event_it_begins() {
        let since = |json: &str| match Asked::read(json.as_bytes()) {
            Ok(Asked::Subscribe(wanted)) => Ok(wanted.since()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        assert_eq!(since(r#"{"type":"subscribe","since_seq":7}"#).unwrap(), Some(Seq(7)));
        assert_eq!(since(r#"{"type":"subscribe","since_seq":null}"#).unwrap(), None);
        assert_eq!(field(since(r#"{"type":"subscribe","since_seq":-1}"#)), "since_seq");
    }

    #[test]
    fn a_subscription_hears_nothing_twice_and_nothing_of_before_it_began() {
        let mut subscriptions = Subscriptions::default();
        let mut happened = event(EventKind::SystemAlert, &[], None);
        happened.seq = Seq(5);
        let old = subscriptions.add(Filter::default(), Seq(4)).unwrap();
        subscriptions.add(Filter::default(), Seq(5)).unwrap();
        assert_eq!(subscriptions.matching(&happened), [old.to_string()]);
        subscriptions.told(Seq(5));
        let again = subscriptions.add(Filter::default(), Seq(2)).unwrap();
        assert_eq!(subscriptions.matching(&happened), [again.to_string()]);
    }
}
