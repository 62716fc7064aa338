//! What of a client's task is kept where in Baton.
//!
//! It waits in the queue `autodev`; its type is its role, if a type may be named so. Its params are the client's own fields, with the
//! provider and model that were chosen for it and the branch that its work belongs on. So a worker has all of it. What else is in
//! that queue, as a schedule's tasks, is shown by its Baton id, with its type as role.

use baton_model::{ProjectId, QueueName, Task, TaskId, TaskType};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The queue of all tasks of this dialect.
pub fn queue() -> QueueName {
    QueueName::from_stored("autodev")
}

/// The type of a task whose role cannot be a type's name.
const PLAIN: &str = "task";

/// The id in Baton of the task that a client of a project knows by this text: the UUID itself if it is one, else one that is made of
/// the text.
pub fn task_id(project: &ProjectId, text: &str) -> TaskId {
    text.parse().unwrap_or_else(|_| match project.as_str() {
        "default" => TaskId::of_name("orchestrator", text),
        project => TaskId::of_name(&format!("orchestrator of {project}"), text),
    })
}

/// A task's type by its role.
pub fn type_of(role: &str) -> TaskType {
    role.parse().unwrap_or_else(|_| TaskType::from_stored(PLAIN))
}

/// A task's params.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) role: String,
    #[serde(default)]
    pub(crate) acceptance: Map<String, Value>,
    pub(crate) target_dir: String,
    #[serde(default)]
    pub(crate) full_access: bool,
    /// What the client asked for.
    pub(crate) provider_override: Option<String>,
    /// What was chosen for it.
    pub(crate) provider: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) repository_url: Option<String>,
    pub(crate) base_branch: Option<String>,
    pub(crate) branch: String,
}

impl Kept {
    /// What is kept of a task.
    pub(crate) fn of(task: &Task) -> Self {
        serde_json::from_str(task.params.as_str()).unwrap_or_else(|_| {
            let (id, role) = (task.head.id.to_string(), task.task_type.to_string());
            let title = task.description.clone().unwrap_or_else(|| role.clone());
            Self {
                branch: branch(&role, &id),
                id,
                description: title.clone(),
                title,
                role,
                acceptance: Map::new(),
                target_dir: ".".to_owned(),
                full_access: false,
                provider_override: None,
                provider: None,
                model: None,
                repository_url: None,
                base_branch: None,
            }
        })
    }

    /// Whether it is what was kept of what a client sent. The provider was chosen, and so was the model of a client that named none.
    pub(crate) fn is_of(&self, sent: &Self) -> bool {
        let model = if sent.model.is_some() { &sent.model } else { &self.model };
        let sent = Self { provider: self.provider.clone(), model: model.clone(), ..sent.clone() };
        *self == sent
    }
}

/// The branch that a task's work belongs on.
pub fn branch(role: &str, id: &str) -> String {
    format!("auto/{role}/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_any_text_is_one_task_of_its_project() {
        let (film, game) = ("film".parse().unwrap(), "game".parse().unwrap());
        for text in ["agent-task-1-abc", "", "ä/ö\n", "01980a6e"] {
            assert_eq!(task_id(&film, text), task_id(&film, text));
            assert_ne!(task_id(&film, text), task_id(&game, text));
            assert_ne!(task_id(&film, text), task_id(&ProjectId::default(), text));
        }
        let uuid = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
        assert_eq!(task_id(&film, uuid).to_string(), uuid);
    }
}
