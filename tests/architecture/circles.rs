//! Circles of files: which file of a crate uses what another one defines.
//!
//! An item counts for the file that defines it, whichever module passes it on. So a parent with `pub use child::Item` is in no
//! circle for that, but it is in one when it uses the item itself and the child uses something that the parent defines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::modules::{Module, ModulePath, Reading};
use super::source::{Token, below, shipped, texts};

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

/// Imports that are followed from one to the next.
const DEEPEST: usize = 16;

fn item(module: &Module, name: &str) -> Target {
    Target::Item {
        file: module.file.clone(),
        name: name.to_owned(),
    }
}

/// A crate as it is compiled without its tests.
pub(crate) struct Crate {
    modules: BTreeMap<ModulePath, Module>,
    pub(crate) files: BTreeMap<String, Vec<Token>>,
}

/// From one file to another: the items of the second that the first uses, each with the first line that names it.
pub(crate) type Edges = BTreeMap<(String, String), BTreeMap<String, usize>>;

/// The crate of the server.
pub(crate) static SERVER: LazyLock<Crate> = LazyLock::new(|| Crate::of("src"));

impl Crate {
    /// The crate whose `lib.rs` is in this folder of the repository.
    pub(crate) fn of(folder: &str) -> Self {
        Self::read(&texts(folder))
    }

    /// Reads `lib.rs` and each file that a `mod name;` declares from there on.
    pub(crate) fn read(texts: &BTreeMap<String, String>) -> Self {
        let (mut modules, mut files) = (BTreeMap::new(), BTreeMap::new());
        let mut ahead = vec![(ModulePath::new(), "lib.rs".to_owned())];
        while let Some((path, file)) = ahead.pop() {
            let tokens = shipped(texts.get(&file).unwrap_or_else(|| panic!("there is no {file}")));
            let mut reading = Reading::new(path, file.clone());
            reading.read(&tokens);
            for child in reading.children {
                let file = child.join("/") + ".rs";
                ahead.push((child, file));
            }
            modules.extend(reading.modules);
            files.insert(file, tokens);
        }
        Self { modules, files }
    }

    /// Which file uses which.
    pub(crate) fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for (path, module) in &self.modules {
            let imports = module.imports.iter().filter(|import| !import.passed_on);
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

    /// What a path in a module means. None: nothing of this crate. `last`: the path is whole, and no longer one goes on from it.
    fn resolve(&self, at: &ModulePath, path: &[String], last: bool, depth: usize) -> Option<Target> {
        // `use other_crate;` means itself again and again.
        if depth > DEEPEST {
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
                // Nobody declares what a macro defines. It counts for the file that calls the macro.
                self.lookup(module, name, last && index + 1 == rest.len(), depth)
                    .unwrap_or_else(|| item(&self.modules[module], name))
            };
        }
        Some(target)
    }

    /// What a single name in a module means. A function may have the name of a module: where a path goes on, the module is meant.
    fn lookup(&self, at: &ModulePath, name: &str, last: bool, depth: usize) -> Option<Target> {
        let module = &self.modules[at];
        let child = || {
            let mut path = at.clone();
            path.push(name.to_owned());
            self.modules.contains_key(&path).then_some(Target::Module(path))
        };
        let own = || module.items.contains(name).then(|| item(module, name));
        let found = if last {
            own().or_else(child)
        } else {
            child().or_else(own)
        };
        found
            .or_else(|| {
                let mut imports = module.imports.iter().filter(|import| import.name == name);
                imports.find_map(|import| self.resolve(at, &import.named.path, last, depth + 1))
            })
            .or_else(|| {
                let mut globs = module.imports.iter().filter(|import| import.name == "*");
                globs.find_map(|glob| match self.resolve(at, &glob.named.path, false, depth + 1)? {
                    Target::Module(module) if depth <= DEEPEST => self.lookup(&module, name, last, depth + 1),
                    Target::Module(_) | Target::Item { .. } => None,
                })
            })
    }
}

fn parent(path: &ModulePath) -> Option<ModulePath> {
    let (_, parent) = path.split_last()?;
    Some(parent.to_vec())
}

/// The edges between the modules of the crate's root, each of which stands for all its files.
pub(crate) fn between_modules(edges: &Edges) -> Edges {
    let module = |file: &str| {
        file.split('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs")
            .to_owned()
    };
    let mut between = Edges::new();
    for ((from, to), names) in edges {
        let (from, to) = (module(from), module(to));
        if from != to {
            between.entry((from, to)).or_default().extend(names.clone());
        }
    }
    between
}

/// The circles among the files of a folder, each as the edges that make it. `wasm` means `wasm.rs` and all in `wasm/`.
pub(crate) fn circles(edges: &Edges, folder: &str) -> Vec<Edges> {
    let within: Vec<_> = edges
        .iter()
        .filter(|((from, to), _)| below(from, folder) && below(to, folder))
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
    // Two files are in the same circle if each reaches the other, so the files identify the circle.
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

/// A circle in words, an edge on each line.
pub(crate) fn described(circle: &Edges) -> String {
    let files: BTreeSet<_> = circle.keys().map(|(from, _)| from.as_str()).collect();
    let files: Vec<_> = files.into_iter().collect();
    let mut lines = vec![format!("a circle of {}: {}", files.len(), files.join(", "))];
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
