//! A function per requirement of RFC 9112 and RFC 9110, driven through a whole shard.

#[path = "../sim/world/mod.rs"]
mod world;
