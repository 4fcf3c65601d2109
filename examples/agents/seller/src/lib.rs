//! A participant of the contract net. It answers a `cfp` of `{"item", "quantity", "seller"}` with a `propose`, and
//! an `accept_proposal` with an `inform` that has the order's number.
//!
//! One module serves many sellers, so the price of a unit comes from a name: the same name always asks the same,
//! two names hardly ever do. See [`price_in_cents`]. The name is the `seller` of the `cfp`, as the buyer knows it;
//! if that is no text, the first receiver, which is an agent's id and another one at each deployment.
//!
//! State: `quote/<reply_with of the propose>` for each open proposal, `orders` for the last order's number.

wit_bindgen::generate!({ path: "../../../proto/wit", world: "agent" });

use caxton::agent::log::Level;
use caxton::agent::types::{Content, Draft, Message, Performative};
use caxton::agent::{log, messaging, state};
use exports::caxton::agent::handler::Guest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The most units that one order may have.
const CAPACITY_UNITS: u64 = 1000;

/// What a buyer asks for.
#[derive(Deserialize)]
struct Demand {
    item: String,
    quantity: u64,
    /// The name by which the buyer knows this seller. Whatever is not a text names nobody.
    #[serde(default)]
    seller: Value,
}

impl Demand {
    /// The name that the price comes from.
    fn name<'a>(&'a self, receivers: &'a [String]) -> &'a str {
        let first = receivers.first().map_or("", String::as_str);
        self.seller.as_str().unwrap_or(first)
    }
}

/// What was proposed, kept until the buyer decides.
#[derive(Serialize, Deserialize)]
struct Quote {
    item: String,
    quantity: u64,
    price_in_cents: u64,
}

struct Seller;

impl Guest for Seller {
    fn init() -> Result<(), String> {
        Ok(())
    }

    fn handle(m: Message) -> Result<(), String> {
        match m.performative {
            Performative::Cfp => propose(&m),
            Performative::AcceptProposal => deliver(&m),
            // Turned down; or the buyer is gone, or could make nothing of the proposal.
            Performative::RejectProposal | Performative::Failure | Performative::NotUnderstood => {
                forget(&m)
            }
            // A proposal binds until it is decided. By FIPA's rules the failure leaves it as it was.
            Performative::Cancel => answer(Performative::Failure, &because("a proposal binds")),
            Performative::Request
            | Performative::Propose
            | Performative::Propagate
            | Performative::Proxy
            | Performative::QueryIf
            | Performative::QueryRef
            | Performative::RequestWhen
            | Performative::RequestWhenever
            | Performative::Subscribe => {
                answer(Performative::NotUnderstood, &because("unsupported_act"))
            }
            // Answers and news ask for nothing.
            _ => Ok(()),
        }
    }
}

fn propose(m: &Message) -> Result<(), String> {
    let Some(demand) = read::<Demand>(&m.content).filter(|d| d.quantity > 0) else {
        let reason = because("a cfp has item, a text, and quantity, a whole number above 0");
        return answer(Performative::NotUnderstood, &reason);
    };
    if demand.quantity > CAPACITY_UNITS {
        let reason = json!({"reason": "more than we have", "available": CAPACITY_UNITS});
        return answer(Performative::Refuse, &reason);
    }

    let quote = Quote {
        price_in_cents: price_in_cents(demand.name(&m.receivers)),
        item: demand.item,
        quantity: demand.quantity,
    };
    let reply_with = format!("propose-{}", m.message_id);
    let stored = serde_json::to_vec(&quote).map_err(|e| e.to_string())?;
    state::set(&quote_key(&reply_with), &stored)
        .map_err(|e| format!("cannot keep a quote: {e}"))?;

    let content = json!({
        "item": quote.item,
        "quantity": quote.quantity,
        "price": units(quote.price_in_cents),
        "available": CAPACITY_UNITS,
    });
    // Not `reply`, because the buyer's decision has to name this proposal.
    messaging::send(&Draft {
        performative: Performative::Propose,
        receivers: vec![m.reply_to.clone().unwrap_or_else(|| m.sender.clone())],
        content: Content::Json(content.to_string()),
        conversation_id: Some(m.conversation_id.clone()),
        reply_with: Some(reply_with),
        in_reply_to: m.reply_with.clone(),
        reply_by: None,
        protocol: m.protocol.clone(),
        ontology: m.ontology.clone(),
        language: None,
        reply_to: None,
        extensions: Vec::new(),
    })
    .map_err(|e| format!("cannot propose: {e}"))
}

fn deliver(m: &Message) -> Result<(), String> {
    let Some((key, quote)) = quote_in(m)? else {
        return answer(Performative::Failure, &because("no such proposal"));
    };
    let order = 1 + load("orders")?
        .and_then(|v| String::from_utf8(v).ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    state::set("orders", order.to_string().as_bytes()).map_err(|e| format!("cannot count: {e}"))?;
    state::delete(&key).map_err(|e| format!("cannot forget a quote: {e}"))?;
    log::write(
        Level::Info,
        &format!("order {order}: {} {}", quote.quantity, quote.item),
    );
    answer(
        Performative::Inform,
        &json!({
            "status": "done",
            "order": order,
            "item": quote.item,
            "quantity": quote.quantity,
            "price": units(quote.price_in_cents),
            "total": units(quote.price_in_cents * quote.quantity),
        }),
    )
}

/// The seller is free of its proposal. None of the messages that say so is answered.
fn forget(m: &Message) -> Result<(), String> {
    if let Some((key, _)) = quote_in(m)? {
        state::delete(&key).map_err(|e| format!("cannot forget a quote: {e}"))?;
    }
    Ok(())
}

/// The quote that a decision names, with its key.
fn quote_in(m: &Message) -> Result<Option<(String, Quote)>, String> {
    let Some(reply_with) = &m.in_reply_to else {
        return Ok(None);
    };
    let key = quote_key(reply_with);
    let quote = load(&key)?.and_then(|stored| serde_json::from_slice(&stored).ok());
    Ok(quote.map(|quote| (key, quote)))
}

fn quote_key(reply_with: &str) -> String {
    format!("quote/{reply_with}")
}

fn load(key: &str) -> Result<Option<Vec<u8>>, String> {
    state::get(key).map_err(|e| format!("cannot read {key}: {e}"))
}

fn answer(performative: Performative, content: &Value) -> Result<(), String> {
    messaging::reply(performative, &Content::Json(content.to_string()))
        .map_err(|e| format!("cannot reply: {e}"))
}

fn because(reason: &str) -> Value {
    json!({ "reason": reason })
}

fn read<T: for<'de> Deserialize<'de>>(content: &Content) -> Option<T> {
    match content {
        Content::Json(text) => serde_json::from_str(text).ok(),
        Content::Bytes(_) => None,
    }
}

/// 8.00 to 11.99, from the 32-bit FNV-1a hash of the name.
fn price_in_cents(name: &str) -> u64 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    800 + u64::from(hash % 400)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a price times the capacity is far below 2^53"
)]
fn units(cents: u64) -> f64 {
    cents as f64 / 100.0
}

export!(Seller);

#[cfg(test)]
mod tests {
    use super::{Demand, price_in_cents};
    use serde_json::{Value, json};

    fn price(mut cfp: Value, receivers: &[&str]) -> u64 {
        cfp["item"] = json!("widgets");
        cfp["quantity"] = json!(100);
        let demand: Demand = serde_json::from_value(cfp).expect("a demand");
        let receivers: Vec<_> = receivers.iter().map(ToString::to_string).collect();
        price_in_cents(demand.name(&receivers))
    }

    #[test]
    fn the_price_comes_from_the_name_in_the_cfp() {
        for (name, cents) in [("alder", 1131), ("birch", 865), ("cedar", 812)] {
            assert_eq!(price(json!({"seller": name}), &["agent_0123abcd"]), cents);
        }
    }

    #[test]
    fn without_a_name_the_price_comes_from_the_first_receiver() {
        assert_eq!(price(json!({}), &["alder", "birch"]), 1131);
        for no_name in [json!(null), json!(7), json!(["cedar"]), json!({"a": "b"})] {
            assert_eq!(price(json!({"seller": no_name}), &["birch"]), 865);
        }
        assert_eq!(price(json!({}), &[]), price_in_cents(""));
    }
}
