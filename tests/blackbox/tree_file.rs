//! `serve --tree`: what a file declares is there when the server answers.

use std::fs;

use serde_json::json;

use crate::guests;
use crate::harness::TestNode;

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_agents_of_a_file_are_there_at_start_and_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("counter.wasm"),
        guests::assemble(&guests::text("counter")),
    )
    .unwrap();
    let file = folder.path().join("tree.toml");
    let tree = r#"
        [[supervisor]]
        name = "shop"
        strategy = "rest_for_one"

        [[supervisor]]
        name = "checkout"
        parent = "shop"

        [[agent]]
        module = "counter.wasm"
        config = { name = "counter", permissions = { state = true }, supervision = { group = "checkout" } }
    "#;
    fs::write(&file, tree).unwrap();
    let mut node = TestNode::start_with(&format!("tree = {:?}", file.display().to_string())).await;
    assert_eq!(node.told("counter", &json!({})).await, 1);
    let tree = node.get("/api/v1/supervision/tree").await.good().to_string();
    assert!(tree.contains("/agents/shop/checkout/counter"), "{tree}");

    assert!(node.terminate().await.success());
    fs::write(
        &file,
        fs::read_to_string(&file)
            .unwrap()
            .replace("rest_for_one", "one_for_all"),
    )
    .unwrap();
    node.restart().await;
    assert_eq!(
        node.told("counter", &json!({})).await,
        2,
        "the agent that is there already keeps its state"
    );
    let tree = node.get("/api/v1/supervision/tree").await.good().to_string();
    assert!(tree.contains("one_for_all"), "the group goes by what the file says now");
}
