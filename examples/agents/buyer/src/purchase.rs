//! One purchase: the calls, the replies, and the decision. It is pure: each step returns the effects that `lib.rs`
//! then carries out.

use caxton_agent::Performative;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize, Deserialize)]
pub struct Order {
    pub item: String,
    pub quantity: u64,
    /// The sellers' names, in the order of the request. If prices are equal, the earlier seller wins.
    pub sellers: Vec<String>,
    pub deadline_ms: u64,
}

/// The requester, with everything that a reply many turns later needs.
#[derive(Serialize, Deserialize)]
pub struct Requester {
    pub sender: String,
    /// The address for the reply: the request's `reply_to`, or else its sender.
    pub address: String,
    pub conversation_id: String,
    pub reply_with: Option<String>,
    pub protocol: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub struct Purchase {
    pub order: Order,
    pub requester: Requester,
    /// The conversation with the sellers.
    pub conversation: String,
    /// One for each seller of the order.
    stands: Vec<Stand>,
    pub phase: Phase,
}

#[derive(Serialize, Deserialize)]
enum Stand {
    Asked,
    Offered(Offer),
    Declined { performative: Performative, reason: String },
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Offer {
    /// The price of one unit.
    pub price: f64,
    /// The id that the host stamps, not the seller's name. It is compared only with another sender.
    pub sender: String,
    /// The address for the decision.
    pub address: String,
    pub reply_with: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Phase {
    Collecting,
    Awarded {
        winner: usize,
    },
    /// Never stored: a purchase that is over is deleted.
    Over,
}

/// The reply of a seller, or the host's failure in its place.
pub enum Answer {
    Offer(Offer),
    /// The order is carried out. `details` is the content of the seller's reply.
    Done {
        sender: String,
        details: Value,
    },
    /// A `refuse`, `failure` or `not_understood`.
    Declined {
        performative: Performative,
        reason: String,
    },
}

pub enum Effect {
    Accept { seller: usize, offer: Offer },
    Reject { offer: Offer, reason: &'static str },
    Inform(Value),
    Fail(Value),
}

impl Purchase {
    pub fn new(order: Order, requester: Requester, conversation: String) -> Self {
        let stands = order.sellers.iter().map(|_| Stand::Asked).collect();
        Self {
            order,
            requester,
            conversation,
            stands,
            phase: Phase::Collecting,
        }
    }

    /// The `reply_with` of the call to a seller.
    pub fn call_id(&self, seller: usize) -> String {
        format!("{}.{seller}", self.conversation)
    }

    /// The content of the call to a seller. It has the seller's name, because the delivered message has only its id.
    pub fn call_content(&self, seller: usize) -> Value {
        json!({
            "item": self.order.item,
            "quantity": self.order.quantity,
            "seller": self.order.sellers[seller],
        })
    }

    /// The `reply_with` of the award to a seller.
    pub fn award_id(&self, seller: usize) -> String {
        format!("{}.{seller}.award", self.conversation)
    }

    /// The seller to whose call or award a reply belongs.
    pub fn seller_answering(&self, in_reply_to: &str) -> Option<usize> {
        (0..self.stands.len()).find(|&s| in_reply_to == self.call_id(s) || in_reply_to == self.award_id(s))
    }

    /// Takes a seller's reply, and returns its effects in the order in which they are to be carried out.
    pub fn hear(&mut self, seller: usize, answer: Answer) -> Vec<Effect> {
        match (self.phase, answer) {
            (Phase::Collecting, Answer::Offer(offer)) => match self.stands[seller] {
                Stand::Asked => self.settle(seller, Stand::Offered(offer)),
                // Only the first offer of a seller counts.
                Stand::Offered(_) => Vec::new(),
                Stand::Declined { .. } => vec![Effect::Reject {
                    offer,
                    reason: "declined before",
                }],
            },
            (Phase::Collecting, Answer::Declined { performative, reason }) => {
                self.settle(seller, Stand::Declined { performative, reason })
            }
            (Phase::Awarded { winner }, Answer::Done { sender, details }) if winner == seller => {
                let Stand::Offered(offer) = &self.stands[seller] else {
                    return Vec::new();
                };
                if offer.sender != sender {
                    return Vec::new();
                }
                let report = self.report(offer.price, seller, &details);
                self.phase = Phase::Over;
                vec![Effect::Inform(report)]
            }
            (Phase::Awarded { winner }, Answer::Declined { performative, reason }) if winner == seller => {
                self.phase = Phase::Over;
                let why = json!({
                    "reason": "award_failed",
                    "seller": self.order.sellers[seller],
                    "performative": performative,
                    "detail": reason,
                    "offers": self.offers(),
                    "conversation_id": self.conversation,
                });
                vec![Effect::Fail(why)]
            }
            (Phase::Awarded { .. } | Phase::Over, Answer::Offer(offer)) => {
                vec![Effect::Reject { offer, reason: "late" }]
            }
            // The result of an order that was never placed, or a late refusal of a seller that was rejected.
            (_, Answer::Done { .. } | Answer::Declined { .. }) => Vec::new(),
        }
    }

    /// Ends a purchase that is not awarded yet. If it is awarded, nothing changes and the result is None.
    pub fn cancel(&mut self) -> Option<Vec<Effect>> {
        (self.phase == Phase::Collecting).then(|| {
            self.phase = Phase::Over;
            self.rejections(None, "cancelled")
        })
    }

    fn settle(&mut self, seller: usize, stand: Stand) -> Vec<Effect> {
        self.stands[seller] = stand;
        if self.stands.iter().any(|s| matches!(s, Stand::Asked)) {
            return Vec::new();
        }
        let Some((winner, offer)) = self.cheapest() else {
            self.phase = Phase::Over;
            return vec![Effect::Fail(json!({
                "reason": "no_proposals",
                "item": self.order.item,
                "quantity": self.order.quantity,
                "offers": self.offers(),
                "conversation_id": self.conversation,
            }))];
        };
        self.phase = Phase::Awarded { winner };
        let mut effects = vec![Effect::Accept { seller: winner, offer }];
        effects.extend(self.rejections(Some(winner), "a lower price was offered"));
        effects
    }

    fn cheapest(&self) -> Option<(usize, Offer)> {
        let offered = self.stands.iter().enumerate().filter_map(|(s, stand)| match stand {
            Stand::Offered(offer) => Some((s, offer)),
            Stand::Asked | Stand::Declined { .. } => None,
        });
        offered
            .min_by(|(_, a), (_, b)| a.price.total_cmp(&b.price))
            .map(|(s, offer)| (s, offer.clone()))
    }

    fn rejections(&self, but: Option<usize>, reason: &'static str) -> Vec<Effect> {
        let others = self.stands.iter().enumerate().filter(|(s, _)| Some(*s) != but);
        others
            .filter_map(|(_, stand)| match stand {
                Stand::Offered(offer) => Some(Effect::Reject {
                    offer: offer.clone(),
                    reason,
                }),
                Stand::Asked | Stand::Declined { .. } => None,
            })
            .collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "money of this size is not for an example")]
    fn report(&self, price: f64, seller: usize, details: &Value) -> Value {
        json!({
            "item": self.order.item,
            "quantity": self.order.quantity,
            "seller": self.order.sellers[seller],
            "price": price,
            "total": (price * self.order.quantity as f64 * 100.0).round() / 100.0,
            "order": details,
            "offers": self.offers(),
            "conversation_id": self.conversation,
        })
    }

    fn offers(&self) -> Vec<Value> {
        let pairs = self.order.sellers.iter().zip(&self.stands);
        pairs
            .map(|(seller, stand)| match stand {
                Stand::Asked => json!({"seller": seller}),
                Stand::Offered(Offer { price, .. }) => {
                    json!({"seller": seller, "performative": "propose", "price": price})
                }
                Stand::Declined { performative, reason } => {
                    json!({"seller": seller, "performative": performative, "reason": reason})
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Effect, Offer, Order, Performative, Phase, Purchase, Requester};
    use serde_json::{Value, json};

    fn purchase() -> Purchase {
        let order = Order {
            item: "widgets".into(),
            quantity: 100,
            sellers: ["alder", "birch", "cedar"].map(String::from).into(),
            deadline_ms: 1,
        };
        let requester = Requester {
            sender: "client:ann".into(),
            address: "client:ann".into(),
            conversation_id: "c".into(),
            reply_with: Some("r".into()),
            protocol: None,
        };
        Purchase::new(order, requester, "buy-1".into())
    }

    /// An id like the host's, one for each price.
    fn sender(price: f64) -> String {
        format!("agent_{:016x}", price.to_bits())
    }

    fn offer(price: f64) -> Answer {
        Answer::Offer(Offer {
            price,
            sender: sender(price),
            address: String::new(),
            reply_with: None,
        })
    }

    fn declined() -> Answer {
        Answer::Declined {
            performative: Performative::Refuse,
            reason: "no".into(),
        }
    }

    #[test]
    fn nothing_is_decided_before_all_have_answered() {
        let mut p = purchase();
        assert!(p.hear(0, offer(9.5)).is_empty());
        assert!(p.hear(1, declined()).is_empty());
        assert_eq!(p.phase, Phase::Collecting);
    }

    #[test]
    fn the_cheapest_is_accepted_first_and_each_other_proposer_rejected() {
        let mut p = purchase();
        p.hear(0, offer(9.5));
        p.hear(1, offer(8.25));
        let effects = p.hear(2, offer(12.0));
        assert!(matches!(effects[0], Effect::Accept { seller: 1, .. }));
        assert!(matches!(effects[1..], [Effect::Reject { .. }, Effect::Reject { .. }]));
    }

    #[test]
    fn of_equal_prices_the_one_named_first_wins() {
        let mut p = purchase();
        p.hear(2, offer(8.0));
        p.hear(1, offer(8.0));
        assert!(matches!(p.hear(0, declined())[0], Effect::Accept { seller: 1, .. }));
    }

    #[test]
    fn without_a_proposal_the_purchase_fails() {
        let mut p = purchase();
        p.hear(0, declined());
        p.hear(1, declined());
        let effects = p.hear(2, declined());
        assert!(matches!(&effects[..], [Effect::Fail(why)] if why["reason"] == "no_proposals"));
        assert_eq!(p.phase, Phase::Over);
    }

    #[test]
    fn only_the_winner_can_complete_the_purchase() {
        let mut p = purchase();
        p.hear(0, offer(9.5));
        p.hear(1, offer(8.25));
        p.hear(2, declined());
        let done = |sender: &str| Answer::Done {
            sender: sender.into(),
            details: Value::Null,
        };
        assert!(p.hear(0, done(&sender(9.5))).is_empty());
        assert!(p.hear(1, done("somebody else")).is_empty());
        let effects = p.hear(1, done(&sender(8.25)));
        assert!(matches!(&effects[..], [Effect::Inform(r)] if r["total"] == 825.0));
    }

    #[test]
    fn the_requester_is_told_the_names_it_gave_and_not_the_ids() {
        let mut p = purchase();
        p.hear(0, offer(9.5));
        p.hear(1, offer(8.25));
        p.hear(2, declined());
        let done = Answer::Done {
            sender: sender(8.25),
            details: Value::Null,
        };
        let effects = p.hear(1, done);
        let [Effect::Inform(report)] = &effects[..] else {
            panic!("the winner's result ends the purchase");
        };
        assert_eq!(report["seller"], "birch");
        let names: Vec<_> = (0..3).map(|s| &report["offers"][s]["seller"]).collect();
        assert_eq!(names, ["alder", "birch", "cedar"]);
        assert!(!report.to_string().contains("agent_"));
    }

    #[test]
    fn a_call_has_the_name_of_the_seller_that_it_goes_to() {
        assert_eq!(
            purchase().call_content(2),
            json!({"item": "widgets", "quantity": 100, "seller": "cedar"})
        );
    }

    #[test]
    fn a_purchase_can_be_cancelled_until_it_is_awarded() {
        let mut p = purchase();
        p.hear(0, offer(9.5));
        assert_eq!(p.cancel().map(|effects| effects.len()), Some(1));

        let mut p = purchase();
        for seller in 0..3 {
            p.hear(seller, offer(9.5));
        }
        assert!(p.cancel().is_none());
    }

    #[test]
    fn an_answer_is_matched_by_the_call_or_award_that_it_names() {
        let p = purchase();
        assert_eq!(p.seller_answering("buy-1.2"), Some(2));
        assert_eq!(p.seller_answering("buy-1.0.award"), Some(0));
        assert_eq!(p.seller_answering("buy-1.3"), None);
    }
}
