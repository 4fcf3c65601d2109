//! Modules that the text format cannot express. They are built byte by byte.

pub(super) const MODULE: &[u8] = b"\0asm\x01\0\0\0";
pub(super) const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// The ids of sections.
const CUSTOM: u8 = 0;
const TYPE: u8 = 1;
const IMPORT: u8 = 2;
const FUNCTION: u8 = 3;
const TABLE: u8 = 4;
const MEMORY: u8 = 5;
const EXPORT: u8 = 7;
const CODE: u8 = 10;
const DATA: u8 = 11;
/// The ids of sections of a component.
const NESTED: u8 = 4;
const COMPONENT_TYPE: u8 = 7;

const I32: u8 = 0x7f;
const I32_CONST: u8 = 0x41;
const BLOCK: u8 = 0x02;
const NO_RESULT: u8 = 0x40;
const BR_TABLE: u8 = 0x0e;
const END: u8 = 0x0b;

pub(super) fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(u8::try_from(number & 127).unwrap() | 128);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

/// A text or a function body, after its length.
fn sized(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    [&leb(bytes.as_ref().len()), bytes.as_ref()].concat()
}

fn section(id: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![id], sized(bytes)].concat()
}

/// A section of items, after their count.
fn list(id: u8, items: &[Vec<u8>]) -> Vec<u8> {
    section(id, &[leb(items.len()), items.concat()].concat())
}

/// The parts of an agent. `body` handles each message; if it does not return by itself, the turn ends with the error 7.
pub(super) struct Agent {
    pub imports: Vec<Vec<u8>>,
    pub locals: usize,
    pub body: Vec<u8>,
    /// The number of further functions, which do nothing.
    pub more_functions: usize,
    pub exports: Vec<String>,
    pub table: Option<usize>,
    pub pages: usize,
    pub data: Vec<u8>,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            imports: Vec::new(),
            locals: 0,
            body: Vec::new(),
            more_functions: 0,
            exports: Vec::new(),
            table: None,
            pages: 1,
            data: Vec::new(),
        }
    }
}

impl Agent {
    pub(super) fn bytes(&self) -> Vec<u8> {
        // The types are (i32) -> (i32), (i32, i32) -> (i32), () -> () and (i32, i32, i32) -> ().
        let types = [
            vec![0x60, 1, I32, 1, I32],
            vec![0x60, 2, I32, I32, 1, I32],
            vec![0x60, 0, 0],
            vec![0x60, 3, I32, I32, I32, 0],
        ];
        let mut functions = vec![leb(0), leb(1)];
        functions.resize(2 + self.more_functions, leb(2));
        let first = self.imports.len();
        let export = |name: &str, kind, index| [sized(name), vec![kind], leb(index)].concat();
        let mut exports = vec![
            export("memory", 2, 0),
            export("caxton_alloc", 0, first),
            export("handle_message", 0, first + 1),
        ];
        exports.extend(self.exports.iter().map(|name| export(name, 0, first)));
        let locals = if self.locals == 0 {
            leb(0)
        } else {
            [leb(1), leb(self.locals), vec![I32]].concat()
        };
        let handle = [locals, self.body.clone(), vec![I32_CONST, 7, END]].concat();
        let mut code = vec![sized([0, I32_CONST, 16, END]), sized(handle)];
        code.resize(2 + self.more_functions, sized([0, END]));
        let tables = self.table.map(|size| [vec![0x70, 0], leb(size)].concat());
        let mut bytes = MODULE.to_vec();
        bytes.extend(list(TYPE, &types));
        bytes.extend(list(IMPORT, &self.imports));
        bytes.extend(list(FUNCTION, &functions));
        bytes.extend(list(TABLE, &tables.into_iter().collect::<Vec<_>>()));
        bytes.extend(list(MEMORY, &[[vec![0], leb(self.pages)].concat()]));
        bytes.extend(list(EXPORT, &exports));
        bytes.extend(list(CODE, &code));
        if !self.data.is_empty() {
            let segment = [vec![0, I32_CONST, 0, END], sized(&self.data)].concat();
            bytes.extend(list(DATA, &[segment]));
        }
        bytes
    }

    /// The bytes of the agent, and a custom section behind them.
    pub(super) fn with_section(&self, name: &str, bytes: &[u8]) -> Vec<u8> {
        [self.bytes(), custom(name, bytes)].concat()
    }
}

pub(super) fn custom(name: &str, bytes: &[u8]) -> Vec<u8> {
    section(CUSTOM, &[&sized(name), bytes].concat())
}

/// An import of the function `log` from `caxton`.
pub(super) fn import_of_log() -> Vec<u8> {
    import("caxton", "log")
}

pub(super) fn import(module: &str, name: &str) -> Vec<u8> {
    [sized(module), sized(name), vec![0, 3]].concat()
}

/// A `br_table` with this many targets.
pub(super) fn jump_table(targets: usize) -> Vec<u8> {
    let table = [vec![BR_TABLE], leb(targets), vec![0; targets + 1]].concat();
    [vec![BLOCK, NO_RESULT, I32_CONST, 0], table, vec![END]].concat()
}

/// Nested blocks.
pub(super) fn blocks(depth: usize) -> Vec<u8> {
    [[BLOCK, NO_RESULT].repeat(depth), vec![END; depth]].concat()
}

/// Imports in the compact form, which the server does not offer: `count` imports from one module, whose name of `length` bytes is
/// written once.
pub(super) fn shared_name(length: usize, count: usize) -> Vec<u8> {
    let imports = [leb(count), [&sized("f")[..], &[0, 0]].concat().repeat(count)].concat();
    let group = [vec![1], sized("m".repeat(length)), vec![0, 0x7f], imports].concat();
    [MODULE, &list(TYPE, &[vec![0x60, 0, 0]]), &section(IMPORT, &group)].concat()
}

/// Nested components.
pub(super) fn components(depth: usize) -> Vec<u8> {
    (0..depth).fold(COMPONENT.to_vec(), |inner, _| {
        [COMPONENT, &section(NESTED, &inner)].concat()
    })
}

/// A component with nested instance types.
pub(super) fn types(depth: usize) -> Vec<u8> {
    let types = [vec![1], [0x42, 1, 1].repeat(depth), vec![0x42, 0]].concat();
    [COMPONENT, &section(COMPONENT_TYPE, &types)].concat()
}
