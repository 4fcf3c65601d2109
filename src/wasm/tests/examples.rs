//! The example agents, as built by the tools of their languages.

use std::path::{Path, PathBuf};

use super::*;

fn agents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/agents")
}

async fn first_turn(module: Vec<u8>) -> Turn {
    let program = runtime().compile(module.into(), false).await.unwrap();
    let limits = Limits {
        memory_bytes: 64 << 20,
        ..LIMITS
    };
    let mut instance = program.instantiate(host(&ALL), limits).await.unwrap();
    // Long enough on any machine for a guest that replies at all.
    let deadline = Duration::from_secs(20);
    let init = instance
        .init(Budget {
            deadline: Duration::from_millis(100),
            ..BUDGET
        })
        .await;
    if init.end != End::Ok {
        return init;
    }
    instance.handle(&message(), 1, Budget { deadline, ..BUDGET }).await
}

#[tokio::test]
async fn agents_that_were_built_answer() {
    for name in ["echo", "buyer", "seller", "seller_as"] {
        let turn = first_turn(std::fs::read(agents().join(format!("built/{name}.wasm"))).unwrap()).await;
        assert_eq!(turn.end, End::Ok, "{name}");
        assert_eq!(turn.effects.sends[0].receivers, ["desk"], "{name}");
        assert_eq!(turn.effects.sends[0].conversation_id.as_deref(), Some("talk"), "{name}");
    }
}

#[tokio::test]
async fn agents_in_text_do_what_their_names_say() {
    let turn = async |name: &str| {
        let text = std::fs::read_to_string(agents().join(format!("wat/{name}.wat"))).unwrap();
        first_turn(binary(&text).to_vec()).await
    };
    for name in ["echo", "counter", "timer"] {
        let turn = turn(name).await;
        assert_eq!((turn.end, turn.effects.sends.len()), (End::Ok, 1), "{name}");
    }
    assert_eq!(turn("error").await.end, returned(7));
    let faults = [
        ("crash", CrashKind::Trap),
        ("crash_once", CrashKind::Trap),
        ("deep_recursion", CrashKind::Trap),
        ("init_trap", CrashKind::Trap),
        ("state_on_crash", CrashKind::Trap),
        ("bad_pointer", CrashKind::BadPointer),
        ("grow_trap", CrashKind::OutOfMemory),
        ("spin_init", CrashKind::Deadline),
    ];
    for (name, kind) in faults {
        assert_eq!(crash(&turn(name).await).kind, kind, "{name}");
    }
}
