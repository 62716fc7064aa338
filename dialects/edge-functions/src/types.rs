//! The table of task types: which orchestrator claims a type, and which types only wait for their children.

use baton_model::{QueueName, TaskType};
use baton_runtime::settings::EdgeSettings;

/// Who runs a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunType {
    /// The GPU workers.
    Gpu,
    /// The orchestrator that calls other services.
    Api,
}

impl RunType {
    pub(crate) const ALL: [Self; 2] = [Self::Gpu, Self::Api];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Api => "api",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }

    /// The queue of its tasks.
    pub(crate) fn queue(self) -> QueueName {
        QueueName::from_stored(self.as_str())
    }
}

/// The table, as it was set.
#[derive(Clone, Debug)]
pub(crate) struct Types {
    api: Vec<TaskType>,
    orchestrators: Vec<TaskType>,
    known: Vec<TaskType>,
}

impl Types {
    pub(crate) fn of(settings: &EdgeSettings) -> Self {
        Self {
            api: settings.api_types.clone(),
            orchestrators: settings.orchestrator_types.clone(),
            known: settings.known_types.clone(),
        }
    }

    pub(crate) fn run_type(&self, task_type: &TaskType) -> RunType {
        if self.api.contains(task_type) { RunType::Api } else { RunType::Gpu }
    }

    /// Whether tasks of a type only wait for their children. The real table has a category for it, and its functions go by the name.
    pub(crate) fn is_orchestrator(&self, task_type: &TaskType) -> bool {
        task_type.as_str().contains("orchestrator") || self.orchestrators.contains(task_type)
    }

    /// Whether tasks may be of a type.
    pub(crate) fn is_known(&self, task_type: &TaskType) -> bool {
        let named = [&self.known, &self.api, &self.orchestrators];
        self.known.is_empty() || named.iter().any(|types| types.contains(task_type))
    }

    /// The orchestrators that are set.
    pub(crate) fn orchestrators(&self) -> &[TaskType] {
        &self.orchestrators
    }
}
