//! Servers are killed at random moments under load, on both stores and beneath every dialect; what they acknowledged is neither lost nor
//! done twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends where it is surprised, and tells its figures"
)]

mod dialects;
mod file;
mod table;

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}")))
}
