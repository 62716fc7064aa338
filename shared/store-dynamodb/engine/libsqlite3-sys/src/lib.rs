//! SQLite's C interface as `libsqlite3-sys` 0.39 gives it, under the version that the tests' engine asks for.
pub use sys::*;
