//! What the end-to-end tests share: the program under test as a process, the harness that kills it, and a server for a dialect's
//! old clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

pub mod chaos;
pub mod program;
pub mod site;
