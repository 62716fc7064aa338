//! The parts that the stores share, each by itself. One program beside the library, as the library with its rules would be built once
//! more for tests within it.

#![allow(clippy::unwrap_used, reason = "a test ends where it is surprised")]

mod commits;
mod graph;
mod histogram;
mod list;
mod ran;
mod timeline;
mod unique;
mod waiting;
