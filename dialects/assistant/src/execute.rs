//! `execute_immediately`: what came of tasks within a bounded time, in the form that clients read.
//!
//! The old server ran actions itself. Here a worker does, and says what each action gave by `action_results` in its result, if it
//! likes; else its whole result counts for its actions.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use baton_http::App;
use baton_model::{Status, TaskId, TaskState};
use baton_store::TaskDetail;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::ask::Ask;
use crate::asked;
use crate::entry::{Kept, word};
use crate::log::{Kind, Suffix};

/// How long until it is looked again, at first and at most. A look reads each task that is not over.
const LOOK_FIRST: Duration = Duration::from_millis(20);
const LOOK_AT_MOST: Duration = Duration::from_millis(250);

/// What became of tasks, whose actions are these, within a time. They are there whatever happens: a look that fails has seen nothing yet.
/// The log is told of each once it is seen that a worker has begun it, and that it is over.
pub(crate) async fn wait(
    ask: &Ask<'_>,
    mut open: Vec<(TaskId, &[String])>,
    longest: Duration,
) -> HashMap<TaskId, Value> {
    let app = ask.app;
    let mut begun = HashSet::new();
    let deadline = Instant::now() + longest;
    let mut pause = LOOK_FIRST;
    let mut results = HashMap::with_capacity(open.len());
    loop {
        let mut left = Vec::new();
        let is_last = Instant::now() >= deadline || app.shutdown.begun();
        for (id, actions) in open {
            let seen = app.store.task(id).await;
            if let Ok(detail) = &seen {
                tell(ask, detail, &mut begun);
            }
            match seen {
                Ok(detail) if is_last || detail.task.head.state.state().is_final() => {
                    results.insert(id, result(&detail, app, longest));
                }
                Err(error) if is_last => {
                    tracing::warn!(
                        task_id = %id,
                        error = error.report(),
                        "what came of a task could not be looked up"
                    );
                    results.insert(id, told(actions, None, Some(unseen(longest)), 0.0));
                }
                // A store that fails may be back at the next look.
                Ok(_) | Err(_) => left.push((id, actions)),
            }
        }
        open = left;
        if open.is_empty() {
            return results;
        }
        tokio::select! {
            () = app.shutdown.wait() => {}
            () = tokio::time::sleep_until(deadline.min(Instant::now() + pause)) => {}
        }
        pause = (pause * 2).min(LOOK_AT_MOST);
    }
}

/// Tells the log that a task is worked at, or no longer.
fn tell(ask: &Ask<'_>, detail: &TaskDetail, begun: &mut HashSet<TaskId>) {
    let task = &detail.task;
    if task.head.attempt == 0 {
        return;
    }
    let data = |more: Value| {
        let mut data = json!({ "task_id": task.head.id.to_string(), "attempt": task.head.attempt });
        if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
            data.extend(more);
        }
        data
    };
    if begun.insert(task.head.id) {
        let worker = match &task.head.state {
            TaskState::Running(lease) => Some(&lease.worker),
            _ => task.head.ended.as_ref().map(|end| &end.worker),
        };
        let status = Suffix { status: Some("processing"), ..Suffix::default() };
        ask.note(Kind::ProcessingStart, &data(json!({ "worker": worker })), status);
    }
    if task.head.state.state().is_final() {
        let status = word(task.status(ask.app.now()));
        let suffix = Suffix { status: Some(status), ..Suffix::default() };
        ask.note(Kind::ProcessingEnd, &data(json!({ "status": status })), suffix);
    }
}

/// Why there is no result of a task that could not be looked up.
fn unseen(waited: Duration) -> String {
    format!(
        "no result within {} s: the task could not be looked up; GET it to see what comes of it",
        waited.as_secs_f64()
    )
}

/// A task's `execution_result`.
pub(crate) fn result(detail: &TaskDetail, app: &App, waited: Duration) -> Value {
    let task = &detail.task;
    let kept = Kept::of(task);
    let own: Value = serde_json::from_str(kept.task.get()).unwrap_or_default();
    let actions = own.as_object().and_then(asked::actions).unwrap_or_default();
    let error = match (task.status(app.now()), &task.error) {
        (Status::Completed, _) => None,
        (Status::Failed, Some(error)) => Some(error.message.clone()),
        (Status::Failed, None) => Some("the task has failed".to_owned()),
        (Status::Cancelled, _) => Some("the task was cancelled before a worker had done it".to_owned()),
        (Status::Running, _) => Some(format!(
            "no result within {} s: a worker is at it; GET the task to see what comes of it",
            waited.as_secs_f64()
        )),
        (Status::Blocked | Status::Created | Status::Queued | Status::Retry, _) => Some(format!(
            "no result within {} s: no worker has taken the task, which waits in the queue {}",
            waited.as_secs_f64(),
            task.queue
        )),
    };
    let done = detail.generation.as_ref();
    let given = done.and_then(|generation| generation.output.result.as_ref()).map(|result| result.to_value());
    let millis = done.map_or(0.0, |generation| generation.run_time().as_secs_f64() * 1e3);
    told(&actions, given, error, millis)
}

/// The form that clients read.
fn told(actions: &[String], given: Option<Value>, error: Option<String>, millis: f64) -> Value {
    let count = actions.len().max(1);
    let own = given.as_ref().and_then(|given| given.get("action_results")).and_then(Value::as_array);
    let part = |index: usize| -> Map<String, Value> {
        if let Some(Value::Object(own)) = own.and_then(|results| results.get(index)) {
            return own.clone();
        }
        let results = match &given {
            Some(Value::Array(several)) if several.len() == count && count > 1 => several[index].clone(),
            Some(given) => given.clone(),
            None => Value::Null,
        };
        Map::from_iter([("results".to_owned(), results)])
    };
    let parts: Vec<Value> = (0..count)
        .map(|index| {
            let mut part = part(index);
            let mut default = |name: &str, value: Value| _ = part.entry(name).or_insert(value);
            default("executed", error.is_none().into());
            default("action_name", actions.get(index).cloned().into());
            default("action_index", index.into());
            default("execution_time_ms", (millis / count as f64).into());
            default("results", Value::Null);
            if let Some(error) = &error {
                default("error", error.clone().into());
            }
            Value::Object(part)
        })
        .collect();
    let successful = parts.iter().filter(|part| part["executed"] == true).count();
    let action = match actions {
        [] => Value::Null,
        [only] => json!(only),
        several => json!(several),
    };
    let mut told = json!({
        "executed": error.is_none(),
        "action": action,
        "results": given.unwrap_or_default(),
        "action_sequence": actions,
        "total_actions": actions.len(),
        "action_results": parts,
        "execution_summary": {
            "successful_actions": successful,
            "failed_actions": count - successful,
            "total_execution_time_ms": millis,
        },
    });
    if let (Value::Object(told), Some(error)) = (&mut told, error) {
        told.insert("error".to_owned(), error.into());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn each_action_has_its_result_in_order() {
        let given = json!([{"hits": 1}, "page"]);
        let told = told(&names(&["search", "scrape"]), Some(given), None, 30.0);
        assert_eq!((&told["executed"], &told["total_actions"]), (&json!(true), &json!(2)));
        assert_eq!(told["action_results"][0]["results"], json!({"hits": 1}));
        assert_eq!(told["action_results"][1]["action_name"], "scrape");
        assert_eq!(told["action_results"][1]["action_index"], 1);
        assert_eq!(told["action_results"][1]["execution_time_ms"], 15.0);
        assert_eq!(
            told["execution_summary"],
            json!({"successful_actions": 2, "failed_actions": 0, "total_execution_time_ms": 30.0})
        );
        assert!(told.get("error").is_none());
    }

    #[test]
    fn a_worker_may_say_what_each_action_gave() {
        let given =
            json!({"action_results": [{"executed": true, "results": 1}, {"executed": false, "error": "no"}]});
        let told = told(&names(&["a", "b"]), Some(given), None, 4.0);
        assert_eq!(told["action_results"][1]["error"], "no");
        assert_eq!(told["action_results"][1]["action_name"], "b");
        assert_eq!(told["execution_summary"]["failed_actions"], 1);
    }

    #[test]
    fn what_was_not_done_says_so() {
        let told = told(&names(&["dance"]), None, Some("unknown action".to_owned()), 0.0);
        assert_eq!((&told["executed"], &told["error"]), (&json!(false), &json!("unknown action")));
        assert_eq!(
            (&told["action"], &told["action_results"][0]["executed"]),
            (&json!("dance"), &json!(false))
        );
    }
}
