use super::*;
use crate::event::EventKind;
use crate::id::AgentId;
use crate::time::Timestamp;

fn event(kind: EventKind, agents: &[AgentId], performative: Option<Performative>) -> Event {
    Event {
        seq: Seq(1),
        kind,
        timestamp: Timestamp::now(),
        parties: agents.iter().copied().map(Address::Agent).collect(),
        performative,
        sent: None,
        body: Map::new(),
    }
}

async fn subscribe(json: &str, cart: AgentId) -> Result<Filter> {
    let Asked::Subscribe(wanted) = Asked::read(json.as_bytes())? else {
        panic!("{json}")
    };
    let find = async |key: &str| match key {
        "cart" => Ok(Address::Agent(cart)),
        other => other.parse().map_err(|_| Error::AgentNotFound(other.to_owned())),
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
    let json =
        format!(r#"{{"type":"subscribe","events":["agent.*","message.failed"],"filters":{{"agent_ids":["{cart}"]}}}}"#);
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
    assert_eq!(read("[]"), "body");
    assert_eq!(read("{}"), "type");
    assert_eq!(read(r#"{"type":"ping","type":"ping"}"#), "type");
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

#[tokio::test]
async fn a_client_is_a_party_of_its_messages_and_content_is_for_those_who_want_it() {
    let me = r#"{"type":"subscribe","filter":{"agents":["client:me"]},"content":true}"#;
    let filter = subscribe(me, AgentId::new()).await.unwrap();
    let mut sent = event(EventKind::MessageSent, &[AgentId::new()], Some(Performative::Inform));
    assert!(!filter.wants(&sent));
    sent.parties.push("client:me".parse().unwrap());
    assert!(filter.wants(&sent));
    let mut subscriptions = Subscriptions::default();
    subscriptions.add(Filter::default(), Seq(0)).unwrap();
    assert!(!subscriptions.matching(&sent).content);
    subscriptions.add(filter, Seq(0)).unwrap();
    assert!(subscriptions.matching(&sent).content);
}

#[test]
fn an_event_has_all_its_subscriptions_and_they_are_bounded() {
    let mut subscriptions = Subscriptions::default();
    let first = subscriptions.add(Filter::default(), Seq(0)).unwrap();
    let second = subscriptions.add(Filter::default(), Seq(0)).unwrap();
    let happened = event(EventKind::SystemAlert, &[], None);
    assert_eq!(
        subscriptions.matching(&happened).ids,
        [first.to_string(), second.to_string()]
    );
    subscriptions.remove(&first.to_string()).unwrap();
    assert_eq!(field(subscriptions.remove(&first.to_string())), "subscription_id");
    assert_eq!(subscriptions.matching(&happened).ids, [second.to_string()]);
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
    assert_eq!(subscriptions.matching(&happened).ids, [old.to_string()]);
    subscriptions.told(Seq(5));
    let again = subscriptions.add(Filter::default(), Seq(2)).unwrap();
    assert_eq!(subscriptions.matching(&happened).ids, [again.to_string()]);
}
