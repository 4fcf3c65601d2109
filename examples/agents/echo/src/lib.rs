//! The smallest useful agent: what it is asked, it says. It answers every `request` and `query_ref` with an
//! `inform` of the same content, and counts its answers under the key `count`, as decimal text.

wit_bindgen::generate!({ path: "../../../proto/wit", world: "agent" });

use caxton::agent::log::Level;
use caxton::agent::types::{Content, Message, Performative};
use caxton::agent::{log, messaging, state};
use exports::caxton::agent::handler::Guest;

struct Echo;

impl Guest for Echo {
    fn init() -> Result<(), String> {
        Ok(())
    }

    fn handle(m: Message) -> Result<(), String> {
        match m.performative {
            Performative::Request | Performative::QueryRef => {
                count();
                answer(Performative::Inform, &m.content)
            }
            Performative::Cfp
            | Performative::Propose
            | Performative::Propagate
            | Performative::Proxy
            | Performative::QueryIf
            | Performative::RequestWhen
            | Performative::RequestWhenever
            | Performative::Subscribe => {
                let reason = r#"{"reason":"unsupported_act"}"#;
                answer(Performative::NotUnderstood, &Content::Json(reason.into()))
            }
            // Answers and news ask for nothing.
            _ => Ok(()),
        }
    }
}

fn answer(performative: Performative, content: &Content) -> Result<(), String> {
    messaging::reply(performative, content).map_err(|e| format!("cannot reply: {e}"))
}

/// Without state an echo is still an echo, so a refusal here is only a line in the log.
fn count() {
    let stored = state::get("count").and_then(|value| {
        let before: u64 = value
            .and_then(|v| String::from_utf8(v).ok()?.parse().ok())
            .unwrap_or(0);
        state::set("count", (before + 1).to_string().as_bytes())
    });
    if let Err(e) = stored {
        log::write(Level::Debug, &format!("not counted: {e}"));
    }
}

export!(Echo);
