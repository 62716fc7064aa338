//! The attempts of a task, as its history tells of them.

use baton_api::task::EventView;
use baton_model::{EventKind, State, Timestamp, WorkerId};
use serde::Serialize;

use crate::kinds::{cause, coded};
use crate::likeness::likeness;

/// One attempt, from its claim to its end.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// Its number.
    pub attempt: u32,
    /// Who ran it.
    pub worker_id: Option<WorkerId>,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// None while it runs.
    pub ended_at: Option<Timestamp>,
    /// How it ended: the kind of the event, such as `completed` or `lease_lost`; none while it runs.
    pub end: Option<&'static str>,
    /// The code of what went wrong, such as `exit_3` or a loss's, if there is one.
    pub code: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}

impl Attempt {
    /// What went wrong, with its code.
    pub fn failure(&self) -> Option<String> {
        Some(coded(self.code.as_deref(), self.error.as_ref()?))
    }

    /// What went wrong, by its kind: the code, and the error without what differs each time.
    pub fn cause(&self) -> Option<String> {
        Some(coded(self.code.as_deref(), &likeness(self.error.as_ref()?)))
    }
}

/// The attempts that a history tells of, the first one first. Of those before its first event nothing is told.
pub fn attempts(history: &[EventView]) -> Vec<Attempt> {
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
