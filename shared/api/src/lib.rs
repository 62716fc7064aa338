//! The HTTP API as types: what is asked, what is answered, and how a problem is told. Server and client share them,
//! and the OpenAPI document is made from them. Each function has a file for what it is asked and answers; what several of
//! them show is in [`task`] and [`fleet`].
//!
//! Requests are read by [`fields`], which reports every wrong field at once; answers are plain serde.

pub mod address;
pub mod alert;
pub mod batch;
pub mod bulk;
pub mod change;
pub mod claim;
pub mod complete;
pub mod config;
pub mod create;
pub mod defaults;
pub mod ending;
pub mod event;
pub mod fields;
pub mod file;
pub mod fleet;
pub mod graph;
pub mod health;
pub mod heartbeat;
pub mod limit;
pub mod manage;
pub mod order;
pub mod problem;
pub mod reap;
pub mod ring;
pub mod scaling;
pub mod schedule;
pub mod supervised;
pub mod supply;
pub mod task;
mod template;
pub mod text;
pub mod timeline;
pub mod token;
pub mod unique;
pub mod webhook;
pub mod why;

pub use fields::{Fields, ReadFields};
pub use problem::{FieldError, Problem, ProblemCode};
