//! The file, the thread, and how they follow the journal.

use super::super::super::testing::event;
use super::*;

#[tokio::test]
async fn a_file_that_cannot_be_used_is_made_again() {
    let world = World::new();
    let agent = AgentId::new();
    for n in 0..100 {
        let asked = ask(client(), &[agent], Some("r"));
        let done = turn(agent, asked.id, TurnEnd::Ok);
        world
            .write(if n % 2 == 0 {
                vec![dispatched(asked)]
            } else {
                vec![dispatched(asked), done]
            })
            .await;
    }
    let dir = world.close();
    let file = dir.path().join("projections.db");
    let before = dump(dir.path());
    let overwrite = |from: usize| {
        let mut bytes = fs::read(&file).unwrap();
        bytes[from..].fill(0xa5);
        fs::write(&file, bytes).unwrap();
    };
    let execute = |sql| Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    let damage: [&dyn Fn(); 5] = [
        &|| overwrite(0),
        &|| overwrite(8_192),
        &|| execute("PRAGMA user_version = 99"),
        &|| execute("UPDATE progress SET applied_seq = 100000"),
        &|| execute("DROP TABLE deliveries"),
    ];
    let aside = file.with_extension("db.damaged");
    let mut dir = dir;
    for (at, damage) in damage.into_iter().enumerate() {
        damage();
        let world = World::reopen(dir);
        assert_eq!(world.recover().queues[&agent].len(), 50, "{at}");
        dir = world.close();
        assert!(dump(dir.path()) == before, "{at}");
        fs::remove_file(&aside).expect("it is kept");
    }
}

#[tokio::test]
async fn what_comes_while_it_opens_is_not_lost() {
    let world = World::new();
    let fence = world.fence;
    let World {
        projections,
        journal,
        dir,
        ..
    } = world;
    drop(projections);
    let writer = {
        let journal = Arc::clone(&journal);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let append = |n: u32| {
                let records = vec![
                    (HOME, event(&n.to_string())),
                    (HOME, dispatched(message(client(), vec![client()]))),
                ];
                runtime
                    .block_on(journal.append(HOME, fence, records).placed())
                    .unwrap()
                    .seq
            };
            (0..20_000).map(append).last().unwrap()
        })
    };
    // The projections are opened again and again while a writer runs; each time the thread of the last ones has
    // stopped.
    while !writer.is_finished() {
        Projections::open(dir.path(), &*journal).unwrap();
    }
    let projections = Projections::open(dir.path(), &*journal).unwrap();
    projections.seen(writer.join().unwrap()).await.unwrap();
    assert_eq!(projections.counts().messages_total, 20_000);
}

#[tokio::test]
async fn who_waits_hears_of_the_end() {
    let world = World::new();
    let waiting = Arc::clone(&world.projections);
    let waiter = tokio::spawn(async move { waiting.seen(Seq(1_000)).await });
    tokio::task::yield_now().await;
    world.close();
    assert!(matches!(waiter.await.unwrap(), Err(JournalError::Closed)));
}
