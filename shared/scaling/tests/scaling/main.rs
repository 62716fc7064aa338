//! The scaler over time: laws of what it decides, and a day of bursts beside a fixed fleet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends where it is surprised, and the day's figures are to be read"
)]

mod day;
mod laws;
mod world;
