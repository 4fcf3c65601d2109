//! How far a connection has come: which events were sent, and whether the next one comes from the journal or as it happens.
//!
//! Invariant: each subscription is sent each event that it wants once, in the order of the journal.

use crate::id::Seq;

/// The place of a connection in the sequence of events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Every subscription was sent what it wants up to this event.
    told: Seq,
    /// The last event that was seen to happen.
    live: Seq,
    /// The connection reads the journal. What happens meanwhile is not sent when it happens: the journal has it.
    reading: bool,
    /// A subscription asked for the past, so that no event may be left out from then on.
    resumes: bool,
}

impl Progress {
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

    /// The event after which a subscription to what happens from now on begins.
    pub(super) fn live(self) -> Seq {
        self.told.max(self.live)
    }

    pub(super) const fn resumes(self) -> bool {
        self.resumes
    }

    /// Takes note that an event happened, and says whether it is to be sent now.
    pub(super) fn happened(&mut self, seq: Seq) -> bool {
        self.live = self.live.max(seq);
        let now = !self.reading && seq > self.told;
        if now {
            self.told = seq;
        }
        now
    }

    /// Goes back to `since`, if that is before what was sent. Says whether reading must begin: it may be under way.
    pub(super) fn go_back(&mut self, since: Seq) -> bool {
        self.told = self.told.min(since);
        self.resumes = true;
        !std::mem::replace(&mut self.reading, true)
    }

    /// Takes note that the journal, which ended at `end`, was read from `after` up to `to`, and says what is to be done next.
    pub(super) fn read(&mut self, after: Seq, to: Seq, end: Seq) -> Next {
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
pub(super) enum Next {
    /// What was read is not to be told.
    Again,
    Piece,
    /// What happened while the end was read. What happens from now on waits until that is told.
    Rest,
    Live,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_told_once_and_nothing_of_before_hello() {
        let mut progress = Progress::at(Seq(5));
        assert!(!progress.happened(Seq(5)));
        assert!(progress.happened(Seq(6)) && !progress.happened(Seq(6)));
        assert_eq!((progress.told(), progress.live()), (Seq(6), Seq(6)));
        assert!(!progress.resumes());
    }

    #[test]
    fn the_past_is_read_to_its_end_before_what_happens_is_told() {
        let mut progress = Progress::at(Seq(10));
        assert!(progress.go_back(Seq(2)) && progress.resumes());
        assert!(!progress.happened(Seq(11)), "the journal has it");
        assert_eq!(progress.live(), Seq(11), "where a subscription to what happens begins");
        assert_eq!(progress.read(Seq(2), Seq(6), Seq(11)), Next::Piece);
        assert!(!progress.happened(Seq(12)));
        assert_eq!(progress.read(Seq(6), Seq(11), Seq(11)), Next::Rest);
        assert_eq!(progress.read(Seq(11), Seq(13), Seq(13)), Next::Live);
        assert!(!progress.happened(Seq(13)), "it was read");
        assert!(progress.happened(Seq(14)));
    }

    #[test]
    fn an_older_place_that_is_asked_for_meanwhile_is_read_first() {
        let mut progress = Progress::at(Seq(10));
        assert!(progress.go_back(Seq(8)));
        assert!(!progress.go_back(Seq(3)), "it is being read");
        assert_eq!(progress.read(Seq(8), Seq(10), Seq(10)), Next::Again);
        assert_eq!(progress.read(Seq(3), Seq(10), Seq(10)), Next::Live);
        assert!(progress.go_back(Seq(12)), "it may know more than was told here");
        assert_eq!(progress.told(), Seq(10));
    }
}
