//! Who waits for whom.

use super::*;
use crate::message::FailureReason;

fn answer(from: AgentId, to: Address, act: Performative, in_reply_to: Option<&str>) -> Record {
    dispatched(Message {
        performative: act,
        in_reply_to: in_reply_to.map(str::to_owned),
        reply_with: Some("counter".to_owned()),
        ..message(Address::Agent(from), vec![to])
    })
}

#[tokio::test]
async fn a_session_lasts_until_the_answer() {
    let world = World::new();
    let [a, b, c] = agents(3)[..] else { unreachable!() };
    let initiator = Address::Agent(a);
    let open = |with: AgentId| (Address::Agent(a), with);
    world
        .write(vec![dispatched(ask(initiator.clone(), &[b, c], Some("r")))])
        .await;
    assert_eq!(world.sessions().len(), 2);
    world
        .write(vec![answer(b, initiator.clone(), Performative::Agree, Some("r"))])
        .await;
    world
        .write(vec![answer(b, initiator.clone(), Performative::Inform, Some("other"))])
        .await;
    world
        .write(vec![answer(b, initiator.clone(), Performative::Inform, None)])
        .await;
    world
        .write(vec![answer(b, client(), Performative::Inform, Some("r"))])
        .await;
    let elsewhere = Message {
        conversation_id: "elsewhere".to_owned(),
        ..ask(Address::Agent(b), &[a], None)
    };
    let elsewhere = Message {
        performative: Performative::Inform,
        in_reply_to: Some("r".to_owned()),
        ..elsewhere
    };
    world.write(vec![dispatched(elsewhere)]).await;
    assert_eq!(world.sessions().len(), 2, "none of these is the answer");
    world
        .write(vec![answer(b, initiator.clone(), Performative::Inform, Some("r"))])
        .await;
    assert_eq!(world.sessions(), [open(c)]);
    world
        .write(vec![answer(c, initiator.clone(), Performative::Propose, Some("r"))])
        .await;
    assert_eq!(
        world.sessions(),
        [(Address::Agent(c), a)],
        "a proposal is an answer and a question"
    );
    world
        .write(vec![Record::AgentRemoved {
            agent: c,
            at: Timestamp::now(),
        }])
        .await;
    assert_eq!(world.sessions(), []);

    world.write(vec![dispatched(ask(initiator, &[b], None))]).await;
    assert_eq!(world.sessions(), [], "what has no reply_with cannot be answered");
    world
        .write(vec![answer(a, Address::Agent(b), Performative::Inform, None)])
        .await;
    assert_eq!(world.sessions(), [], "an inform asks nothing");
}

#[tokio::test]
async fn a_failure_ends_the_session_of_whom_it_is_about() {
    let world = World::new();
    let [a, b, c] = agents(3)[..] else { unreachable!() };
    let cfp = ask(Address::Agent(a), &[b, c], Some("r"));
    let told = || dispatched(Message::failure(&cfp, FailureReason::Crashed, "", Timestamp::now()));
    world.write(vec![dispatched(cfp.clone())]).await;
    world.write(vec![dead_letter(&cfp, b), told()]).await;
    assert_eq!(world.sessions(), [(Address::Agent(a), c)], "the other may still answer");
    world.write(vec![turn(c, cfp.id, refusal()), told()]).await;
    assert_eq!(world.sessions(), []);

    let late = ask(client(), &[b, c], Some("s"));
    world.write(vec![dispatched(late.clone())]).await;
    assert_eq!(world.sessions().len(), 2);
    world
        .write(vec![dispatched(Message::failure(
            &late,
            FailureReason::Gone,
            "",
            Timestamp::now(),
        ))])
        .await;
    assert_eq!(world.sessions(), [], "a failure that names nobody is about all");

    let partly = ask(client(), &[b, c], Some("t"));
    let refused = Dispatch {
        message: Arc::new(partly.clone()),
        first: true,
        deliveries: vec![b],
        undelivered: Some("full".into()),
        unread: false,
    };
    let about = dispatched(Message::failure(
        &partly,
        FailureReason::Overloaded,
        "",
        Timestamp::now(),
    ));
    world.write(vec![Record::Message(refused), about]).await;
    assert_eq!(world.sessions(), [(client(), b)]);
}

#[tokio::test]
async fn a_client_is_never_taken_for_an_agent() {
    // A client address whose text has sixteen bytes, as many as an agent's id.
    let world = World::new();
    let name: Address = "client:123456789".parse().unwrap();
    assert_eq!(name.to_string().len(), 16);
    world
        .write(vec![dispatched(ask(name.clone(), &agents(1), Some("r")))])
        .await;
    assert_eq!(world.sessions()[0].0, name);
}
