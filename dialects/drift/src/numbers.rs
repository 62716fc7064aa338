//! The three numbers that are settable while everything runs: what the queue's supply keeps, and how much a client holds.
//!
//! The first two are the supply's own. What was said of all three is kept as a task of its own in a queue of its own, for a time that
//! never comes: it is given to nobody, and moves with all tasks.

use baton_api::ReadFields as _;
use baton_api::create::CreateTask;
use baton_http::spec::task_spec;
use baton_http::{ApiError, Caller};
use baton_model::schedule::Said;
use baton_model::supply::MOST_READY;
use baton_model::{
    Digest, Label, QueueName, Status, Supply, SupplyChange, SupplyPlan, Task, TaskId, TaskType, Template,
    Timestamp, limits,
};
use baton_store::{Cancel, PageRequest, SetSupply, StoreError, TaskFilter};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::drift::Drift;
use crate::kept::{Kept, queue};

/// Who is named for what the dialect sets by itself.
const BY: &str = "drift";
/// The type of the task that keeps the numbers.
const TYPE: &str = "numbers";

fn records() -> QueueName {
    QueueName::from_stored("drift-records")
}

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbers {
    pub(crate) target_pending_tasks: u32,
    pub(crate) min_pending_tasks: u32,
    pub(crate) max_tasks_per_client: u32,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { target_pending_tasks: 10, min_pending_tasks: 5, max_tasks_per_client: 5 }
    }
}

impl Numbers {
    /// The same within Baton's bounds.
    pub(crate) fn held(self) -> Self {
        Self {
            target_pending_tasks: self.target_pending_tasks.clamp(1, MOST_READY),
            min_pending_tasks: self.min_pending_tasks.clamp(1, MOST_READY),
            max_tasks_per_client: self.max_tasks_per_client.clamp(1, limits::WORKER_CAPACITY),
        }
    }

    /// From when on, and how far, the supply refills. Where the least is above the target, it refills below the target.
    fn supply(self) -> (u32, u32) {
        (self.min_pending_tasks.min(self.target_pending_tasks), self.target_pending_tasks)
    }
}

/// The numbers as they stand. What an operator has changed of the supply itself goes before what was said here.
pub(crate) async fn read(drift: &Drift) -> Result<Numbers, ApiError> {
    let kept = kept(drift).await?;
    let kept = kept.first().and_then(|task| serde_json::from_str(task.params.as_str()).ok());
    let said: Numbers = kept.unwrap_or_default();
    Ok(match standing(drift).await? {
        Some(Supply { plan, .. }) if (plan.min, plan.target) != said.supply() => {
            Numbers { target_pending_tasks: plan.target, min_pending_tasks: plan.min, ..said }
        }
        _ => said,
    })
}

async fn standing(drift: &Drift) -> Result<Option<Supply>, StoreError> {
    match drift.app.store.supply(&queue()).await {
        Ok(supply) => Ok(Some(supply)),
        Err(StoreError::SupplyNotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The tasks that keep the numbers, the newest first: one, and for a moment the one before it.
async fn kept(drift: &Drift) -> Result<Vec<Task>, StoreError> {
    let filter = TaskFilter {
        statuses: vec![Status::Created],
        queue: Some(records()),
        task_type: Some(TaskType::from_stored(TYPE)),
        now: drift.app.now(),
        ..TaskFilter::default()
    };
    Ok(drift.app.store.tasks(filter, PageRequest::first(limits::DEFAULT_PAGE)).await?.items)
}

/// Sets the numbers, as this caller says.
pub(crate) async fn set(drift: &Drift, caller: &Caller, to: Numbers) -> Result<(), ApiError> {
    caller.reach_queue(&queue())?;
    let from = read(drift).await?;
    set_supply(drift, caller.asks(None, None), to).await?;
    let earlier = kept(drift).await?;
    let record = json!({ "type": TYPE, "queue": records(), "params": to, "run_after": Timestamp::MAX });
    let record = CreateTask::from_json(&record.to_string(), &drift.app.limits()).map_err(ApiError::from)?;
    // The settings of the queue are its operator's, wherever else their token reaches.
    baton_create_task::create_one(&drift.app, &Caller::unrestricted(), record, None).await?;
    for task in earlier {
        let reason = Some("other numbers were set".to_owned());
        let cancel = Cancel {
            now: drift.app.now(),
            task: task.head.id,
            by: caller.name(),
            reason,
            with_dependants: false,
        };
        drift.app.store.cancel(cancel).await?;
    }
    caller.has_changed(Some(in_words(from)), Some(in_words(to)));
    tracing::info!(from = in_words(from), to = in_words(to), "numbers changed");
    Ok(())
}

fn in_words(numbers: Numbers) -> String {
    let Numbers { target_pending_tasks, min_pending_tasks, max_tasks_per_client } = numbers;
    format!("{min_pending_tasks} to {target_pending_tasks} pending, {max_tasks_per_client} a client")
}

/// Has the supply keep these numbers: the one that stands, or a new one of the old server's template.
async fn set_supply(drift: &Drift, by: Option<Label>, numbers: Numbers) -> Result<(), ApiError> {
    let (min, target) = numbers.supply();
    let (plan, seed) = match standing(drift).await? {
        Some(supply) => (SupplyPlan { min, target, ..supply.plan }, supply.seed),
        None => (plan(drift, min, target)?, seed(drift)),
    };
    let change = SupplyChange::Set { plan: Box::new(plan), seed };
    let said = Said { now: drift.app.now(), by, reason: None };
    drift.app.store.set_supply(SetSupply { queue: queue(), change, said }).await?;
    Ok(())
}

fn plan(drift: &Drift, min: u32, target: u32) -> Result<SupplyPlan, ApiError> {
    // All tasks of one refill are of one simulation.
    let task = Kept::of_template("auto-{{time}}").create(&drift.app, None, Some(queue()))?;
    let task =
        task_spec(&drift.app, &Caller::unrestricted(), "", task, Vec::new()).map_err(ApiError::fields)?;
    let template = Template { weight: 1, task: baton_model::TaskSpec { id: TaskId::unset(), ..task } };
    Ok(SupplyPlan { min, target, templates: vec![template], while_asked: true, paused: false })
}

fn seed(drift: &Drift) -> [u8; 16] {
    let (first, second) = (drift.app.ids.task(), drift.app.ids.task());
    *Digest::of_bytes(&[*first.as_bytes(), *second.as_bytes()].concat()).as_bytes()
}

/// Sees to it, once for this process, that the queue has a supply, and the one task that the old server began with. A supply that
/// stands is its operator's, also a paused one.
pub(crate) async fn begin(drift: &Drift) -> Result<(), ApiError> {
    let begin = || async {
        if standing(drift).await?.is_none() {
            let numbers = kept(drift).await?;
            let numbers = numbers.first().and_then(|task| serde_json::from_str(task.params.as_str()).ok());
            set_supply(drift, Some(Label::from_stored(BY)), numbers.unwrap_or_default()).await?;
            let id = TaskId::of_name("drift", "default batch");
            let first = Kept::of_template("default").create(&drift.app, Some(id), Some(queue()))?;
            baton_create_task::create_one(&drift.app, &Caller::unrestricted(), first, None).await?;
        }
        Ok::<_, ApiError>(())
    };
    drift.supplied.get_or_try_init(begin).await.copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_raised_to_one_and_a_supply_refills_below_its_target() {
        let least = Numbers { target_pending_tasks: 0, min_pending_tasks: 0, max_tasks_per_client: 0 }.held();
        assert_eq!(least, Numbers { target_pending_tasks: 1, min_pending_tasks: 1, max_tasks_per_client: 1 });
        assert_eq!(Numbers::default().supply(), (5, 10));
        assert_eq!(Numbers { target_pending_tasks: 3, ..Numbers::default() }.supply(), (3, 3));
    }
}
