//! The command as its users meet it. One program has all of its tests, so that it is linked once and long tests run beside short
//! ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it is surprised"
)]

mod affinity;
mod alerts;
mod archive;
mod batches;
mod bench;
mod bulk;
mod change;
mod cli;
mod config;
mod debug;
mod debug_faults;
mod debug_many;
mod debug_planted;
mod dialects;
#[cfg(feature = "dynamodb")]
mod dynamodb;
mod emergency;
mod example;
mod figures;
mod file;
mod files;
mod flags;
mod fleet;
mod fleet_chaos;
mod import;
mod limits;
mod listeners;
mod logs;
mod machines;
mod migrate;
#[cfg(feature = "postgres")]
mod mirror;
mod moving;
mod once;
mod outputs;
#[cfg(all(feature = "dynamodb", feature = "sqs"))]
mod queues;
mod scale;
mod schedules;
mod shown;
#[cfg(feature = "sqs")]
mod sqs;
mod supply;
mod support;
mod surroundings;
mod task_stats;
mod tls;
mod tokens;
mod top;
mod traces;
mod ui;
mod unread;
mod words;
mod worker;
mod worker_life;
mod worker_losses;
mod worker_processes;
mod worker_programs;
