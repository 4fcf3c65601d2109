//! A participant of the contract net. It replies to a `cfp` of `{"item", "quantity", "seller"}` with a `propose`, and
//! to an `accept_proposal` with an `inform` that has the order's number.
//!
//! One module serves many sellers, so the price of a unit is computed from a name: one name always has the same price,
//! and two names rarely do. See [`price_in_cents`]. The name is the `seller` of the `cfp`. If that is not a text, it is
//! the first receiver: an agent's id, which is new in every deploy.
//!
//! State: `quote/<reply_with of the propose>` for each open proposal, `orders` for the last order's number.

use caxton_agent::{Agent, Draft, Host, Message, Performative, Result, info};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The most units that one order may have.
const CAPACITY_UNITS: u64 = 1000;

/// What a buyer asks for.
#[derive(Deserialize)]
struct Demand {
    item: String,
    quantity: u64,
    /// The name that the buyer uses for this seller. A value that is not a text is ignored.
    #[serde(default)]
    seller: Value,
}

impl Demand {
    /// The name from which the price is computed.
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

impl Agent for Seller {
    fn init(_: &mut Host) -> Result<Self> {
        Ok(Self)
    }

    fn handle(&mut self, m: &Message, host: &mut Host) -> Result {
        match m.performative {
            Performative::Cfp => propose(m, host),
            Performative::AcceptProposal => deliver(m, host),
            // The proposal was rejected, could not be delivered, or was not understood.
            Performative::RejectProposal | Performative::Failure | Performative::NotUnderstood => forget(m, host),
            // A proposal binds until the buyer decides. By FIPA's rules, this `failure` means that it was not cancelled.
            Performative::Cancel => Ok(host.failure("a proposal binds")?),
            act if act.asks() => Ok(host.not_understood("unsupported_act")?),
            // All other acts ask for nothing.
            _ => Ok(()),
        }
    }
}

fn propose(m: &Message, host: &mut Host) -> Result {
    let Some(demand) = m.content::<Demand>().ok().filter(|d| d.quantity > 0) else {
        return Ok(host.not_understood("a cfp has item, a text, and quantity, a whole number above 0")?);
    };
    if demand.quantity > CAPACITY_UNITS {
        let reason = json!({"reason": "more than we have", "available": CAPACITY_UNITS});
        return Ok(host.reply(Performative::Refuse, &reason)?);
    }

    let quote = Quote {
        price_in_cents: price_in_cents(demand.name(&m.receivers)),
        item: demand.item,
        quantity: demand.quantity,
    };
    let reply_with = format!("propose-{}", m.message_id);
    host.set(&quote_key(&reply_with), &quote)?;
    let content = json!({
        "item": quote.item,
        "quantity": quote.quantity,
        "price": units(quote.price_in_cents),
        "available": CAPACITY_UNITS,
    });
    // `Host::reply` sets no `reply_with`, which the buyer's decision needs to name this proposal.
    let proposal = Draft::answer(Performative::Propose, m).reply_with(reply_with);
    Ok(host.send(proposal.content(&content)?)?)
}

fn deliver(m: &Message, host: &mut Host) -> Result {
    let Some((key, quote)) = quote_in(m, host)? else {
        return Ok(host.failure("no such proposal")?);
    };
    let order = 1 + host.get::<u64>("orders")?.unwrap_or(0);
    host.set("orders", &order)?;
    host.delete(&key)?;
    info!(host, "order {order}: {} {}", quote.quantity, quote.item);
    host.inform(&json!({
        "status": "done",
        "order": order,
        "item": quote.item,
        "quantity": quote.quantity,
        "price": units(quote.price_in_cents),
        "total": units(quote.price_in_cents * quote.quantity),
    }))?;
    Ok(())
}

/// Deletes the quote of a proposal that binds no more. The message that ended it gets no reply.
fn forget(m: &Message, host: &mut Host) -> Result {
    if let Some((key, _)) = quote_in(m, host)? {
        host.delete(&key)?;
    }
    Ok(())
}

/// The quote to which a decision belongs, with its key.
fn quote_in(m: &Message, host: &Host) -> Result<Option<(String, Quote)>> {
    let Some(key) = m.in_reply_to.as_deref().map(quote_key) else {
        return Ok(None);
    };
    Ok(host.get(&key)?.map(|quote| (key, quote)))
}

fn quote_key(reply_with: &str) -> String {
    format!("quote/{reply_with}")
}

/// A price from 8.00 to 11.99, by the 32-bit FNV-1a hash of the name.
fn price_in_cents(name: &str) -> u64 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    800 + u64::from(hash % 400)
}

#[expect(clippy::cast_precision_loss, reason = "a price times the capacity is far below 2^53")]
fn units(cents: u64) -> f64 {
    cents as f64 / 100.0
}

caxton_agent::export!(Seller);

#[cfg(test)]
mod tests {
    use super::Seller;
    use caxton_agent::testing::TestHost;
    use caxton_agent::{Draft, Performative, Timestamp};
    use serde_json::{Value, json};

    fn cfp(receiver: &str, mut content: Value) -> Draft {
        content["item"] = json!("widgets");
        content["quantity"] = json!(100);
        let draft = Draft::new(Performative::Cfp, receiver).reply_by(Timestamp(0));
        draft.content(&content).expect("JSON")
    }

    fn price(receiver: &str, content: Value) -> f64 {
        let mut seller = TestHost::<Seller>::start().expect("it starts");
        let proposal = seller.deliver("buyer", cfp(receiver, content)).only();
        proposal.content.read::<Value>().expect("JSON")["price"]
            .as_f64()
            .expect("a price")
    }

    #[test]
    fn the_price_comes_from_the_name_in_the_cfp() {
        for (name, expected) in [("alder", 11.31), ("birch", 8.65), ("cedar", 8.12)] {
            let price = price("agent_0123abcd", json!({"seller": name}));
            assert!((price - expected).abs() < 1e-9, "{name}: {price}");
        }
    }

    #[test]
    fn without_a_name_the_price_comes_from_the_first_receiver() {
        for no_name in [json!(null), json!(7), json!(["cedar"]), json!({"a": "b"})] {
            let price = price("birch", json!({"seller": no_name}));
            assert!((price - 8.65).abs() < 1e-9, "{price}");
        }
    }

    #[test]
    fn a_proposal_is_kept_until_it_is_decided_and_delivered_once() {
        let mut seller = TestHost::<Seller>::start().expect("it starts");
        let proposal = seller.deliver("buyer", cfp("cedar", json!({}))).only();
        let decision = |act| Draft::new(act, "cedar").in_reply_to(proposal.reply_with.clone().expect("a name"));
        let done = seller.deliver("buyer", decision(Performative::AcceptProposal)).only();
        assert_eq!(done.performative, Performative::Inform);
        assert_eq!(done.content.read::<Value>().expect("JSON")["order"], 1);
        let again = seller.deliver("buyer", decision(Performative::AcceptProposal)).only();
        assert_eq!(again.performative, Performative::Failure);

        let proposal = seller.deliver("buyer", cfp("cedar", json!({}))).only();
        let decision = |act| Draft::new(act, "cedar").in_reply_to(proposal.reply_with.clone().expect("a name"));
        assert_eq!(seller.deliver("buyer", decision(Performative::RejectProposal)).ok(), []);
        let late = seller.deliver("buyer", decision(Performative::AcceptProposal)).only();
        assert_eq!(late.performative, Performative::Failure);
    }
}
