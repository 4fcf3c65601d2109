//! What a module needs of its host, as far as its bytes show before it runs. Pure.

use std::collections::BTreeMap;

use wasmparser::{Parser, Payload};

use super::abi;
use super::limiter::TABLE_ELEMENT;
use super::validate::NESTED_BINARIES;

const PAGE: u64 = 64 << 10;

/// The functions of the core ABI that need a permission, by the name of the permission in the `config` of a deploy.
const CORE: &[(&str, &[&str])] = &[
    ("state", &["store_data", "load_data", "delete_data"]),
    ("random", &["random_u32"]),
    ("timers", &["set_timer", "cancel_timer"]),
];
/// The interfaces of the component world that need a permission.
const INTERFACES: &[(&str, &str)] = &[
    ("state", "caxton:agent/state@"),
    ("random", "caxton:agent/random@"),
    ("timers", "caxton:agent/timer@"),
    ("directory", "caxton:agent/directory@"),
    ("environment", "caxton:agent/environment@"),
];

/// What a module needs of its host. For bytes that are not a valid module, it is what could be read of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Bytes of the memories and tables with which an instance starts. For a component, those of its largest module.
    pub memory_bytes: u64,
    /// The permissions that imports of the module need, each with the first such import. The permission `message` is never among
    /// them: a module that can send may do so only to reply, which needs no permission.
    pub permissions: BTreeMap<&'static str, String>,
}

impl Demand {
    pub fn of(module: &[u8]) -> Self {
        let mut demand = Self::default();
        // If the bytes cannot be read to their end, validation reports it.
        let _ = demand.read(module);
        demand
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "sections that ask for nothing, now and in versions to come"
    )]
    fn read(&mut self, module: &[u8]) -> wasmparser::Result<()> {
        // Bytes of memories and tables: one sum for the binary itself, and one for each module around the current section.
        let mut open = vec![0_u64];
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                // Validation refuses a module that nests deeper.
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } if open.len() > NESTED_BINARIES => {
                    break;
                }
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
        let permission = if module == abi::MODULE {
            CORE.iter()
                .find(|(_, names)| names.contains(&name))
                .map(|(permission, _)| permission)
        } else {
            let interface = |(_, interface): &&(&str, &str)| module.starts_with(interface);
            INTERFACES.iter().find(interface).map(|(permission, _)| permission)
        };
        if let Some(permission) = permission {
            let import = if module == abi::MODULE { name } else { module };
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
