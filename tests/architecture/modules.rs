//! What one file says: the modules in it, and what each defines, imports and names.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Kind, Token, begins, closed};

/// The names of the modules from the root of the crate down to this one. The root itself has none.
pub(crate) type ModulePath = Vec<String>;

/// A path in the code, and its line.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
}

#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) named: Named,
    /// The name under which it is imported, or `*`.
    pub(crate) name: String,
    /// With a visibility (`pub use`), the module passes the item on. That alone does not use it.
    pub(crate) passed_on: bool,
}

/// A module in a file of its own, or a `mod name { … }` in a file.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) file: String,
    /// The items that it defines itself. Those that a macro defines are missing.
    pub(crate) items: BTreeSet<String>,
    pub(crate) imports: Vec<Import>,
    /// The paths in its code: a single name counts if it begins with a capital or is called.
    pub(crate) named: Vec<Named>,
}

/// Reads the tokens of one file in order, and knows in which of its modules it is.
pub(crate) struct Reading {
    pub(crate) modules: BTreeMap<ModulePath, Module>,
    /// The modules that are in files of their own.
    pub(crate) children: Vec<ModulePath>,
    path: ModulePath,
    file: String,
    /// The braces that are open here. True: the brace of a module.
    braces: Vec<bool>,
}

impl Reading {
    pub(crate) fn new(path: ModulePath, file: String) -> Self {
        let mut reading = Self {
            modules: BTreeMap::new(),
            children: Vec::new(),
            path,
            file,
            braces: Vec::new(),
        };
        reading.enter();
        reading
    }

    fn enter(&mut self) {
        let file = self.file.clone();
        self.modules.insert(
            self.path.clone(),
            Module {
                file,
                ..Module::default()
            },
        );
    }

    fn module(&mut self) -> &mut Module {
        self.modules.get_mut(&self.path).expect("the module was entered")
    }

    pub(crate) fn read(&mut self, tokens: &[Token]) {
        let mut at = 0;
        while at < tokens.len() {
            at = self.step(tokens, at);
        }
    }

    /// Reads what begins at `at` and returns where the next begins.
    fn step(&mut self, tokens: &[Token], at: usize) -> usize {
        let token = &tokens[at];
        let next = |ahead: usize| tokens.get(at + ahead);
        let next_is = |text: &str| next(1).is_some_and(|token| token.is(text));
        if token.kind == Kind::Mark {
            match token.text.as_str() {
                "{" => self.braces.push(false),
                "}" if self.braces.pop() == Some(true) => {
                    self.path.pop();
                }
                _ => {}
            }
            return at + 1;
        }
        let Some(word) = token.word() else {
            return at + 1;
        };
        match word {
            "pub" if is_visibility(&tokens[at + 1..]) => {
                let behind = closed(tokens, at + 1);
                let import = tokens.get(behind).is_some_and(|token| token.is("use"));
                if import {
                    self.import(tokens, behind, true)
                } else {
                    behind
                }
            }
            "pub" if next_is("use") => self.import(tokens, at + 1, true),
            "use" if !next_is("<") => self.import(tokens, at, false),
            "mod" if next(2).is_some_and(|token| token.is(";") || token.is("{")) => {
                let name = tokens[at + 1].text.clone();
                let mut path = self.path.clone();
                path.push(name);
                if tokens[at + 2].is(";") {
                    self.children.push(path);
                } else {
                    self.path = path;
                    self.braces.push(true);
                    self.enter();
                }
                at + 3
            }
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static"
                if next(1).is_some_and(|token| token.kind == Kind::Word && token.text != "fn") =>
            {
                if self.braces.last().is_none_or(|module| *module) {
                    let name = tokens[at + 1].text.clone();
                    self.module().items.insert(name);
                }
                at + 2
            }
            "macro_rules" if next_is("!") => {
                let name = next(2).map(|token| token.text.clone()).unwrap_or_default();
                self.module().items.insert(name);
                at + 3
            }
            _ => self.named(tokens, at),
        }
    }

    /// Reads a path, which may be a single name.
    fn named(&mut self, tokens: &[Token], at: usize) -> usize {
        let mut path = vec![tokens[at].text.clone()];
        let mut end = at + 1;
        while begins(&tokens[end..], &["::"])
            && let Some(word) = tokens.get(end + 1).and_then(Token::word)
        {
            path.push(word.to_owned());
            end += 2;
        }
        let continues = at
            .checked_sub(1)
            .is_some_and(|before| tokens[before].is(".") || tokens[before].is("::"));
        let is_type = path[0].starts_with(|c: char| c.is_ascii_uppercase());
        let called = tokens.get(end).is_some_and(|token| token.is("(") || token.is("!"));
        if !continues && (path.len() > 1 || is_type || called) {
            let line = tokens[at].line;
            self.module().named.push(Named { path, line });
        }
        end
    }

    /// Reads `use …;`, where `at` is the word `use`.
    fn import(&mut self, tokens: &[Token], at: usize, passed_on: bool) -> usize {
        let length = tokens[at..].iter().take_while(|token| !token.is(";")).count();
        self.tree(&tokens[at + 1..at + length], &[], passed_on);
        at + length + 1
    }

    /// Reads a use tree, or a member of its group, below a path.
    fn tree(&mut self, tokens: &[Token], above: &[String], passed_on: bool) {
        let mut path = above.to_vec();
        let mut rest = tokens;
        while let Some((token, behind)) = rest.split_first() {
            if token.is("{") {
                let group = &rest[1..closed(rest, 0) - 1];
                for member in members(group) {
                    self.tree(member, &path, passed_on);
                }
                return;
            }
            if token.is("as") {
                break;
            }
            if token.kind == Kind::Word {
                path.push(token.text.clone());
            }
            if token.is("*") {
                return self.push_import(path, "*".to_owned(), tokens[0].line, passed_on);
            }
            rest = behind;
        }
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let renamed = rest.get(1).map(|token| token.text.clone());
        if let (Some(first), Some(last)) = (tokens.first(), path.last().cloned()) {
            self.push_import(path, renamed.unwrap_or(last), first.line, passed_on);
        }
    }

    fn push_import(&mut self, path: Vec<String>, name: String, line: usize, passed_on: bool) {
        let named = Named { path, line };
        self.module().imports.push(Import { named, name, passed_on });
    }
}

/// Whether a `pub` before these tokens goes on with them, as in `pub(super)`. `pub (A, B)` is a field whose type is a tuple.
fn is_visibility(tokens: &[Token]) -> bool {
    begins(tokens, &["(", "in"])
        || ["crate", "super", "self"]
            .iter()
            .any(|range| begins(tokens, &["(", range, ")"]))
}

/// The members of a use group, which commas separate.
fn members(group: &[Token]) -> Vec<&[Token]> {
    let (mut members, mut begin, mut at) = (Vec::new(), 0, 0);
    while at < group.len() {
        if group[at].is(",") {
            members.push(&group[begin..at]);
            begin = at + 1;
        }
        at = if group[at].is("{") { closed(group, at) } else { at + 1 };
    }
    members.push(&group[begin..]);
    members.retain(|member| !member.is_empty());
    members
}
