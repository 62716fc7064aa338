//! The rules of a store, as tests over [`Store`](crate::Store).
//!
//! Every rule is one function here, named after the behaviour that it states. A store runs all of them, each in an
//! empty store of its own, with a few lines in its `tests/conformance.rs`:
//!
//! ```ignore
//! struct Disk(tempfile::TempDir);
//!
//! #[async_trait::async_trait]
//! impl baton_store::conformance::World for Disk { /* open */ }
//!
//! baton_store::conformance_tests!(Disk(tempfile::tempdir().unwrap()));
//! ```
//!
//! There is one list of rules, in `list`: the macro and [`RULES`] are made of it, and a test holds it against the
//! functions. A rule is skipped only where the store's [`Capabilities`](crate::Capabilities) say that it does not
//! promise it. Time and ids are handed in, so that nothing here sleeps or reads a clock; the two time limits there are
//! only end the test of a store that would hang, and what is measured is so where a variable asks for it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code that lies in a library"
)]

#[macro_use]
mod rules;

pub mod affinity;
pub mod alone;
pub mod archive;
pub mod audit;
pub mod batches;
pub mod bulk;
pub mod change;
pub mod choice;
pub mod claim;
pub mod clocks;
pub mod complete;
pub mod concurrent;
pub mod config;
pub mod create;
pub mod defaults;
pub mod dependencies;
pub mod documents;
pub mod doorbell;
mod drawn;
pub mod durability;
pub mod endings;
pub mod expiry;
pub mod fail;
pub mod heartbeat;
pub mod history;
mod invariants;
mod kit;
pub mod limits;
mod list;
pub mod losses;
pub mod moved;
pub mod operate;
mod oracle;
pub mod order;
pub mod places;
pub mod purge;
pub mod query;
pub mod queue_change;
pub mod random;
pub mod reach;
pub mod reap;
pub mod release;
pub mod requests;
pub mod run_after;
pub mod schedules;
pub mod sessions;
mod split_mix;
pub mod statistics;
pub mod supply;
pub mod timeline;
pub mod token;
pub mod trace;
pub mod transfer;
pub mod unique;
pub mod why;
mod words;

pub use invariants::check_invariants;
pub use kit::{Archiving, Bench, Movable, World};
pub use list::RULES;
pub use oracle::Oracle;
