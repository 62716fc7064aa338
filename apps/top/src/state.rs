//! All that the program knows: what the server has told, where its user is, and what is being asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_api::fleet::{QueueView, StatsView, WorkerView};
use baton_api::task::TaskView;
use baton_model::{QueueName, TaskId, Timestamp, WorkerId};
use baton_verdict::{PATIENCE, late};

use crate::ask::{Answer, Ask, Change, Judged, Listed, OneTask, Refusal, Slot, Tasks, Which};
use crate::event::Moment;
use crate::rates::Rates;

/// What the program was started with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The server's address.
    pub(crate) server: String,
    /// How often it is asked.
    pub(crate) interval: Duration,
    /// Whether nothing may be changed.
    pub(crate) read_only: bool,
    /// Whether colours are wanted.
    pub(crate) colours: bool,
}

/// Where one can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Queues,
    Workers,
    Tasks,
    Wrong,
    Queue(QueueName),
    Worker(WorkerId),
    Task(TaskId),
}

impl Place {
    /// The places that have a number, in the order of these.
    pub(crate) const TABS: [Self; 4] = [Self::Queues, Self::Workers, Self::Tasks, Self::Wrong];
}

/// What a row of a list is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Queue(QueueName),
    Worker(WorkerId),
    Task(TaskId),
}

/// A place, and how it was left.
#[derive(Clone, Debug)]
pub(crate) struct Stay {
    pub(crate) place: Place,
    /// What is chosen. It stays chosen wherever the list's order puts it.
    pub(crate) chosen: Option<Row>,
    /// Where that was when it was last seen.
    pub(crate) at: usize,
    /// The first line that is shown, of a page of lines.
    pub(crate) scroll: usize,
    /// Which tasks are listed.
    pub(crate) which: Which,
    /// What names must contain.
    pub(crate) filter: String,
    /// By which of its orders a list is sorted.
    pub(crate) order: usize,
    /// Whether the last comes first.
    pub(crate) turned: bool,
}

impl Stay {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            // Whoever looks into a queue wants to know all that it has.
            which: if matches!(place, Place::Queue(_)) { Which::All } else { Which::Running },
            place,
            chosen: None,
            at: 0,
            scroll: 0,
            filter: String::new(),
            order: 0,
            turned: false,
        }
    }
}

/// A request that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    /// When.
    pub(crate) since: Duration,
    /// Whether it was answered, or refused.
    pub(crate) answered: bool,
}

/// What is said below, until something else is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) text: String,
    /// Whether it is what was wanted.
    pub(crate) good: bool,
    /// When it was said.
    pub(crate) since: Duration,
}

/// What the server has told, the latest of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) version: Option<String>,
    /// With when it came.
    pub(crate) stats: Option<(StatsView, Duration)>,
    /// What stands in for it, for those to whom it is not told.
    pub(crate) queues: Option<Listed<QueueView>>,
    /// One that was asked for by name.
    pub(crate) queue: Option<QueueView>,
    pub(crate) judged: Option<Judged>,
    pub(crate) workers: Option<Listed<WorkerView>>,
    /// One that was asked for by name.
    pub(crate) worker: Option<WorkerView>,
    /// With which were asked for.
    pub(crate) tasks: Option<(Tasks, Listed<TaskView>)>,
    pub(crate) task: Option<OneTask>,
    /// Queues of which the verdict says that they are late.
    pub(crate) late: BTreeSet<QueueName>,
    /// Tasks that have failed, by queue.
    pub(crate) failed: BTreeMap<QueueName, u64>,
    /// Tasks that wait for others, by queue.
    pub(crate) blocked: BTreeMap<QueueName, u64>,
    pub(crate) rates: Rates,
}

/// Everything.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) setup: Setup,
    pub(crate) now: Moment,
    pub(crate) tab: usize,
    pub(crate) tabs: [Stay; 4],
    /// What was looked into, each from within the one before.
    pub(crate) within: Vec<Stay>,
    pub(crate) known: Known,
    pub(crate) asked: BTreeMap<Slot, Asked>,
    pub(crate) refused: BTreeMap<Slot, Refusal>,
    /// When the server last answered anything.
    pub(crate) heard: Duration,
    /// What waits for a yes.
    pub(crate) question: Option<Change>,
    /// Whether a filter is being written.
    pub(crate) writing: bool,
    pub(crate) help: bool,
    pub(crate) told: Option<Told>,
    /// How many rows a page has, as it was last drawn.
    pub(crate) page: usize,
    pub(crate) over: bool,
}

impl State {
    pub(crate) fn new(setup: Setup, now: Moment) -> Self {
        Self {
            setup,
            now,
            tab: 0,
            tabs: Place::TABS.map(Stay::new),
            within: Vec::new(),
            known: Known::default(),
            asked: BTreeMap::new(),
            refused: BTreeMap::new(),
            heard: now.since,
            question: None,
            writing: false,
            help: false,
            told: None,
            page: 10,
            over: false,
        }
    }

    /// Where its user is.
    pub(crate) fn stay(&self) -> &Stay {
        self.within.last().unwrap_or(&self.tabs[self.tab])
    }

    pub(crate) fn stay_mut(&mut self) -> &mut Stay {
        self.within.last_mut().unwrap_or(&mut self.tabs[self.tab])
    }

    /// The time on the server, as far as it has told; else by the clock of this machine.
    pub(crate) fn server_now(&self) -> Timestamp {
        match &self.known.stats {
            Some((stats, since)) => stats.at.plus(self.now.since.saturating_sub(*since)),
            None => self.now.wall,
        }
    }

    /// How long the server has not answered, if that is longer than it should be.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let silent = self.now.since.saturating_sub(self.heard);
        let should = (self.setup.interval * 2).max(Duration::from_secs(3));
        let waits = self.asked.values().any(|asked| !asked.answered) || self.is_unanswered();
        (waits && silent > should).then_some(silent)
    }

    /// Whether the latest requests failed for want of an answer.
    fn is_unanswered(&self) -> bool {
        self.refused.values().any(|refusal| refusal.why == crate::ask::Why::NoAnswer)
    }

    /// Which tasks are listed where its user is.
    pub(crate) fn tasks_here(&self) -> Option<Tasks> {
        let stay = self.stay();
        match &stay.place {
            Place::Tasks => Some(Tasks { which: stay.which, queue: None }),
            Place::Queue(queue) => Some(Tasks { which: stay.which, queue: Some(queue.clone()) }),
            _ => None,
        }
    }

    /// Says something below.
    pub(crate) fn tell(&mut self, good: bool, text: impl Into<String>) {
        self.told = Some(Told { text: text.into(), good, since: self.now.since });
    }

    /// Takes in what the server has told. What comes of a change is said below.
    pub(crate) fn take(&mut self, ask: &Ask, answer: Answer) {
        let known = &mut self.known;
        match answer {
            Answer::Stats(stats) => {
                known.rates.look(stats.counted_at.unwrap_or(stats.at), &stats.queues, &stats.counts);
                known.late = late(&stats, PATIENCE).into_iter().map(|late| late.queue.name.clone()).collect();
                known.failed = of_state(&stats, "failed");
                known.blocked = of_state(&stats, "blocked");
                known.stats = Some((*stats, self.now.since));
                known.queues = None;
            }
            Answer::Queues(queues) => {
                known.rates.look(self.now.wall, &queues.items, &[]);
                known.queues = Some(queues);
            }
            Answer::Queue(queue) => known.queue = Some(*queue),
            Answer::Verdict { version, judged } => {
                known.version = version.or(known.version.take());
                match judged {
                    Ok(judged) => {
                        known.judged = Some(judged);
                        self.refused.remove(&Slot::Verdict);
                    }
                    Err(refusal) => {
                        self.refused.insert(Slot::Verdict, refusal);
                    }
                }
            }
            Answer::Workers(workers) => known.workers = Some(workers),
            Answer::Worker(worker) => known.worker = Some(*worker),
            Answer::Tasks(tasks) => {
                if let Ask::Tasks(which) = ask {
                    known.tasks = Some((which.clone(), tasks));
                }
            }
            Answer::Task(task) => known.task = Some(*task),
            Answer::Changed(told) => self.tell(true, told),
        }
    }
}

/// How many tasks of each queue are in a state, of whatever type.
fn of_state(stats: &StatsView, state: &str) -> BTreeMap<QueueName, u64> {
    let mut tasks = BTreeMap::new();
    for count in stats.counts.iter().filter(|count| count.state == state) {
        *tasks.entry(count.queue.clone()).or_default() += count.tasks;
    }
    tasks
}
