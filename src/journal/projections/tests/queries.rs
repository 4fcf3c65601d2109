//! Filters, pages and totals.

use super::*;

fn any() -> MessageQuery {
    MessageQuery::default()
}

fn address(agent: AgentId) -> Address {
    Address::Agent(agent)
}

/// Fifty messages between three agents in three conversations. The first is processed and the second has failed.
struct History {
    world: World,
    messages: Vec<Message>,
    agents: Vec<AgentId>,
}

impl History {
    async fn new() -> Self {
        let world = World::new();
        let agents = agents(3);
        let [a, b, c] = agents[..] else { unreachable!() };
        let parties = [(a, b), (b, a), (a, c), (c, b), (a, a)];
        let message = |n: usize| Message {
            conversation_id: format!("c{}", n % 3),
            timestamp: Timestamp::from_micros(i64::try_from(n).unwrap()),
            performative: if n.is_multiple_of(2) {
                Performative::Request
            } else {
                Performative::Inform
            },
            protocol: n.is_multiple_of(4).then(|| "fipa-request".to_owned()),
            ..message(address(parties[n % 5].0), vec![address(parties[n % 5].1)])
        };
        let messages: Vec<Message> = (0..50).map(message).collect();
        world.write(messages.iter().cloned().map(dispatched).collect()).await;
        world
            .write(vec![
                turn(b, messages[0].id, TurnEnd::Ok),
                turn(a, messages[1].id, refusal()),
            ])
            .await;
        Self {
            world,
            messages,
            agents,
        }
    }

    fn matching(&self, filter: impl Fn(&Message) -> bool) -> Vec<MessageId> {
        self.messages
            .iter()
            .filter(|message| filter(message))
            .map(|message| message.id)
            .collect()
    }

    /// Asserts that the query returns the messages that `filter` accepts.
    async fn check(&self, query: MessageQuery, filter: impl Fn(&Message) -> bool) {
        let found = self.world.page(query.clone()).await;
        assert_eq!(found, self.matching(filter), "{query:?}");
    }
}

#[tokio::test]
async fn queries_filter_by_party() {
    let history = History::new().await;
    let [a, b, c] = history.agents[..] else { unreachable!() };
    let takes_part = |m: &Message, agent| m.sender == address(agent) || m.receivers.contains(&address(agent));
    history.check(any(), |_| true).await;
    let query = MessageQuery {
        party: Some(address(a)),
        ..any()
    };
    history.check(query, |m| takes_part(m, a)).await;
    let query = MessageQuery {
        sender: Some(address(a)),
        ..any()
    };
    history.check(query.clone(), |m| m.sender == address(a)).await;
    let query = MessageQuery {
        receiver: Some(address(b)),
        ..query
    };
    history
        .check(query, |m| m.sender == address(a) && m.receivers == [address(b)])
        .await;
    let query = MessageQuery {
        conversation_id: Some("c1".into()),
        ..any()
    };
    history.check(query.clone(), |m| m.conversation_id == "c1").await;
    let query = MessageQuery {
        party: Some(address(c)),
        ..query
    };
    history
        .check(query, |m| m.conversation_id == "c1" && takes_part(m, c))
        .await;
    let query = MessageQuery {
        sender: Some(client()),
        ..any()
    };
    history.check(query, |_| false).await;
}

#[tokio::test]
async fn queries_filter_by_what_and_when() {
    let history = History::new().await;
    let [a, ..] = history.agents[..] else { unreachable!() };
    let query = MessageQuery {
        performative: Some(Performative::Inform),
        receiver: Some(address(a)),
        ..any()
    };
    history
        .check(query, |m| {
            m.performative == Performative::Inform && m.receivers == [address(a)]
        })
        .await;
    let query = MessageQuery {
        protocol: Some("fipa-request".into()),
        ..any()
    };
    history.check(query, |m| m.protocol.is_some()).await;
    let time = |micros| Some(Timestamp::from_micros(micros));
    let query = MessageQuery {
        since: time(10),
        until: time(20),
        ..any()
    };
    history.check(query, |m| (10..20).contains(&m.timestamp.micros())).await;
    let (processed, failed) = (history.messages[0].id, history.messages[1].id);
    let query = |status| MessageQuery {
        status: Some(status),
        ..any()
    };
    history.check(query(Status::Processed), |m| m.id == processed).await;
    history.check(query(Status::Failed), |m| m.id == failed).await;
    history
        .check(query(Status::Delivered), |m| m.id != processed && m.id != failed)
        .await;
}

#[tokio::test]
async fn pages_do_not_move_when_something_is_written_between_them() {
    let history = History::new().await;
    let [_, b, _] = history.agents[..] else { unreachable!() };
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let query = MessageQuery {
            party: Some(address(b)),
            limit: 7,
            cursor,
            ..any()
        };
        let page = history.world.projections.messages(query).await.unwrap();
        assert!(page.messages.len() == 7 || page.next_cursor.is_none());
        assert!(page.total >= 30, "the total is of all pages");
        seen.extend(page.messages.into_iter().map(|stored| stored.message.id));
        if seen.len() == 7 {
            history
                .world
                .write(vec![dispatched(message(client(), vec![address(b)]))])
                .await;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 31);
    assert_eq!(
        seen[..30],
        history.matching(|m| m.sender == address(b) || m.receivers == [address(b)])
    );
}

#[tokio::test]
async fn a_cursor_of_another_making_is_refused() {
    let world = World::new();
    for bad in ["", "x", "s", "s-1", "s+1", "sxyz", "s11111111111111111"] {
        let query = MessageQuery {
            cursor: Some(bad.to_owned()),
            ..any()
        };
        assert!(
            matches!(world.projections.messages(query).await, Err(QueryError::BadCursor(_))),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn totals_are_exact_up_to_a_limit() {
    let world = World::new();
    let agent = AgentId::new();
    for _ in 0..11 {
        world
            .write(
                (0..1_000)
                    .map(|_| dispatched(message(client(), vec![Address::Agent(agent)])))
                    .collect(),
            )
            .await;
    }
    let page = world
        .projections
        .messages(MessageQuery {
            party: Some(address(agent)),
            ..MessageQuery::default()
        })
        .await
        .unwrap();
    assert_eq!(
        (page.messages.len(), page.total, page.total_is_exact),
        (1, query_limits::COUNTED, false)
    );
    assert_eq!(world.projections.counts().messages_total, 11_000);
}
