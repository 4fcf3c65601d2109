//! What a module asks of its host, as far as its bytes tell before anything of it runs. Pure.

use std::collections::BTreeMap;

use wasmparser::{Parser, Payload};

use super::core_abi;
use super::limiter::TABLE_ELEMENT;
use super::validate::PARTS;

const PAGE: u64 = 64 << 10;

/// Permissions, as the `config` of a deploy names them, and the imports that say no without them.
const CORE: &[(&str, &[&str])] = &[
    ("state", &["store_data", "load_data", "delete_data"]),
    ("random", &["random_u32"]),
    ("timers", &["set_timer", "cancel_timer"]),
];
const INTERFACES: &[(&str, &str)] = &[
    ("state", "caxton:agent/state@"),
    ("random", "caxton:agent/random@"),
    ("timers", "caxton:agent/timer@"),
    ("directory", "caxton:agent/directory@"),
    ("environment", "caxton:agent/environment@"),
];

/// See the module. Of bytes that are no module it is what could be read of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Bytes of the memories and tables with which an instance begins; of a component, those of its largest module.
    pub memory_bytes: u64,
    /// Permissions that some import needs, and the first such import. That the agent may message somebody is none of them: what
    /// sends may also only answer.
    pub permissions: BTreeMap<&'static str, String>,
}

impl Demand {
    pub fn of(module: &[u8]) -> Self {
        let mut demand = Self::default();
        // What cannot be read is told by validation.
        let _ = demand.read(module);
        demand
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "sections that ask for nothing, now and in versions to come"
    )]
    fn read(&mut self, module: &[u8]) -> wasmparser::Result<()> {
        // Bytes of each module that has begun and not ended, and of the binary itself.
        let mut open = vec![0_u64];
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                // No agent nests so much.
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } if open.len() > PARTS => break,
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => open.push(0),
                Payload::End(_) => self.memory_bytes = self.memory_bytes.max(open.pop().unwrap_or(0)),
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        let page = memory
                            .clone()?
                            .page_size_log2
                            .map_or(PAGE, |log| 1_u64.checked_shl(log).unwrap_or(PAGE));
                        add(&mut open, memory?.initial.saturating_mul(page));
                    }
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        add(&mut open, table?.ty.initial.saturating_mul(TABLE_ELEMENT));
                    }
                }
                Payload::ImportSection(imports) if open.len() == 1 => {
                    for import in imports.into_imports() {
                        let import = import?;
                        self.import(import.module, import.name);
                    }
                }
                Payload::ComponentImportSection(imports) if open.len() == 1 => {
                    for import in imports {
                        self.import(import?.name.name, "");
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn import(&mut self, module: &str, name: &str) {
        let permission = if module == core_abi::MODULE {
            CORE.iter()
                .find(|(_, names)| names.contains(&name))
                .map(|(permission, _)| permission)
        } else {
            let interface = |(_, interface): &&(&str, &str)| module.starts_with(interface);
            INTERFACES.iter().find(interface).map(|(permission, _)| permission)
        };
        if let Some(permission) = permission {
            let import = if module == core_abi::MODULE { name } else { module };
            self.permissions.entry(permission).or_insert_with(|| import.to_owned());
        }
    }
}

fn add(open: &mut [u64], bytes: u64) {
    if let Some(last) = open.last_mut() {
        *last = last.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(wat: &str) -> Demand {
        Demand::of(&wat::parse_str(wat).unwrap())
    }

    #[test]
    fn a_module_demands_its_first_memory_and_tables() {
        let module = demand("(module (memory 3) (table 100 funcref) (table 28 externref))");
        assert_eq!(module.memory_bytes, 3 * 65_536 + 128 * 8);
        let component = "(component (core module (memory 3)) (core module (memory 5) (table 1 funcref)))";
        assert_eq!(demand(component).memory_bytes, 5 * 65_536 + 8);
        assert_eq!(demand("(module)"), Demand::default());
    }

    #[test]
    fn an_import_tells_the_permission_that_it_needs() {
        let core = demand(
            r#"(module (import "caxton" "load_data" (func)) (import "caxton" "store_data" (func))
                (import "caxton" "log" (func)) (import "caxton" "set_timer" (func)))"#,
        );
        let expected = [("state", "load_data"), ("timers", "set_timer")];
        assert_eq!(
            core.permissions,
            expected
                .map(|(permission, import)| (permission, import.to_owned()))
                .into()
        );
        let name = "caxton:agent/directory@1.0.0";
        let component = demand(&format!(r#"(component (import "{name}" (instance)))"#));
        assert_eq!(component.permissions, [("directory", name.to_owned())].into());
        let embedded = demand(&format!(r#"(module (import "{name}" "find" (func)))"#));
        assert_eq!(embedded.permissions, component.permissions);
    }

    #[test]
    fn what_is_no_module_demands_nothing() {
        assert_eq!(Demand::of(b"\0asm\x01\0\0\0\x05\xff"), Demand::default());
    }
}
