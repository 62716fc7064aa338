//! How many tasks there are, by the store's own counts.

use baton_model::State;

use crate::ask::Ask;
use crate::kept::queue;
use crate::no::No;
use crate::outputs::COMMIT_RECORD;
use crate::query::Wanted;
use crate::read::walk;
use crate::records;

/// How many tasks there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) waiting: u64,
    pub(crate) running: u64,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) commits: u64,
}

impl Counts {
    pub(crate) fn all(&self) -> u64 {
        self.waiting + self.started() + self.cancelled
    }

    pub(crate) fn started(&self) -> u64 {
        self.running + self.passed + self.failed
    }

    fn add(&mut self, state: State, tasks: u64) {
        let place = match state {
            State::Blocked | State::Queued => &mut self.waiting,
            State::Running => &mut self.running,
            State::Completed => &mut self.passed,
            State::Failed => &mut self.failed,
            State::Cancelled => &mut self.cancelled,
        };
        *place += tasks;
    }
}

/// The counts of what the caller reaches.
pub(crate) async fn counts(ask: &Ask<'_>) -> Result<Counts, No> {
    let mut counts = Counts::default();
    if ask.caller.is_bound() {
        for task in walk(ask, &Wanted::all()).await?.tasks {
            counts.add(task.head.state.state(), 1);
        }
        return Ok(counts);
    }
    let stats = ask.app.store.stats(ask.now).await?;
    for count in stats.counts {
        if count.queue == queue() {
            counts.add(count.state, count.tasks);
        } else if count.queue == records::queue()
            && count.task_type.is_some_and(|kind| kind.as_str() == COMMIT_RECORD)
        {
            counts.commits += count.tasks;
        }
    }
    Ok(counts)
}
