//! The rules for the imports and exports of an agent.

use wasmparser::{ExternalKind, FuncType};

use super::finding::{Findings, finding};
use super::outline::{Export, Import, Kind, Outline};
use crate::wasm::abi::{self, Signature};
use crate::wasm::component::world::{HANDLER, INTERFACES, PACKAGE, VERSION};
use crate::wasm::wasi::abi as wasi;

impl Outline<'_> {
    /// Adds what keeps the binary from being an agent.
    pub(super) fn check(&self, findings: &mut Findings) {
        match self.kind() {
            Kind::Core => self.core_findings(findings),
            Kind::Component => self.component_findings(findings),
            Kind::Embedded => self.embedded_findings(findings),
        }
    }

    fn core_findings(&self, findings: &mut Findings) {
        for import in &self.imports {
            match offered(import.module, import.name) {
                None => {
                    findings.add(|| finding("unknown-import", self.import(import), not_offered(import.module)));
                }
                Some(offered) if !import.function.is_some_and(|index| self.is(index, offered)) => {
                    findings.add(|| finding("import-type", self.import(import), signature(offered)));
                }
                Some(_) => {}
            }
        }
        match self.exports.iter().find(|export| export.name == "memory") {
            Some(Export {
                kind: ExternalKind::Memory,
                ..
            }) => {}
            Some(_) => findings.add(|| finding("export-type", "export `memory`, which is not a memory", "a memory")),
            None => findings.add(|| finding("missing-export", "no export `memory`", "a memory")),
        }
        let has = |name: &str| self.exports.iter().any(|export| export.name == name);
        if !has(abi::ALLOC) && !has(abi::INBOX) {
            let expected = format!("`{}`: (i32) -> (i32), or `{}` instead", abi::ALLOC, abi::INBOX);
            findings.add(|| finding("missing-export", format!("no export `{}`", abi::ALLOC), expected));
        }
        for expected in abi::EXPORTS {
            let export = self.exports.iter().find(|export| export.name == expected.name);
            match export {
                None if expected.required => {
                    let found = format!("no export `{}`", expected.name);
                    findings.add(|| finding("missing-export", found, signature(expected)));
                }
                None => {}
                Some(export) => {
                    let index = usize::try_from(export.index)
                        .ok()
                        .and_then(|index| self.functions.get(index).copied());
                    let function = index.filter(|_| export.kind == ExternalKind::Func);
                    if !function.is_some_and(|index| self.is(index, expected)) {
                        let found = format!("export `{}`: {}", export.name, self.describe(function));
                        findings.add(|| finding("export-type", found, signature(expected)));
                    }
                }
            }
        }
    }

    fn component_findings(&self, findings: &mut Findings) {
        for name in self.component_imports.iter().filter(|name| !is_offered(name)) {
            findings.add(|| finding("unknown-import", format!("import `{name}`"), interfaces(name)));
        }
        if !self.component_exports.contains(&HANDLER) {
            let found = match self.component_exports.as_slice() {
                [] => "a component without exports".to_owned(),
                names => format!("exports {}", names.join(", ")),
            };
            findings.add(|| finding("missing-export", found, format!("the interface `{HANDLER}`")));
        }
    }

    /// Checks the imports only. The exports are checked when the module has become a component.
    fn embedded_findings(&self, findings: &mut Findings) {
        // Names of wit-component's own: for functions outside an interface, and for the resources of exported interfaces.
        let internal = |module: &str| module == "$root" || module.starts_with("[export]");
        let offered = |import: &&Import| internal(import.module) || is_offered(import.module);
        for import in self.imports.iter().filter(|import| !offered(import)) {
            findings.add(|| finding("unknown-import", self.import(import), interfaces(import.module)));
        }
    }

    fn func(&self, index: u32) -> Option<&FuncType> {
        self.types.get(usize::try_from(index).ok()?)?.as_ref()
    }

    fn is(&self, index: u32, expected: &Signature) -> bool {
        self.func(index)
            .is_some_and(|func| func.params() == expected.params && func.results() == expected.results)
    }

    fn import(&self, import: &Import<'_>) -> String {
        let what = if import.function.is_some() {
            self.describe(import.function)
        } else {
            import.kind.to_owned()
        };
        // The names come from the module and can have any length. Cut off, they leave room for the type.
        format!("import `{}.{}`: {what}", short(import.module), short(import.name))
    }

    fn describe(&self, function: Option<u32>) -> String {
        match function.and_then(|index| self.func(index)) {
            Some(func) => arrow(func.params(), func.results()),
            None => "not a function".to_owned(),
        }
    }
}

/// The import that the host offers under this name, in the module of the core ABI or in that of WASI.
fn offered(module: &str, name: &str) -> Option<&'static Signature> {
    match module {
        abi::MODULE => abi::IMPORTS.iter().find(|offered| offered.name == name),
        wasi::MODULE => wasi::imports().find(|offered| offered.name == name),
        _ => None,
    }
}

fn short(name: &str) -> String {
    name.chars().take(48).collect()
}

fn is_offered(interface: &str) -> bool {
    let name = interface
        .strip_prefix(PACKAGE)
        .and_then(|rest| rest.strip_suffix(VERSION)?.strip_suffix('@'));
    name.is_some_and(|name| INTERFACES.contains(&name))
}

/// What a component may import. If WASI was refused, also how to build a component without it.
fn interfaces(refused: &str) -> String {
    let offered = format!("only imports of {PACKAGE}{{{}}}@{VERSION}", INTERFACES.join(", "));
    if refused.starts_with("wasi") {
        format!("{offered}; no WASI: build for wasm32-unknown-unknown, or with --stub-wasi")
    } else {
        offered
    }
}

fn not_offered(module: &str) -> String {
    if module.starts_with("wasi") {
        return format!("only preview 1 of WASI, from module `{}`", wasi::MODULE);
    }
    let names: Vec<_> = abi::IMPORTS.iter().map(|offered| offered.name).collect();
    format!(
        "only imports from module `{}`: {}; and from WASI preview 1",
        abi::MODULE,
        names.join(", ")
    )
}

fn signature(expected: &Signature) -> String {
    format!("`{}`: {}", expected.name, arrow(expected.params, expected.results))
}

fn arrow(params: &[wasmparser::ValType], results: &[wasmparser::ValType]) -> String {
    let list = |types: &[wasmparser::ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("({}) -> ({})", list(params), list(results))
}
