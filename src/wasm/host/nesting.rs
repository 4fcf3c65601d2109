//! How deep JSON nests. This is found without recursion, before a recursive parser reads the text.

use super::refusal::Refusal;
use crate::wasm::caps;

/// How deep arrays and objects nest in `json`.
pub(in crate::wasm) fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut text, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'[' | b'{' if !text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Refuses an extension parameter whose value nests so deep that a parser could overflow the stack.
pub(in crate::wasm) fn shallow(name: &str, json: &[u8]) -> Result<(), Refusal> {
    if nesting(json) > caps::EXTENSION_DEPTH {
        return Err(Refusal::Malformed(format!(
            "`{name}` nests deeper than {}",
            caps::EXTENSION_DEPTH
        )));
    }
    Ok(())
}
