//! Supply: a queue that refills itself.
//!
//! A refill is one commit: it counts what is ready, creates what is missing, and moves the supply on by one write whose precondition
//! is where it stood ([`Supply::revision`]). So any number of servers and reapers may refill a queue at once, and what they create
//! never comes to more than the target. What a refill makes has ids that derive from the supply and its index.

use serde::{Deserialize, Serialize};

use crate::id::{Label, QueueName, TaskId};
use crate::rhythm::Zone;
use crate::schedule::Said;
use crate::takes::Wanted;
use crate::task::{RunAfter, TaskSpec};
use crate::template::Filling;
use crate::time::Timestamp;
use crate::watch::AHEAD;

/// How many tasks one refill creates at most: with the supply's own write they fit into one transaction of DynamoDB.
pub const STEP_TASKS: u32 = 90;

/// The most tasks that a supply may keep ready.
pub const MOST_READY: u32 = 1_000;

/// The most templates of one supply.
pub const MOST_TEMPLATES: usize = 20;

/// The most that a template may weigh.
pub const MOST_WEIGHT: u32 = 1_000;

/// The most supplies of one store: each is looked at in each round of the reaper.
pub const MOST_SUPPLIES: u64 = 200;

/// One kind of task that a supply creates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// Its share: how many of as many tasks as all templates weigh are of this one.
    pub weight: u32,
    /// The task to create. Its id is the refill's.
    pub task: TaskSpec,
}

/// What a supply says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SupplyPlan {
    /// It refills when fewer tasks than this are ready.
    pub min: u32,
    /// Up to how many it refills; not fewer than `min`.
    pub target: u32,
    /// What it creates; at least one.
    pub templates: Vec<Template>,
    /// Whether it refills only while a live worker takes such tasks.
    pub while_asked: bool,
    /// Whether it creates nothing for now.
    pub paused: bool,
}

impl SupplyPlan {
    /// Whether a supply says this; see [`crate::schedule::Plan`] for why not by comparison alone.
    fn is_said_by(&self, standing: &Supply) -> bool {
        let read_back = || serde_json::to_string(self).and_then(|text| serde_json::from_str(&text));
        *self == standing.plan || read_back().is_ok_and(|plan: Self| plan == standing.plan)
    }

    /// Which template the task of an index is of. Of as many tasks in a row as all templates weigh, each has as many as it weighs,
    /// and they are spread: by steps of about the golden section of the whole.
    pub fn choose(&self, index: u64) -> Option<&Template> {
        let whole: u64 = self.templates.iter().map(|template| u64::from(template.weight)).sum();
        if whole == 0 {
            return None;
        }
        let mut place = (index % whole) * stride(whole) % whole;
        self.templates.iter().find(|template| match place.checked_sub(u64::from(template.weight)) {
            None => true,
            Some(left) => {
                place = left;
                false
            }
        })
    }

    /// The tasks that it creates, as far as it matters for who takes them.
    pub fn wanted<'a>(&'a self, queue: &'a QueueName) -> impl Iterator<Item = Wanted<'a>> {
        self.templates.iter().map(move |template| Wanted {
            queue,
            task_type: &template.task.task_type,
            project: &template.task.project,
            affinity: template.task.affinity.as_ref(),
        })
    }
}

/// How far from the golden section a step is looked for.
const NEAR: u64 = 16;

/// The step by which places go round: it shares no divisor with the whole, so that each place comes once, and of those near the golden
/// section it is the one by which the places of any part of a round are spread most evenly. That is told by the largest quotient of
/// Euclid's algorithm: the smaller, the more even (Niederreiter, "Random Number Generation and Quasi-Monte Carlo Methods", 1992, §3.1).
fn stride(whole: u64) -> u64 {
    let golden = whole * 618 / 1_000;
    let near = golden.saturating_sub(NEAR).max(1)..=(golden + NEAR).min(whole);
    let steps = near.map(|step| (step, euclid(whole, step))).filter(|(_, (divisor, _))| *divisor == 1);
    steps.min_by_key(|(_, (_, quotient))| *quotient).map_or(1, |(step, _)| step)
}

/// The largest common divisor of two numbers, and the largest quotient on the way to it.
fn euclid(mut one: u64, mut other: u64) -> (u64, u64) {
    let mut largest = 0;
    while other > 0 {
        largest = largest.max(one / other);
        (one, other) = (other, one % other);
    }
    (one, largest)
}

/// A queue's supply as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Supply {
    /// The queue.
    pub queue: QueueName,
    /// What it says.
    pub plan: SupplyPlan,
    /// What the ids of its tasks derive from, besides their indexes: nobody who knows the queue can take them first.
    pub seed: [u8; 16],
    /// The index of the next task: how many there were before it.
    pub next_index: u64,
    /// Whether the latest refill has stopped before the target, as one creates no more than [`STEP_TASKS`]; the next goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub filling: bool,
    /// When tasks were created last, by the clock that was furthest ahead of those who did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refilled_at: Option<Timestamp>,
    /// How often it has been written: the precondition of the next write.
    pub revision: u64,
    /// When it was set first.
    pub created_at: Timestamp,
    /// When somebody changed it last.
    pub changed_at: Timestamp,
    /// Who did, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<Label>,
    /// Why, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What somebody wants of a queue's supply.
#[derive(Clone, Debug, PartialEq)]
pub enum SupplyChange {
    /// That it say this, whatever it said before. The same again changes nothing.
    Set {
        /// What it is to say.
        plan: Box<SupplyPlan>,
        /// What its tasks' ids derive from, if it is new.
        seed: [u8; 16],
    },
    /// That there be none.
    Unset,
}

/// What a change makes of a supply, or of there being none: what stands then, if there is one.
pub fn changed(
    queue: &QueueName,
    standing: Option<&Supply>,
    change: &SupplyChange,
    said: &Said,
) -> Option<Supply> {
    let SupplyChange::Set { plan, seed } = change else { return None };
    Some(match standing {
        None => Supply {
            queue: queue.clone(),
            plan: (**plan).clone(),
            seed: *seed,
            next_index: 0,
            filling: false,
            refilled_at: None,
            revision: 1,
            created_at: said.now,
            changed_at: said.now,
            changed_by: said.by.clone(),
            reason: said.reason.clone(),
        },
        Some(standing) if plan.is_said_by(standing) => standing.clone(),
        Some(standing) => Supply {
            plan: (**plan).clone(),
            filling: false,
            revision: standing.revision + 1,
            changed_at: said.now,
            changed_by: said.by.clone(),
            reason: said.reason.clone(),
            ..standing.clone()
        },
    })
}

/// What a refill does.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    /// The tasks to create, at most [`STEP_TASKS`].
    pub tasks: Vec<TaskSpec>,
    /// The supply as it is once that is done.
    pub after: Supply,
}

impl Supply {
    /// Whether tasks are to be created while so many are ready.
    pub const fn is_short(&self, ready: u32) -> bool {
        let below = if self.filling { self.plan.target } else { self.plan.min };
        !self.plan.paused && ready < below
    }

    /// By which time it is told what is ready. What a refill has created is ready at once, also by a clock that is behind that of who
    /// refilled: else each of two clocks that differ by a moment would fill the queue for itself. A time that is far ahead is of a clock
    /// that was wrong, and counts for nothing.
    pub fn as_of(&self, now: Timestamp) -> Timestamp {
        let near = self.refilled_at.filter(|at| *at <= now.plus(AHEAD));
        near.map_or(now, |at| at.max(now))
    }

    /// What is to be created at `now` while so many tasks are ready; none if that is enough.
    pub fn missing(&self, ready: u32, now: Timestamp) -> Option<Missing> {
        if !self.is_short(ready) {
            return None;
        }
        let wanted = self.plan.target.saturating_sub(ready);
        let created = wanted.min(STEP_TASKS);
        let date = Zone::UTC.date(now);
        let indexes = self.next_index..self.next_index + u64::from(created);
        let tasks = indexes.filter_map(|index| self.task(index, now, &date)).collect();
        let after = Self {
            next_index: self.next_index + u64::from(created),
            filling: created < wanted,
            refilled_at: Some(self.as_of(now)),
            revision: self.revision + 1,
            ..self.clone()
        };
        Some(Missing { tasks, after })
    }

    /// The task of an index.
    fn task(&self, index: u64, now: Timestamp, date: &str) -> Option<TaskSpec> {
        let template = &self.plan.choose(index)?.task;
        let filling = Filling { at: now, date: date.to_owned(), index: Some(index) };
        Some(TaskSpec {
            id: self.task_id(index, now),
            id_chosen: true,
            queue: self.queue.clone(),
            params: filling.fill(&template.params),
            run_after: RunAfter::Now,
            ..template.clone()
        })
    }

    /// The task that an index has: its id begins with the time of its refill. Of an index there is one refill, as the commit that
    /// creates its task moves the supply past it.
    pub fn task_id(&self, index: u64, refilled_at: Timestamp) -> TaskId {
        TaskId::derived(refilled_at, &[&self.seed, &index.to_be_bytes()])
    }

    /// Who creates its tasks, as their first events say.
    pub fn by(&self) -> Label {
        Label::from_stored(format!("supply {}", self.queue))
    }
}
