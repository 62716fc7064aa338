//! Limits that tasks share: how many of them run at once, and how many start in a while ([`crate::rate`]). Which of them a
//! task falls under, and whether one of them lets it start, are pure functions of stored facts.
//!
//! What counts against a limit is the set of leases under it, and no number that is raised and lowered: so that a crash, a
//! cancellation or a lost answer leaks no place.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::expected::Expected;
use crate::id::{Label, ProjectId, QueueName, TaskType};
use crate::order::{FairBy, Tenant};
use crate::rate::{Arrival, Rate};
use crate::task::{Ended, Head, TaskState};
use crate::time::Timestamp;

/// One, by its name, or each for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which<T> {
    /// Each one that has no limit by its own name.
    Each,
    /// This one.
    This(T),
}

/// What a limit holds for. Its text is `queue/QUEUE`, `project/PROJECT`, `queue/QUEUE/project/PROJECT`, `owner/OWNER` or
/// `queue/QUEUE/key/KEY`; `*` in the last place stands for each one that has no limit of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitOn {
    /// The tasks of a queue that have the same `concurrency_key`.
    Key(QueueName, Which<Label>),
    /// A project's tasks in one queue.
    ProjectIn(QueueName, Which<ProjectId>),
    /// All tasks of a queue.
    Queue(QueueName),
    /// A project's tasks in all queues.
    Project(Which<ProjectId>),
    /// The tasks of all projects of one owner.
    Owner(Which<Label>),
    /// The tasks of one of those between whom a queue is fair. No limit is ever set for it: what stands under it says whose turn it
    /// is ([`crate::order`]).
    Turn(QueueName, Tenant),
}

impl LimitOn {
    /// Whether it is for each of many, and not for one by its name.
    pub const fn is_each(&self) -> bool {
        matches!(
            self,
            Self::Key(_, Which::Each)
                | Self::ProjectIn(_, Which::Each)
                | Self::Project(Which::Each)
                | Self::Owner(Which::Each)
        )
    }

    /// The same for each one; itself for a queue, of which there is no such limit.
    pub fn for_each(&self) -> Self {
        match self {
            Self::Key(queue, _) => Self::Key(queue.clone(), Which::Each),
            Self::ProjectIn(queue, _) => Self::ProjectIn(queue.clone(), Which::Each),
            Self::Queue(queue) => Self::Queue(queue.clone()),
            Self::Project(_) => Self::Project(Which::Each),
            Self::Owner(_) => Self::Owner(Which::Each),
            Self::Turn(queue, tenant) => Self::Turn(queue.clone(), tenant.clone()),
        }
    }

    /// Reads what a store has written: also of [`LimitOn::Turn`], which no caller may name.
    ///
    /// # Errors
    /// What was expected.
    pub fn from_stored(text: &str) -> Result<Self, Expected> {
        let turn = text.strip_prefix("queue/").and_then(|rest| rest.split_once("/turn/"));
        let Some((queue, whose)) = turn.filter(|(queue, _)| !queue.contains('/')) else {
            return text.parse();
        };
        let tenant = match whose.split_once('/') {
            Some(("key", key)) => Tenant::Key(key.parse()?),
            Some(("project", project)) => Tenant::Project(project.parse()?),
            _ => return text.parse(),
        };
        Ok(Self::Turn(queue.parse()?, tenant))
    }

    /// The queue that it concerns; none if it holds over all of them.
    pub const fn queue(&self) -> Option<&QueueName> {
        match self {
            Self::Key(queue, _) | Self::ProjectIn(queue, _) | Self::Queue(queue) | Self::Turn(queue, _) => {
                Some(queue)
            }
            Self::Project(_) | Self::Owner(_) => None,
        }
    }

    /// Whether a rate may be set for it.
    pub const fn takes_rate(&self) -> bool {
        matches!(self, Self::Queue(_) | Self::Key(..))
    }

    /// Whether it may be said that a task of it that waits for its retry holds its place.
    pub const fn takes_holding(&self) -> bool {
        matches!(self, Self::Key(..))
    }
}

impl<T: fmt::Display> fmt::Display for Which<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each => f.write_str("*"),
            Self::This(one) => one.fmt(f),
        }
    }
}

impl<T: FromStr<Err = Expected>> FromStr for Which<T> {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        if text == "*" { Ok(Self::Each) } else { text.parse().map(Self::This) }
    }
}

impl fmt::Display for LimitOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(queue, key) => write!(f, "queue/{queue}/key/{key}"),
            Self::ProjectIn(queue, project) => write!(f, "queue/{queue}/project/{project}"),
            Self::Queue(queue) => write!(f, "queue/{queue}"),
            Self::Project(project) => write!(f, "project/{project}"),
            Self::Owner(owner) => write!(f, "owner/{owner}"),
            Self::Turn(queue, Tenant::Key(key)) => write!(f, "queue/{queue}/turn/key/{key}"),
            Self::Turn(queue, Tenant::Project(project)) => write!(f, "queue/{queue}/turn/project/{project}"),
        }
    }
}

impl FromStr for LimitOn {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        // Keys and owners may hold a slash: they are what is left.
        let (kind, rest) = text.split_once('/').unwrap_or((text, ""));
        match kind {
            "owner" => return rest.parse().map(Self::Owner),
            "project" => return rest.parse().map(Self::Project),
            "queue" => {
                let (queue, rest) = rest.split_once('/').map_or((rest, None), |(q, rest)| (q, Some(rest)));
                let queue: QueueName = queue.parse()?;
                match rest.map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
                    None => return Ok(Self::Queue(queue)),
                    Some(("key", key)) => return key.parse().map(|key| Self::Key(queue, key)),
                    Some(("project", one)) => return one.parse().map(|one| Self::ProjectIn(queue, one)),
                    Some(_) => {}
                }
            }
            _ => {}
        }
        let forms = "one of queue/QUEUE, project/PROJECT, queue/QUEUE/project/PROJECT, owner/OWNER, \
                     queue/QUEUE/key/KEY, with * in the last place for each";
        Err(Expected::text(forms, text))
    }
}

impl Serialize for LimitOn {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LimitOn {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A limit, as it was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What it holds for.
    pub on: LimitOn,
    /// What it says.
    pub rules: LimitRules,
    /// Who set it last, if they said.
    pub changed_by: Option<Label>,
    /// Why, if they said.
    pub reason: Option<String>,
    /// When.
    pub changed_at: Timestamp,
}

/// What a limit says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRules {
    /// How many tasks may run at once; none for as many as come.
    pub max_running: Option<u32>,
    /// How many may start in a while; none for as many as come.
    pub rate: Option<Rate>,
    /// The types of tasks that it does not concern, and that do not count: such as those that only wait for their children.
    #[serde(default)]
    pub exempt_types: Vec<TaskType>,
    /// Whether a task that has been tried and waits for its next attempt holds its place, so that its successors wait for it.
    #[serde(default)]
    pub holds_retries: bool,
}

impl LimitRules {
    /// The most that `max_running` may be.
    pub const MOST_RUNNING: u32 = 10_000;
    /// The most types that may be exempt from one limit.
    pub const EXEMPT_TYPES: usize = 32;

    /// Whether it lets one task run at a time: the tasks of a key that has such a limit are a sequence.
    pub const fn is_one_at_a_time(&self) -> bool {
        matches!(self.max_running, Some(1))
    }

    /// Whether tasks of a type are none of its concern.
    pub fn exempts(&self, task_type: &TaskType) -> bool {
        self.exempt_types.contains(task_type)
    }

    /// How many further tasks it lets start at `now`, of those that hold no place of it.
    pub fn free(&self, standing: Standing, now: Timestamp) -> u32 {
        let places =
            self.max_running.map_or(u32::MAX, |most| most.saturating_sub(standing.running + standing.held));
        places.min(self.starts(standing, now))
    }

    /// How many of the tasks that hold a place of it while they wait it lets start at `now`.
    pub fn free_for_holders(&self, standing: Standing, now: Timestamp) -> u32 {
        let places = self.max_running.map_or(u32::MAX, |most| most.saturating_sub(standing.running));
        places.min(self.starts(standing, now))
    }

    /// Whether it does not let a task start at `now`, which holds a place of it or does not.
    pub fn stop(&self, standing: Standing, holds_place: bool, now: Timestamp) -> Option<Stop> {
        let free = if holds_place { self.free_for_holders(standing, now) } else { self.free(standing, now) };
        if free > 0 {
            return None;
        }
        let taken = standing.running + if holds_place { 0 } else { standing.held };
        let is_full = self.max_running.is_some_and(|most| taken >= most);
        let rate = self.rate.filter(|_| !is_full);
        Some(Stop { next_at: rate.map(|rate| rate.next_at(standing.arrival, now)) })
    }

    fn starts(&self, standing: Standing, now: Timestamp) -> u32 {
        self.rate.map_or(u32::MAX, |rate| rate.free(standing.arrival, now))
    }
}

/// That a limit does not let a task start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// When its rate does, if it is only that.
    pub next_at: Option<Timestamp>,
}

/// What counts against a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many leases are under it.
    pub running: u32,
    /// How many tasks hold their place while they wait for their next attempt.
    pub held: u32,
    /// When the next start is due by its rate.
    pub arrival: Option<Arrival>,
}

/// Whether a task waits for another attempt after one that its worker failed or gave back, or that was lost: then it holds its
/// place in a sequence, if its limit says so. One that an operator put back has no place.
pub fn holds_place(head: &Head) -> bool {
    head.state == TaskState::Queued
        && head.ended.as_ref().is_some_and(|end| match end.how {
            Ended::Failed => head.attempts_used() > 0,
            Ended::Released | Ended::Lost(_) => true,
            Ended::Completed | Ended::Cancelled => false,
        })
}

/// What of a task says which limits it falls under.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a> {
    /// Its queue.
    pub queue: &'a QueueName,
    /// Its project.
    pub project: &'a ProjectId,
    /// Its type.
    pub task_type: &'a TaskType,
    /// Its `concurrency_key`.
    pub key: Option<&'a Label>,
}

/// All limits that are set, and whose the projects are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitBook {
    /// The limits.
    pub limits: BTreeMap<LimitOn, Limit>,
    /// The owners of projects that have one.
    pub owners: BTreeMap<ProjectId, Label>,
    /// The queues that are fair, and between whom.
    pub fair: BTreeMap<QueueName, FairBy>,
}

/// What is said of one of those between whom a queue is fair: nothing that would stop a task. That it stands there counts.
static TURN: LimitRules =
    LimitRules { max_running: None, rate: None, exempt_types: Vec::new(), holds_retries: false };

impl LimitBook {
    /// The most limits that may be set.
    pub const MOST: usize = 10_000;

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty() && self.fair.is_empty()
    }

    /// What is said of one thing by its name: the limit of that name, or that for each.
    pub fn rules_of(&self, on: &LimitOn) -> Option<&LimitRules> {
        if let LimitOn::Turn(queue, _) = on {
            return self.fair.contains_key(queue).then_some(&TURN);
        }
        let limit = self.limits.get(on).or_else(|| self.limits.get(&on.for_each()))?;
        Some(&limit.rules)
    }

    /// The limits that a task falls under, each by the name of what it holds for; the narrowest first.
    pub fn of(&self, task: Shared<'_>) -> Vec<(LimitOn, &LimitRules)> {
        if self.is_empty() {
            return Vec::new();
        }
        let Shared { queue, project, task_type, key } = task;
        let named = key.map(|key| LimitOn::Key(queue.clone(), Which::This(key.clone())));
        let owner = self.owners.get(project).map(|owner| LimitOn::Owner(Which::This(owner.clone())));
        let fixed = [
            LimitOn::ProjectIn(queue.clone(), Which::This(project.clone())),
            LimitOn::Queue(queue.clone()),
            LimitOn::Project(Which::This(project.clone())),
        ];
        let all = named.into_iter().chain(fixed).chain(owner).chain(self.turn_on(task));
        let held = all.filter_map(|on| self.rules_of(&on).map(|rules| (on, rules)));
        held.filter(|(_, rules)| !rules.exempts(task_type)).collect()
    }

    /// The limit of the key whose tasks are given out one after the other, of which a task is one; none if there is no such limit.
    pub fn sequence_of(&self, task: Shared<'_>) -> Option<LimitOn> {
        let on = LimitOn::Key(task.queue.clone(), Which::This(task.key?.clone()));
        let rules = self.rules_of(&on)?;
        (rules.is_one_at_a_time() && !rules.exempts(task.task_type)).then_some(on)
    }

    /// Whether tasks of a queue may be in a sequence: whether some key of it has a limit of one.
    pub fn has_sequences(&self, queue: &QueueName) -> bool {
        // That for each key is the first of a queue's.
        let of_keys = self.limits.range(LimitOn::Key(queue.clone(), Which::Each)..);
        let mut of_keys = of_keys.take_while(|(on, _)| matches!(on, LimitOn::Key(of, _) if of == queue));
        of_keys.any(|(_, limit)| limit.rules.is_one_at_a_time())
    }

    /// Where a task counts for whose turn it is, if its queue is fair.
    pub fn turn_on(&self, task: Shared<'_>) -> Option<LimitOn> {
        let fair = self.fair.get(task.queue)?;
        Some(LimitOn::Turn(task.queue.clone(), fair.tenant(task.project, task.key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_limit_holds_for_reads_back_from_its_text() {
        for text in [
            "queue/images",
            "project/film",
            "project/*",
            "queue/images/project/film",
            "queue/images/project/*",
            "owner/acme & sons",
            "owner/*",
            "queue/images/key/a/b",
            "queue/images/key/*",
        ] {
            let on: LimitOn = text.parse().unwrap();
            assert_eq!(on.to_string(), text);
            assert_eq!(on.is_each(), text.ends_with('*'));
        }
        for bad in ["", "queue", "queue/", "queue/a/b", "queue/a/key/", "project/a b", "owner/", "worker/w"] {
            assert!(bad.parse::<LimitOn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_limit_by_name_goes_before_that_for_each() {
        let mut book = LimitBook::default();
        for (on, most) in [("project/*", 5), ("project/film", 1), ("queue/q/key/*", 2)] {
            let on: LimitOn = on.parse().unwrap();
            let rules = LimitRules { max_running: Some(most), ..LimitRules::default() };
            let at = Timestamp::default();
            let limit = Limit { on: on.clone(), rules, changed_by: None, reason: None, changed_at: at };
            book.limits.insert(on, limit);
        }
        let (queue, task_type, key) =
            ("q".parse().unwrap(), "t".parse().unwrap(), "k".parse::<Label>().unwrap());
        let told = |project: &str, key: Option<&Label>| -> Vec<(String, Option<u32>)> {
            let project = project.parse().unwrap();
            let task = Shared { queue: &queue, project: &project, task_type: &task_type, key };
            book.of(task).into_iter().map(|(on, rules)| (on.to_string(), rules.max_running)).collect()
        };
        assert_eq!(told("film", None), [("project/film".to_owned(), Some(1))]);
        let both = [("queue/q/key/k".to_owned(), Some(2)), ("project/game".to_owned(), Some(5))];
        assert_eq!(told("game", Some(&key)), both);
    }

    #[test]
    fn a_key_with_a_limit_of_one_is_a_sequence() {
        let mut book = LimitBook::default();
        let mut set = |on: &str, rules: LimitRules| {
            let on: LimitOn = on.parse().unwrap();
            let at = Timestamp::default();
            let limit = Limit { on: on.clone(), rules, changed_by: None, reason: None, changed_at: at };
            book.limits.insert(on, limit);
        };
        let most = |most| LimitRules { max_running: Some(most), ..LimitRules::default() };
        set("queue/one/key/*", LimitRules { exempt_types: vec!["free".parse().unwrap()], ..most(1) });
        set("queue/one/key/wide", most(4));
        set("queue/some/key/wide", most(4));
        set("queue/some/key/x", most(1));
        set("queue/wide/key/*", most(2));
        set("queue/wide", most(1));
        set("project/film", most(1));
        let told = |queue: &str, key: Option<&str>, task_type: &str| {
            let (queue, project, task_type) =
                (name(queue), "film".parse().unwrap(), task_type.parse().unwrap());
            let key: Option<Label> = key.map(|key| key.parse().unwrap());
            let task = Shared { queue: &queue, project: &project, task_type: &task_type, key: key.as_ref() };
            book.sequence_of(task).map(|on| on.to_string())
        };
        assert_eq!(told("one", Some("x"), "t").unwrap(), "queue/one/key/x");
        for (queue, key, task_type) in [
            ("one", Some("wide"), "t"),
            ("one", Some("x"), "free"),
            ("one", None, "t"),
            ("some", Some("y"), "t"),
            ("wide", Some("x"), "t"),
        ] {
            assert_eq!(told(queue, key, task_type), None, "{queue} {key:?} {task_type}");
        }
        for (queue, has) in [("one", true), ("some", true), ("wide", false), ("other", false)] {
            assert_eq!(book.has_sequences(&name(queue)), has, "{queue}");
        }
    }

    fn name(queue: &str) -> QueueName {
        queue.parse().unwrap()
    }
}
