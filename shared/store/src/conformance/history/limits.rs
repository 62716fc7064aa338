//! No limit is exceeded at any moment of a history.

use std::collections::BTreeMap;

use baton_model::{EventKind, LimitBook, Shared as Limited, State};

use super::{Shared, Told, all};
use crate::TaskDetail;
use crate::ran::{Ran, over_limits};

impl Shared {
    /// Holds what ran at the same time against the limits, none of which has changed since before the first command.
    ///
    /// All times are numbers that one counter has given out. An attempt ran for certain from the number drawn when its claim had been
    /// answered to that drawn for the command that ended it, which was before that was sent: so where two of these spans meet, both
    /// ran. Of a claim whose answer was lost nothing is said.
    pub(super) async fn keeps_to_limits(&self, told: &Told, tasks: &[TaskDetail]) {
        let limits = all(async |page| self.store.limits(page).await).await;
        let owned = all(async |page| self.store.owned_projects(page).await).await;
        let book = LimitBook {
            limits: limits.into_iter().map(|one| (one.limit.on.clone(), one.limit)).collect(),
            owners: owned.into_iter().map(|one| (one.project, one.owner)).collect(),
            fair: BTreeMap::new(),
        };
        let mut ran = Vec::new();
        for detail in tasks {
            let task = &detail.task;
            let shared = Limited {
                queue: &task.queue,
                project: &task.project,
                task_type: &task.task_type,
                key: task.concurrency_key.as_ref(),
            };
            let events = detail.history.iter();
            for (claim, end) in events.clone().zip(events.skip(1)) {
                if claim.kind != EventKind::Claimed {
                    continue;
                }
                assert_eq!(
                    end.from,
                    Some(State::Running),
                    "{}: the next event ends the attempt",
                    task.head.id
                );
                let (task, attempt) = (task.head.id, claim.attempt);
                if let Some((_, from)) = told.given.get(&(task, attempt)) {
                    ran.push(Ran { task, attempt, shared, from: *from, until: end.at });
                }
            }
        }
        let over = over_limits(&book, &ran);
        assert!(over.is_empty(), "{over:#?}");
    }
}
