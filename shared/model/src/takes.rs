//! What workers take: the queues and types that their claims name, kept with a worker's record so that it can be said whether
//! anybody takes a task that waits.
//!
//! A claim reads the record anyway, and writes it only when it takes something that is not noted there: so a claim like the ones
//! before it costs no more.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::affinity::{Wants, Warm};
use crate::id::{Label, ProjectId, QueueName, TaskType, WorkerId};
use crate::limits;
use crate::time::Timestamp;
use crate::worker::{Directive, Worker, WorkerStatus};

/// What of a task says who takes it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its queue.
    pub queue: &'a QueueName,
    /// Its type.
    pub task_type: &'a TaskType,
    /// Its project.
    pub project: &'a ProjectId,
    /// What its worker had best have warm.
    pub affinity: Option<&'a Label>,
}

/// What a claim of a worker takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takes {
    /// From these queues, sorted.
    queues: Vec<QueueName>,
    /// Of these types, sorted; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    types: Vec<TaskType>,
    /// Of this project only, if it was bound to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    project: Option<ProjectId>,
    /// Of these affinities only, sorted, if it wanted no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warm: Option<Vec<Label>>,
    /// When it was noted last: to [`Takes::NOTED_FOR`], as not every claim writes.
    at: Timestamp,
}

fn sorted<T: Ord + Clone>(names: &[T]) -> Vec<T> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

impl Takes {
    /// How many different ones of a worker are kept, the latest: some claim from several queues by turns.
    pub const KEPT: usize = 4;

    /// How long one stands before it is noted again.
    pub const NOTED_FOR: Duration = Duration::from_secs(3_600);

    /// How long after the latest claim of a worker an earlier one counts, and a worker that never beats is taken to claim.
    const COUNTED_FOR: Duration = Duration::from_secs(2 * 3_600);

    /// What a claim takes.
    pub fn of(
        queues: &[QueueName],
        types: &[TaskType],
        project: Option<&ProjectId>,
        warm: &Warm,
        at: Timestamp,
    ) -> Self {
        let warm = (warm.wants == Wants::Only).then(|| sorted(&warm.names));
        Self { queues: sorted(queues), types: sorted(types), project: project.cloned(), warm, at }
    }

    /// Whether a claim like this gets such tasks.
    pub fn covers(&self, task: &Wanted<'_>) -> bool {
        self.queues.contains(task.queue)
            && (self.types.is_empty() || self.types.contains(task.task_type))
            && self.project.as_ref().is_none_or(|bound| bound == task.project)
            && self.warm.as_ref().is_none_or(|warm| task.affinity.is_some_and(|one| warm.contains(one)))
    }

    /// Whether a claim like this names a queue.
    pub fn takes_from(&self, queue: &QueueName) -> bool {
        self.queues.contains(queue)
    }

    fn is_like(&self, other: &Self) -> bool {
        (&self.queues, &self.types, &self.project, &self.warm)
            == (&other.queues, &other.types, &other.project, &other.warm)
    }

    fn is_within(&self, span: Duration, at: Timestamp) -> bool {
        u128::from(self.at.as_millis().abs_diff(at.as_millis())) <= span.as_millis()
    }

    /// Whether a worker's record has it, so that it need not be written.
    pub fn is_noted(&self, noted: &[Self]) -> bool {
        noted.iter().any(|one| one.is_like(self) && one.is_within(Self::NOTED_FOR, self.at))
    }

    fn names(&self) -> usize {
        self.queues.len() + self.types.len() + self.warm.as_ref().map_or(0, Vec::len)
    }
}

impl Worker {
    /// Notes what a claim of it takes, if the record does not have it.
    pub fn note_takes(&mut self, takes: Takes) {
        if takes.is_noted(&self.takes) {
            return;
        }
        self.takes.retain(|one| !one.is_like(&takes) && one.is_within(Takes::COUNTED_FOR, takes.at));
        self.takes.push(takes);
        // The record is written with each heartbeat: no more names than one claim may have.
        let names = |takes: &[Takes]| takes.iter().map(Takes::names).sum::<usize>();
        while self.takes.len() > Takes::KEPT || names(&self.takes) > 3 * limits::CLAIM_NAMES {
            self.takes.remove(0);
        }
    }
}

/// A worker, as far as it matters for who takes a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taker {
    /// The worker.
    pub worker: WorkerId,
    /// How it is shown.
    pub status: WorkerStatus,
    /// What is asked of it: who is to drain or to stop is given nothing.
    pub directive: Directive,
    /// When it was last heard of, by a heartbeat or, to the hour, by a claim.
    pub heard_at: Timestamp,
    /// What its claims take.
    pub takes: Vec<Takes>,
}

impl Taker {
    /// When a worker was last heard of that started, beat and claimed at these times.
    pub fn heard_at(started: Timestamp, beat: Option<Timestamp>, takes: &[Takes]) -> Timestamp {
        let claimed = takes.iter().map(|one| one.at);
        claimed.chain(beat).fold(started, Timestamp::max)
    }

    /// Whether it may claim now, as far as can be told: one that never beats is taken to, for a while after it has claimed.
    fn is_live(&self, now: Timestamp) -> bool {
        self.directive == Directive::Run && self.is_heard(now)
    }

    fn is_heard(&self, now: Timestamp) -> bool {
        match self.status {
            WorkerStatus::Active | WorkerStatus::Draining | WorkerStatus::Stopping => true,
            WorkerStatus::Silent => self.takes.iter().any(|one| one.is_within(Takes::COUNTED_FOR, now)),
            WorkerStatus::Lost | WorkerStatus::Gone => false,
        }
    }
}

/// Whether anybody takes such tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takers {
    /// Some live worker does.
    Live,
    /// None does, of those that were looked at.
    None {
        /// The one that did and was heard of last.
        last: Option<Taker>,
        /// Whether there are workers that were not looked at.
        unseen: bool,
    },
}

impl Takers {
    /// How many workers are looked at.
    pub const LOOKED_AT: usize = 1_000;

    /// Whether any of these takes such tasks; `unseen` says whether there are others.
    pub fn among(
        workers: impl IntoIterator<Item = Taker>,
        unseen: bool,
        task: &Wanted<'_>,
        now: Timestamp,
    ) -> Self {
        let mut last: Option<Taker> = None;
        for worker in workers {
            if !worker.takes.iter().any(|one| one.covers(task)) {
                continue;
            }
            if worker.is_live(now) {
                return Self::Live;
            }
            let place = |one: &Taker| (one.heard_at, one.worker.clone());
            if last.as_ref().is_none_or(|last| place(last) < place(&worker)) {
                last = Some(worker);
            }
        }
        Self::None { last, unseen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::Owner;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn takes(queues: &[&str], types: &[&str], seconds: u64) -> Takes {
        let queues: Vec<_> = queues.iter().map(|one| one.parse().unwrap()).collect();
        let types: Vec<_> = types.iter().map(|one| one.parse().unwrap()).collect();
        Takes::of(&queues, &types, None, &Warm::default(), at(seconds))
    }

    #[test]
    fn a_claim_like_an_earlier_one_is_noted_once_an_hour() {
        let mut worker = Worker::new("w".parse().unwrap(), Owner::Unbound, None, at(0));
        worker.note_takes(takes(&["a", "b"], &[], 0));
        let noted = worker.takes.clone();
        worker.note_takes(takes(&["b", "a", "b"], &[], 3_600));
        assert_eq!(worker.takes, noted);
        worker.note_takes(takes(&["a", "b"], &[], 3_601));
        assert_eq!(worker.takes, [takes(&["a", "b"], &[], 3_601)]);
        worker.note_takes(takes(&["c"], &[], 3_700));
        worker.note_takes(takes(&["a", "b"], &[], 3_800));
        assert_eq!(worker.takes.len(), 2, "by turns, and none is written again");
        worker.note_takes(takes(&["c"], &[], 12_000));
        assert_eq!(worker.takes, [takes(&["c"], &[], 12_000)], "what it has not taken for long is forgotten");
    }

    #[test]
    fn no_more_is_kept_than_one_claim_may_name() {
        let mut worker = Worker::new("w".parse().unwrap(), Owner::Unbound, None, at(0));
        for n in 0..9 {
            worker.note_takes(takes(&[&format!("q{n}")], &[], n));
        }
        assert_eq!(worker.takes.len(), Takes::KEPT);
        let many: Vec<String> = (0..32).map(|n| format!("n{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let warm = Some(many.iter().map(|one| one.parse().unwrap()).collect());
        let all = Takes { warm, ..takes(&many, &many, 20) };
        worker.note_takes(all.clone());
        assert_eq!(worker.takes, [all]);
    }

    #[test]
    fn a_live_worker_takes_what_its_claims_name() {
        let (queue, task_type, film) =
            ("a".parse().unwrap(), "render".parse().unwrap(), "film".parse::<ProjectId>().unwrap());
        let taker = |worker: &str, status, heard: u64, takes: Takes| Taker {
            worker: worker.parse().unwrap(),
            status,
            directive: Directive::Run,
            heard_at: at(heard),
            takes: vec![takes],
        };
        let wanted = Wanted { queue: &queue, task_type: &task_type, project: &film, affinity: None };
        let among = |workers: Vec<Taker>| Takers::among(workers, false, &wanted, at(9_000));
        let lost = taker("w1", WorkerStatus::Lost, 20, takes(&["a"], &[], 9));
        let gone = taker("w2", WorkerStatus::Gone, 10, takes(&["a"], &["render"], 9));
        let other = taker("w3", WorkerStatus::Active, 8_999, takes(&["b"], &[], 9));
        let typed = taker("w4", WorkerStatus::Active, 8_999, takes(&["a"], &["bake"], 9));
        let quiet = taker("w5", WorkerStatus::Silent, 5, takes(&["a"], &[], 5));
        let all = vec![gone, lost.clone(), other, typed, quiet];
        assert_eq!(among(all.clone()), Takers::None { last: Some(lost), unseen: false });
        let bound = |project: &str| {
            let project = Some(project.parse().unwrap());
            taker("w6", WorkerStatus::Active, 8_999, Takes { project, ..takes(&["a"], &[], 9) })
        };
        for (one, live) in [
            (taker("w7", WorkerStatus::Active, 8_999, takes(&["a"], &["bake", "render"], 9)), true),
            (taker("w8", WorkerStatus::Silent, 8_000, takes(&["a"], &[], 8_000)), true),
            (
                Taker {
                    directive: Directive::Drain,
                    ..taker("w9", WorkerStatus::Silent, 8_999, takes(&["a"], &[], 8_999))
                },
                false,
            ),
            (bound("film"), true),
            (bound("game"), false),
            (
                Taker {
                    takes: vec![Takes { warm: Some(vec!["sdxl".parse().unwrap()]), ..takes(&["a"], &[], 9) }],
                    ..bound("film")
                },
                false,
            ),
        ] {
            assert_eq!(among([all.clone(), vec![one.clone()]].concat()) == Takers::Live, live, "{one:?}");
        }
    }
}
