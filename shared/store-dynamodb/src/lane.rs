//! Lanes: which of a queue's tasks of one priority wait together. Each pair of project and task type that a queue was
//! ever given has a lane of its own, so that a claim that names types, or is bound to a project, reads what it may take
//! and nothing else. The queue's record names the lanes, and is written before the first task lies in one: what it does
//! not name is empty. Why so is told in `docs/decisions/0014-where-claims-look.md`.

use std::collections::BTreeSet;

use baton_model::{FairBy, Label, Priority, ProjectId, QueueName, TaskType, Timestamp, Wants};
use baton_store::{Claim, StoreError};

use crate::attr::{n, s, texts, time};
use crate::codes::Code;
use crate::db::numbers;
use crate::error::{WriteError, damaged};
use crate::expression::Expression;
use crate::keys;
use crate::queue::{StoredQueue, unconditional};
use crate::store::Inner;

/// How many lanes a queue has before further pairs share some: so many keep its record within one read unit (19 bytes a
/// lane), and the most that a claim of all tasks may have to ask for at 58 units.
pub(crate) const OWN: usize = 100;

/// Over how many lanes of each priority further pairs are spread, by their types.
const SHARED: u64 = 16;

/// How many lanes a claim of all tasks asks before it has the queue's new tasks put together.
pub(crate) const FEW: usize = 4;

/// Which of a queue's tasks of one priority wait together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lane {
    /// All: in a queue that is claimed without a choice, and what programs wrote that knew no lanes.
    Common,
    /// Those of one project and type, by the hashes of their names. Others of the same hashes may be there, too.
    Own {
        /// The project.
        project: u32,
        /// The type.
        task_type: u32,
        /// What is to be warm, if they say.
        affinity: Option<u32>,
    },
    /// Those of one type and of one of those between whom a queue is fair by key, by the hashes of their names. Others of the same
    /// hashes may be there, too.
    Turn {
        /// The key, or the project of tasks without one.
        tenant: u32,
        /// The type.
        task_type: u32,
        /// What is to be warm, if they say.
        affinity: Option<u32>,
    },
    /// Those of types that have no lane of their own.
    Shared(u8),
}

/// The lanes that a task could have of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnLanes {
    /// That of its project and type.
    pub(crate) pair: Lane,
    /// That of its key and type, for a queue that is fair by key; the same as `pair` where the key is not known.
    pub(crate) turn: Lane,
}

/// How a queue is claimed from, as far as it makes a difference to where its tasks lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// Without a choice: its new tasks lie in one lane.
    Whole = 1,
    /// Also by type or project.
    ByChoice = 2,
}

fn short_hash(name: &str) -> u32 {
    // The upper half is as good as any.
    u32::try_from(keys::hash(name.as_bytes()) >> 32).unwrap_or(u32::MAX)
}

fn shared_by(task_type: u32) -> u8 {
    u8::try_from(u64::from(task_type) % SHARED).unwrap_or(0)
}

impl Lane {
    /// The lanes that a task could have of its own.
    pub(crate) fn of(
        (project, task_type): (&ProjectId, &TaskType),
        key: Option<&Label>,
        affinity: Option<&Label>,
    ) -> OwnLanes {
        let affinity = affinity.map(|affinity| short_hash(affinity.as_str()));
        let task_type = short_hash(task_type.as_str());
        let tenant = match key {
            Some(key) => short_hash(&format!("k/{key}")),
            None => short_hash(&format!("p/{project}")),
        };
        let pair = Self::Own { project: short_hash(project.as_str()), task_type, affinity };
        OwnLanes { pair, turn: Self::Turn { tenant, task_type, affinity } }
    }

    /// Whether its tasks are of one project or key, and of one affinity.
    pub(crate) const fn is_apart(self) -> bool {
        matches!(self, Self::Own { .. } | Self::Turn { .. })
    }

    /// Whether its tasks are of one of those between whom a queue is fair now. In what lies there from before, they may be of many.
    pub(crate) const fn is_of_one(self, fair: Option<FairBy>) -> bool {
        match (self, fair) {
            (Self::Own { .. }, Some(FairBy::Key)) | (Self::Turn { .. }, Some(FairBy::Project)) => false,
            _ => self.is_apart(),
        }
    }

    /// What its tasks want to be warm, by the hash of its name, if it tells that they do.
    pub(crate) const fn affinity(self) -> Option<u32> {
        match self {
            Self::Own { affinity, .. } | Self::Turn { affinity, .. } => affinity,
            Self::Common | Self::Shared(_) => None,
        }
    }

    /// Whether it is one of those of a tenant of a queue that is fair by key.
    pub(crate) fn is_of_tenant(self, other: Self) -> bool {
        match (self, other) {
            (Self::Turn { tenant, .. }, Self::Turn { tenant: wanted, .. }) => tenant == wanted,
            _ => false,
        }
    }

    /// Where tasks lie whose own lane is one too many.
    fn shared(self) -> Self {
        match self {
            Self::Own { task_type, .. } | Self::Turn { task_type, .. } => Self::Shared(shared_by(task_type)),
            other => other,
        }
    }

    /// What the keys of its partitions end with.
    pub(crate) fn code(self) -> String {
        match self {
            Self::Common => String::new(),
            Self::Own { project, task_type, affinity } => {
                format!("{project:08x}{task_type:08x}{}", affinity_code(affinity))
            }
            Self::Turn { tenant, task_type, affinity } => {
                format!("k{tenant:08x}{task_type:08x}{}", affinity_code(affinity))
            }
            Self::Shared(part) => format!("~{part:x}"),
        }
    }

    fn of_code(code: &str) -> Option<Self> {
        if let Some(part) = code.strip_prefix('~') {
            return u8::from_str_radix(part, 16).ok().map(Self::Shared);
        }
        if let Some(digits) = code.strip_prefix('k') {
            let [tenant, task_type, affinity] = hashes(digits)?;
            return Some(Self::Turn { tenant: tenant?, task_type: task_type?, affinity });
        }
        if code.is_empty() {
            return Some(Self::Common);
        }
        let [project, task_type, affinity] = hashes(code)?;
        Some(Self::Own { project: project?, task_type: task_type?, affinity })
    }
}

/// Whether a name is the one of this hash, of what tasks want to be warm.
pub(crate) fn is_of(name: &Label, affinity: u32) -> bool {
    short_hash(name.as_str()) == affinity
}

/// The hashes that a lane's code consists of: two, or three where the last one is that of an affinity.
fn hashes(code: &str) -> Option<[Option<u32>; 3]> {
    let is_whole = code.is_ascii() && matches!(code.len(), 16 | 24);
    let hash = |at: usize| u32::from_str_radix(code.get(at..at + 8)?, 16).ok();
    let all = [hash(0), hash(8), hash(16)];
    (is_whole && (code.len() == 16 || all[2].is_some())).then_some(all)
}

fn affinity_code(affinity: Option<u32>) -> String {
    affinity.map(|affinity| format!("{affinity:08x}")).unwrap_or_default()
}

/// A lane as a queue's record names it.
pub(crate) fn name_of(priority: Priority, lane: Lane) -> String {
    format!("{}#{}", priority.code(), lane.code())
}

/// A lane by its name in a queue's record.
pub(crate) fn named(name: &str) -> Result<(Priority, Lane), StoreError> {
    let parts = name.split_once('#').and_then(|(priority, lane)| {
        let priority = Priority::of(priority.parse().ok()?).ok()?;
        Some((priority, Lane::of_code(lane)?))
    });
    parts.ok_or_else(|| damaged(format!("expected a lane's name, got {name}")))
}

/// Which tasks are asked for, as far as lanes tell them apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    project: Option<u32>,
    /// All, if there are none.
    types: BTreeSet<u32>,
    /// Only for what is warm, if that is wanted.
    warm: Option<BTreeSet<u32>>,
}

impl Choice {
    pub(crate) fn new<'a>(
        project: Option<&ProjectId>,
        types: impl IntoIterator<Item = &'a TaskType>,
    ) -> Self {
        Self {
            project: project.map(|project| short_hash(project.as_str())),
            types: types.into_iter().map(|one| short_hash(one.as_str())).collect(),
            warm: None,
        }
    }

    pub(crate) fn of(claim: &Claim) -> Self {
        let only = claim.warm.wants == Wants::Only;
        let names = || claim.warm.names.iter().map(|one| short_hash(one.as_str())).collect();
        Self { warm: only.then(names), ..Self::new(claim.caller.project(), &claim.types) }
    }

    /// Whether all tasks are asked for.
    pub(crate) fn is_all(&self) -> bool {
        self.project.is_none() && self.types.is_empty() && self.warm.is_none()
    }

    /// Whether a lane may have such tasks.
    pub(crate) fn may_lie_in(&self, lane: Lane) -> bool {
        let fits =
            |wanted: &dyn Fn(u32) -> bool| self.types.is_empty() || self.types.iter().any(|one| wanted(*one));
        let is_warm = |affinity: Option<u32>| {
            self.warm.as_ref().is_none_or(|warm| affinity.is_some_and(|one| warm.contains(&one)))
        };
        match lane {
            // What wants something to be warm is never put there.
            Lane::Common => self.warm.is_none(),
            Lane::Own { project, task_type, affinity } => {
                self.project.is_none_or(|wanted| wanted == project)
                    && fits(&|wanted| wanted == task_type)
                    && is_warm(affinity)
            }
            Lane::Turn { task_type, affinity, .. } => {
                fits(&|wanted| wanted == task_type) && is_warm(affinity)
            }
            Lane::Shared(part) => fits(&|wanted| shared_by(wanted) == part),
        }
    }

    /// Whether a lane where such tasks may lie may have others among them.
    pub(crate) fn is_mixed(&self, lane: Lane) -> bool {
        match lane {
            Lane::Own { .. } => false,
            Lane::Turn { .. } => self.project.is_some(),
            Lane::Common | Lane::Shared(_) => !self.is_all(),
        }
    }
}

impl Inner {
    /// In which lane a task is to wait. Makes it known before the task is there, with all that claims must know to find it:
    /// written by each process once for each pair of a queue's, and every ten minutes again, as the lane may be another one by
    /// then.
    pub(crate) async fn lane_for(
        &self,
        queue: &QueueName,
        priority: Priority,
        OwnLanes { pair, turn }: OwnLanes,
        now: Timestamp,
    ) -> Result<Lane, StoreError> {
        let by_key = self.notes.is_fair_by_key(queue);
        let own = if by_key { turn } else { pair };
        let has_affinity = own.affinity().is_some();
        // Of a queue that is claimed whole, no pair need be asked for.
        let common = (!has_affinity).then_some(Lane::Common);
        for known in [Some(own), common].into_iter().flatten() {
            if let Some(lane) = self.notes.lane(queue, priority, known, now) {
                return Ok(lane);
            }
        }
        let known = || self.used(queue, now);
        // It is not struck off any more: see `tidy`.
        let named = |lane| {
            let name = || texts([name_of(priority, lane)]);
            known().add("ln", name()).take_out("wl", name())
        };
        let first = named(own).when_room("ln", s(name_of(priority, own)), OWN);
        // What wants something to be warm has a lane of its own in any queue: no other lane tells what its tasks want.
        let first = match has_affinity {
            true => first,
            false => first.when_absent_or("cw", "<>", n(Claimed::Whole as u8)),
        };
        let lane = match self.db.update(keys::queue(queue), &first).await {
            Ok(item) => {
                // Of the first lane of a queue: it may be new.
                let queue_read = StoredQueue::read(&item)?;
                if queue_read.limits.is_none() && queue_read.lanes.len() == 1 {
                    self.tell_new_queue(queue).await?;
                }
                let is_so = queue_read.order.fair == Some(FairBy::Key);
                self.notes.note_fair_by_key(queue, is_so);
                if is_so != by_key && turn != pair {
                    // By what was known of the queue, the task would lie among others.
                    return Box::pin(self.lane_for(queue, priority, OwnLanes { pair, turn }, now)).await;
                }
                own
            }
            Err(WriteError::Failed(error)) => return Err(error),
            Err(WriteError::Condition(item)) => {
                let whole = match item.as_ref().map(StoredQueue::read).transpose()? {
                    Some(queue) => queue.claimed == Some(Claimed::Whole) && !has_affinity,
                    None => false,
                };
                let lane = if whole { Lane::Common } else { own.shared() };
                let update = match lane {
                    Lane::Common => known().add("pz", numbers([i64::from(priority.code())])),
                    lane => named(lane),
                };
                unconditional(self.db.update(keys::queue(queue), &update).await)?;
                lane
            }
        };
        let pair = if lane == Lane::Common { lane } else { own };
        self.notes.note_lane(queue, priority, pair, lane, now);
        Ok(lane)
    }

    /// Makes a queue known of which no task waits yet. Written once by each process.
    pub(crate) async fn know_queue(&self, queue: &QueueName, now: Timestamp) -> Result<(), StoreError> {
        if !self.notes.knows_queue(queue) {
            unconditional(self.db.update(keys::queue(queue), &self.used(queue, now)).await)?;
            self.notes.note_queue(queue);
        }
        Ok(())
    }

    /// What tells in a queue's record that tasks have named it.
    fn used(&self, queue: &QueueName, now: Timestamp) -> Expression {
        let shards = i64::try_from(self.options.shards_of(queue)).unwrap_or(1);
        Expression::new().set_if_absent("ca", time(now)).add("sh", numbers([shards]))
    }

    /// Notes how a queue is claimed from, where its tasks should lie otherwise for that. Only a hint: a claim looks
    /// wherever its tasks may lie.
    pub(crate) async fn note_claimed(&self, queue: &StoredQueue, choice: &Choice) {
        let (claimed, note) = match (choice.is_all(), queue.claimed) {
            (_, Some(Claimed::Whole)) if queue.order.fair.is_some() => {
                (Claimed::ByChoice, Expression::new().when_present("cw"))
            }
            (true, None) if queue.lanes.len() > FEW && queue.order.fair.is_none() => {
                (Claimed::Whole, Expression::new().when_absent("cw"))
            }
            (false, Some(Claimed::Whole)) => (Claimed::ByChoice, Expression::new().when_present("cw")),
            _ => return,
        };
        let note = note.set("cw", n(claimed as u8));
        if let Err(WriteError::Failed(error)) = self.db.update(keys::queue(&queue.name), &note).await {
            tracing::warn!(queue = %queue.name, %error, "it could not be noted how a queue is claimed; claims may cost more");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(project: &str, task_type: &str) -> Lane {
        Lane::of((&project.parse().unwrap(), &task_type.parse().unwrap()), None, None).pair
    }

    fn choice(project: Option<&str>, types: &[&str]) -> Choice {
        let types: Vec<TaskType> = types.iter().map(|one| one.parse().unwrap()).collect();
        Choice::new(project.map(|name| name.parse().unwrap()).as_ref(), &types)
    }

    #[test]
    fn a_lane_is_known_by_its_name_again() {
        for one in [
            Lane::Common,
            lane("film", "render"),
            Lane::Own { project: 0, task_type: 7, affinity: None },
            Lane::Shared(15),
            Lane::Turn { tenant: 9, task_type: 7, affinity: Some(3) },
        ] {
            for priority in Priority::ALL {
                assert_eq!(named(&name_of(priority, one)).unwrap(), (priority, one));
            }
        }
        for wrong in ["", "2", "9#", "2#x", "2#~", "2#0123456789abcdeg", "2#k0123456789abcde", "2#☂☂☂☂☂x"]
        {
            assert!(named(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_choice_meets_every_lane_where_such_a_task_may_lie() {
        for (project, task_type) in [("film", "render"), ("film", "bake"), ("game", "render")] {
            let own = lane(project, task_type);
            for (choice, fits) in [
                (choice(None, &[]), true),
                (choice(None, &["render"]), task_type == "render"),
                (choice(None, &["bake", "render"]), true),
                (choice(Some("film"), &[]), project == "film"),
                (choice(Some("film"), &["render"]), (project, task_type) == ("film", "render")),
            ] {
                assert_eq!(choice.may_lie_in(own), fits, "{choice:?} {project} {task_type}");
                assert!(choice.may_lie_in(Lane::Common));
                assert!(!fits || choice.may_lie_in(own.shared()), "{choice:?} {project} {task_type}");
            }
        }
    }

    #[test]
    fn stored_keys_depend_on_these_codes() {
        let code = lane("default", "render").code();
        assert_eq!(code, "f109ada1f5ef67c7", "tasks of existing tables would not be found");
        assert_eq!(lane("default", "render").shared(), Lane::Shared(7));
    }
}
