//! The initiator of a contract net (FIPA SC00029). Requested to buy, it calls for proposals, awards the cheapest,
//! and replies to the requester with the result.
//!
//! A purchase takes many turns, and each may run in another instance. All its data is therefore in `state`: one
//! record for each open purchase, under `purchase/<conversation>`, which is deleted when the purchase is over.
//!
//! Correlation: a purchase has its own conversation, `buy-<message id of the request>`. In it, seller n gets its
//! call with the `reply_with` `<conversation>.<n>`, and its award with `<conversation>.<n>.award`. The reply to the
//! requester is in the conversation of the request.
//!
//! A `sender` is an agent's id, and the request may name a seller otherwise. A sender is therefore compared only
//! with another sender, and never with a seller's name. Names are in the request's `sellers`, in the `seller` of
//! each `cfp`, and in the reply to the requester.
//!
//! The agent sets no timers. Its calls have a `reply_by`, which the host does not enforce yet: if a seller never
//! replies, the purchase stays open until it is cancelled.

mod purchase;

use caxton_agent::{Agent, Draft, Host, HostError, Message, Performative, Result, Timestamp, debug, warn};
use purchase::{Answer, Effect, Offer, Order, Phase, Purchase, Requester};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

const CONTRACT_NET: &str = "fipa-contract-net";
const PURCHASES: &str = "purchase/";
const MAX_SELLERS: usize = 32;
const DEFAULT_DEADLINE_MS: u64 = 3_000;
const MAX_DEADLINE_MS: u64 = 3_600_000;
/// The most characters that are kept of a seller's reason.
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

impl Agent for Buyer {
    fn init(_: &mut Host) -> Result<Self> {
        Ok(Self)
    }

    fn handle(&mut self, m: &Message, host: &mut Host) -> Result {
        match m.performative {
            Performative::Request => buy(m, host),
            Performative::Cancel => cancel(m, host),
            Performative::Propose
            | Performative::Refuse
            | Performative::NotUnderstood
            | Performative::Failure
            | Performative::Inform => hear(m, host),
            act if act.asks() => Ok(host.not_understood("unsupported_act")?),
            // All other acts ask for nothing.
            _ => Ok(()),
        }
    }
}

fn buy(m: &Message, host: &mut Host) -> Result {
    let Some(content) = m.content().ok().filter(Value::is_object) else {
        return Ok(host.not_understood("the content is not a JSON object")?);
    };
    if content["action"] != "buy" {
        return Ok(host.refuse("this agent buys, and does nothing else")?);
    }
    let order = match order_from(content) {
        Ok(order) => order,
        Err(reason) => return Ok(host.refuse(&reason)?),
    };
    let requester = Requester {
        sender: m.sender.clone(),
        address: m.answer_to().to_owned(),
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
    host.reply(Performative::Agree, &agreed)?;

    let mut effects = Vec::new();
    for seller in 0..purchase.order.sellers.len() {
        // If the host refuses the call to a seller, that counts as the seller's refusal.
        if let Err(error) = host.send(call(&purchase, seller, host.now())?) {
            effects.extend(purchase.hear(seller, declined(Performative::Refuse, error.to_string())));
        }
    }
    carry_out(purchase, effects, host)
}

/// Reads the order in a request. The error is the reason for a refusal.
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

/// Handles the reply of a seller, or the host's failure in its place.
fn hear(m: &Message, host: &mut Host) -> Result {
    let open = load(&m.conversation_id, host)?.and_then(|purchase| {
        let seller = purchase.seller_answering(m.in_reply_to.as_deref()?)?;
        Some((purchase, seller))
    });
    let Some((mut purchase, seller)) = open else {
        return hear_late(m, host);
    };
    let content = m.content().ok();
    let answer = match m.performative {
        Performative::Propose => match offer(m, content.as_ref(), purchase.order.quantity) {
            Ok(offer) => Answer::Offer(offer),
            Err(reason) => {
                host.reply(Performative::RejectProposal, &because(reason))?;
                declined(Performative::Propose, reason.into())
            }
        },
        Performative::Inform => Answer::Done {
            sender: m.sender.clone(),
            details: content.unwrap_or_default(),
        },
        act => declined(act, reason_in(content.as_ref())),
    };
    let effects = purchase.hear(seller, answer);
    carry_out(purchase, effects, host)
}

/// Handles a reply without an open purchase. A proposal is rejected, so that its seller is free; all else is only logged.
fn hear_late(m: &Message, host: &mut Host) -> Result {
    if m.performative == Performative::Propose {
        return Ok(host.reply(Performative::RejectProposal, &because("late"))?);
    }
    debug!(host, "{} of {} belongs to no open purchase", m.performative, m.sender);
    Ok(())
}

/// Cancels a purchase. Only its requester can do so, and only before the award.
fn cancel(m: &Message, host: &mut Host) -> Result {
    for key in host.keys(PURCHASES)? {
        let Some(mut purchase) = load(&key[PURCHASES.len()..], host)? else {
            continue;
        };
        let requester = &purchase.requester;
        let named = m.in_reply_to.is_none() || m.in_reply_to == requester.reply_with;
        if requester.sender != m.sender || requester.conversation_id != m.conversation_id || !named {
            continue;
        }
        let Some(effects) = purchase.cancel() else {
            return Ok(host.failure("already awarded")?);
        };
        host.inform(&json!({"status": "cancelled"}))?;
        return carry_out(purchase, effects, host);
    }
    Ok(host.failure("no such purchase")?)
}

/// Carries out the effects of a step, and stores the purchase or deletes it.
fn carry_out(mut purchase: Purchase, effects: Vec<Effect>, host: &mut Host) -> Result {
    let mut effects = VecDeque::from(effects);
    while let Some(effect) = effects.pop_front() {
        match effect {
            Effect::Accept { seller, offer } => {
                // An award that cannot be sent counts as one that failed.
                if let Err(error) = host.send(award(&purchase, seller, offer, host.now())?) {
                    effects.extend(purchase.hear(seller, declined(Performative::Failure, error.to_string())));
                }
            }
            Effect::Reject { offer, reason } => {
                if let Err(error) = host.send(rejection(&purchase, offer, reason)?) {
                    warn!(host, "a rejection was not sent: {error}");
                }
            }
            Effect::Inform(content) => host.send(result(&purchase, Performative::Inform, &content)?)?,
            Effect::Fail(content) => host.send(result(&purchase, Performative::Failure, &content)?)?,
        }
    }
    let key = format!("{PURCHASES}{}", purchase.conversation);
    if purchase.phase == Phase::Over {
        host.delete(&key)?;
    } else {
        host.set(&key, &purchase)?;
    }
    Ok(())
}

fn call(purchase: &Purchase, seller: usize, now: Timestamp) -> Result<Draft> {
    let order = &purchase.order;
    let call = draft(purchase, Performative::Cfp, &order.sellers[seller])
        .reply_with(purchase.call_id(seller))
        .reply_by(deadline(order, now));
    Ok(call.content(&purchase.call_content(seller))?)
}

fn award(purchase: &Purchase, seller: usize, offer: Offer, now: Timestamp) -> Result<Draft> {
    let order = &purchase.order;
    let award = draft(purchase, Performative::AcceptProposal, &offer.address)
        .reply_with(purchase.award_id(seller))
        .in_reply_to(offer.reply_with.unwrap_or_else(|| purchase.call_id(seller)))
        .reply_by(deadline(order, now));
    let content = json!({"item": order.item, "quantity": order.quantity, "price": offer.price});
    Ok(award.content(&content)?)
}

fn rejection(purchase: &Purchase, offer: Offer, reason: &str) -> Result<Draft> {
    let mut rejection = draft(purchase, Performative::RejectProposal, &offer.address);
    rejection.in_reply_to = offer.reply_with;
    Ok(rejection.content(&because(reason))?)
}

/// The reply to the request, which is sent many turns later.
fn result(purchase: &Purchase, performative: Performative, content: &Value) -> Result<Draft> {
    let requester = &purchase.requester;
    let mut result = Draft::new(performative, &requester.address).conversation_id(&requester.conversation_id);
    result.in_reply_to.clone_from(&requester.reply_with);
    result.protocol.clone_from(&requester.protocol);
    Ok(result.content(content)?)
}

/// A message to a seller, in the purchase's conversation.
fn draft(purchase: &Purchase, performative: Performative, to: &str) -> Draft {
    Draft::new(performative, to)
        .conversation_id(&purchase.conversation)
        .protocol(CONTRACT_NET)
}

fn deadline(order: &Order, now: Timestamp) -> Timestamp {
    now + Duration::from_millis(order.deadline_ms)
}

fn load(conversation: &str, host: &Host) -> Result<Option<Purchase>, HostError> {
    host.get(&format!("{PURCHASES}{conversation}"))
}

/// The offer in a proposal, or why it is not acceptable.
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
        address: m.answer_to().to_owned(),
        reply_with: m.reply_with.clone(),
    })
}

fn declined(performative: Performative, reason: String) -> Answer {
    Answer::Declined { performative, reason }
}

fn because(reason: &str) -> Value {
    json!({ "reason": reason })
}

fn reason_in(content: Option<&Value>) -> String {
    let reason = content.and_then(|c| c.get("reason")).and_then(Value::as_str);
    reason.unwrap_or("none given").chars().take(MAX_REASON_CHARS).collect()
}

caxton_agent::export!(Buyer);

#[cfg(test)]
mod tests {
    use super::Buyer;
    use caxton_agent::testing::{BEGINNING, TestHost};
    use caxton_agent::{Draft, Performative};
    use serde_json::{Value, json};
    use std::time::Duration;

    /// Delivers a seller's reply to a message of the buyer.
    fn answer(buyer: &mut TestHost<Buyer>, to: &Draft, act: Performative, content: &Value) -> Vec<Draft> {
        let mut answer = Draft::new(act, "buyer").content(content).expect("JSON");
        answer.conversation_id.clone_from(&to.conversation_id);
        answer.in_reply_to.clone_from(&to.reply_with);
        let seller = format!(
            "agent_of_{}",
            to.reply_with.as_deref().unwrap_or_default().trim_end_matches(".award")
        );
        buyer.deliver(&seller, answer).ok()
    }

    #[test]
    fn a_purchase_goes_from_the_request_to_the_result_over_a_restart() {
        let mut buyer = TestHost::<Buyer>::start().expect("it starts");
        let wish = json!({"action": "buy", "item": "widgets", "quantity": 3, "sellers": ["alder", "birch"]});
        let request = Draft::new(Performative::Request, "buyer")
            .conversation_id("talk")
            .reply_with("wish");
        let sent = buyer.deliver("ann", request.content(&wish).expect("JSON")).ok();
        let [agreed, to_alder, to_birch] = &sent[..] else {
            panic!("an answer and two calls: {sent:#?}");
        };
        assert_eq!(agreed.performative, Performative::Agree);
        assert_eq!(to_alder.reply_by, Some(BEGINNING + Duration::from_secs(3)));

        assert_eq!(
            answer(&mut buyer, to_alder, Performative::Propose, &json!({"price": 2.5})),
            []
        );
        buyer.restart();
        let decided = answer(&mut buyer, to_birch, Performative::Propose, &json!({"price": 1.5}));
        let [accepted, rejected] = &decided[..] else {
            panic!("an award and a rejection: {decided:#?}");
        };
        assert_eq!(accepted.performative, Performative::AcceptProposal);
        assert_eq!(rejected.receivers, ["agent_of_buy-message-1.0"]);

        let told = answer(&mut buyer, accepted, Performative::Inform, &json!({"status": "done"}));
        assert_eq!(
            (&told[0].receivers[0], told[0].in_reply_to.as_deref()),
            (&"ann".into(), Some("wish"))
        );
        let result: Value = told[0].content.read().expect("JSON");
        assert_eq!((&result["seller"], &result["total"]), (&json!("birch"), &json!(4.5)));
        assert_eq!(buyer.state::<Value>("purchase/buy-message-1"), None, "it is over");
    }
}
