//! Starts of a worker: a later one takes the place of the one before, which may be dead or may not know it yet.
//!
//! Whether both live cannot be told when the later one comes: a worker that was killed and started anew looks as two
//! that were given one name. It shows afterwards, if the earlier start is heard of again. By that word its leases are
//! judged ([`crate::Lease::lost`]), and the name counts as contested for a while. Why so is told in
//! `docs/decisions/0002-starts-of-one-name.md`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::SessionId;
use crate::time::Timestamp;
use crate::watch::Watch;
use crate::worker::Worker;

/// An earlier start of a worker, whose place a later one took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superseded {
    /// The start.
    pub session: SessionId,
    /// When a later one took its place.
    pub at: Timestamp,
    /// Whether it was heard of since: then both live, and share a name.
    pub heard: bool,
}

/// A start that took the place of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// The earlier start.
    pub earlier: SessionId,
    /// When that one was last heard of.
    pub last_heard: Timestamp,
}

/// A start that speaks although a later one took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// The start.
    pub session: SessionId,
    /// When its place was taken.
    pub superseded_at: Timestamp,
    /// Whether this is its first word since: then the worker's record has changed, and is to be kept.
    pub first_word: bool,
}

impl Worker {
    /// How many superseded sessions of a worker are remembered and refused.
    pub const SUPERSEDED_SESSIONS: usize = 16;

    /// How long a name counts as contested after two starts of it were heard of at once.
    pub const CONTESTED_FOR: Duration = Duration::from_secs(3_600);

    /// Makes `session` the worker's present start, if it names one and is not; gives the takeover, if there was an
    /// earlier one.
    ///
    /// # Errors
    /// [`Late`] if its place was taken before: of two processes with one name, the later start keeps it.
    pub fn enter(&mut self, session: Option<SessionId>, now: Timestamp) -> Result<Option<Takeover>, Late> {
        let Some(session) = session.filter(|session| self.session != Some(*session)) else {
            return Ok(None);
        };
        if let Some(late) = self.superseded.iter_mut().find(|late| late.session == session) {
            let first_word = !std::mem::replace(&mut late.heard, true);
            let superseded_at = late.at;
            if first_word {
                self.contested_at = Some(now);
            }
            return Err(Late { session, superseded_at, first_word });
        }
        let takeover = self.session.map(|earlier| Takeover {
            earlier,
            last_heard: self.last_beat_at.map_or(self.started_at, |beat| beat.max(self.started_at)),
        });
        if let Some(Takeover { earlier, .. }) = takeover {
            self.superseded.push(Superseded { session: earlier, at: now, heard: false });
            let surplus = self.superseded.len().saturating_sub(Self::SUPERSEDED_SESSIONS);
            self.superseded.drain(..surplus);
        }
        self.session = Some(session);
        self.started_at = now;
        self.last_beat_at = None;
        self.running = None;
        self.takes.clear();
        self.directive = Default::default();
        self.directed = None;
        self.ended_at = None;
        Ok(takeover)
    }

    /// What is known of a start whose place was taken.
    pub fn superseded(&self, session: SessionId) -> Option<&Superseded> {
        self.superseded.iter().find(|one| one.session == session)
    }

    /// Whether two starts of this name were heard of at once, not long ago.
    pub fn is_contested(&self, watch: &Watch) -> bool {
        self.contested_at.is_some_and(|at| watch.elapsed(at) < Self::CONTESTED_FOR)
    }
}
