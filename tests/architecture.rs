//! What must not be in the source: wrong names in wrong places. Each rule is a reading of `src/**/*.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The modules of the crate from the bottom up. A module may name those of its own layer and below.
const LAYERS: &[&[&str]] = &[
    &[
        "error",
        "fipa",
        "id",
        "idempotency",
        "message",
        "quantity",
        "rate",
        "time",
        "timer",
        "telemetry",
    ],
    &["journal", "wasm"],
    &["agent", "mailbox"],
    &["directory", "group", "router"],
    &["deployment", "events", "config"],
    &["node"],
    &["api", "cli", "server"],
    &["lib", "main"],
];

/// A lower module that names a higher one all the same, and why it may.
const UPWARDS: &[(&str, &str, &str)] = &[(
    "telemetry",
    "journal",
    "it counts turns by how they ended, and that type is the journal's",
)];

/// Who may name a foreign crate: files that begin so.
const WRAPPERS: &[(&str, &[&str])] = &[
    ("wasmtime", &["wasm"]),
    ("wasmparser", &["wasm"]),
    ("wit_component", &["wasm"]),
    ("actix", &["api/rest", "api/ws"]),
    ("actix_web", &["api/http", "api/rest", "api/ws"]),
    ("actix_web_actors", &["api/ws"]),
    ("actix_multipart", &["api/rest"]),
    ("utoipa", &["api", "agent/spec", "group"]),
    ("tonic", &["api/grpc"]),
    ("tonic_types", &["api/grpc"]),
    ("prost", &["api/grpc", "journal/wire"]),
    ("prost_types", &["api/grpc"]),
    ("rusqlite", &["journal"]),
    ("clap", &["cli"]),
    ("figment", &["config"]),
    ("dashmap", &["directory", "router"]),
    ("metrics_exporter_prometheus", &["telemetry"]),
    ("hdrhistogram", &["telemetry"]),
    ("sysinfo", &["node"]),
];

/// Where an actor is spawned: linked, and from a child specification.
const SPAWNERS: &[&str] = &[
    "agent",
    "node",
    "router",
    "events.rs",
    "deployment.rs",
    "server.rs",
    "api",
];

/// Tasks and threads that no supervisor started, and why they may be.
const UNSUPERVISED: &[(&str, &str)] = &[
    (
        "wasm/engine.rs",
        "the epoch's clock is a thread of the engine, and ends with it",
    ),
    (
        "wasm/compiler.rs",
        "a module is compiled by a process that ends with its future, and that process watches for its parent on a thread",
    ),
    (
        "server.rs",
        "an accept loop runs beside its actor, which owns the task, stops it and waits for it",
    ),
    (
        "journal/local",
        "the writer of the log is a thread of its own, watched through the durable watermark",
    ),
    (
        "journal/projections",
        "the tailing reader is a thread of its own, and ends with the journal",
    ),
];

/// The one file with unsafe code, which says why each piece is sound.
const UNSAFE: &str = "wasm/code.rs";

const LONGEST: usize = 450;

struct File {
    /// Below `src`, such as `api/rest.rs`.
    path: String,
    /// Without comments and without what tests say of themselves.
    code: String,
    lines: usize,
}

impl File {
    /// The module of the crate that the file belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

fn sources() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push(File {
                    path: path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(),
                    lines: text.lines().count(),
                    code: if path.ends_with("tests.rs") {
                        String::new()
                    } else {
                        code(&text)
                    },
                });
            }
        }
    }
    assert!(files.len() > 30, "the sources are not where this test looks");
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The text up to its unit tests, without comments.
fn code(text: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut shipped = String::new();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]"
            && lines
                .peek()
                .is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
        {
            break;
        }
        shipped.push_str(line.split_once("//").map_or(line, |(code, _)| code));
        shipped.push('\n');
    }
    shipped
}

/// Whether `word` is there as a path's segment: not within a longer name.
fn names(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        !before.ends_with(part) && after.starts_with("::")
    })
}

/// Modules of the crate that the code names, as `crate::x` or in `use crate::{x, y}`.
fn used(code: &str) -> Vec<&str> {
    let mut modules = Vec::new();
    for (at, word) in code.match_indices("crate::") {
        let rest = &code[at + word.len()..];
        match rest.strip_prefix('{') {
            Some(group) => modules.extend(heads(group)),
            None => modules.push(identifier(rest)),
        }
    }
    modules
}

/// The first name of each member of a group, up to its closing brace.
fn heads(group: &str) -> Vec<&str> {
    let (mut heads, mut depth, mut begins) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && !c.is_whitespace() => {
                heads.push(identifier(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or_default()
}

#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn a_lower_layer_names_no_higher_one() {
    let layer: BTreeMap<_, _> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(layer, modules)| modules.iter().map(move |module| (*module, layer)))
        .collect();
    let mut problems = Vec::new();
    for file in sources() {
        let Some(own) = layer.get(file.module()) else {
            problems.push(format!("{}: its module is in no layer", file.path));
            continue;
        };
        for module in used(&file.code) {
            let allowed = UPWARDS
                .iter()
                .any(|(from, to, _)| *from == file.module() && *to == module);
            if !allowed && layer.get(module).is_some_and(|other| other > own) {
                problems.push(format!("{} names {module}, which is above it", file.path));
            }
        }
    }
    none(&problems);
}

#[test]
fn a_foreign_crate_is_named_in_its_own_place() {
    let mut problems = Vec::new();
    for file in sources() {
        for (foreign, places) in WRAPPERS {
            if names(&file.code, foreign) && !places.iter().any(|place| file.path.starts_with(place)) {
                problems.push(format!(
                    "{} names {foreign}, which is for {}",
                    file.path,
                    places.join(", ")
                ));
            }
        }
    }
    none(&problems);
}

#[test]
fn only_supervisors_spawn() {
    const LOOSE: &[&str] = &[
        "spawn(",
        "spawn_local(",
        "spawn_instant(",
        "spawn_async(",
        "thread::Builder",
        "Arbiter::",
    ];
    let mut problems = Vec::new();
    for file in sources() {
        if file.code.contains("spawn_linked(") && !SPAWNERS.iter().any(|place| file.path.starts_with(place)) {
            problems.push(format!("{} spawns an actor", file.path));
        }
        let excused = UNSUPERVISED.iter().any(|(place, _)| file.path.starts_with(place));
        for call in LOOSE {
            // A WebSocket's connection actor belongs to its connection, and what its context spawns to the actor.
            let code = file.code.replace("context.spawn(", "");
            if !excused && code.contains(call) {
                problems.push(format!("{} has `{call}`, which no supervisor owns", file.path));
            }
        }
    }
    none(&problems);
}

#[test]
fn every_excuse_is_needed() {
    let files = sources();
    let mut problems = Vec::new();
    for (place, reason) in UNSUPERVISED {
        let used = |file: &File| {
            file.path.starts_with(place) && (file.code.contains("spawn(") || file.code.contains("thread::"))
        };
        if !files.iter().any(used) {
            problems.push(format!("{place} is excused ({reason}) and spawns nothing"));
        }
    }
    for (from, to, reason) in UPWARDS {
        if !files
            .iter()
            .any(|file| file.module() == *from && used(&file.code).iter().any(|module| module == to))
        {
            problems.push(format!("{from} is excused for naming {to} ({reason}) and does not"));
        }
    }
    none(&problems);
}

#[test]
fn files_are_short() {
    let long = |file: &File| file.lines > LONGEST;
    let problems: Vec<_> = sources()
        .iter()
        .filter(|file| long(file))
        .map(|file| format!("{}: {} lines", file.path, file.lines))
        .collect();
    none(&problems);
}

#[test]
fn only_one_file_is_unsafe() {
    let files = sources();
    let is = |file: &&File| {
        file.code
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "unsafe")
    };
    none(
        &files
            .iter()
            .filter(|file| file.path != UNSAFE && is(file))
            .map(|file| format!("{} has unsafe code", file.path))
            .collect::<Vec<_>>(),
    );
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"deny\""));
}

#[test]
fn no_file_calls_itself_utilities() {
    const NAMES: &[&str] = &["util", "utils", "common", "helpers", "types", "misc"];
    let vague = |file: &&File| {
        file.path
            .trim_end_matches(".rs")
            .split('/')
            .any(|part| NAMES.contains(&part))
    };
    none(
        &sources()
            .iter()
            .filter(vague)
            .map(|file| format!("{} says nothing", file.path))
            .collect::<Vec<_>>(),
    );
}
