//! The platform's clients over real sockets: what they send, and what they read of the answers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

mod access;
mod claims;
mod completions;
mod counts;
mod creates;
mod heartbeats;
mod orchestrators;
mod reads;
mod statuses;
mod storage;
mod tables;
mod world;
