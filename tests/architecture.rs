//! What must not be in the source: wrong names in wrong places. Each rule is a reading of `src/**/*.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use architecture::circles::{Crate, SERVER, between_modules, circles, described};
use architecture::none;
use architecture::source::{Kind, Token, shipped, texts};

/// How the source is read, and the rules that take more than a page.
mod architecture {
    mod callers;
    pub(crate) mod circles;
    mod fronts;
    mod kinds;
    pub(crate) mod modules;
    mod requests;
    pub(crate) mod source;
    mod steps;

    #[track_caller]
    pub(crate) fn none(problems: &[String]) {
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }
}

/// The modules of the crate, a layer on each line. A module may name those of its own layer and of the layers below it.
const LAYERS: &str = "
    lib main
    api cli server
    node
    operation events config principal simulation
    directory grants group router
    agent mailbox
    journal wasm
    descriptors error event fipa id idempotency json message pattern quantity rate secret time timer telemetry
";

/// Where no files use each other in a circle: the folder of a crate's `lib.rs`, and a module of that crate with all below it.
const NO_CIRCLES: &[(&str, &str)] = &[("src", "api"), ("src", "wasm"), ("supervisors/src", "core")];

/// Who may name a foreign crate: files that begin so.
const WRAPPERS: &[(&str, &[&str])] = &[
    ("wasmtime", &["wasm"]),
    ("wasmparser", &["wasm"]),
    ("wit_component", &["wasm"]),
    ("actix", &["api/rest", "api/ws"]),
    ("actix_http", &["api/http", "api/ws"]),
    ("actix_server", &["api/http"]),
    ("actix_service", &["api/http"]),
    ("actix_web", &["api/http", "api/rest", "api/ws"]),
    ("actix_web_actors", &["api/ws"]),
    ("actix_multipart", &["api/rest"]),
    ("utoipa", &["api", "agent/spec", "group"]),
    ("hyper", &["api/grpc"]),
    ("hyper_util", &["api/grpc"]),
    ("tonic", &["api/grpc"]),
    ("tonic_types", &["api/grpc"]),
    ("prost", &["api/grpc", "journal/wire"]),
    ("prost_types", &["api/grpc"]),
    ("rusqlite", &["journal"]),
    ("clap", &["cli"]),
    ("figment", &["config"]),
    ("dashmap", &["directory", "router"]),
    ("metrics_exporter_prometheus", &["telemetry"]),
    ("metrics_process", &["telemetry"]),
    ("hdrhistogram", &["telemetry"]),
    ("sysinfo", &["node"]),
];

/// Where an actor is spawned: linked, and from a child specification.
const SPAWNERS: &[&str] = &[
    "agent",
    "node",
    "router",
    "events.rs",
    "operation.rs",
    "server.rs",
    "api",
];

/// Tasks and threads that no supervisor started, and why they may be.
const UNSUPERVISED: &[(&str, &str)] = &[
    (
        "telemetry/log.rs",
        "lines are written by a thread that lives as long as the process, so that a reader who stops delays nothing else",
    ),
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
        "api/grpc/serving.rs",
        "each connection is a task of its listener, which ends it",
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

/// Who may write to the standard streams. `println!` and its like panic where nobody reads any more, so nobody uses them.
const STREAMS: &[&str] = &["telemetry/log.rs", "cli/output.rs", "wasm/compiler.rs"];

/// The one file with unsafe code, which says why each piece is sound.
const UNSAFE: &str = "wasm/code.rs";

const LONGEST: usize = 450;

struct File {
    /// Below `src`, such as `api/rest.rs`.
    path: String,
    /// Without comments, without the content of strings, and without what tests say of themselves.
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

/// Read once for all rules.
static SOURCES: LazyLock<Vec<File>> = LazyLock::new(sources);

fn sources() -> Vec<File> {
    let file = |(path, text): (String, String)| File {
        lines: text.lines().count(),
        code: if path.split('/').any(|part| part == "tests" || part == "tests.rs") {
            String::new()
        } else {
            code(&shipped(&text))
        },
        path,
    };
    let files: Vec<_> = texts("src").into_iter().map(file).collect();
    assert!(files.len() > 30, "the sources are not where this test looks");
    files
}

/// The tokens as text, with spaces only between words. String literals are empty.
fn code(tokens: &[Token]) -> String {
    let mut code = String::new();
    let mut last = Kind::Mark;
    for token in tokens {
        match token.kind {
            Kind::Literal => code.push_str("\"\""),
            Kind::Word if last == Kind::Word => {
                code.push(' ');
                code.push_str(&token.text);
            }
            Kind::Word | Kind::Mark => code.push_str(&token.text),
        }
        last = token.kind.clone();
    }
    code
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

#[test]
fn a_lower_layer_names_no_higher_one() {
    let layers = LAYERS.lines().rev().enumerate();
    let layer: BTreeMap<_, _> = layers
        .flat_map(|(layer, modules)| modules.split_whitespace().map(move |module| (module, layer)))
        .collect();
    let files = &*SOURCES;
    let mut problems = Vec::new();
    for file in SOURCES.iter() {
        let Some(own) = layer.get(file.module()) else {
            problems.push(format!("{}: its module is in no layer", file.path));
            continue;
        };
        for module in used(&file.code) {
            if layer.get(module).is_some_and(|other| other > own) {
                problems.push(format!("{} names {module}, which is above it", file.path));
            }
        }
    }
    for module in layer.keys() {
        if !files.iter().any(|file| file.module() == *module) {
            problems.push(format!("{module} is in a layer and is no module"));
        }
    }
    none(&problems);
}

#[test]
fn files_do_not_use_each_other_in_a_circle() {
    let circle = |(root, folder): &(&str, &str)| {
        let found = circles(&Crate::of(root).edges(), folder);
        found
            .iter()
            .map(|circle| format!("in {root}/{folder}, {}", described(circle)))
            .collect::<Vec<_>>()
    };
    none(&NO_CIRCLES.iter().flat_map(circle).collect::<Vec<_>>());
}

#[test]
fn modules_do_not_use_each_other_in_a_circle() {
    let found = circles(&between_modules(&SERVER.edges()), "");
    none(&found.iter().map(described).collect::<Vec<_>>());
}

#[test]
fn a_foreign_crate_is_named_in_its_own_place() {
    let mut problems = Vec::new();
    for file in SOURCES.iter() {
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
    for file in SOURCES.iter() {
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
fn a_diagnostic_never_ends_the_process() {
    const PANICKING: &[&str] = &["println!(", "print!(", "dbg!("]; // also `eprintln!` and `eprint!`
    let mut problems = Vec::new();
    for file in SOURCES.iter() {
        for call in PANICKING.iter().filter(|call| file.code.contains(**call)) {
            problems.push(format!("{} has `{call}…)`, which panics where nobody reads", file.path));
        }
        let streams = ["stdout()", "stderr()"].iter().any(|call| file.code.contains(call));
        if streams && !STREAMS.contains(&file.path.as_str()) {
            problems.push(format!("{} writes to a standard stream", file.path));
        }
    }
    none(&problems);
}

#[test]
fn every_metric_is_described() {
    let described = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry/metrics.rs")).unwrap();
    let mut problems = Vec::new();
    for (path, text) in texts("src").into_iter().chain(texts("supervisors/src")) {
        let tokens = shipped(&text);
        for name in tokens.windows(4).filter_map(|next| match next {
            [kind, bang, open, name] if bang.is("!") && open.is("(") && name.kind == Kind::Literal => {
                let macros = ["counter", "gauge", "histogram"];
                macros.iter().any(|word| kind.is(word)).then_some(&name.text)
            }
            _ => None,
        }) {
            if !described.contains(&format!("(\"{name}\",")) && !described.contains(&format!("\"{name}\",\n        ")) {
                problems.push(format!("{path}: {name} has no description"));
            }
        }
    }
    none(&problems);
}

#[test]
fn every_excuse_is_needed() {
    let files = &*SOURCES;
    let mut problems = Vec::new();
    for (place, reason) in UNSUPERVISED {
        let used = |file: &File| {
            file.path.starts_with(place) && (file.code.contains("spawn(") || file.code.contains("thread::"))
        };
        if !files.iter().any(used) {
            problems.push(format!("{place} is excused ({reason}) and spawns nothing"));
        }
    }
    none(&problems);
}

#[test]
fn files_are_short() {
    let long = |file: &File| file.lines > LONGEST;
    let problems: Vec<_> = SOURCES
        .iter()
        .filter(|file| long(file))
        .map(|file| format!("{}: {} lines", file.path, file.lines))
        .collect();
    none(&problems);
}

#[test]
fn only_one_file_is_unsafe() {
    let files = &*SOURCES;
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
        &SOURCES
            .iter()
            .filter(vague)
            .map(|file| format!("{} says nothing", file.path))
            .collect::<Vec<_>>(),
    );
}
