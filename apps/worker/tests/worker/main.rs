//! A worker beside a server: what becomes of its tasks and of what they have done, whatever lies between the two.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml allows it in tests, but does not know their helpers"
)]

mod detour;
mod drain;
mod ends;
mod ready;
mod support;
mod token;
