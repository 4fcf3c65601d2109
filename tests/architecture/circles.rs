//! Circles of files: which file of a crate uses what another one defines, read from `use` lines and paths.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Kind, Token, begins, closed, shipped};

/// The names of the modules from the root of the crate. Empty for the root itself.
type ModulePath = Vec<String>;

/// An item or a module that is named, and where.
#[derive(Debug)]
struct Named {
    path: Vec<String>,
    line: usize,
}

#[derive(Debug)]
struct Import {
    named: Named,
    /// The name under which it is imported, or `*`.
    name: String,
    /// With a visibility, it shows to others what stands elsewhere, which is no use by itself.
    shown: bool,
}

/// A file, or a `mod name { … }` in one.
#[derive(Debug, Default)]
struct Module {
    file: String,
    children: BTreeSet<String>,
    items: BTreeSet<String>,
    imports: Vec<Import>,
    /// What the code names: paths, types, and functions that are called.
    named: Vec<Named>,
}

impl Module {
    fn item(&self, name: &str) -> Target {
        Target::Item {
            file: self.file.clone(),
            name: name.to_owned(),
        }
    }
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Module(ModulePath),
    Item {
        /// The file that defines it.
        file: String,
        name: String,
    },
}

/// The modules of a crate that are compiled into it, and so none of its tests.
pub(crate) struct Crate(BTreeMap<ModulePath, Module>);

/// From a file to another, with the names that it uses of it, each with the first line that does.
pub(crate) type Edges = BTreeMap<(String, String), BTreeMap<String, usize>>;

impl Crate {
    /// Reads `lib.rs` and each file that a `mod name;` names from there on.
    pub(crate) fn read(texts: &BTreeMap<String, String>) -> Self {
        let mut modules = BTreeMap::new();
        let mut files = vec![(ModulePath::new(), "lib.rs".to_owned())];
        while let Some((path, file)) = files.pop() {
            let text = texts.get(&file).unwrap_or_else(|| panic!("there is no {file}"));
            let mut reading = Reading::new(path, file);
            reading.read(&shipped(text));
            for child in reading.files {
                let stem = child.join("/");
                let names = [format!("{stem}.rs"), format!("{stem}/mod.rs")];
                let file = names.into_iter().find(|name| texts.contains_key(name));
                files.push((child, file.unwrap_or_else(|| panic!("there is no {stem}.rs"))));
            }
            modules.extend(reading.modules);
        }
        Self(modules)
    }

    /// Which file uses which.
    pub(crate) fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for (path, module) in &self.0 {
            let imports = module.imports.iter().filter(|import| !import.shown);
            for named in imports.map(|import| &import.named).chain(&module.named) {
                if let Some(Target::Item { file, name }) = self.resolve(path, &named.path, true, 0)
                    && file != module.file
                {
                    let names = edges.entry((module.file.clone(), file)).or_default();
                    let line = names.entry(name).or_insert(named.line);
                    *line = named.line.min(*line);
                }
            }
        }
        edges
    }

    /// What a path means in a module, where `last` says that no longer path goes on from it. None: nothing of this crate.
    fn resolve(&self, at: &ModulePath, path: &[String], last: bool, depth: usize) -> Option<Target> {
        // An import of another crate by its name alone is found again under that name.
        if depth > 16 {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let mut target = match first.as_str() {
            "crate" => Target::Module(ModulePath::new()),
            "self" => Target::Module(at.clone()),
            "super" => Target::Module(parent(at)?),
            name => self.lookup(at, name, last && rest.is_empty(), depth)?,
        };
        for (index, name) in rest.iter().enumerate() {
            let Target::Module(module) = &target else {
                return Some(target);
            };
            target = if name == "super" {
                Target::Module(parent(module)?)
            } else {
                // What a macro defines is found in no list: it belongs to the file that calls the macro.
                self.lookup(module, name, last && index + 1 == rest.len(), depth)
                    .unwrap_or_else(|| self.0[module].item(name))
            };
        }
        Some(target)
    }

    /// What a single name means in a module. A function may have the name of a module, which is meant only where a path goes on.
    fn lookup(&self, at: &ModulePath, name: &str, last: bool, depth: usize) -> Option<Target> {
        let module = &self.0[at];
        let child = || {
            let mut path = at.clone();
            path.push(name.to_owned());
            self.0.contains_key(&path).then_some(Target::Module(path))
        };
        let item = || module.items.contains(name).then(|| module.item(name));
        let found = if last { item().or_else(child) } else { child().or_else(item) };
        found
            .or_else(|| {
                let mut imports = module.imports.iter().filter(|import| import.name == name);
                imports.find_map(|import| self.resolve(at, &import.named.path, last, depth + 1))
            })
            .or_else(|| {
                let mut globs = module.imports.iter().filter(|import| import.name == "*");
                globs.find_map(|glob| match self.resolve(at, &glob.named.path, false, depth + 1)? {
                    Target::Module(module) if depth <= 16 => self.lookup(&module, name, last, depth + 1),
                    Target::Module(_) | Target::Item { .. } => None,
                })
            })
    }
}

fn parent(path: &ModulePath) -> Option<ModulePath> {
    let (_, parent) = path.split_last()?;
    Some(parent.to_vec())
}

/// The reading of one file, with the module that it is in at the moment.
struct Reading {
    modules: BTreeMap<ModulePath, Module>,
    /// Children in files of their own.
    files: Vec<ModulePath>,
    path: ModulePath,
    file: String,
    /// Of the braces around, which of them are those of modules.
    braces: Vec<bool>,
}

impl Reading {
    fn new(path: ModulePath, file: String) -> Self {
        let mut reading = Self {
            modules: BTreeMap::new(),
            files: Vec::new(),
            path,
            file,
            braces: Vec::new(),
        };
        reading.enter();
        reading
    }

    fn enter(&mut self) {
        let file = self.file.clone();
        self.modules.insert(self.path.clone(), Module { file, ..Module::default() });
    }

    fn module(&mut self) -> &mut Module {
        self.modules.get_mut(&self.path).expect("it was entered")
    }

    fn read(&mut self, tokens: &[Token]) {
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
                if import { self.import(tokens, behind, true) } else { behind }
            }
            "pub" if next_is("use") => self.import(tokens, at + 1, true),
            "use" if !next_is("<") => self.import(tokens, at, false),
            "mod" if next(2).is_some_and(|token| token.is(";") || token.is("{")) => {
                let name = tokens[at + 1].text.clone();
                self.module().children.insert(name.clone());
                let mut path = self.path.clone();
                path.push(name);
                if tokens[at + 2].is(";") {
                    self.files.push(path);
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

    /// A path, a type, or a function that is called.
    fn named(&mut self, tokens: &[Token], at: usize) -> usize {
        let mut path = vec![tokens[at].text.clone()];
        let mut end = at + 1;
        while begins(&tokens[end..], &["::"])
            && let Some(word) = tokens.get(end + 1).and_then(Token::word)
        {
            path.push(word.to_owned());
            end += 2;
        }
        let follows = at.checked_sub(1).is_some_and(|before| tokens[before].is(".") || tokens[before].is("::"));
        let is_type = path[0].starts_with(|c: char| c.is_ascii_uppercase());
        let called = tokens.get(end).is_some_and(|token| token.is("(") || token.is("!"));
        if !follows && (path.len() > 1 || is_type || called) {
            let line = tokens[at].line;
            self.module().named.push(Named { path, line });
        }
        end
    }

    /// `use …;`, where `at` is the word `use`.
    fn import(&mut self, tokens: &[Token], at: usize, shown: bool) -> usize {
        let length = tokens[at..].iter().take_while(|token| !token.is(";")).count();
        self.tree(&tokens[at + 1..at + length], &[], shown);
        at + length + 1
    }

    /// One member of a use tree, below a path.
    fn tree(&mut self, tokens: &[Token], above: &[String], shown: bool) {
        let mut path = above.to_vec();
        let mut rest = tokens;
        while let Some((token, behind)) = rest.split_first() {
            if token.is("{") {
                let group = &rest[1..closed(rest, 0) - 1];
                for member in members(group) {
                    self.tree(member, &path, shown);
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
                return self.push_import(path, "*".to_owned(), tokens[0].line, shown);
            }
            rest = behind;
        }
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let renamed = rest.get(1).map(|token| token.text.clone());
        if let (Some(first), Some(last)) = (tokens.first(), path.last().cloned()) {
            self.push_import(path, renamed.unwrap_or(last), first.line, shown);
        }
    }

    fn push_import(&mut self, path: Vec<String>, name: String, line: usize, shown: bool) {
        let named = Named { path, line };
        self.module().imports.push(Import { named, name, shown });
    }
}

/// Whether a `pub` before these is one with a range, such as `pub(super)`, and not a field that is a tuple.
fn is_visibility(tokens: &[Token]) -> bool {
    begins(tokens, &["(", "in"])
        || ["crate", "super", "self"]
            .iter()
            .any(|range| begins(tokens, &["(", range, ")"]))
}

/// The members of a group, between its commas.
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

/// The circles among files whose path begins so, `wasm` for `wasm.rs` and what is below `wasm/`: each with the edges that make it.
pub(crate) fn circles(edges: &Edges, folder: &str) -> Vec<Edges> {
    let inside = |file: &str| {
        file.strip_prefix(folder)
            .is_some_and(|rest| folder.is_empty() || rest == ".rs" || rest.starts_with('/'))
    };
    let within: Vec<_> = edges
        .iter()
        .filter(|((from, to), _)| inside(from) && inside(to))
        .collect();
    let reached = |from: &str| {
        let (mut reached, mut ahead) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(file) = ahead.pop() {
            for ((_, to), _) in within.iter().filter(|((from, _), _)| *from == file) {
                if reached.insert(to.clone()) {
                    ahead.push(to.clone());
                }
            }
        }
        reached
    };
    let all: BTreeMap<_, _> = within
        .iter()
        .map(|((from, _), _)| (from.clone(), reached(from)))
        .collect();
    let back = |from: &str, to: &str| all.get(to).is_some_and(|reached| reached.contains(from));
    // A circle is known by its files: those that are reached from the first and reach it.
    let mut found: BTreeMap<BTreeSet<&str>, Edges> = BTreeMap::new();
    for ((from, to), names) in &within {
        if back(from, to) {
            let files = all[from]
                .iter()
                .map(String::as_str)
                .filter(|file| back(from, file))
                .collect();
            found
                .entry(files)
                .or_default()
                .insert((from.clone(), to.clone()), (*names).clone());
        }
    }
    found.into_values().collect()
}

/// A circle as people read it.
pub(crate) fn shown(circle: &Edges) -> String {
    let files: BTreeSet<_> = circle.keys().map(|(from, _)| from.as_str()).collect();
    let files: Vec<_> = files.into_iter().collect();
    let mut lines = vec![format!("a circle of {} files: {}", files.len(), files.join(", "))];
    for ((from, to), names) in circle {
        let names: Vec<_> = names
            .iter()
            .map(|(name, line)| format!("{name} (line {line})"))
            .collect();
        lines.push(format!("  {from} -> {to}: {}", names.join(", ")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;
