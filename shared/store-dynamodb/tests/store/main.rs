//! The store over an engine of its own for each test. One program has them all, so that it is linked once and long tests run beside
//! short ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends where it is surprised, and tells its figures"
)]

mod archive;
mod bench;
mod claims;
mod clocks;
mod conformance;
mod cost;
mod damaged;
mod engine;
mod faults;
mod going;
mod limits;
mod order;
mod relays;
mod retention;
mod statistics;
mod transfer;
mod types;
mod waiting;

/// The engine and its clients make many small values: with the allocator of the C library, a sixth of the time goes into that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
