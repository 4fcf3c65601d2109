//! The messages of a mailbox, in lanes.
//!
//! A lane holds messages whose order matters, in the order in which they came. At most one message of a lane is leased at a
//! time, so its messages are handled one after the other. Round robin chooses among the first messages of all other lanes, so
//! that a sender with many messages does not make one with few wait.
//!
//! This is a structure without lock, clock or await. A message keeps its position until its lease is finished: a lease only
//! marks it, and to give a lease back removes the mark.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Delivery;
use crate::id::Seq;
use crate::message::{Address, Message};

/// Which messages are handled in the order in which they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// All of one sender.
    #[default]
    Sender,
    /// Those of one sender in one conversation.
    Conversation,
}

/// Empty lanes and free nodes that are kept for the next messages. Beyond it there are never more of them than of those in use.
const KEPT: usize = 16;

/// Identifies a sender or a lane. The key of an agent is its id, other keys are hashes with a secret seed: lanes whose keys happened
/// to be equal would be one lane, which is stricter than needed and loses nothing.
type Key = u128;

/// The index that nothing has.
const NONE: usize = usize::MAX;

/// Names one lease of one message. Numbers are given once, so a lease is void when its number is not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    node: usize,
    number: u64,
}

/// A message and its position.
struct Node {
    /// None: the node is free.
    delivery: Option<Delivery>,
    /// Messages are numbered in the order in which they came.
    number: u64,
    leased: bool,
    lane: usize,
    /// The next node of the lane, or the next free node.
    next: usize,
}

/// A list of nodes. It is empty when its first node is [`NONE`].
struct Lane {
    key: Key,
    sender: Key,
    first: usize,
    last: usize,
    /// More than one only when lanes became one while messages were leased.
    leased: usize,
}

#[allow(
    clippy::struct_field_names,
    reason = "lanes in use, free ones and empty ones are all lanes"
)]
pub(super) struct Lanes {
    order: Order,
    hasher: RandomState,
    nodes: Vec<Node>,
    free_node: usize,
    /// Messages, the leased ones included.
    len: usize,
    lanes: Vec<Lane>,
    free_lanes: Vec<usize>,
    empty_lanes: usize,
    by_key: HashMap<Key, usize, RandomState>,
    /// The lane of the message that came last. Often the next one belongs to it too, and then it need not be looked up.
    recent: usize,
    /// The lanes that have messages and none of them leased, in the order of their turns.
    ready: VecDeque<usize>,
    next_number: u64,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            order: Order::default(),
            hasher: RandomState::default(),
            nodes: Vec::new(),
            free_node: NONE,
            len: 0,
            lanes: Vec::new(),
            free_lanes: Vec::new(),
            empty_lanes: 0,
            by_key: HashMap::default(),
            recent: NONE,
            ready: VecDeque::new(),
            next_number: 0,
        }
    }
}

impl Lanes {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// How many lanes are in memory.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.lanes.len()
    }

    /// How many messages could be leased at once.
    pub(super) fn available(&self) -> usize {
        self.ready.len()
    }

    /// Puts a message at the end of its lane.
    pub(super) fn push(&mut self, delivery: Delivery) {
        let lane = self.lane_of(&delivery.message);
        let node = Node {
            delivery: Some(delivery),
            number: self.next_number,
            leased: false,
            lane,
            next: NONE,
        };
        self.next_number += 1;
        let index = if self.free_node == NONE {
            self.nodes.push(node);
            self.nodes.len() - 1
        } else {
            let index = self.free_node;
            self.free_node = self.nodes[index].next;
            self.nodes[index] = node;
            index
        };
        self.len += 1;
        if self.link(lane, index) {
            self.ready.push_back(lane);
        }
    }

    /// Leases the first message of the lane whose turn it is.
    pub(super) fn lease(&mut self) -> Option<(Ticket, &Delivery)> {
        let lane = self.ready.pop_front()?;
        let index = self.lanes[lane].first;
        self.lanes[lane].leased = 1;
        let node = &mut self.nodes[index];
        node.leased = true;
        let ticket = Ticket {
            node: index,
            number: node.number,
        };
        Some((ticket, node.delivery.as_ref().expect("a node in a lane has a message")))
    }

    /// Ends a lease, and the message leaves. None: the lease is void.
    pub(super) fn finish(&mut self, ticket: Ticket) -> Option<Delivery> {
        let node = self.leased(ticket)?;
        node.leased = false;
        let (index, next) = (node.lane, node.next);
        let delivery = node.delivery.take();
        let lane = &mut self.lanes[index];
        lane.leased -= 1;
        if lane.first == ticket.node {
            lane.first = next;
        } else {
            self.unlink(index, ticket.node);
        }
        self.nodes[ticket.node].next = self.free_node;
        self.free_node = ticket.node;
        self.len -= 1;
        let lane = &self.lanes[index];
        if lane.first == NONE {
            self.empty_lanes += 1;
            if self.keeps_too_much() {
                self.forget_empty_lanes();
            }
        } else if lane.leased == 0 {
            self.ready.push_back(index);
        }
        delivery
    }

    /// Ends a lease, and the message is the next one to be leased. Answers with the message. None: the lease is void.
    pub(super) fn give_back(&mut self, ticket: Ticket) -> Option<&mut Delivery> {
        let node = self.leased(ticket)?;
        node.leased = false;
        let index = node.lane;
        let lane = &mut self.lanes[index];
        lane.leased -= 1;
        if lane.leased == 0 {
            self.ready.push_front(index);
        }
        self.nodes[ticket.node].delivery.as_mut()
    }

    /// Takes all messages out, in the order in which they came. Each with whether it was leased; all leases are void.
    pub(super) fn take_all(&mut self) -> Vec<(bool, Delivery)> {
        let mut nodes = std::mem::take(&mut self.nodes);
        nodes.sort_unstable_by_key(|node| node.number);
        *self = Self {
            order: self.order,
            next_number: self.next_number,
            ..Self::default()
        };
        let taken = |node: Node| Some((node.leased, node.delivery?));
        nodes.into_iter().filter_map(taken).collect()
    }

    /// Changes the order. Messages and leases stay, in lanes anew.
    pub(super) fn set_order(&mut self, order: Order) {
        if self.order == order {
            return;
        }
        self.order = order;
        self.forget_lanes();
        let mut queued: Vec<_> = (0..self.nodes.len())
            .filter(|index| self.nodes[*index].delivery.is_some())
            .collect();
        queued.sort_unstable_by_key(|index| self.nodes[*index].number);
        for index in queued {
            let Some(delivery) = &self.nodes[index].delivery else {
                continue;
            };
            let message = Arc::clone(&delivery.message);
            let lane = self.lane_of(&message);
            self.nodes[index].lane = lane;
            self.nodes[index].next = NONE;
            self.link(lane, index);
            self.lanes[lane].leased += usize::from(self.nodes[index].leased);
        }
        let ready = |lane: &usize| self.lanes[*lane].leased == 0;
        self.ready = (0..self.lanes.len()).filter(ready).collect();
    }

    /// Whether a message of `sender` that came with record `seq` or before is here.
    pub(super) fn has_any_of(&self, sender: &Address, seq: Seq) -> bool {
        let sender = self.key_of(sender);
        let mut lanes = self.lanes.iter().filter(|lane| lane.sender == sender);
        lanes.any(|lane| {
            let first = self.nodes.get(lane.first).and_then(|node| node.delivery.as_ref());
            first.is_some_and(|first| first.seq <= seq)
        })
    }

    /// The first message of each lane that is not leased.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Delivery> {
        self.lanes.iter().filter_map(|lane| {
            let mut node = self.nodes.get(lane.first)?;
            while node.leased {
                node = self.nodes.get(node.next)?;
            }
            node.delivery.as_ref()
        })
    }

    /// The node of a lease that is not void.
    fn leased(&mut self, ticket: Ticket) -> Option<&mut Node> {
        self.nodes
            .get_mut(ticket.node)
            .filter(|node| node.leased && node.number == ticket.number)
    }

    /// Puts a node at the end of a lane. Answers whether the lane was empty.
    fn link(&mut self, lane: usize, node: usize) -> bool {
        let lane = &mut self.lanes[lane];
        let was_empty = lane.first == NONE;
        if was_empty {
            lane.first = node;
            self.empty_lanes -= 1;
        } else {
            self.nodes[lane.last].next = node;
        }
        lane.last = node;
        was_empty
    }

    /// Takes a node out of its lane that is not the first one: lanes became one while it was leased.
    #[cold]
    fn unlink(&mut self, lane: usize, node: usize) {
        let next = self.nodes[node].next;
        let mut before = self.lanes[lane].first;
        while self.nodes[before].next != node {
            before = self.nodes[before].next;
        }
        self.nodes[before].next = next;
        if next == NONE {
            self.lanes[lane].last = before;
        }
    }

    /// The lane of a message, which is made if it is not there.
    fn lane_of(&mut self, message: &Message) -> usize {
        let sender = self.key_of(&message.sender);
        let key = match self.order {
            Order::Sender => sender,
            Order::Conversation => self.hash(&message.conversation_id, sender),
        };
        if self.lanes.get(self.recent).is_some_and(|lane| lane.key == key) {
            return self.recent;
        }
        let index = match self.by_key.get(&key) {
            Some(index) => *index,
            None => self.new_lane(sender, key),
        };
        self.recent = index;
        index
    }

    fn new_lane(&mut self, sender: Key, key: Key) -> usize {
        let lane = Lane {
            key,
            sender,
            first: NONE,
            last: NONE,
            leased: 0,
        };
        let index = if let Some(index) = self.free_lanes.pop() {
            self.lanes[index] = lane;
            index
        } else {
            self.lanes.push(lane);
            self.lanes.len() - 1
        };
        self.by_key.insert(key, index);
        self.empty_lanes += 1;
        index
    }

    /// Empty lanes are kept, for their senders may go on. These are too many.
    fn keeps_too_much(&self) -> bool {
        self.empty_lanes > KEPT.max(self.by_key.len() / 2) || (self.len == 0 && self.nodes.len() > KEPT)
    }

    #[cold]
    fn forget_empty_lanes(&mut self) {
        if self.len == 0 {
            self.forget_lanes();
            self.nodes = Vec::new();
            self.free_node = NONE;
            return;
        }
        let (lanes, free) = (&self.lanes, &mut self.free_lanes);
        self.by_key.retain(|_, index| {
            let is_empty = lanes[*index].first == NONE;
            if is_empty {
                free.push(*index);
            }
            !is_empty
        });
        self.empty_lanes = 0;
        self.recent = NONE;
    }

    fn forget_lanes(&mut self) {
        self.lanes = Vec::new();
        self.free_lanes = Vec::new();
        self.empty_lanes = 0;
        self.by_key = HashMap::default();
        self.recent = NONE;
        self.ready = VecDeque::new();
    }

    fn key_of(&self, sender: &Address) -> Key {
        match sender {
            Address::Agent(id) => id.uuid().as_u128(),
            Address::Client(name) => self.hash(name.as_str(), 1),
            Address::Platform => 0,
        }
    }

    fn hash(&self, text: &str, of: Key) -> Key {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u128(of);
        hasher.write(text.as_bytes());
        hasher.finish().into()
    }
}
