//! Compiles `proto/` with protox, so that nobody has to install `protoc`.

use std::path::PathBuf;
use std::{env, error, fs};

use prost::Message as _;

/// The files of the package `caxton.v1`, seen from `proto/`.
const FILES: &[&str] = &[
    "caxton/v1/agent.proto",
    "caxton/v1/message.proto",
    "caxton/v1/supervision.proto",
];

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    // Reflection serves these bytes to clients that have no .proto at hand.
    let out = PathBuf::from(env::var("OUT_DIR")?).join("caxton_descriptor.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_client(true)
        .bytes(".caxton.v1")
        // In order, so that the same request has the same bytes.
        .btree_map(".caxton.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
