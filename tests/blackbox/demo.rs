//! `caxton demo`, as the README shows it.

use std::time::{Duration, Instant};

use crate::harness::caxton;

#[tokio::test]
async fn the_demo_ends_by_itself_with_a_deal_and_a_restart() {
    let began = Instant::now();
    let mut command = caxton();
    command.arg("demo");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let (told, wrong) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{told}\n{wrong}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    for part in [
        "The deal: 100",
        "cfp",
        "propose",
        "accept_proposal",
        "CRASH",
        "restarted, incarnation 2",
        "curl http",
    ] {
        assert!(told.contains(part), "`{part}` is not told:\n{told}");
    }
}
