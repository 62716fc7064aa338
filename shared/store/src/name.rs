//! What stores tell the log of workers' names: that another start took one, and that two starts share one.

use baton_model::{Late, LeasePolicy, SessionId, Takeover, Timestamp, Worker, WorkerId};

/// What a store has learnt of a worker's name, to be told once it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameNotice {
    /// A start took the place of an earlier one.
    Taken {
        /// The name.
        worker: WorkerId,
        /// The present start.
        session: SessionId,
        /// The one before it.
        takeover: Takeover,
        /// When.
        at: Timestamp,
    },
    /// An earlier start was heard of, so that both live.
    Contested {
        /// The name.
        worker: WorkerId,
        /// The present start.
        session: Option<SessionId>,
        /// The earlier one.
        late: Late,
        /// When.
        at: Timestamp,
    },
}

impl NameNotice {
    /// The notice of a worker whose present start has just taken the place of another.
    pub fn taken(worker: &Worker, takeover: Takeover) -> Option<Self> {
        let (worker, session, at) = (worker.id.clone(), worker.session?, worker.started_at);
        Some(Self::Taken { worker, session, takeover, at })
    }

    /// The notice of a worker an earlier start of which has just been heard of.
    pub fn contested(worker: &Worker, late: Late, now: Timestamp) -> Self {
        Self::Contested { worker: worker.id.clone(), session: worker.session, late, at: now }
    }

    /// Tells the log.
    pub fn log(&self, policy: &LeasePolicy) {
        match self {
            Self::Taken { worker, session, takeover, at } => {
                let Takeover { earlier, last_heard } = takeover;
                let (session, earlier) = (tracing::field::display(session), tracing::field::display(earlier));
                let silent_seconds = at.since(*last_heard).as_secs_f64();
                // One that was silent for as long has lost its leases anyway.
                if at.since(*last_heard) > policy.heartbeat_timeout {
                    tracing::info!(worker_id = %worker, session_id = session, earlier_session_id = earlier, at = %at,
                        silent_seconds, "a worker has started anew");
                } else {
                    tracing::warn!(worker_id = %worker, session_id = session, earlier_session_id = earlier, at = %at,
                        silent_seconds, "another start has taken a worker's name, and what the earlier one holds is \
                        taken back; if both are to run, give each a name of its own (--id)");
                }
            }
            Self::Contested { worker, session, late, at } => {
                let session = session.as_ref().map(tracing::field::display);
                tracing::warn!(worker_id = %worker, session_id = session, earlier_session_id = %late.session,
                    superseded_at = %late.superseded_at, at = %at,
                    "two starts of one worker live at once and end each other's tasks; give each a name of its own (--id)");
            }
        }
    }
}
