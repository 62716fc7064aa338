//! The table of tasks.

use baton_api::task::TaskView;
use baton_model::{Status, Timestamp, WorkerStatus};
use baton_verdict::cause;
use baton_verdict::words::{ago, span};

use super::pen::{Cell, Column, Ink, WIDE, Width};
use crate::ask::Which;
use crate::rows::{progress, since, tasks};
use crate::state::State;
use crate::text::{self, safe, short};

pub(super) fn columns(state: &State, width: u16) -> Vec<Column> {
    let task = Column::left("TASK", Width::Fixed(if width >= WIDE { 36 } else { 15 }));
    let which = state.stay().which;
    if which == Which::Running {
        return vec![
            task,
            Column::right("AGE", 6),
            Column::left("LEASE", Width::Fixed(9)),
            Column::right("DONE", 5),
            Column::right("TRY", 5),
            Column::left("WORKER", Width::Share(5)),
            Column::left("QUEUE", Width::Share(4)),
            Column::left("TYPE", Width::Share(4)),
        ];
    }
    vec![
        task,
        Column::left("STATUS", Width::Fixed(9)),
        Column::right("AGE", 6),
        Column::right("TRY", 5),
        Column::left("QUEUE", Width::Share(2)),
        Column::left("TYPE", Width::Share(2)),
        Column::left("ABOUT IT", Width::Share(4)),
    ]
}

pub(super) fn rows(state: &State, width: u16) -> Vec<Vec<Cell>> {
    let now = state.server_now();
    let running = state.stay().which == Which::Running;
    let row = |task: &&TaskView| {
        let id = if width >= WIDE { task.id.to_string() } else { short(task.id) };
        let age = Cell::plain(span(now.since(since(task))));
        let tries = Cell::plain(format!("{}/{}", task.attempts_used, task.max_attempts));
        let (queue, task_type) =
            (Cell::plain(safe(task.queue.as_str())), Cell::plain(safe(task.task_type.as_str())));
        if running {
            let worker = task.lease.as_ref().map(|lease| safe(lease.worker_id.as_str()));
            let done = progress(state, task.id).map(text::progress);
            return vec![
                Cell::plain(id),
                age,
                lease(state, task, now),
                Cell::plain(done.unwrap_or_default()),
                tries,
                Cell::plain(worker.unwrap_or_default()),
                queue,
                task_type,
            ];
        }
        vec![Cell::plain(id), status(task.status), age, tries, queue, task_type, about(task, now)]
    };
    tasks(state).iter().map(row).collect()
}

pub(super) fn status(status: Status) -> Cell {
    let ink = match status {
        Status::Completed => Ink::Good,
        Status::Failed => Ink::Bad,
        Status::Retry | Status::Cancelled => Ink::Odd,
        Status::Blocked | Status::Created => Ink::Dim,
        Status::Queued | Status::Running => Ink::Plain,
    };
    Cell::new(ink, status.as_str())
}

/// What is to be known first about a task that does not run.
fn about(task: &TaskView, now: Timestamp) -> Cell {
    match (&task.error, task.status) {
        (_, Status::Running) => {
            let worker = task.lease.as_ref().map(|lease| format!("by {}", safe(lease.worker_id.as_str())));
            Cell::plain(worker.unwrap_or_default())
        }
        (_, Status::Created | Status::Retry) => Cell::plain(format!("due {}", ago(task.run_after, now))),
        (Some(error), Status::Failed | Status::Cancelled) => Cell::new(Ink::Odd, safe(&cause(error))),
        _ => Cell::default(),
    }
}

/// How long the attempt may still take; of one that beats keep alive, when its worker was heard.
fn lease(state: &State, task: &TaskView, now: Timestamp) -> Cell {
    let Some(lease) = &task.lease else { return Cell::default() };
    let ends = [lease.expires_at, lease.timeout_at].into_iter().flatten().min();
    if let Some(ends) = ends {
        return match ends > now {
            true => Cell::plain(format!("{} left", span(ends.since(now)))),
            false => Cell::new(Ink::Bad, "over"),
        };
    }
    let workers = state.known.workers.iter().flat_map(|workers| &workers.items);
    let worker = workers.into_iter().find(|worker| worker.id == lease.worker_id);
    match worker.and_then(|worker| Some((worker.status, worker.last_beat_at?))) {
        Some((WorkerStatus::Lost, _)) => Cell::new(Ink::Bad, "lost"),
        Some((_, at)) => Cell::plain(format!("beat {}", span(now.since(at)))),
        None => Cell::new(Ink::Dim, "beats"),
    }
}
