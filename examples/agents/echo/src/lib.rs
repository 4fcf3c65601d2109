//! The smallest useful agent. It replies to every `request` and `query_ref` with an `inform` of the same content,
//! and counts its replies under the key `count`.

use caxton_agent::{Agent, Host, HostError, Message, Performative, Result, debug};

struct Echo;

impl Agent for Echo {
    fn init(_: &mut Host) -> Result<Self> {
        Ok(Self)
    }

    fn handle(&mut self, message: &Message, host: &mut Host) -> Result {
        match message.performative {
            Performative::Request | Performative::QueryRef => {
                // An echo works without state too, so a refusal is only logged.
                if let Err(error) = count(host) {
                    debug!(host, "not counted: {error}");
                }
                host.reply_raw(Performative::Inform, message.content.clone())?;
            }
            act if act.asks() => host.not_understood("unsupported_act")?,
            // All other acts ask for nothing.
            _ => {}
        }
        Ok(())
    }
}

fn count(host: &mut Host) -> Result<(), HostError> {
    let before: u64 = host.get("count")?.unwrap_or(0);
    host.set("count", &(before + 1))
}

caxton_agent::export!(Echo);
