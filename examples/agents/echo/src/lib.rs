//! The smallest useful agent: what it is asked, it says. It answers every `request` and `query_ref` with an
//! `inform` of the same content, and counts its answers under the key `count`.

use caxton_agent::{Agent, Host, HostError, Message, Performative, Result, debug};

struct Echo;

impl Agent for Echo {
    fn init(_: &mut Host) -> Result<Self> {
        Ok(Self)
    }

    fn handle(&mut self, message: &Message, host: &mut Host) -> Result {
        match message.performative {
            Performative::Request | Performative::QueryRef => {
                // Without state an echo is still an echo, so a refusal here is only a line in the log.
                if let Err(error) = count(host) {
                    debug!(host, "not counted: {error}");
                }
                host.reply_raw(Performative::Inform, message.content.clone())?;
            }
            act if act.asks() => host.not_understood("unsupported_act")?,
            // Answers and news ask for nothing.
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
