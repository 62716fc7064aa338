//! A task that comes from the platform's own table, as this dialect keeps its tasks: so its clients find it.

use std::time::Duration;

use baton_model::task::IfDependencyFails;
use baton_model::{Label, Payload, QueueName, TaskType};
use baton_runtime::settings::EdgeSettings;
use serde_json::Value;

use crate::functions::create::model_of;
use crate::types::Types;
use crate::{cascade, generation};

pub use crate::words::task_id;

/// What a task has by its type and its params.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The queue of its run type.
    pub queue: QueueName,
    /// Its run.
    pub domain: Option<Label>,
    /// Its orchestrator.
    pub assigned_by: Option<Label>,
    /// The model that it needs.
    pub affinity: Option<Label>,
    /// How long an attempt may run.
    pub timeout: Duration,
    /// What becomes of it when one that it waits for fails.
    pub if_dependency_fails: IfDependencyFails,
    /// What its output record says besides, once it is completed.
    pub metadata: Payload,
}

/// What a task of this type with these params has, whose output lies there.
pub fn moved(settings: &EdgeSettings, task_type: &TaskType, params: &Value, location: Option<&str>) -> Moved {
    let types = Types::of(settings);
    let label = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    let timeout = match types.is_orchestrator(task_type) {
        true => settings.orchestrator_timeout,
        false => settings.task_timeout,
    };
    Moved {
        queue: types.run_type(task_type).queue(),
        domain: label(cascade::run_of(params)),
        assigned_by: label(cascade::orchestrator_of(params)),
        affinity: label(model_of(params)),
        timeout,
        if_dependency_fails: IfDependencyFails::Fail,
        metadata: Payload::from_value(&generation::fields(task_type, params, &types, location, None)),
    }
}
