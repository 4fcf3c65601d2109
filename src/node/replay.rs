//! Past events, for subscribers that resume.

use super::Node;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::id::Seq;
use crate::journal::Batch;
use crate::principal::{Action, Caller, Subject};

/// A range of past events.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The events in log order.
    pub events: Vec<Event>,
    /// The journal no longer has the events between the requested position and this one, both exclusive.
    pub gap_before: Option<Seq>,
    /// The position up to which all events are included. The next request continues from here.
    pub to: Seq,
    /// The end of the journal at the time of the request.
    pub end: Seq,
}

impl Node {
    /// The durable events after `seq`, from at most `max` batches of the journal.
    pub async fn events_after(&self, caller: &Caller, seq: Seq, max: usize) -> Result<Replayed> {
        caller.may(Action::ReadEvents, &Subject::Node)?;
        let (journal, replaying) = (self.journal.clone(), self.replaying.clone());
        let reading = tokio::task::spawn_blocking(move || {
            // One range is read at a time, because batches can be large while the events made of them are small. The
            // subscriber does not hold this lock: a connection whose client reads slowly would otherwise block the
            // others.
            let _one = replaying.lock();
            // The end is read first, so that the batches reach at least as far, unless `max` cuts them off.
            let end = *journal.durable().borrow();
            let batches = journal.read_after(seq, max).map_err(Error::from)?;
            Ok(Replayed::of(seq, end, &batches))
        });
        reading.await.map_err(Error::internal)?
    }
}

impl Replayed {
    fn of(seq: Seq, end: Seq, batches: &[impl AsRef<Batch>]) -> Self {
        // Without any batch, everything up to the end has been removed, if there was anything.
        let none = (seq < end).then_some(Seq(end.0 + 1));
        let first = batches.first().map(|batch| batch.as_ref().first).or(none);
        let events = batches.iter().flat_map(|batch| {
            let batch = batch.as_ref();
            let records = (batch.first.0..).zip(&batch.records);
            records.filter_map(|(at, (_, record))| (at > seq.0).then(|| Event::of(Seq(at), record)).flatten())
        });
        Self {
            events: events.collect(),
            gap_before: first.filter(|first| first.0 > seq.0 + 1),
            to: batches.last().map_or(seq.max(end), |batch| batch.as_ref().last()),
            end,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::EventKind;
    use crate::id::Partition;
    use crate::journal::Record;
    use crate::time::Timestamp;

    fn batch(first: u64, kinds: &[EventKind]) -> Arc<Batch> {
        let record = |kind: &EventKind| {
            let event = Record::Event {
                kind: *kind,
                agent: None,
                body: "{}".to_owned(),
                at: Timestamp::now(),
            };
            (Partition(0), event)
        };
        Arc::new(Batch {
            first: Seq(first),
            records: kinds.iter().map(record).collect(),
        })
    }

    #[test]
    fn a_replay_begins_after_its_place_and_ends_with_its_batches() {
        let read = Replayed::of(
            Seq(5),
            Seq(9),
            &[
                batch(4, &[EventKind::SystemAlert; 3]),
                batch(7, &[EventKind::DeadLetter]),
            ],
        );
        let seqs: Vec<_> = read.events.iter().map(|event| event.seq.0).collect();
        assert_eq!((seqs, read.gap_before, read.to), (vec![6, 7], None, Seq(7)));
        let nothing = Replayed::of(Seq(9), Seq(9), &[] as &[Arc<Batch>]);
        assert_eq!((nothing.to, nothing.events.len()), (Seq(9), 0));
    }

    #[test]
    fn what_is_no_longer_kept_is_told() {
        let read = Replayed::of(Seq(2), Seq(7), &[batch(7, &[EventKind::SystemAlert])]);
        assert_eq!((read.gap_before, read.to), (Some(Seq(7)), Seq(7)));
        let nothing = Replayed::of(Seq(2), Seq(7), &[] as &[Arc<Batch>]);
        assert_eq!((nothing.gap_before, nothing.to), (Some(Seq(8)), Seq(7)));
    }
}
