//! Checks whether a module can be an agent. Pure: it takes bytes and returns findings, and compiles nothing.

mod finding;
mod outline;
mod rules;

use wasmparser::{BinaryReaderError, Parser, Payload, Validator};

use super::settings::FEATURES;
use crate::error::Finding;

use finding::Findings;
use outline::{EMBEDDED, Outline};

pub(super) use finding::finding;
pub(super) use outline::Kind;

/// Modules and components within a component, at any depth. Each costs its author a dozen bytes, and the validator some kilobytes
/// while it is open.
pub(super) const NESTED_BINARIES: usize = 256;
/// Types of components and instances within other types in one section. Each level costs its author three bytes, and the validator
/// a kilobyte of its stack of two megabytes.
const INNER_TYPES: usize = 256;

/// A binary that passed the check.
#[derive(Debug)]
pub(super) struct Inspected {
    pub(super) kind: Kind,
    pub(super) version: Option<semver::Version>,
}

/// Checks `bytes`, and returns all findings that keep them from being an agent. Bytes that are not valid WebAssembly get one finding
/// and are not read further: only in a valid binary are the numbers of all things bounded, and in others a few bytes can demand
/// more memory than the machine has.
pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, Vec<Finding>> {
    header(bytes)
        .and_then(|()| nested(bytes))
        .and_then(|()| valid(bytes))
        .map_err(|finding| vec![finding])?;
    let mut outline = Outline::default();
    let mut findings = Findings::default();
    match outline.read(bytes) {
        Ok(()) => outline.check(&mut findings),
        Err(error) => findings.add(|| invalid(&error)),
    }
    let findings = findings.into_vec();
    if findings.is_empty() {
        return Ok(Inspected {
            kind: outline.kind(),
            version: outline.version,
        });
    }
    Err(findings)
}

/// The findings for which `module` is refused before it is compiled. None if it is not refused. For the fuzzer.
pub fn findings(module: &[u8]) -> Vec<Finding> {
    inspect(module).err().unwrap_or_default()
}

/// Checks how deep things nest. Comes before validation, whose readers of types call themselves for each level.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "sections in which nothing nests, now and in versions to come"
)]
fn nested(bytes: &[u8]) -> Result<(), Finding> {
    let mut parts = 0;
    let mut binaries = vec![bytes];
    while let Some(bytes) = binaries.pop() {
        // Reading stops at the first error, which validation then reports.
        for payload in Parser::new(0).parse_all(bytes).map_while(wasmparser::Result::ok) {
            let types = match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    parts += 1;
                    &[]
                }
                Payload::ComponentTypeSection(types) => &bytes[types.range()],
                // The section is a component that consists of types.
                Payload::CustomSection(section) if section.name().starts_with(EMBEDDED) => {
                    binaries.push(section.data());
                    &[]
                }
                _ => &[],
            };
            // A type of a component or an instance within another type begins with these bytes. Few other bytes look like that.
            let inner = |pair: &&[u8]| matches!(pair, [0x01, 0x41 | 0x42]);
            let (found, most) = if parts > NESTED_BINARIES {
                let found = "too many modules and components within one component";
                (found, NESTED_BINARIES)
            } else if types.windows(2).filter(inner).count() > INNER_TYPES {
                let found = "a section with too many types of components and instances within other types";
                (found, INNER_TYPES)
            } else {
                continue;
            };
            return Err(finding("nesting", found, format!("{most} at most")));
        }
    }
    Ok(())
}

fn valid(bytes: &[u8]) -> Result<(), Finding> {
    let validated = Validator::new_with_features(FEATURES).validate_all(bytes);
    validated.map(|_| ()).map_err(|error| invalid(&error))
}

fn invalid(error: &BinaryReaderError) -> Finding {
    finding(
        "valid-wasm",
        format!("{} (at byte {})", error.message(), error.offset()),
        "valid WebAssembly 2.0 with tail calls, without threads, a 64-bit or second memory, garbage collection, exceptions and \
         `externref` (a guest gets no references to values of the host)",
    )
}

fn header(bytes: &[u8]) -> Result<(), Finding> {
    const EXPECTED: &str = "a WebAssembly binary, which begins with the bytes 00 61 73 6d";
    if bytes.is_empty() {
        return Err(finding("not-empty", "an empty file", EXPECTED));
    }
    if bytes.starts_with(b"\0asm") {
        return Ok(());
    }
    let text = bytes
        .iter()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(|byte| *byte == b'(' || *byte == b';');
    let found = if text {
        "what looks like the text format".to_owned()
    } else {
        format!("a file that begins with {:02x?}", &bytes[..bytes.len().min(8)])
    };
    let expected = if text {
        "a WebAssembly binary: translate it with wat2wasm or wasm-tools parse"
    } else {
        EXPECTED
    };
    Err(finding("wasm-binary", found, expected))
}
