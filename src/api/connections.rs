//! The open connections of a front. Strangers can open connections and send nothing, so connections are a resource that is counted.
//!
//! A connection waits while none of its requests is in progress. Invariants:
//!
//! - A front has no more connections than its limit. If one more comes, the one that waits longest is closed for it. If none waits,
//!   the new one is refused. So connections that send nothing never keep out those that do.
//! - A connection that waits is closed after a time: a short one before its first bytes, and a longer one after that.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::limits;

/// Connections that may be closing at a time, beside those that count. A closing one still has its descriptor: until its last bytes
/// are sent, or the kernel gives up a client that does not read them.
const CLOSING: usize = 32;
/// How often [`Connections::watch`] looks for connections that wait too long.
const SWEEP: Duration = Duration::from_millis(500);

/// All connections of one front.
#[derive(Debug)]
pub(super) struct Connections {
    /// The name of the front in metrics.
    front: &'static str,
    limits: limits::Front,
    table: Mutex<Table>,
}

/// A connection that counts. It is forgotten when the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Connection(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    all: Arc<Connections>,
    id: Id,
    end: Arc<End>,
}

/// A request in progress. Its connection waits again when the last one is dropped.
#[derive(Debug)]
pub(super) struct InProgress(Connection);

type Id = u64;

/// Why a connection is closed, as metrics have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// It sent nothing in time.
    Silent,
    Idle,
    /// It waited, and others needed its place.
    Crowded,
    /// All places were taken by requests in progress.
    Refused,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Idle => "idle",
            Self::Crowded => "crowded",
            Self::Refused => "refused",
        }
    }
}

impl Connections {
    pub(super) fn new(front: &'static str, limits: limits::Front) -> Arc<Self> {
        metrics::gauge!("caxton_connections_limit", "front" => front).set(limits.connections as f64);
        Arc::new(Self {
            front,
            limits,
            table: Mutex::default(),
        })
    }

    /// Counts a new connection. None: it is refused.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Connection> {
        let mut table = self.table.lock();
        if table.open.len() >= self.limits.connections {
            let longest = if table.closing.len() < CLOSING {
                table.end_longest()
            } else {
                None
            };
            let Some(longest) = longest else {
                drop(table);
                self.count(Reason::Refused);
                return None;
            };
            longest.now();
            self.count(Reason::Crowded);
        }
        let (id, end) = table.enter(Instant::now());
        self.show(&table);
        drop(table);
        let all = self.clone();
        Some(Connection(Arc::new(Counted { all, id, end })))
    }

    /// Closes connections that wait too long, until it is dropped.
    pub(super) async fn watch(&self) -> Infallible {
        let mut clock = tokio::time::interval(SWEEP);
        loop {
            clock.tick().await;
            let mut table = self.table.lock();
            let overdue = table.end_overdue(self.limits, Instant::now());
            self.show(&table);
            drop(table);
            for (end, reason) in overdue {
                end.now();
                self.count(reason);
            }
        }
    }

    /// Closes all connections that wait, and from now on each that begins to.
    pub(super) fn stop(&self) {
        let ends = self.table.lock().stop();
        for end in ends {
            end.now();
        }
    }

    fn show(&self, table: &Table) {
        metrics::gauge!("caxton_connections", "front" => self.front).set(table.open.len() as f64);
    }

    fn in_progress(&self) -> metrics::Gauge {
        metrics::gauge!("caxton_requests_in_progress", "front" => self.front)
    }

    fn count(&self, reason: Reason) {
        metrics::counter!("caxton_connections_closed_total", "front" => self.front, "reason" => reason.as_str())
            .increment(1);
    }
}

impl Connection {
    /// A request has begun.
    pub(super) fn begin(&self) -> InProgress {
        self.0.all.table.lock().begin(self.0.id);
        self.0.all.in_progress().increment(1.0);
        InProgress(self.clone())
    }

    /// The client has sent its first bytes.
    pub(super) fn spoke(&self) {
        self.0.all.table.lock().spoke(self.0.id);
    }

    /// Ready when the front wants the connection to be closed.
    pub(super) fn poll_ended(&self, context: &Context<'_>) -> Poll<()> {
        self.0.end.poll(context)
    }

    pub(super) async fn ended(&self) {
        std::future::poll_fn(|context| self.poll_ended(context)).await;
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let Connection(counted) = &self.0;
        counted.all.in_progress().decrement(1.0);
        let end = counted.all.table.lock().finish(counted.id, Instant::now());
        if let Some(end) = end {
            end.now();
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut table = self.all.table.lock();
        table.leave(self.id);
        self.all.show(&table);
    }
}

/// Tells the task of a connection to close it.
#[derive(Debug, Default)]
struct End {
    is_due: AtomicBool,
    waker: AtomicWaker,
}

impl End {
    fn now(&self) {
        self.is_due.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        // Registered before the look, so that no end falls between the two.
        self.waker.register(context.waker());
        if self.is_due.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// The decisions. A connection whose end is due gives up its place at once.
#[derive(Debug, Default)]
struct Table {
    open: HashMap<Id, Open>,
    /// The connections whose end is due, and that are not closed yet.
    closing: HashSet<Id>,
    /// The connections that wait, from the one that has waited longest.
    waiting: BTreeSet<(Instant, Id)>,
    next: Id,
    stopping: bool,
}

#[derive(Debug)]
struct Open {
    /// Since when it waits. Without a meaning while requests are in progress.
    since: Instant,
    requests: usize,
    spoke: bool,
    end: Arc<End>,
}

impl Table {
    fn enter(&mut self, now: Instant) -> (Id, Arc<End>) {
        let (id, end) = (self.next, Arc::<End>::default());
        self.next += 1;
        let open = Open {
            since: now,
            requests: 0,
            spoke: false,
            end: end.clone(),
        };
        self.open.insert(id, open);
        self.waiting.insert((now, id));
        (id, end)
    }

    fn leave(&mut self, id: Id) {
        self.closing.remove(&id);
        if let Some(open) = self.open.remove(&id) {
            self.waiting.remove(&(open.since, id));
        }
    }

    fn begin(&mut self, id: Id) {
        if let Some(open) = self.open.get_mut(&id) {
            open.requests += 1;
            open.spoke = true;
            self.waiting.remove(&(open.since, id));
        }
    }

    fn spoke(&mut self, id: Id) {
        if let Some(open) = self.open.get_mut(&id) {
            open.spoke = true;
        }
    }

    /// The end of the connection, if it is due because the front stops.
    fn finish(&mut self, id: Id, now: Instant) -> Option<Arc<End>> {
        let open = self.open.get_mut(&id)?;
        open.requests -= 1;
        if open.requests > 0 {
            return None;
        }
        open.since = now;
        self.waiting.insert((now, id));
        self.stopping.then(|| self.end(id)).flatten()
    }

    fn end(&mut self, id: Id) -> Option<Arc<End>> {
        let open = self.open.remove(&id)?;
        self.waiting.remove(&(open.since, id));
        self.closing.insert(id);
        Some(open.end)
    }

    fn end_longest(&mut self) -> Option<Arc<End>> {
        let (_, id) = *self.waiting.first()?;
        self.end(id)
    }

    fn end_overdue(&mut self, limits: limits::Front, now: Instant) -> Vec<(Arc<End>, Reason)> {
        let mut overdue = Vec::new();
        for (since, id) in &self.waiting {
            let waited = now.saturating_duration_since(*since);
            if waited < limits.handshake.min(limits.idle) {
                break; // all others have waited less
            }
            let spoke = self.open.get(id).is_some_and(|open| open.spoke);
            let (most, reason) = if spoke {
                (limits.idle, Reason::Idle)
            } else {
                (limits.handshake, Reason::Silent)
            };
            if waited >= most {
                overdue.push((*id, reason));
            }
        }
        let end = |(id, reason)| self.end(id).map(|end| (end, reason));
        overdue.into_iter().filter_map(end).collect()
    }

    fn stop(&mut self) -> Vec<Arc<End>> {
        self.stopping = true;
        let waiting: Vec<_> = self.waiting.iter().map(|(_, id)| *id).collect();
        waiting.into_iter().filter_map(|id| self.end(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const LIMITS: limits::Front = limits::Front {
        connections: 3,
        handshake: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        body: Duration::from_secs(60),
        drain: Duration::ZERO,
    };

    fn front() -> Arc<Connections> {
        Connections::new("test", LIMITS)
    }

    fn is_ended(connection: &Connection) -> bool {
        connection.ended().now_or_never().is_some()
    }

    fn ended(connections: &[Connection]) -> Vec<bool> {
        connections.iter().map(is_ended).collect()
    }

    #[test]
    fn one_more_than_the_limit_takes_the_place_of_the_one_that_waits_longest() {
        let front = front();
        let open: Vec<_> = (0..3).map(|_| front.admit().unwrap()).collect();
        drop(open[0].begin()); // it waits since now
        let _busy = open[1].begin();
        let _fourth = front.admit().unwrap();
        assert_eq!(ended(&open), [false, false, true]);
        let _fifth = front.admit().unwrap();
        assert_eq!(ended(&open), [true, false, true]);
    }

    #[test]
    fn one_more_is_refused_while_all_are_busy() {
        let front = front();
        let open: Vec<_> = (0..3).map(|_| front.admit().unwrap()).collect();
        let mut busy: Vec<_> = open.iter().map(Connection::begin).collect();
        let twice = open[2].begin();
        assert!(front.admit().is_none());
        drop(busy.pop());
        assert!(front.admit().is_none(), "its other request is in progress");
        drop(twice);
        assert!(front.admit().is_some());
        assert_eq!(ended(&open), [false, false, true]);
    }

    #[test]
    fn a_connection_that_has_gone_makes_room() {
        let front = front();
        let open: Vec<_> = (0..3).map(|_| front.admit().unwrap()).collect();
        let busy: Vec<_> = open.iter().map(Connection::begin).collect();
        drop((busy, open));
        let table = front.table.lock();
        assert_eq!((table.open.len(), table.waiting.len()), (0, 0));
    }

    #[test]
    fn connections_that_do_not_close_are_bounded_too() {
        let front = front();
        let mut open: Vec<_> = (0..3 + CLOSING).map(|_| front.admit().unwrap()).collect();
        assert!(front.admit().is_none());
        drop(open.remove(0));
        assert!(front.admit().is_some());
    }

    #[test]
    fn who_says_nothing_has_less_time_than_who_has_spoken() {
        let mut table = Table::default();
        let began = Instant::now();
        let [silent, spoken, busy] = [0, 1, 2].map(|_| table.enter(began).0);
        table.spoke(spoken);
        table.begin(busy);
        let mut overdue = |after: u64| {
            let overdue = table.end_overdue(LIMITS, began + Duration::from_secs(after));
            (
                overdue.into_iter().map(|(_, reason)| reason).collect::<Vec<_>>(),
                table.open.len(),
            )
        };
        assert_eq!(overdue(9), (vec![], 3));
        assert_eq!(overdue(10), (vec![Reason::Silent], 2));
        assert_eq!(overdue(59), (vec![], 2));
        assert_eq!(overdue(60), (vec![Reason::Idle], 1));
        assert_eq!(overdue(6_000), (vec![], 1));
        table.finish(busy, began + Duration::from_secs(6_000));
        assert!(!table.open.contains_key(&silent));
        assert_eq!(
            table.end_overdue(LIMITS, began + Duration::from_secs(6_059)).len(),
            0,
            "it waits since its request ended"
        );
        assert_eq!(table.end_overdue(LIMITS, began + Duration::from_secs(6_060)).len(), 1);
    }

    #[test]
    fn a_stop_ends_what_waits_at_once_and_the_rest_after_its_request() {
        let front = front();
        let open: Vec<_> = (0..2).map(|_| front.admit().unwrap()).collect();
        let busy = open[1].begin();
        front.stop();
        assert_eq!(ended(&open), [true, false]);
        drop(busy);
        assert_eq!(ended(&open), [true, true]);
    }

    #[tokio::test]
    async fn who_waits_for_the_end_is_woken() {
        let front = front();
        let connection = front.admit().unwrap();
        let waits = tokio::spawn({
            let connection = connection.clone();
            async move { connection.ended().await }
        });
        tokio::task::yield_now().await;
        front.stop();
        waits.await.unwrap();
    }
}
