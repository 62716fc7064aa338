//! The HTTP API as types: what is asked, what is answered, and how a problem is told. Server and client share them,
//! and the OpenAPI document is made from them.
//!
//! Requests are read by [`fields`], which reports every wrong field at once; answers are plain serde.

pub mod answer;
pub mod fields;
pub mod problem;
pub mod request;

pub use fields::{Fields, ReadFields};
pub use problem::{FieldError, Problem, ProblemCode};
