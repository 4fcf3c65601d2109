//! The agent's state as a turn sees it: the committed state with the writes of this turn.

use std::collections::btree_map::Entry;
use std::ops::Bound;

use bytes::Bytes;

use super::guest::Guest;
use super::open_turn::StateSize;
use super::refusal::Refusal;
use crate::wasm::caps;

impl Guest {
    fn may_use_state(&self) -> Result<(), Refusal> {
        if self.host.grants.state() {
            Ok(())
        } else {
            Err(Refusal::NotPermitted)
        }
    }

    /// The value of a key, which this turn may have written.
    pub(in crate::wasm) fn get(&self, key: &str) -> Result<Option<Bytes>, Refusal> {
        self.may_use_state()?;
        Ok(match self.turn.effects.writes.get(key) {
            Some(written) => written.clone(),
            None => self.host.state.read().get(key).cloned(),
        })
    }

    /// Sets a key.
    pub(in crate::wasm) fn set(&mut self, key: &str, value: &[u8]) -> Result<(), Refusal> {
        self.may_use_state()?;
        if key.len() > caps::KEY_BYTES {
            return Err(Refusal::OverLimit);
        }
        let old = self.get(key)?.map(|old| entry_bytes(key, &old));
        let before = self.state_size();
        let after = StateSize {
            bytes: before.bytes - old.unwrap_or(0) + entry_bytes(key, value),
            keys: before.keys + usize::from(old.is_none()),
        };
        // If the limit was lowered below the size of the state, writes that make the state smaller still go through.
        let too_long = after.bytes > self.state_limit && after.bytes > before.bytes;
        let too_many = after.keys > self.key_limit && after.keys > before.keys;
        if too_long || too_many {
            return Err(Refusal::OverLimit);
        }
        self.turn.room_for(key.len() + value.len())?;
        self.write(key, Some(Bytes::copy_from_slice(value)));
        self.turn.state_size = Some(after);
        Ok(())
    }

    /// Deletes a key, and returns whether it existed.
    pub(in crate::wasm) fn delete(&mut self, key: &str) -> Result<bool, Refusal> {
        let Some(old) = self.get(key)? else {
            return Ok(false);
        };
        let before = self.state_size();
        if self.host.state.read().contains_key(key) {
            self.turn.room_for(key.len())?;
            self.write(key, None);
        } else if let Some(Some(value)) = self.turn.effects.writes.remove(key) {
            self.turn.write_bytes -= key.len() + value.len();
        }
        self.turn.state_size = Some(StateSize {
            bytes: before.bytes - entry_bytes(key, &old),
            keys: before.keys - 1,
        });
        Ok(true)
    }

    /// The keys that begin with `prefix`, in byte order.
    pub(in crate::wasm) fn list(&self, prefix: &str) -> Result<Vec<String>, Refusal> {
        self.may_use_state()?;
        let writes = &self.turn.effects.writes;
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let state = self.host.state.read();
        let committed = state
            .range::<str, _>(from)
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix));
        let mut keys: Vec<String> = committed.filter(|key| !writes.contains_key(*key)).cloned().collect();
        let written = writes
            .range::<str, _>(from)
            .take_while(|(key, _)| key.starts_with(prefix));
        keys.extend(written.filter(|(_, value)| value.is_some()).map(|(key, _)| key.clone()));
        keys.sort_unstable();
        Ok(keys)
    }

    /// Adds a write to the effects of the turn. It replaces an earlier write of the same key.
    fn write(&mut self, key: &str, value: Option<Bytes>) {
        let turn = &mut self.turn;
        let size = |value: &Option<Bytes>| key.len() + value.as_ref().map_or(0, Bytes::len);
        turn.write_bytes += size(&value);
        match turn.effects.writes.entry(key.to_owned()) {
            Entry::Vacant(vacant) => {
                vacant.insert(value);
            }
            Entry::Occupied(mut occupied) => turn.write_bytes -= size(&occupied.insert(value)),
        }
    }

    /// The size of the state with the writes of this turn.
    fn state_size(&mut self) -> StateSize {
        let Self { host, turn, .. } = self;
        *turn.state_size.get_or_insert_with(|| {
            let state = host.state.read();
            StateSize {
                bytes: state.iter().map(|(key, value)| entry_bytes(key, value)).sum(),
                keys: state.len(),
            }
        })
    }
}

fn entry_bytes(key: &str, value: &[u8]) -> u64 {
    u64::try_from(key.len() + value.len()).unwrap_or(u64::MAX)
}
