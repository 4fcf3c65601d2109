//! Does small tasks on request, one for each call that an agent can make. The clerks in other languages do the same
//! tasks, so that one table of tests covers all of them.

use std::time::Duration;

use caxton_agent::{Agent, Draft, Host, Message, Performative, Result, TimerId};
use serde::Deserialize;
use serde_json::{Value, json};

/// The content of a request.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Task {
    Reply { say: Value },
    Send { to: String, say: Value },
    Remember { say: Value },
    Recall,
    Starts,
    Timer { ms: u64 },
    Trap { times: u32 },
    Fail { reason: String },
}

struct Clerk;

impl Agent for Clerk {
    fn init(host: &mut Host) -> Result<Self> {
        let starts: u64 = host.get("starts")?.unwrap_or(0);
        host.set("starts", &(starts + 1))?;
        Ok(Self)
    }

    fn handle(&mut self, message: &Message, host: &mut Host) -> Result {
        if message.performative != Performative::Request {
            return Ok(());
        }
        let Ok(task) = message.content() else {
            return Ok(host.not_understood("no such task")?);
        };
        match task {
            Task::Reply { say } => host.inform(&say)?,
            Task::Send { to, say } => {
                host.send(Draft::new(Performative::Inform, to).content(&say)?)?;
                host.inform(&true)?;
            }
            Task::Remember { say } => {
                host.set("memory", &say)?;
                host.inform(&say)?;
            }
            Task::Recall => host.inform(&host.get::<Value>("memory")?)?,
            Task::Starts => host.inform(&host.get::<u64>("starts")?)?,
            Task::Timer { ms } => {
                let timer = host.after(Duration::from_millis(ms))?;
                host.inform(&timer)?;
            }
            Task::Trap { times } => {
                if message.delivery_attempt <= times {
                    lose(host)?;
                    panic!("as told");
                }
                host.inform(&message.delivery_attempt)?;
            }
            Task::Fail { reason } => {
                lose(host)?;
                return Err(reason.into());
            }
        }
        Ok(())
    }

    fn timer(&mut self, id: TimerId, host: &mut Host) -> Result {
        Ok(host.set("memory", &json!({"timer": id}))?)
    }
}

/// Stores a value and sends a reply in a turn that fails afterwards: nobody must ever see them.
fn lose(host: &mut Host) -> Result {
    host.set("memory", "lost")?;
    Ok(host.inform("lost")?)
}

caxton_agent::export!(Clerk);
