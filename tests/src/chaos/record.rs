//! What the clients were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard};

use baton_model::Timestamp;
use serde_json::Value;

/// Everything that the clients were told, by all of them.
#[derive(Debug, Default)]
pub(super) struct Record {
    inner: Mutex<Told>,
    /// Requests whose answer was lost.
    pub(super) unanswered: AtomicU64,
}

/// The answers that bind the server.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Acknowledged tasks by id, each with what was asked.
    pub(super) created: BTreeMap<String, Value>,
    /// Attempts that were given out: (task, attempt) to each worker that was told so.
    pub(super) given: BTreeMap<(String, u64), Vec<String>>,
    /// By when an attempt had been given out, by the clock of the machine: of the first answer that told it.
    pub(super) given_by: BTreeMap<(String, u64), Timestamp>,
    /// By the name of a claim: the leases (task, attempt) of each of its answers, all told before any of them was ended.
    pub(super) claims: BTreeMap<String, Vec<BTreeSet<(String, u64)>>>,
    /// Acknowledged completions by task: attempt, generation id, and the result that was sent.
    pub(super) completed: BTreeMap<String, Vec<(u64, String, Value)>>,
    /// Acknowledged cancellations.
    pub(super) cancelled: Vec<String>,
    /// Acknowledged bulk commands.
    pub(super) bulk: BTreeSet<String>,
    /// Answers that no client should get.
    pub(super) surprises: Vec<String>,
}

impl Record {
    /// The record, to be read or added to.
    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.inner.lock().expect("no client panics while it writes")
    }
}
