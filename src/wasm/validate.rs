//! What a module must be, and all that it is not. Pure: bytes in, findings out; nothing is compiled.

mod findings;

use wasmparser::{
    BinaryReaderError, CompositeInnerType, Encoding, ExternalKind, FuncType, Parser, Payload, TypeRef, Validator,
    WasmFeatures,
};

use super::core_abi::{self, Signature};
use super::wasi;
use crate::error::Finding;

use findings::Findings;
pub(super) use findings::finding;

/// Modules and components within a component, at any depth. Each that is open costs the validator kilobytes, and its file a dozen
/// bytes.
pub(super) const PARTS: usize = 256;
/// Types of components and instances within others in one section. A level costs a kilobyte of stack, of which there are two
/// megabytes, and its file three bytes.
const INNER_TYPES: usize = 256;
/// How the names of custom sections begin that tell of what component a core module is the code.
const EMBEDDED: &str = "component-type";
/// The package whose interfaces a component may import and must export.
const PACKAGE: &str = "caxton:agent/";
const INTERFACES: &[&str] = &[
    "types",
    "messaging",
    "log",
    "clock",
    "random",
    "state",
    "timer",
    "environment",
    "directory",
];
const VERSION: &str = "1.0.0";
/// An export that an agent may have.
pub(super) const LIFECYCLE: &str = "caxton:agent/lifecycle@1.0.0";
pub(super) const HANDLER: &str = "caxton:agent/handler@1.0.0";

/// WebAssembly 2.0 and what is settled since. Without what the limiter cannot count (threads), what costs maps (memories
/// beyond the first), and a collector: see `engine::settings`, which says the same to wasmtime of all but memories.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::COMPONENT_MODEL)
    .difference(WasmFeatures::GC_TYPES);

/// What kind of binary passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Core,
    Component,
    /// A core module that says in a section which component it is the code of. To be made one.
    Embedded,
}

#[derive(Debug)]
pub(super) struct Inspected {
    pub(super) kind: Kind,
    pub(super) version: Option<semver::Version>,
}

/// Tells everything by which `bytes` are no agent. Of those that are not even valid nothing more is told: the validator bounds what
/// there can be of anything, and without it a few bytes ask for more memory than there is.
pub(super) fn inspect(bytes: &[u8]) -> Result<Inspected, Vec<Finding>> {
    header(bytes)
        .and_then(|()| nested(bytes))
        .and_then(|()| valid(bytes))
        .map_err(|finding| vec![finding])?;
    let mut outline = Outline::default();
    let mut findings = Findings::default();
    match outline.read(bytes) {
        Ok(()) => outline.findings(&mut findings),
        Err(error) => findings.add(|| invalid(&error)),
    }
    let findings = findings.told();
    if findings.is_empty() {
        return Ok(Inspected {
            kind: outline.kind(),
            version: outline.version,
        });
    }
    Err(findings)
}

/// Looks how much is nested, before that costs memory or stack: the readers of types call themselves.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "sections in which nothing nests, now and in versions to come"
)]
fn nested(bytes: &[u8]) -> Result<(), Finding> {
    let mut parts = 0;
    let mut binaries = vec![bytes];
    while let Some(bytes) = binaries.pop() {
        // Where the bytes cannot be read on, validation says so.
        for payload in Parser::new(0).parse_all(bytes).map_while(wasmparser::Result::ok) {
            let types = match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    parts += 1;
                    &[]
                }
                Payload::ComponentTypeSection(types) => &bytes[types.range()],
                // A component too, of types alone.
                Payload::CustomSection(section) if section.name().starts_with(EMBEDDED) => {
                    binaries.push(section.data());
                    &[]
                }
                _ => &[],
            };
            // A type within a type of a component or an instance begins so. Other bytes may look alike, and seldom do.
            let inner = |pair: &&[u8]| matches!(pair, [0x01, 0x41 | 0x42]);
            let found = if parts > PARTS {
                format!("more than {PARTS} modules and components in one")
            } else if types.windows(2).filter(inner).count() > INNER_TYPES {
                format!("a section with more than {INNER_TYPES} types of components and instances within others")
            } else {
                continue;
            };
            return Err(finding("nesting", found, "less in one another"));
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
        "valid WebAssembly 2.0 with tail calls, and no threads, 64-bit or second memory, or garbage collection",
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

/// What a binary shows of itself on its outside.
#[derive(Default)]
struct Outline<'a> {
    component: bool,
    embedded: bool,
    version: Option<semver::Version>,
    /// Of a core module; none for what is no function.
    types: Vec<Option<FuncType>>,
    functions: Vec<u32>,
    imports: Vec<Import<'a>>,
    exports: Vec<Export<'a>>,
    component_imports: Vec<&'a str>,
    component_exports: Vec<&'a str>,
}

struct Import<'a> {
    module: &'a str,
    name: &'a str,
    kind: &'static str,
    /// Its type's index, of a function.
    function: Option<u32>,
}

struct Export<'a> {
    name: &'a str,
    kind: ExternalKind,
    index: u32,
}

impl<'a> Outline<'a> {
    fn kind(&self) -> Kind {
        match (self.component, self.embedded) {
            (true, _) => Kind::Component,
            (false, true) => Kind::Embedded,
            (false, false) => Kind::Core,
        }
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "sections that do not show outside, now and in versions to come"
    )]
    fn read(&mut self, bytes: &'a [u8]) -> wasmparser::Result<()> {
        // Of what is nested in a component, nothing shows.
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            match &payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                _ if depth == 0 => self.section(&payload)?,
                _ => {}
            }
        }
        Ok(())
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "sections that do not show outside, now and in versions to come"
    )]
    fn section(&mut self, payload: &Payload<'a>) -> wasmparser::Result<()> {
        match payload {
            Payload::Version { encoding, .. } => self.component = *encoding == Encoding::Component,
            Payload::TypeSection(types) => {
                for group in types.clone() {
                    for sub in group?.into_types() {
                        self.types.push(match sub.composite_type.inner {
                            CompositeInnerType::Func(func) => Some(func),
                            CompositeInnerType::Array(_)
                            | CompositeInnerType::Struct(_)
                            | CompositeInnerType::Cont(_) => None,
                        });
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    let import = import?;
                    let (kind, function) = match import.ty {
                        TypeRef::Func(index) | TypeRef::FuncExact(index) => ("func", Some(index)),
                        TypeRef::Table(_) => ("table", None),
                        TypeRef::Memory(_) => ("memory", None),
                        TypeRef::Global(_) => ("global", None),
                        TypeRef::Tag(_) => ("tag", None),
                    };
                    self.functions.extend(function);
                    self.imports.push(Import {
                        module: import.module,
                        name: import.name,
                        kind,
                        function,
                    });
                }
            }
            Payload::FunctionSection(functions) => {
                for index in functions.clone() {
                    self.functions.push(index?);
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports.clone() {
                    let export = export?;
                    self.exports.push(Export {
                        name: export.name,
                        kind: export.kind,
                        index: export.index,
                    });
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports.clone() {
                    self.component_imports.push(import?.name.name);
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports.clone() {
                    self.component_exports.push(export?.name.name);
                }
            }
            Payload::CustomSection(section) if section.name() == "version" => {
                let text = std::str::from_utf8(section.data()).ok();
                self.version = text.and_then(|text| text.trim().parse().ok());
            }
            Payload::CustomSection(section) if section.name().starts_with(EMBEDDED) => self.embedded = true,
            _ => {}
        }
        Ok(())
    }

    fn findings(&self, findings: &mut Findings) {
        match self.kind() {
            Kind::Core => self.core_findings(findings),
            Kind::Component => self.component_findings(findings),
            Kind::Embedded => self.embedded_findings(findings),
        }
    }

    fn core_findings(&self, findings: &mut Findings) {
        for import in &self.imports {
            match core_abi::offered(import.module, import.name) {
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
            Some(_) => findings.add(|| finding("export-type", "export `memory`, which is no memory", "a memory")),
            None => findings.add(|| finding("missing-export", "no export `memory`", "a memory")),
        }
        let has = |name: &str| self.exports.iter().any(|export| export.name == name);
        if !has(core_abi::ALLOC) && !has(core_abi::INBOX) {
            let expected = format!(
                "`{}`: (i32) -> (i32), or `{}` in its place",
                core_abi::ALLOC,
                core_abi::INBOX
            );
            findings.add(|| finding("missing-export", format!("no export `{}`", core_abi::ALLOC), expected));
        }
        for expected in core_abi::EXPORTS {
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

    /// Only the imports: what it exports shows when it has become a component.
    fn embedded_findings(&self, findings: &mut Findings) {
        // Names that wit-component gives its own: worlds without an interface, and the resources of exports.
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
        // Names are the module's own and of any length; what is wrong with them must stay readable.
        format!("import `{}.{}`: {what}", short(import.module), short(import.name))
    }

    fn describe(&self, function: Option<u32>) -> String {
        match function.and_then(|index| self.func(index)) {
            Some(func) => arrow(func.params(), func.results()),
            None => "no function".to_owned(),
        }
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

/// What a component may import; where WASI was refused, also how to do without.
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
        return format!("of WASI only preview 1, module `{}`", wasi::MODULE);
    }
    let names: Vec<_> = core_abi::IMPORTS.iter().map(|offered| offered.name).collect();
    format!(
        "only imports of module `{}`: {}; and of WASI preview 1",
        core_abi::MODULE,
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
