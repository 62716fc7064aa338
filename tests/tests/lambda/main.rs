//! The functions as AWS Lambda runs them, in this process: events in, answers out, over a table and queues that they
//! share.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends where it is surprised"
)]

mod alerts;
mod archived;
mod attack;
mod authorized;
mod bucket;
mod calls;
mod clocks;
mod completions;
mod cost;
mod edge_functions;
mod events;
mod files;
mod histories;
mod hosts;
mod permissions;
mod relayed;
mod rings;
mod settings;
#[path = "../stream/mod.rs"]
mod stream;
mod submissions;
mod world;

/// The tables' engines and their clients make many small values.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
