//! The pool of instances, and what does not fit in its slots.

use super::*;

#[tokio::test]
async fn without_address_space_for_a_pool_instances_are_made_on_demand() {
    let runtime = Runtime::new(&RuntimeConfig {
        // An address space of 47 bits has no room for so many memories of 4 GiB.
        instances: 50_000,
        ..RuntimeConfig::default()
    });
    let program = runtime.unwrap().compile(binary(&sender("{}")), false).await.unwrap();
    let mut instance = program.instantiate(host(&ALL), LIMITS).await.unwrap();
    assert_eq!(handle(&mut instance).await.end, returned(-1));
}

#[tokio::test]
async fn a_table_that_fits_no_slot_is_found_and_one_cannot_grow_beyond() {
    let found = findings(binary(&guest("(table 65537 funcref)", "(i32.const 0)"))).await;
    assert_eq!(found[0].rule, "compile");
    assert!(
        found[0].found.contains("65537") && found[0].found.contains("65536"),
        "{found:?}"
    );
    let grow = "(i32.add (table.grow (ref.null func) (i32.const 1)) (i32.const 10))";
    let mut instance = start(&guest("(table 65536 funcref)", grow)).await;
    assert_eq!(handle(&mut instance).await.end, returned(9), "table.grow says -1");
}

#[tokio::test]
async fn a_finding_has_no_path_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(&RuntimeConfig {
        cache: Some(CacheFolder {
            dir: dir.path().join("a-long-name-of-a-folder-for-compiled-modules"),
            bytes: 1 << 30,
        }),
        ..RuntimeConfig::default()
    });
    let module = binary(&guest("(table 65537 funcref)", "(i32.const 0)"));
    let Err(Error::InvalidWasm(found)) = runtime.unwrap().compile(module, false).await else {
        panic!("the table fits no slot");
    };
    let text = &found[0].found;
    assert!(text.contains("65537") && text.contains("65536"), "{text}");
    assert!(!text.contains("compiled-modules") && !text.contains('/'), "{text}");
}

/// Each new instance reuses the slot of the last one.
#[tokio::test]
async fn a_new_instance_finds_nothing_of_the_last_one_in_its_slot() {
    let runtime = Runtime::new(&RuntimeConfig {
        instances: 3,
        ..RuntimeConfig::default()
    })
    .unwrap();
    // Increments three numbers in its memory and returns their sum. They are in a page of the memory's image, in a page after the
    // image, and in a page that the memory has grown by.
    let count = |at: &str| format!("(i32.store (i32.const {at}) (i32.add (i32.const 1) (i32.load (i32.const {at}))))");
    let sum = |at: &str| format!("(i32.load (i32.const {at}))");
    let body = format!(
        "(drop (memory.grow (i32.const 3))) {} {} {} (i32.add {} (i32.add {} {}))",
        count("16"),
        count("60000"),
        count("250000"),
        sum("16"),
        sum("60000"),
        sum("250000"),
    );
    let wat = guest(
        r#"(data (i32.const 0) "some text that is long enough to be an image")"#,
        &body,
    );
    let program = runtime.compile(binary(&wat), false).await.unwrap();
    let mut ends = Vec::new();
    for _ in 0..5 {
        let mut instance = program.instantiate(host(&ALL), LIMITS).await.unwrap();
        ends.push(handle(&mut instance).await.end);
    }
    assert!(ends.iter().all(|end| *end == ends[0] && *end != End::Ok), "{ends:?}");
}
