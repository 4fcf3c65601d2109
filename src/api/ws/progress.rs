//! How far a connection has come: which events were sent, and whether the next one comes from the journal or as it happens.
//!
//! Invariant: each subscription is sent each event that it wants once, in the order of the journal.

use crate::id::Seq;

/// The position of a connection in the sequence of events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Every subscription has got the events that it wants, up to this one.
    told: Seq,
    /// The newest event of the broadcast.
    live: Seq,
    /// The connection reads the journal. It does not send new events meanwhile, because it will read them there.
    reading: bool,
    /// A subscription asked for past events. From then on no event may be left out.
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

    /// The event after which a subscription to new events begins.
    pub(super) fn live(self) -> Seq {
        self.told.max(self.live)
    }

    pub(super) const fn resumes(self) -> bool {
        self.resumes
    }

    /// Records a new event. Returns whether to send it now.
    pub(super) fn happened(&mut self, seq: Seq) -> bool {
        self.live = self.live.max(seq);
        let now = !self.reading && seq > self.told;
        if now {
            self.told = seq;
        }
        now
    }

    /// Goes back to `since`, if that is earlier. Returns whether to begin reading; false if the connection reads already.
    pub(super) fn go_back(&mut self, since: Seq) -> bool {
        self.told = self.told.min(since);
        self.resumes = true;
        !std::mem::replace(&mut self.reading, true)
    }

    /// Records that the journal, which ended at `end`, was read from `after` up to `to`. Returns what to do next.
    pub(super) fn read(&mut self, after: Seq, to: Seq, end: Seq) -> Next {
        if after != self.told {
            return Next::Again; // another subscription asked for older events meanwhile
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
    /// Discard what was read.
    Again,
    Piece,
    /// Read the events since the last piece. New events wait until these are sent.
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
