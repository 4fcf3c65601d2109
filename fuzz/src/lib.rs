//! What must hold whatever the bytes are. Each function panics where it does not.
//!
//! The fuzz targets call these with bytes by chance, and `tests/fuzz_cases.rs` of the main crate with the cases that were found.

use bytes::Bytes;
use caxton::agent::spec::{AgentSpec, Ceilings};
use caxton::idempotency::Key;
use caxton::message::{Content, Draft};
use caxton::wasm::Demand;

/// A message of a client or a guest, in JSON.
pub fn draft(bytes: &[u8]) {
    let draft = match Draft::from_json(bytes).and_then(Draft::check) {
        Ok(draft) => draft,
        Err(refused) => return assert!(!refused.to_string().is_empty()),
    };
    if let Content::Json(content) = &draft.content {
        serde_json::from_slice::<&serde_json::value::RawValue>(content)
            .expect("content is JSON, and is stored as it came");
    }
}

/// A batch of records, as a frame of the journal holds it.
pub fn batch(bytes: &[u8]) {
    if let Some(once) = caxton::journal::reread(Bytes::copy_from_slice(bytes)) {
        let twice = caxton::journal::reread(once.clone().into());
        assert_eq!(twice, Some(once), "what was written is read as the same");
    }
}

/// The key of an idempotent request, as its header has it.
pub fn key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(key) = Key::parse(text) {
        assert_eq!(Key::parse(key.as_str()).ok(), Some(key), "a key is its own name");
    }
}

/// The declaration of an agent, in JSON.
pub fn spec(bytes: &[u8]) {
    let Ok(spec) = AgentSpec::from_json(bytes) else {
        return;
    };
    if spec.check(&Ceilings::default()).is_ok() {
        let text = serde_json::to_vec(&spec).expect("what is valid can be written");
        let again = AgentSpec::from_json(&text).expect("and read");
        again.check(&Ceilings::default()).expect("and is as valid");
        assert_eq!(
            serde_json::to_vec(&again).expect("it can be written"),
            text,
            "and is the same"
        );
    }
}

/// A module, before anything of it is compiled.
pub fn module(bytes: &[u8]) {
    const MOST: usize = 33;
    let findings = caxton::wasm::findings(bytes);
    assert!(findings.len() <= MOST, "{} findings", findings.len());
    for finding in &findings {
        let said = [finding.rule.len(), finding.found.len(), finding.expected.len()];
        assert!(said.iter().all(|bytes| (1..2_000).contains(bytes)), "{finding:?}");
    }
    let _ = Demand::of(bytes);
}

pub use guest::guest;

mod guest {
    //! A module that is run.

    use std::collections::BTreeMap;
    use std::sync::{Arc, LazyLock};
    use std::time::Duration;

    use bytes::Bytes;
    use caxton::error::Error;
    use caxton::fipa::Performative;
    use caxton::id::{AgentId, MessageId};
    use caxton::message::{Address, Content, Message};
    use caxton::time::Timestamp;
    use caxton::wasm::{Budget, End, Grants, Host, Limits, Runtime, RuntimeConfig, Search, Turn};

    const LIMITS: Limits = Limits {
        memory_bytes: 4 << 20,
        state_bytes: 4 << 10,
        state_keys: 8,
        log_bytes_per_second: 1 << 10,
        timers: 2,
    };
    const BUDGET: Budget = Budget {
        fuel: Some(1_000_000),
        deadline: Duration::from_secs(5),
        sends: 4,
    };

    struct All;

    impl Grants for All {
        fn may_message(&self, _: &str) -> bool {
            true
        }

        fn state(&self) -> bool {
            true
        }

        fn random(&self) -> bool {
            true
        }

        fn timers(&self) -> bool {
            true
        }

        fn environment(&self) -> Option<&BTreeMap<String, String>> {
            None
        }

        fn directory(&self) -> Option<&dyn Search> {
            None
        }
    }

    /// Compiles a module, starts it and hands it a message, twice. Fuel ends it.
    pub fn guest(module: &[u8]) {
        static ASYNC: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(1).enable_all().build().expect("a runtime")
        });
        static GUESTS: LazyLock<Arc<Runtime>> = LazyLock::new(|| {
            let config = RuntimeConfig {
                start: BUDGET,
                // Many short lives; a large address space for each takes longer than they do.
                memory_reservation: 16 << 20,
                ..RuntimeConfig::default()
            };
            Runtime::new(&config).expect("engines")
        });
        ASYNC.block_on(run(&GUESTS, Bytes::copy_from_slice(module)));
    }

    async fn run(runtime: &Runtime, module: Bytes) {
        let program = match runtime.compile(module, true).await {
            Ok(program) => program,
            Err(Error::InvalidWasm(findings)) => return assert!(!findings.is_empty(), "it is told why"),
            Err(error) => panic!("{error}"),
        };
        let host = Host {
            agent: AgentId::new(),
            name: "fuzzed".parse().expect("it is a name"),
            state: Arc::default(),
            timers: Arc::default(),
            grants: Arc::new(All),
        };
        let Ok(mut instance) = program.instantiate(host, LIMITS).await else {
            return;
        };
        let init = instance.init(BUDGET).await;
        holds(&init);
        if init.end != End::Ok {
            return;
        }
        for attempt in 1..=2 {
            holds(&instance.handle(&message(), attempt, BUDGET).await);
        }
        holds(&instance.shutdown(BUDGET).await);
    }

    fn holds(turn: &Turn) {
        assert!(
            turn.end == End::Ok || turn.effects.is_empty(),
            "only a turn that ends well has effects"
        );
        assert!(turn.usage.memory_bytes <= LIMITS.memory_bytes, "{:?}", turn.usage);
        assert!(turn.usage.fuel.is_none_or(|fuel| fuel <= 1_000_000), "{:?}", turn.usage);
        assert!(turn.effects.sends.len() <= 4 && turn.effects.timers.len() <= 2);
        assert!(turn.effects.writes.len() <= 8);
    }

    fn message() -> Message {
        Message {
            id: MessageId::new(),
            performative: Performative::Request,
            sender: Address::Client("fuzzer".parse().expect("it is a name")),
            receivers: vec![Address::Agent(AgentId::new())],
            reply_to: None,
            content: Content::Json(r#"{"a":1}"#.into()),
            language: None,
            ontology: None,
            protocol: None,
            conversation_id: "talk".to_owned(),
            reply_with: None,
            in_reply_to: None,
            reply_by: None,
            timestamp: Timestamp::now(),
            causation_id: None,
            traceparent: None,
            hops: 0,
            extensions: BTreeMap::new(),
        }
    }
}
