//! The attempts of a task, as its history tells of them.

use baton_api::task::EventView;
use baton_model::{EventKind, State, Timestamp, WorkerId};
use baton_verdict::{cause, coded, likeness};
use serde::Serialize;

/// One attempt, from its claim to its end.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Attempt {
    pub(crate) attempt: u32,
    pub(crate) worker_id: Option<WorkerId>,
    pub(crate) claimed_at: Timestamp,
    /// None while it runs.
    pub(crate) ended_at: Option<Timestamp>,
    /// How it ended: the kind of the event, such as `completed` or `lease_lost`; none while it runs.
    pub(crate) end: Option<&'static str>,
    /// The code of what went wrong, such as `exit_3` or a loss's, if there is one.
    pub(crate) code: Option<String>,
    /// What went wrong.
    pub(crate) error: Option<String>,
}

impl Attempt {
    /// What went wrong, with its code.
    pub(crate) fn failure(&self) -> Option<String> {
        Some(coded(self.code.as_deref(), self.error.as_ref()?))
    }

    /// What went wrong, by its kind: the code, and the error without what differs each time.
    pub(crate) fn cause(&self) -> Option<String> {
        Some(coded(self.code.as_deref(), &likeness(self.error.as_ref()?)))
    }
}

/// The attempts that a history tells of, the first one first. Of those before its first event nothing is told.
pub(crate) fn attempts(history: &[EventView]) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    for event in history {
        if event.kind == EventKind::Claimed {
            attempts.push(Attempt {
                attempt: event.attempt,
                worker_id: event.worker_id.clone(),
                claimed_at: event.at,
                ended_at: None,
                end: None,
                code: None,
                error: None,
            });
        } else if event.from == Some(State::Running)
            && event.to != State::Running
            && let Some(last) = attempts.last_mut().filter(|last| last.ended_at.is_none())
        {
            last.ended_at = Some(event.at);
            last.end = Some(event.kind.as_str());
            (last.code, last.error) = failure_of(event);
        }
    }
    attempts
}

/// What an event says went wrong: the code, if there is one, and a line.
fn failure_of(event: &EventView) -> (Option<String>, Option<String>) {
    match (event.loss, &event.error) {
        (Some(loss), _) => (None, Some(loss.explain().to_owned())),
        (None, Some(error)) => (error.code.clone(), Some(cause(error))),
        (None, None) => (None, None),
    }
}
