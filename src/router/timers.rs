//! Due timers become messages of the platform to their agents, each in one batch with the record that the timer fired.

use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::core::{Batch, Then};
use super::dispatch::Letter;
use crate::journal::Record;
use crate::mailbox::Refusal;
use crate::message::Address;
use crate::time::Moment;
use crate::timer;

/// The most timers that are checked before the next input. It also bounds the batch of the timers that fire.
const LOOKS_AT_ONCE: usize = 256;
/// How long a timer waits before it is checked again when the mailbox or the disk is full.
const FULL_AGAIN: Duration = Duration::from_millis(250);

impl Core {
    /// Fires the timers that are due. None: no timer fired.
    pub(super) fn fire(&mut self, now: Moment) -> Option<Batch> {
        let (mut records, mut letters, mut fired) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..LOOKS_AT_ONCE {
            let Some((id, timer, last)) = self.agenda.take(now.steady) else {
                break;
            };
            let Some(agent) = self.shared.directory.by_id(id) else {
                self.agenda.forget(id);
                continue;
            };
            let next = timer.next(now.steady);
            if let Some(next) = next
                && agent.mailbox.has_any_of(&Address::Platform, last)
            {
                self.agenda.look_again(id, timer.id, next); // an earlier firing still waits and covers this one
                continue;
            }
            if agent.mailbox.is_held() {
                // While the disk is full, nothing new begins.
                self.agenda.look_again(id, timer.id, now.steady.plus(FULL_AGAIN));
                continue;
            }
            let message = Arc::new(timer::message(id, timer.id, now.wall));
            match agent.mailbox.admit(&message) {
                // A turn may have cancelled the timer although the record of that turn has not reached the router yet.
                Ok(reservation) if agent.timers.fire(&timer, next) => {
                    records.push(Record::TimerFired {
                        agent: id,
                        timer: timer.id,
                        next: next.map(|next| now.on_the_wall(next)),
                        at: now.wall,
                    });
                    letters.push(Letter::to_agent(message, agent, Some(reservation)));
                    fired.push((id, timer, next));
                }
                // The timer waits until the agent is started again.
                Ok(_) | Err(Refusal::Closed) => {}
                Err(Refusal::Messages | Refusal::Bytes) => {
                    self.agenda.look_again(id, timer.id, now.steady.plus(FULL_AGAIN));
                }
            }
        }
        (!fired.is_empty()).then(|| Batch::new(records, letters, Then::Fired(fired)))
    }
}
