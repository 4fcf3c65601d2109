//! Checks the lives of agents that come and go.

use std::collections::{BTreeMap, BTreeSet};

use super::super::log::{Act, Answered, Life, Operation, Step};
use super::{Findings, Rule};

/// The statuses that an agent can have after a restart if this operation was done. The first is that of the complete operation.
const fn leads_to(operation: Operation) -> &'static [Life] {
    match operation {
        Operation::Deploy | Operation::Start => &[Life::Running],
        Operation::Stop => &[Life::Stopped],
        // A removal stops the agent first.
        Operation::Remove => &[Life::Absent, Life::Stopped],
    }
}

/// Follows each agent through its steps. After an operation without a response, several statuses are right.
pub(super) fn check(steps: &[Step], findings: &mut Findings) {
    let mut lives: BTreeMap<&str, BTreeSet<Life>> = BTreeMap::new();
    let mut since: BTreeMap<&str, Vec<&Step>> = BTreeMap::new();
    for step in steps {
        let may_be = lives
            .entry(&step.agent)
            .or_insert_with(|| BTreeSet::from([Life::Absent]));
        let told = since.entry(&step.agent).or_default();
        told.push(step);
        match step.act {
            Act::Asked(_, Answered::Refused) => {}
            Act::Asked(operation, Answered::Done) => *may_be = BTreeSet::from([leads_to(operation)[0]]),
            Act::Asked(operation, Answered::Unknown) => may_be.extend(leads_to(operation)),
            Act::Found(life) => {
                findings.hold(Rule::ChurnIsKept, may_be.contains(&life), || {
                    format!(
                        "{} is {life:?} after the restart of round {}, and could be {may_be:?}: {told:?}",
                        step.agent, step.round
                    )
                });
                *may_be = BTreeSet::from([life]);
                told.clear();
            }
        }
    }
}
