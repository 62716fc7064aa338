//! The server as its callers meet it: through all layers, over a real store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers may fail the test"
)]

mod access;
mod affinity;
mod alerts;
mod batches;
mod bulk;
mod change;
mod clocks;
mod config;
mod create;
mod defaults;
mod dependencies;
mod dialects;
mod documents;
mod endings;
mod events;
mod files;
mod fleet;
mod heads;
mod limits;
mod live;
mod malformed;
mod metrics;
mod once;
mod operations;
mod queries;
mod requests;
mod scaling;
mod schedules;
mod secrets;
mod shipped;
mod sockets;
mod supply;
mod sweep;
mod telling;
mod tenants;
mod timeline;
mod tokens;
mod traces;
mod ui;
mod ui_live;
mod untaken;
mod waiting;
mod webhooks;
mod why;
mod workers;
mod world;
