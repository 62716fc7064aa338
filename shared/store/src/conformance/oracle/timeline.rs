//! The oracle's time line: what each source tells, the newest first, and always the later of the next ones.

use std::collections::BTreeMap;

use async_trait::async_trait;
use baton_model::timeline::schedule_of;
use baton_model::{
    Event, Happened, LeasePolicy, LossReason, OfTask, Source, TaskId, TaskState, TimelineEntry,
    TimelineFilter, Timestamp, Watch, WorkerId,
};

use super::{Inner, Kept, Oracle};
use crate::{Cursor, FeedPage, Page, PageRequest, StoreError, Taken, TimelineStore};

#[async_trait]
impl TimelineStore for Oracle {
    async fn timeline(
        &self,
        filter: TimelineFilter,
        page: PageRequest,
    ) -> Result<Page<TimelineEntry>, StoreError> {
        let inner = self.lock();
        let mut sources = inner.sources(&filter);
        if let Some(Cursor(text)) = &page.after {
            // How many of each source are left: those that come later stand before them.
            let left: Option<Vec<usize>> = text.split('/').map(|left| left.parse().ok()).collect();
            let left = left.filter(|left| left.len() == sources.len()).ok_or(StoreError::BadCursor)?;
            for (source, left) in sources.iter_mut().zip(left) {
                source.truncate(left);
            }
        }
        let mut items = Vec::new();
        while items.len() < page.limit as usize {
            let next = |source: &&mut Vec<TimelineEntry>| source.last().map(|entry| (entry.at, entry.source));
            let Some(source) = sources.iter_mut().filter(|source| !source.is_empty()).max_by_key(next) else {
                break;
            };
            items.extend(source.pop().filter(|entry| filter.fits(entry)));
        }
        let left: Vec<_> = sources.iter().map(|source| source.len().to_string()).collect();
        let more = sources.iter().any(|source| !source.is_empty());
        Ok(Page { items, next: more.then(|| Cursor(left.join("/"))) })
    }

    async fn note_happened(&self, at: Timestamp, happened: Happened) -> Result<(), StoreError> {
        self.lock().happened.push((at, happened));
        Ok(())
    }

    async fn feed(&self, after: u64, limit: u32) -> Result<FeedPage, StoreError> {
        let inner = self.lock();
        let mut page = FeedPage { items: Vec::new(), up_to: after };
        for (position, (task, event)) in (1..).zip(&inner.feed).skip(usize::try_from(after).unwrap()) {
            if page.items.len() == limit as usize {
                break;
            }
            page.up_to = position;
            let kept = inner.tasks.get(task).filter(|kept| kept.history.contains(event));
            let entry = kept.map(|kept| TimelineEntry::of_event(&of(kept), event.clone()));
            page.items.extend(entry.map(|entry| (position, entry)));
        }
        Ok(page)
    }

    async fn feed_head(&self) -> Result<u64, StoreError> {
        Ok(self.lock().feed.len() as u64)
    }

    async fn feed_beyond(&self, position: u64) -> Result<u64, StoreError> {
        loop {
            match self.feed_head().await? {
                head if head > position => return Ok(head),
                _ => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            }
        }
    }
}

fn of(kept: &Kept) -> OfTask {
    OfTask {
        task: kept.task.head.id,
        queue: kept.task.queue.clone(),
        project: kept.task.project.clone(),
        schedule: schedule_of(kept.history.first().and_then(|event| event.detail.by.as_ref())),
    }
}

impl Inner {
    /// Gives the latest event of a task its place in the order of all.
    pub(super) fn fed(&mut self, task: TaskId) {
        let event = self.tasks.get(&task).and_then(|kept| kept.history.last());
        self.feed.extend(event.cloned().map(|event| (task, event)));
    }

    /// Notes that tasks were taken back, and which workers were lost with them.
    pub(super) fn note_losses(&mut self, taken: &[Taken], now: Timestamp) {
        let mut workers: BTreeMap<WorkerId, Vec<LossReason>> = BTreeMap::new();
        for one in taken {
            workers.entry(one.worker.clone()).or_default().push(one.reason);
        }
        let of = workers.len() as u64;
        for (worker, reasons) in workers {
            if reasons[0] == LossReason::HeartbeatMissed {
                let tasks = reasons.len() as u64;
                self.happened.push((now, Happened::WorkerLost { worker, tasks, reason: reasons[0] }));
            }
        }
        if of > 0 {
            self.happened.push((now, Happened::TakenBack { tasks: taken.len() as u64, workers: of }));
        }
    }

    /// Notes that workers have fallen silent, the one first that was heard the longest ago: those of which nothing is noted since then.
    pub(super) fn note_silent(&mut self, watch: &Watch, policy: &LeasePolicy) {
        let timeout = policy.heartbeat_timeout + watch.patience;
        if watch.heard_for() <= timeout {
            return;
        }
        let is_noted = |worker: &WorkerId, beat: Timestamp| {
            let lost =
                |what: &Happened| matches!(what, Happened::WorkerLost { worker: of, .. } if of == worker);
            self.happened.iter().any(|(at, what)| *at >= beat && lost(what))
        };
        // What it has claimed since it beat last, and loses by its silence, will tell of it.
        let holds = |worker: &WorkerId| {
            self.tasks.values().any(|kept| match &kept.task.head.state {
                TaskState::Running(lease) => lease.worker == *worker && lease.expires_at.is_none(),
                _ => false,
            })
        };
        let beats = self.workers.values().filter(|worker| worker.ended_at.is_none() && !holds(&worker.id));
        let beats = beats.filter_map(|worker| Some((worker.last_beat_at?, worker.id.clone())));
        let mut silent: Vec<_> = beats
            .filter(|(beat, worker)| watch.elapsed(*beat) > timeout && !is_noted(worker, *beat))
            .collect();
        silent.sort();
        for (_, worker) in silent {
            let lost = Happened::WorkerLost { worker, tasks: 0, reason: LossReason::HeartbeatMissed };
            self.happened.push((watch.now, lost));
        }
    }

    /// The entries of each source, the newest last.
    fn sources(&self, filter: &TimelineFilter) -> [Vec<TimelineEntry>; 4] {
        let event = |task: &TaskId, event: &Event| {
            let kept = self.tasks.get(task).filter(|kept| kept.history.contains(event))?;
            Some(TimelineEntry::of_event(&of(kept), event.clone()))
        };
        // By a task, its history is told, also what came into the store by a move.
        let events = match filter.task {
            None => self.feed.iter().filter_map(|(task, happened)| event(task, happened)).collect(),
            Some(id) => {
                let history = self.tasks.get(&id).map(|kept| kept.history.iter());
                history.into_iter().flatten().filter_map(|happened| event(&id, happened)).collect()
            }
        };
        let lines = self.logs.iter().map(|line| {
            let kept = line.task.and_then(|task| self.tasks.get(&task));
            TimelineEntry::of_line(kept.map(of).as_ref(), line.clone())
        });
        let requests = self.audit.values().map(|entry| TimelineEntry::from(entry.clone()));
        let happened = self.happened.iter().map(|(at, what)| TimelineEntry::of_happening(*at, what.clone()));
        let by_time = |mut entries: Vec<TimelineEntry>| {
            entries.sort_by_key(|entry| entry.at);
            entries
        };
        let mut sources =
            [events, by_time(lines.collect()), by_time(requests.collect()), by_time(happened.collect())];
        for source in &mut sources[1..] {
            let of_task = filter.task.is_some();
            source.retain(|entry| {
                !filter.events_only && (!of_task || matches!(entry.source, Source::Log | Source::Audit))
            });
        }
        sources
    }
}
