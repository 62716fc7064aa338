//! A task as clients read it: under both names of its state and its error.

use baton_model::{Event, EventKind, Running, Task, TaskState, Timestamp};
use baton_store::TaskDetail;
use serde::Serialize;
use serde_json::Value;

use crate::kept::Kept;
use crate::stamp::stamp;
use crate::word::Word;

/// What all lists have of a task.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// Its id in Baton.
    job_id: String,
    title: String,
    description: String,
    role: String,
    branch: String,
    state: &'static str,
    status: &'static str,
    last_error: Option<String>,
    error: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    full_access: bool,
    target_dir: String,
    /// In hundredths.
    progress: u8,
}

/// The state of a task, whose worker says this of it.
pub(crate) fn word(task: &Task, said: Option<&Running>) -> Word {
    let code = task.error.as_ref().and_then(|error| error.code.as_deref());
    Word::of(task.head.state.state(), code).in_phase(said.and_then(|said| said.message.as_deref()))
}

impl Entry {
    pub(crate) fn new(task: &Task, said: Option<&Running>) -> Self {
        Self::of(task, Kept::of(task), said)
    }

    pub(crate) fn of(task: &Task, kept: Kept, said: Option<&Running>) -> Self {
        let word = word(task, said);
        let error = task.error.as_ref().map(|error| error.message.clone());
        let progress = match word {
            Word::Passed => 1.0,
            _ => said.and_then(|said| said.progress).unwrap_or(0.0).clamp(0.0, 1.0),
        };
        Self {
            id: kept.id,
            job_id: task.head.id.to_string(),
            title: kept.title,
            description: kept.description,
            role: kept.role,
            branch: kept.branch,
            state: word.as_str(),
            status: word.as_str(),
            last_error: error.clone(),
            error,
            provider: kept.provider,
            model: kept.model,
            full_access: kept.full_access,
            target_dir: kept.target_dir,
            // Between 0 and 100, as clamped above.
            progress: (progress * 100.0).round() as u8,
        }
    }
}

/// A task as the persistent list has it.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) entry: Entry,
    created_at: String,
    updated_at: String,
    started_at: Option<String>,
    completed_at: Option<String>,
    commit_hash: Option<String>,
    error_count: usize,
}

impl Row {
    pub(crate) fn new(detail: &TaskDetail) -> Self {
        let task = &detail.task;
        Self {
            entry: Entry::new(task, detail.progress.as_ref()),
            created_at: stamp(task.created_at),
            updated_at: stamp(task.updated_at),
            started_at: started_at(detail).map(stamp),
            completed_at: task.finished_at.map(stamp),
            commit_hash: commit_hash(detail),
            error_count: detail.history.iter().filter(|event| is_error(event)).count(),
        }
    }
}

/// When its latest attempt began.
fn started_at(detail: &TaskDetail) -> Option<Timestamp> {
    if let TaskState::Running(lease) = &detail.task.head.state {
        return Some(lease.claimed_at);
    }
    let claimed = |event: &&Event| event.kind == EventKind::Claimed;
    detail.history.iter().rev().find(claimed).map(|event| event.at)
}

/// Whether an attempt ended badly by it.
fn is_error(event: &Event) -> bool {
    matches!(event.kind, EventKind::AttemptFailed | EventKind::LeaseLost) && !event.detail.uncounted
}

/// The commit that its worker names in what it handed over.
pub(crate) fn commit_hash(detail: &TaskDetail) -> Option<String> {
    let output = &detail.generation.as_ref()?.output;
    let named = |payload: &baton_model::Payload| {
        let hash = payload.to_value().get("commit_hash").and_then(Value::as_str).map(str::to_owned);
        hash.filter(|hash| !hash.is_empty())
    };
    output.result.as_ref().and_then(named).or_else(|| output.metadata.as_ref().and_then(named))
}
