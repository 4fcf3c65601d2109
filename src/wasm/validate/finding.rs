//! Findings about a module, kept short enough to be read however much is wrong with it.

use crate::error::Finding;

/// Findings that are shown for one module.
const FINDINGS: usize = 32;
/// Characters of what was found that are shown. Names in it come from the module and can have any length.
const SHOWN: usize = 160;

/// A finding: the rule that is broken, what was found, and what is expected.
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

/// The findings for one module, of which only the first ones are kept. A module can break a rule in a million places.
#[derive(Default)]
pub(super) struct Findings {
    shown: Vec<Finding>,
    /// How many further findings there are.
    more: usize,
}

impl Findings {
    pub(super) fn add(&mut self, found: impl FnOnce() -> Finding) {
        if self.shown.len() < FINDINGS {
            self.shown.push(found());
        } else {
            self.more += 1;
        }
    }

    /// The findings, the last of which counts those that are not shown.
    pub(super) fn into_vec(mut self) -> Vec<Finding> {
        if self.more > 0 {
            self.shown
                .push(finding("more", format!("{} more findings", self.more), "none"));
        }
        self.shown
    }
}
