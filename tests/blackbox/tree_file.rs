//! `caxton serve --tree`: the groups and agents that the file declares exist when the server answers.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::guests;
use crate::harness::{TestNode, caxton};

/// The error of a server that does not start with this tree file.
fn refusal(data: &Path, file: &Path) -> String {
    let mut serve = caxton();
    serve.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--grpc-listen",
        "127.0.0.1:0",
        "--data-dir",
    ]);
    let ended = serve.arg(data).arg("--tree").arg(file).output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    String::from_utf8(ended.stderr).unwrap()
}

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

#[test]
fn a_tree_that_cannot_be_made_stops_the_start_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("tree.toml"));
    assert!(refusal(&data, &file).contains("there is no file"));
    fs::write(folder.path().join("echo.wasm"), guests::assemble(&guests::text("echo"))).unwrap();
    let agent = "[[agent]]\nmodule = \"echo.wasm\"\nconfig = { name = \"echo\" }\n";
    for (tree, words) in [
        ("[[supervisors]]", ["tree file", "supervisors"]),
        ("[[supervisor]]\nname = \"a\"\ncolour = 1", ["supervisor 1", "colour"]),
        (
            "[[supervisor]]\nname = \"a\"\nparent = \"b\"",
            ["supervisor 1", "parent"],
        ),
        (
            "[[agent]]\nmodule = \"absent.wasm\"\nconfig = { name = \"x\" }",
            ["agent 1", "absent.wasm"],
        ),
        (
            &agent.replace('}', ", supervision = { group = \"nobody\" } }"),
            ["agent 1", "nobody"],
        ),
        (
            &format!("{agent}{}", agent.replace('}', ", version = \"2.0.0\" }")),
            ["agent 2", "configuration"],
        ),
    ] {
        fs::write(&file, tree).unwrap();
        let said = refusal(&data, &file);
        assert!(words.iter().all(|word| said.contains(word)), "{tree}\n{said}");
    }
}
