//! What is asked of the server, and what comes back. Each thing that is asked for has a place of its own: of one place, one request is
//! under way at a time, so that a slow server is never asked more than it answers.

use baton_api::fleet::{LogView, QueueView, StatsView, WorkerView};
use baton_api::task::{TaskDetailView, TaskView};
use baton_api::why::WhyView;
use baton_model::{QueueName, Status, TaskId, Timestamp, WorkerId};
use baton_verdict::Finding;

/// How many workers, tasks or queues are asked for at once.
pub(crate) const LISTED: u32 = 200;

/// How many log lines of a task are shown.
pub(crate) const LINES: u32 = 20;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    /// Counts, ages and queues.
    Stats,
    /// A page of queues, for those to whom no statistics are told.
    Queues,
    /// One queue by its name.
    Queue,
    /// The verdict, with the facts that it is judged from.
    Verdict,
    /// A page of workers.
    Workers,
    /// One worker.
    Worker,
    /// A page of tasks.
    Tasks,
    /// One task.
    Task,
    /// What an operator has it do.
    Change,
}

/// Which tasks are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that run.
    #[default]
    Running,
    /// Those that have failed.
    Failed,
    /// Those that wait, for whatever.
    Waiting,
    /// All, the newest first.
    All,
}

impl Which {
    /// The next one, behind the last the first.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Running => Self::Failed,
            Self::Failed => Self::Waiting,
            Self::Waiting => Self::All,
            Self::All => Self::Running,
        }
    }

    /// The statuses of such tasks; none for all.
    pub(crate) fn statuses(self) -> Vec<Status> {
        match self {
            Self::Running => vec![Status::Running],
            Self::Failed => vec![Status::Failed],
            Self::Waiting => vec![Status::Queued, Status::Created, Status::Retry, Status::Blocked],
            Self::All => Vec::new(),
        }
    }

    /// Its name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
            Self::All => "all",
        }
    }
}

/// Which tasks are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tasks {
    /// In what state.
    pub(crate) which: Which,
    /// Of this queue.
    pub(crate) queue: Option<QueueName>,
}

/// What an operator has the server do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Calls a task off.
    Cancel(TaskId),
    /// Puts a task back.
    Retry(TaskId),
    /// Has claims pass a queue by.
    Pause(QueueName),
    /// Has claims take from it again.
    Resume(QueueName),
    /// Has a worker take nothing more, and end.
    Drain(WorkerId),
    /// Has it go on.
    Run(WorkerId),
}

impl Change {
    /// What it does, as a question.
    pub(crate) fn question(&self) -> String {
        match self {
            Self::Cancel(id) => format!("cancel task {id}?"),
            Self::Retry(id) => format!("put task {id} back into its queue, with a fresh set of attempts?"),
            Self::Pause(queue) => format!("pause queue {queue}? what runs goes on"),
            Self::Resume(queue) => format!("resume queue {queue}?"),
            Self::Drain(worker) => format!("drain worker {worker}? it finishes what it runs, then ends"),
            Self::Run(worker) => format!("have worker {worker} go on?"),
        }
    }

    /// What it does, in few words.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Cancel(id) => format!("cancel task {id}"),
            Self::Retry(id) => format!("retry task {id}"),
            Self::Pause(queue) => format!("pause queue {queue}"),
            Self::Resume(queue) => format!("resume queue {queue}"),
            Self::Drain(worker) => format!("drain worker {worker}"),
            Self::Run(worker) => format!("have worker {worker} go on"),
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Stats,
    Queues,
    Queue(QueueName),
    Verdict,
    Workers,
    Worker(WorkerId),
    Tasks(Tasks),
    Task(TaskId),
    Change(Change),
}

impl Ask {
    /// What it is for.
    pub(crate) fn slot(&self) -> Slot {
        match self {
            Self::Stats => Slot::Stats,
            Self::Queues => Slot::Queues,
            Self::Queue(_) => Slot::Queue,
            Self::Verdict => Slot::Verdict,
            Self::Workers => Slot::Workers,
            Self::Worker(_) => Slot::Worker,
            Self::Tasks(_) => Slot::Tasks,
            Self::Task(_) => Slot::Task,
            Self::Change(_) => Slot::Change,
        }
    }
}

/// One task with all that is shown of it. What the token may not see is told in its place.
#[derive(Clone, Debug)]
pub(crate) struct OneTask {
    pub(crate) detail: TaskDetailView,
    pub(crate) why: Result<WhyView, Refusal>,
    pub(crate) lines: Result<Vec<LogView>, Refusal>,
}

/// What is wrong, and how far the clocks are apart.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) found: Vec<Finding>,
    /// By the clock of this machine, when the server's time was asked for and answered.
    pub(crate) asked: (Timestamp, Timestamp),
    /// The server's time between these.
    pub(crate) at: Timestamp,
}

/// A part of a list, and whether there is more.
#[derive(Clone, Debug)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    pub(crate) more: bool,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Stats(Box<StatsView>),
    Queues(Listed<QueueView>),
    Queue(Box<QueueView>),
    Verdict {
        /// The server's version, if it told it.
        version: Option<String>,
        judged: Result<Judged, Refusal>,
    },
    Workers(Listed<WorkerView>),
    Worker(Box<WorkerView>),
    Tasks(Listed<TaskView>),
    Task(Box<OneTask>),
    /// What became of the task, queue or worker that was changed, in words.
    Changed(String),
}

/// Why nothing came back that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// There was no answer in time, or none at all.
    NoAnswer,
    /// The token may not.
    Denied,
    /// There is no such thing.
    Missing,
    /// All else.
    Refused,
}

/// That nothing came back that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) why: Why,
    /// In words, with what to do.
    pub(crate) told: String,
}
