//! Reads the outline of a binary: what it imports, exports and says of itself. [`super::rules`] judges it.

use wasmparser::{CompositeInnerType, Encoding, ExternalKind, FuncType, Parser, Payload, TypeRef};

/// The prefix of the names of custom sections that hold a component type. A core module with such a section is the code of that
/// component.
pub(super) const EMBEDDED: &str = "component-type";

/// The kinds of binaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wasm) enum Kind {
    Core,
    Component,
    /// A core module with an embedded component type. It becomes a component before it is compiled.
    Embedded,
}

/// The outline of a binary, without what is nested in it.
#[derive(Default)]
pub(super) struct Outline<'a> {
    pub(super) component: bool,
    pub(super) embedded: bool,
    pub(super) version: Option<semver::Version>,
    /// The types of a core module. None for a type that is not a function type.
    pub(super) types: Vec<Option<FuncType>>,
    /// For each function of a core module, imported ones first, the index of its type.
    pub(super) functions: Vec<u32>,
    pub(super) imports: Vec<Import<'a>>,
    pub(super) exports: Vec<Export<'a>>,
    pub(super) component_imports: Vec<&'a str>,
    pub(super) component_exports: Vec<&'a str>,
}

pub(super) struct Import<'a> {
    pub(super) module: &'a str,
    pub(super) name: &'a str,
    pub(super) kind: &'static str,
    /// The index of the function's type. None: it is no function.
    pub(super) function: Option<u32>,
}

pub(super) struct Export<'a> {
    pub(super) name: &'a str,
    pub(super) kind: ExternalKind,
    pub(super) index: u32,
}

impl<'a> Outline<'a> {
    pub(super) fn kind(&self) -> Kind {
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
    pub(super) fn read(&mut self, bytes: &'a [u8]) -> wasmparser::Result<()> {
        // What is nested in a component is not part of its outline.
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
}
