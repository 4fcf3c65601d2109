//! The past, for who comes back: events that the journal has, told before those that happen.
//!
//! Invariants: each subscription is told of each event once and in order; of the journal a connection has one small piece
//! in memory, and the next is read when the socket takes more.

use actix::{ActorFutureExt as _, AsyncContext as _, WrapFuture as _};
use actix_web_actors::ws::CloseCode;
use serde_json::json;

use super::{Connection, Context, close, limits, say};
use crate::error::Result;
use crate::id::Seq;
use crate::node::Replayed;

/// How far a connection is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Every subscription was told of what it wants up to here.
    told: Seq,
    /// The last event that was seen to happen.
    live: Seq,
    /// It reads the journal. What happens meanwhile is not told when it happens: the journal has it.
    reading: bool,
    /// It asked for the past, and so is told of everything.
    resumes: bool,
}

impl Place {
    pub(super) fn at(seq: Seq) -> Self {
        Self {
            told: seq,
            live: seq,
            ..Self::default()
        }
    }

    pub(super) const fn told(self) -> Seq {
        self.told
    }

    /// Where a subscription to what happens from now on begins.
    pub(super) fn live(self) -> Seq {
        self.told.max(self.live)
    }

    pub(super) const fn resumes(self) -> bool {
        self.resumes
    }

    /// An event happened. Whether it is to be told now.
    pub(super) fn happened(&mut self, seq: Seq) -> bool {
        self.live = self.live.max(seq);
        let now = !self.reading && seq > self.told;
        if now {
            self.told = seq;
        }
        now
    }

    /// Goes back to `since`, if that is before what was told. Whether reading must begin: it may be under way.
    fn go_back(&mut self, since: Seq) -> bool {
        self.told = self.told.min(since);
        self.resumes = true;
        !std::mem::replace(&mut self.reading, true)
    }

    /// The journal, which ended at `end`, was read from `after` up to `to`. What is to be done next.
    fn read(&mut self, after: Seq, to: Seq, end: Seq) -> Next {
        if after != self.told {
            return Next::Again; // somebody asked for what is older meanwhile
        }
        self.told = to;
        if to < end {
            return Next::Piece;
        }
        self.reading = self.live > to;
        if self.reading { Next::Rest } else { Next::Live }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// What was read is not to be told.
    Again,
    Piece,
    /// What happened while the end was read. What happens from now on waits until that is told.
    Rest,
    Live,
}

impl Connection {
    /// Tells the subscriptions of what came after `since` and they were not told of.
    pub(super) fn read_from(&mut self, since: Seq, context: &mut Context) {
        if self.place.go_back(since) {
            self.read(Next::Piece, context);
        }
    }

    fn read(&mut self, what: Next, context: &mut Context) {
        let (state, after) = (self.state.clone(), self.place.told);
        let reading = async move { state.node.events_after(after, limits::REPLAY_BATCHES).await };
        let reading = reading
            .into_actor(self)
            .map(move |read, connection, context| connection.tell_past(after, read, context));
        if what == Next::Rest {
            context.wait(reading);
        } else {
            context.spawn(reading);
        }
    }

    fn tell_past(&mut self, after: Seq, read: Result<Replayed>, context: &mut Context) {
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                self.fail(error, context);
                return close(context, CloseCode::Error, "the past cannot be read");
            }
        };
        let next = self.place.read(after, read.to, read.end);
        if next != Next::Again {
            if let Some(first) = read.gap_before {
                let gap = json!({"type": "gap", "from": after.0 + 1, "to": first.0 - 1});
                say(context, &gap);
            }
            for event in &read.events {
                self.tell(event, context);
            }
        }
        if next != Next::Live {
            self.read(next, context);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_told_once_and_nothing_of_before_hello() {
        let mut place = Place::at(Seq(5));
        assert!(!place.happened(Seq(5)));
        assert!(place.happened(Seq(6)) && !place.happened(Seq(6)));
        assert_eq!((place.told(), place.live()), (Seq(6), Seq(6)));
        assert!(!place.resumes());
    }

    #[test]
    fn the_past_is_read_to_its_end_before_what_happens_is_told() {
        let mut place = Place::at(Seq(10));
        assert!(place.go_back(Seq(2)) && place.resumes());
        assert!(!place.happened(Seq(11)), "the journal has it");
        assert_eq!(place.live(), Seq(11), "where a subscription to what happens begins");
        assert_eq!(place.read(Seq(2), Seq(6), Seq(11)), Next::Piece);
        assert!(!place.happened(Seq(12)));
        assert_eq!(place.read(Seq(6), Seq(11), Seq(11)), Next::Rest);
        assert_eq!(place.read(Seq(11), Seq(13), Seq(13)), Next::Live);
        assert!(!place.happened(Seq(13)), "it was read");
        assert!(place.happened(Seq(14)));
    }

    #[test]
    fn an_older_place_that_is_asked_for_meanwhile_is_read_first() {
        let mut place = Place::at(Seq(10));
        assert!(place.go_back(Seq(8)));
        assert!(!place.go_back(Seq(3)), "it is being read");
        assert_eq!(place.read(Seq(8), Seq(10), Seq(10)), Next::Again);
        assert_eq!(place.read(Seq(3), Seq(10), Seq(10)), Next::Live);
        assert!(place.go_back(Seq(12)), "it may know more than was told here");
        assert_eq!(place.told(), Seq(10));
    }
}
