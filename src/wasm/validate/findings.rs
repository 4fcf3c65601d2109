//! What is said of a module that is no agent: little enough to be read, however much is wrong.

use crate::error::Finding;

/// Findings that are told; more of them help nobody.
const FINDINGS: usize = 32;
/// Characters of a name or a message that is shown. They come from the module.
const SHOWN: usize = 160;

pub(in crate::wasm) fn finding(rule: &'static str, found: impl Into<String>, expected: impl Into<String>) -> Finding {
    Finding {
        rule: rule.into(),
        found: shown(&found.into()),
        expected: expected.into(),
    }
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// What was found, as far as it is told. A module can be wrong in a million places.
#[derive(Default)]
pub(super) struct Findings {
    told: Vec<Finding>,
    more: usize,
}

impl Findings {
    pub(super) fn add(&mut self, found: impl FnOnce() -> Finding) {
        if self.told.len() < FINDINGS {
            self.told.push(found());
        } else {
            self.more += 1;
        }
    }

    pub(super) fn told(mut self) -> Vec<Finding> {
        if self.more > 0 {
            self.told
                .push(finding("more", format!("{} more findings", self.more), "none"));
        }
        self.told
    }
}
