//! Machines that are paid for: what their providers tell of them, which of them serve no live worker, what they cost, and how they are
//! ended.
//!
//! A worker says in its heartbeats on which machine it runs, by the label [`baton_model::Worker::MACHINE`]. Whether it lives, its heartbeats alone decide.

mod command;
mod inventory;
mod runpod;
mod verdict;

use async_trait::async_trait;

pub use baton_model::Money;
pub use command::Command;
pub use inventory::{Machine, State};
pub use runpod::RunPod;
pub use verdict::{Judged, Known, LastWorker, Report, Totals, Verdict, Worker, report};

/// Who lets machines.
#[async_trait]
pub trait Provider: Send + Sync {
    /// All machines that are paid for, those included that have stopped.
    ///
    /// # Errors
    /// [`ProviderError`].
    async fn list(&self) -> Result<Vec<Machine>, ProviderError>;

    /// Starts a machine of this name, and tells of it.
    ///
    /// # Errors
    /// [`ProviderError`].
    async fn spawn(&self, name: &str) -> Result<Machine, ProviderError>;

    /// Ends a machine for good, with all that lies on it. One that is gone is as it is asked to be.
    ///
    /// # Errors
    /// [`ProviderError`].
    async fn terminate(&self, id: &str) -> Result<(), ProviderError>;
}

/// Why a provider could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Its program did not do as it was asked.
    #[error("{program}: {what}")]
    Program {
        /// The program.
        program: String,
        /// What it did instead.
        what: String,
    },
    /// What it told cannot be read.
    #[error("{place}: {problem}")]
    Unreadable {
        /// Where: a line, a field.
        place: String,
        /// What was expected, and what came.
        problem: baton_model::Expected,
    },
    /// It was not reached.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// Its address.
        url: String,
        /// Why not.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It refused.
    #[error("{url}: expected {expected}, got {status}: {told}")]
    Refused {
        /// What was asked.
        url: String,
        /// What would have been an answer.
        expected: &'static str,
        /// The status of its answer.
        status: u16,
        /// The beginning of it.
        told: String,
    },
    /// It has no way to do so.
    #[error("no program is set that ends machines of {0}; set terminate")]
    CannotTerminate(String),
    /// It has no way to start one.
    #[error("nothing is set that starts machines of {0}; set {1}")]
    CannotSpawn(String, &'static str),
}
