//! The initiator of a contract net (FIPA SC00029). Asked to buy, it calls for proposals, awards the cheapest,
//! and tells who asked what came of it.
//!
//! A purchase takes many turns, and the instance may be another one at each. So everything it knows is in
//! `state`, one record for each open purchase under `purchase/<conversation>`, gone when the purchase is over.
//!
//! Correlation: a purchase has a conversation of its own, `buy-<message id of the request>`. In it seller n is
//! asked with the `reply_with` `<conversation>.<n>` and awarded with `<conversation>.<n>.award`. The answer to the
//! requester goes back into the request's conversation.
//!
//! A `sender` is an agent's id, and a seller may have been named otherwise in the request. So a sender is compared
//! with another sender and never with a seller's name. The names are for the request's `sellers`, for the `seller`
//! in each `cfp` and for what the requester is told.
//!
//! The agent has no timers and needs none: when `reply_by` has passed, the host sends a `failure` (reason
//! `timeout`) in place of the seller's answer.

mod purchase;
mod timestamp;

wit_bindgen::generate!({ path: "../../../proto/wit", world: "agent" });

use caxton::agent::log::Level;
use caxton::agent::types::{Content, Draft, Message, Performative};
use caxton::agent::{clock, log, messaging, state};
use exports::caxton::agent::handler::Guest;
use purchase::{Answer, Effect, Offer, Order, Phase, Purchase, Requester};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use timestamp::rfc3339;

const CONTRACT_NET: &str = "fipa-contract-net";
const PURCHASES: &str = "purchase/";
const MAX_SELLERS: usize = 32;
const DEFAULT_DEADLINE_MS: u64 = 3_000;
const MAX_DEADLINE_MS: u64 = 3_600_000;
/// What is kept of another's reason, in characters.
const MAX_REASON_CHARS: usize = 200;

/// The content of a request.
#[derive(Deserialize)]
struct Wish {
    item: String,
    quantity: u64,
    sellers: Vec<String>,
    #[serde(default)]
    deadline_ms: Option<u64>,
}

struct Buyer;

impl Guest for Buyer {
    fn init() -> Result<(), String> {
        Ok(())
    }

    fn handle(m: Message) -> Result<(), String> {
        match m.performative {
            Performative::Request => buy(&m),
            Performative::Cancel => cancel(&m),
            Performative::Propose
            | Performative::Refuse
            | Performative::NotUnderstood
            | Performative::Failure
            | Performative::Inform => hear(&m),
            Performative::Cfp
            | Performative::Propagate
            | Performative::Proxy
            | Performative::QueryIf
            | Performative::QueryRef
            | Performative::RequestWhen
            | Performative::RequestWhenever
            | Performative::Subscribe => {
                reply(Performative::NotUnderstood, &because("unsupported_act"))
            }
            // What is left asks for nothing.
            _ => Ok(()),
        }
    }
}

fn buy(m: &Message) -> Result<(), String> {
    let Some(content) = json_of(&m.content).filter(Value::is_object) else {
        return reply(
            Performative::NotUnderstood,
            &because("the content is not a JSON object"),
        );
    };
    if content["action"] != "buy" {
        return reply(
            Performative::Refuse,
            &because("this agent buys, and does nothing else"),
        );
    }
    let order = match order_from(content) {
        Ok(order) => order,
        Err(reason) => return reply(Performative::Refuse, &because(&reason)),
    };
    let requester = Requester {
        sender: m.sender.clone(),
        address: answer_address(m),
        conversation_id: m.conversation_id.clone(),
        reply_with: m.reply_with.clone(),
        protocol: m.protocol.clone(),
    };
    let mut purchase = Purchase::new(order, requester, format!("buy-{}", m.message_id));
    let agreed = json!({
        "item": purchase.order.item,
        "quantity": purchase.order.quantity,
        "conversation_id": purchase.conversation,
    });
    reply(Performative::Agree, &agreed)?;

    let mut effects = Vec::new();
    for seller in 0..purchase.order.sellers.len() {
        // A seller whom the host keeps us from asking has, in effect, refused.
        if let Err(reason) = call(&purchase, seller) {
            effects.extend(purchase.hear(seller, declined("refuse", reason)));
        }
    }
    carry_out(purchase, effects)
}

/// What is wrong with a wish is told to who wished.
fn order_from(content: Value) -> Result<Order, String> {
    let wish: Wish = serde_json::from_value(content).map_err(|e| e.to_string())?;
    let mut sellers: Vec<String> = Vec::new();
    for seller in wish.sellers {
        if !sellers.contains(&seller) {
            sellers.push(seller);
        }
    }
    let deadline_ms = wish.deadline_ms.unwrap_or(DEFAULT_DEADLINE_MS);
    if wish.quantity == 0 {
        Err("quantity must be above 0".into())
    } else if sellers.is_empty() || sellers.len() > MAX_SELLERS {
        Err(format!("sellers must be 1 to {MAX_SELLERS}"))
    } else if deadline_ms == 0 || deadline_ms > MAX_DEADLINE_MS {
        Err(format!("deadline_ms must be 1 to {MAX_DEADLINE_MS}"))
    } else {
        Ok(Order {
            item: wish.item,
            quantity: wish.quantity,
            sellers,
            deadline_ms,
        })
    }
}

/// An answer of a seller, or of the host in its place.
fn hear(m: &Message) -> Result<(), String> {
    let open = load(&m.conversation_id)?.and_then(|purchase| {
        let seller = purchase.seller_answering(m.in_reply_to.as_deref()?)?;
        Some((purchase, seller))
    });
    let Some((mut purchase, seller)) = open else {
        return hear_late(m);
    };
    let content = json_of(&m.content);
    let answer = match m.performative {
        Performative::Propose => match offer(m, content.as_ref(), purchase.order.quantity) {
            Ok(offer) => Answer::Offer(offer),
            Err(reason) => {
                reply(Performative::RejectProposal, &because(reason))?;
                declined("propose", reason.into())
            }
        },
        Performative::Inform => Answer::Done {
            sender: m.sender.clone(),
            details: content.unwrap_or_default(),
        },
        Performative::Refuse => declined("refuse", reason_in(content.as_ref())),
        Performative::NotUnderstood => declined("not_understood", reason_in(content.as_ref())),
        _ => declined("failure", reason_in(content.as_ref())),
    };
    let effects = purchase.hear(seller, answer);
    carry_out(purchase, effects)
}

/// The purchase is over, or never was. Who proposes is told, so that it is free; all else is only noted.
fn hear_late(m: &Message) -> Result<(), String> {
    if m.performative == Performative::Propose {
        return reply(Performative::RejectProposal, &because("late"));
    }
    let line = format!(
        "{:?} of {} belongs to no open purchase",
        m.performative, m.sender
    );
    log::write(Level::Debug, &line);
    Ok(())
}

/// Only who asked can cancel, and only until the award.
fn cancel(m: &Message) -> Result<(), String> {
    for key in state::list(PURCHASES).map_err(|e| format!("cannot list purchases: {e}"))? {
        let Some(mut purchase) = load(&key[PURCHASES.len()..])? else {
            continue;
        };
        let requester = &purchase.requester;
        let named = m.in_reply_to.is_none() || m.in_reply_to == requester.reply_with;
        if requester.sender != m.sender || requester.conversation_id != m.conversation_id || !named
        {
            continue;
        }
        let Some(effects) = purchase.cancel() else {
            return reply(Performative::Failure, &because("already awarded"));
        };
        reply(Performative::Inform, &json!({"status": "cancelled"}))?;
        return carry_out(purchase, effects);
    }
    reply(Performative::Failure, &because("no such purchase"))
}

/// Does what follows, and keeps or forgets the purchase.
fn carry_out(mut purchase: Purchase, effects: Vec<Effect>) -> Result<(), String> {
    let mut effects = VecDeque::from(effects);
    while let Some(effect) = effects.pop_front() {
        match effect {
            Effect::Accept { seller, offer } => {
                // An award that cannot leave is as good as one that failed.
                if let Err(reason) = award(&purchase, seller, &offer) {
                    effects.extend(purchase.hear(seller, declined("failure", reason)));
                }
            }
            Effect::Reject { offer, reason } => {
                if let Err(reason) = reject(&purchase, offer, reason) {
                    log::write(Level::Warn, &format!("a rejection was not sent: {reason}"));
                }
            }
            Effect::Inform(content) => tell(&purchase, Performative::Inform, &content)?,
            Effect::Fail(content) => tell(&purchase, Performative::Failure, &content)?,
        }
    }
    let key = format!("{PURCHASES}{}", purchase.conversation);
    if purchase.phase == Phase::Over {
        state::delete(&key).map_err(|e| format!("cannot forget a purchase: {e}"))?;
    } else {
        let stored = serde_json::to_vec(&purchase).map_err(|e| e.to_string())?;
        state::set(&key, &stored).map_err(|e| format!("cannot keep a purchase: {e}"))?;
    }
    Ok(())
}

fn call(purchase: &Purchase, seller: usize) -> Result<(), String> {
    let order = &purchase.order;
    let content = purchase.call_content(seller);
    send(Draft {
        reply_with: Some(purchase.call_id(seller)),
        reply_by: Some(deadline(order)),
        ..draft(
            purchase,
            Performative::Cfp,
            order.sellers[seller].clone(),
            &content,
        )
    })
}

fn award(purchase: &Purchase, seller: usize, offer: &Offer) -> Result<(), String> {
    let order = &purchase.order;
    let content = json!({"item": order.item, "quantity": order.quantity, "price": offer.price});
    send(Draft {
        reply_with: Some(purchase.award_id(seller)),
        in_reply_to: Some(
            offer
                .reply_with
                .clone()
                .unwrap_or_else(|| purchase.call_id(seller)),
        ),
        reply_by: Some(deadline(order)),
        ..draft(
            purchase,
            Performative::AcceptProposal,
            offer.address.clone(),
            &content,
        )
    })
}

fn reject(purchase: &Purchase, offer: Offer, reason: &str) -> Result<(), String> {
    send(Draft {
        in_reply_to: offer.reply_with,
        ..draft(
            purchase,
            Performative::RejectProposal,
            offer.address,
            &because(reason),
        )
    })
}

/// Answers the request, long after its turn.
fn tell(purchase: &Purchase, performative: Performative, content: &Value) -> Result<(), String> {
    let requester = &purchase.requester;
    send(Draft {
        conversation_id: Some(requester.conversation_id.clone()),
        in_reply_to: requester.reply_with.clone(),
        protocol: requester.protocol.clone(),
        ..draft(purchase, performative, requester.address.clone(), content)
    })
}

/// A message to a seller, in the purchase's conversation.
fn draft(purchase: &Purchase, performative: Performative, to: String, content: &Value) -> Draft {
    Draft {
        performative,
        receivers: vec![to],
        content: Content::Json(content.to_string()),
        conversation_id: Some(purchase.conversation.clone()),
        reply_with: None,
        in_reply_to: None,
        reply_by: None,
        protocol: Some(CONTRACT_NET.into()),
        ontology: None,
        language: None,
        reply_to: None,
        extensions: Vec::new(),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a draft is made to be sent, and once"
)]
fn send(draft: Draft) -> Result<(), String> {
    messaging::send(&draft).map_err(|e| format!("not sent: {e}"))
}

fn reply(performative: Performative, content: &Value) -> Result<(), String> {
    messaging::reply(performative, &Content::Json(content.to_string()))
        .map_err(|e| format!("cannot reply: {e}"))
}

fn deadline(order: &Order) -> String {
    rfc3339(clock::now() + order.deadline_ms * 1000)
}

fn load(conversation: &str) -> Result<Option<Purchase>, String> {
    let stored = state::get(&format!("{PURCHASES}{conversation}"))
        .map_err(|e| format!("cannot read a purchase: {e}"))?;
    stored
        .map(|bytes| serde_json::from_slice(&bytes).map_err(|e| e.to_string()))
        .transpose()
}

/// The offer in a proposal, or what it lacks.
fn offer(m: &Message, content: Option<&Value>, quantity: u64) -> Result<Offer, &'static str> {
    let field = |name: &str| content.and_then(|c| c.get(name)).and_then(Value::as_f64);
    let Some(price) = field("price").filter(|price| *price >= 0.0) else {
        return Err("a proposal has a price, a number that is not below 0");
    };
    #[expect(clippy::cast_precision_loss, reason = "only compared")]
    if field("available").is_some_and(|available| available < quantity as f64) {
        return Err("not enough available");
    }
    Ok(Offer {
        price,
        sender: m.sender.clone(),
        address: answer_address(m),
        reply_with: m.reply_with.clone(),
    })
}

fn answer_address(m: &Message) -> String {
    m.reply_to.clone().unwrap_or_else(|| m.sender.clone())
}

fn declined(performative: &str, reason: String) -> Answer {
    Answer::Declined {
        performative: performative.into(),
        reason,
    }
}

fn because(reason: &str) -> Value {
    json!({ "reason": reason })
}

fn reason_in(content: Option<&Value>) -> String {
    let reason = content
        .and_then(|c| c.get("reason"))
        .and_then(Value::as_str);
    reason
        .unwrap_or("none given")
        .chars()
        .take(MAX_REASON_CHARS)
        .collect()
}

fn json_of(content: &Content) -> Option<Value> {
    match content {
        Content::Json(text) => serde_json::from_str(text).ok(),
        Content::Bytes(_) => None,
    }
}

export!(Buyer);
