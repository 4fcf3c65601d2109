//! The parts that the benches share.

use std::sync::Arc;

use caxton::config::Config;
use caxton::node::{Node, Opened};
use caxton::wasm::Runtime;

/// A node that listens nowhere.
pub(crate) async fn node(config: Config) -> Arc<Node> {
    let opened = Opened::open(config).expect("it opens");
    opened.start(|_| Vec::new()).await.expect("it starts")
}

/// Runs a bench on two worker threads, as many as the goals were measured with.
pub(crate) fn run(bench: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(Runtime::prepare_thread)
        .build()
        .expect("a runtime")
        .block_on(bench);
}
