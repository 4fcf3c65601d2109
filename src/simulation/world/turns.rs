//! Instances: they take messages, and end their turns.

use std::cell::Cell;
use std::sync::Arc;

use rand::Rng as _;

use super::{Instance, MAX_DELIVERIES, Open, World};
use crate::agent::turn::conclude;
use crate::simulation::{Ended, Turn};
use crate::wasm;

impl World {
    pub(super) fn begin_a_turn(&mut self) -> Result<(), String> {
        let at = self.random.random_range(0..self.staged.len());
        self.staff(at);
        match self.staged[at].instances.len() {
            0 => Ok(()),
            instances => {
                let instance = self.random.random_range(0..instances);
                self.begin(at, instance).map(|_| ())
            }
        }
    }

    /// Gives a running agent its instances, as its supervisor would, and takes them away from any other agent.
    pub(super) fn staff(&mut self, at: usize) {
        let staged = &mut self.staged[at];
        if !staged.agent.standing.read().runs() {
            staged.instances.clear();
            return;
        }
        while staged.instances.len() < staged.wanted {
            staged.instances.push(Instance {
                guest: (staged.make)(),
                consumer: staged.agent.mailbox.attach(Arc::new(|| {})),
                turn: None,
            });
        }
    }

    /// Lets an instance take a message and handle it. Its turn ends only in [`Self::end`].
    pub(super) fn begin(&mut self, at: usize, instance: usize) -> Result<bool, String> {
        let now = self.now();
        let staged = &mut self.staged[at];
        if staged.instances[instance].turn.is_some() {
            return Ok(false);
        }
        let Some(lease) = staged.instances[instance].consumer.lease() else {
            return Ok(false);
        };
        let message = lease.message().clone();
        for other in &staged.instances {
            if let Some(open) = &other.turn
                && open.lease.message().sender == message.sender
                && open.lease.message().conversation_id == message.conversation_id
            {
                return Err(format!(
                    "two turns of {} overlap in one conversation",
                    staged.agent.name
                ));
            }
        }
        if !self.said.known.contains_key(&message.id) {
            return Err(format!(
                "{} handles {}, which the log does not have",
                staged.agent.name, message.id
            ));
        }
        let mut turn = Turn {
            agent: &staged.agent,
            message: &message,
            attempt: lease.attempt(),
            now: now.steady,
            random: &mut self.random,
            effects: wasm::Effects::default(),
            touched: Cell::new(false),
        };
        let ended = staged.instances[instance].guest.handle(&message, &mut turn);
        let (effects, touched) = (std::mem::take(&mut turn.effects), turn.touched.get());
        if touched
            && staged
                .instances
                .iter()
                .any(|other| other.turn.as_ref().is_some_and(|open| open.touched))
        {
            // The instance waits for the lease of the state, and the message returns to its position.
            return Ok(false);
        }
        let (end, effects) = match ended {
            Ended::Ok => (wasm::End::Ok, effects),
            Ended::Error(reason) => (wasm::End::Error(reason), wasm::Effects::default()),
            Ended::Crash(detail) => {
                let crash = wasm::Crash {
                    kind: wasm::CrashKind::Trap,
                    detail,
                    backtrace: Vec::new(),
                };
                (wasm::End::Crash(crash), wasm::Effects::default())
            }
        };
        let what = format!("{}#{instance} handles {} ({end:?})", staged.agent.name, message.id);
        let usage = wasm::Usage::default();
        let turn = wasm::Turn { end, effects, usage };
        staged.instances[instance].turn = Some(Open { lease, turn, touched });
        self.note(what);
        Ok(true)
    }

    pub(super) fn end_a_turn(&mut self) {
        let at = self.random.random_range(0..self.staged.len());
        if !self.staged[at].instances.is_empty() {
            let instance = self.random.random_range(0..self.staged[at].instances.len());
            self.end(at, instance);
        }
    }

    /// Ends a turn: its outcome goes to the router, and an instance that crashed is replaced.
    pub(super) fn end(&mut self, at: usize, instance: usize) -> bool {
        let now = self.now();
        let staged = &mut self.staged[at];
        let Some(Open { lease, turn, .. }) = staged.instances[instance].turn.take() else {
            return false;
        };
        let crashed = matches!(turn.end, wasm::End::Crash(_));
        let what = format!(
            "{}#{instance} ends the turn of {}",
            staged.agent.name,
            lease.message().id
        );
        if let Some(outcome) = conclude(&staged.agent, MAX_DELIVERIES, lease, turn, None, now.monotonic) {
            staged.agent.outbox.commit(outcome);
        }
        if crashed {
            staged.instances.remove(instance);
        }
        self.note(what);
        true
    }
}
