//! The code that prost and tonic make of `proto/caxton/v1`.

#![allow(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    unused_qualifications,
    reason = "generated: its style is that of its generators"
)]

tonic::include_proto!("caxton.v1");

/// The compiled descriptors, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/caxton_descriptor.bin"));
