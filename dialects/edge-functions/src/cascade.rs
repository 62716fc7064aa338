//! Orchestrators and their children: they fail and are cancelled together, and an orchestrator ends with its last child.
//!
//! Each step is found anew from the tasks as they stand, so that whoever comes by may repeat it.

use std::collections::BTreeSet;

use baton_http::{ApiError, Caller};
use baton_model::{EventKind, Label, Task, TaskState};
use baton_store::{TaskDetail, TaskFilter};
use serde_json::Value;

use crate::edge::{Edge, LOOKED_THROUGH};
use crate::ending::{self, Handed};
use crate::row::id_of;
use crate::words::{Said, Word, at, task_id, text_at, whole};

/// Where a task's params name its orchestrator, the first that is there.
const ORCHESTRATOR: [&[&str]; 5] = [
    &["orchestrator_task_id_ref"],
    &["orchestration_contract", "orchestrator_task_id"],
    &["orchestrator_task_id"],
    &["orchestrator_details", "orchestrator_task_id"],
    &["originalParams", "orchestrator_details", "orchestrator_task_id"],
];

/// Why a task is called off that is removed right after it: nothing follows from it for others.
pub(crate) const REMOVED: &str = "removed";

/// The orchestrator of a task by its params.
pub(crate) fn orchestrator_of(params: &Value) -> Option<&str> {
    ORCHESTRATOR.into_iter().find_map(|path| text_at(params, path))
}

/// The run that a task belongs to by its params.
pub(crate) fn run_of(params: &Value) -> Option<&str> {
    text_at(params, &["orchestrator_run_id"])
        .or_else(|| text_at(params, &["orchestration_contract", "run_id"]))
}

/// The children of an orchestrator that the caller sees, the oldest first.
///
/// A list may trail, and tell a child that has just ended as one that runs: of two children that end at once neither would be seen as
/// the last one, and nobody would end their orchestrator. Whether a task has ended is therefore read anew of those that a list has not
/// seen end. What has ended stays so, but for an operator's retry.
pub(crate) async fn children(
    edge: &Edge,
    caller: &Caller,
    orchestrator: &str,
) -> Result<Vec<Task>, ApiError> {
    let Ok(name) = orchestrator.parse::<Label>() else { return Ok(Vec::new()) };
    let filter = TaskFilter { assigned_by: Some(name), now: edge.app.now(), ..TaskFilter::default() };
    // The label tells who was named as the maker, by Baton's own callers too; the params tell whose child a task is.
    let is_child = |task: &Task| orchestrator_of(&task.params.to_value()) == Some(orchestrator);
    let listed = edge.tasks(caller, filter, LOOKED_THROUGH, is_child).await?;
    let mut children = Vec::with_capacity(listed.len());
    for task in listed {
        if matches!(task.head.state, TaskState::Cancelled) {
            let detail = edge.task(caller, task.head.id).await?;
            children.extend(detail.filter(|detail| !is_being_removed(detail)).map(|detail| detail.task));
        } else if task.head.state.state().is_final() || edge.app.store.capabilities().fresh_lists {
            children.push(task);
        } else {
            let detail = edge.task(caller, task.head.id).await?;
            children.extend(detail.filter(|detail| !is_being_removed(detail)).map(|detail| detail.task));
        }
    }
    children.sort_by_key(|task| (task.created_at, task.head.id));
    Ok(children)
}

/// Whether a task was called off to be removed: it is as good as gone.
fn is_being_removed(detail: &TaskDetail) -> bool {
    let last = detail.history.iter().rev().find(|event| event.kind == EventKind::Cancelled);
    matches!(detail.task.head.state, TaskState::Cancelled)
        && last.is_some_and(|event| event.detail.reason.as_deref() == Some(REMOVED))
}

/// The orchestrators that an end concerns: the task itself, if it is one, and its own.
fn orchestrators(edge: &Edge, task: &Task) -> BTreeSet<String> {
    let params = task.params.to_value();
    let mut names: BTreeSet<String> = orchestrator_of(&params).map(str::to_owned).into_iter().collect();
    if edge.types.is_orchestrator(&task.task_type) {
        names.insert(id_of(task));
    }
    names
}

/// After a task has failed or was cancelled: its orchestrator and all its siblings that are not at their end go the same way.
pub(crate) async fn after_failure(
    edge: &Edge,
    caller: &Caller,
    task: &Task,
    word: Word,
    why: &str,
) -> Result<(), Said> {
    for orchestrator in orchestrators(edge, task) {
        let mut others = children(edge, caller, &orchestrator).await?;
        others.extend(edge.task(caller, task_id(&orchestrator)).await?.map(|detail| detail.task));
        let message = format!("Cascaded from {} task {}: {why}", word.as_str().to_lowercase(), id_of(task));
        for other in others {
            if other.head.id != task.head.id && other.project == task.project {
                end_with(edge, caller, &other, word, &message).await?;
            }
        }
    }
    Ok(())
}

/// Ends a task that is not at its end.
async fn end_with(edge: &Edge, caller: &Caller, task: &Task, word: Word, message: &str) -> Result<(), Said> {
    let done = match (&task.head.state, word) {
        (state, _) if state.state().is_final() => return Ok(()),
        (TaskState::Running(_), Word::Failed) => {
            ending::fail(edge, caller, task, (message, Some("cascaded")), false).await
        }
        // What nobody has begun is called off: nobody can have failed it.
        _ => ending::cancel(edge, caller, task, message).await,
    };
    match done {
        Ok(_) => Ok(()),
        // It has ended since it was looked at.
        Err(Said::Baton(error)) if ending::has_changed(&error) => Ok(()),
        Err(Said::Own(response)) if response.status() == http::StatusCode::CONFLICT => Ok(()),
        Err(error) => Err(error),
    }
}

/// What the children say of their orchestrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Some are not at their end, or yet to be made.
    Goes,
    /// All that are to be have completed.
    Done,
    /// One has not.
    Failed,
}

/// A child as far as it matters to its orchestrator.
type Child<'a> = (&'a str, Word);

fn judge(task_type: &str, params: &Value, children: &[Child<'_>]) -> Verdict {
    let joins = task_type.contains("join");
    let is_part = |(child, _): &&Child<'_>| {
        if joins {
            child.starts_with("join") && *child != "join_final_stitch"
        } else {
            *child == "travel_segment"
        }
    };
    if !joins && !task_type.contains("travel") {
        return Verdict::Goes;
    }
    let parts: Vec<&Child<'_>> = children.iter().filter(is_part).collect();
    let stitches: Vec<&Child<'_>> =
        children.iter().filter(|(child, _)| *child == "join_final_stitch").collect();
    let failed = |(_, word): &&&Child<'_>| matches!(word, Word::Failed | Word::Cancelled);
    if parts.iter().chain(&stitches).any(|child| failed(&child)) {
        return Verdict::Failed;
    }
    let is_done = |(_, word): &&&Child<'_>| *word == Word::Complete;
    let stitched = !joins || stitches.iter().any(|child| is_done(&child));
    let Some(expected) = expected(joins, params) else { return Verdict::Goes };
    if parts.len() >= expected && parts.iter().all(|child| is_done(&child)) && stitched {
        Verdict::Done
    } else {
        Verdict::Goes
    }
}

/// How many parts there are to be; none if that is not said.
fn expected(joins: bool, params: &Value) -> Option<usize> {
    let number = |key| {
        let found = at(params, &["orchestrator_details", key]).or_else(|| at(params, &[key]))?;
        whole(found).and_then(|number| usize::try_from(number).ok())
    };
    if !joins {
        return number("num_new_segments_to_generate");
    }
    let clips = at(params, &["orchestrator_details", "clip_list"]).or_else(|| at(params, &["clip_list"]));
    let between = clips.and_then(Value::as_array).map(|clips| clips.len().saturating_sub(1));
    between.or_else(|| number("num_joins"))
}

/// After a child has completed: its orchestrator ends with it, if it was the last one.
pub(crate) async fn after_completion(
    edge: &Edge,
    caller: &Caller,
    child: &Task,
    location: Option<&str>,
) -> Result<(), Said> {
    let params = child.params.to_value();
    let Some(name) = orchestrator_of(&params) else { return Ok(()) };
    let Some(detail) = edge.task(caller, task_id(name)).await? else { return Ok(()) };
    let orchestrator = detail.task;
    if orchestrator.project != child.project {
        return Ok(());
    }
    let children = children(edge, caller, name).await?;
    settle(edge, caller, &orchestrator, &children, location).await
}

/// Ends an orchestrator if its children say so. `location` is that of the child that completed last.
pub(crate) async fn settle(
    edge: &Edge,
    caller: &Caller,
    orchestrator: &Task,
    children: &[Task],
    location: Option<&str>,
) -> Result<(), Said> {
    let runs = matches!(orchestrator.head.state, TaskState::Running(_));
    if !runs || !edge.types.is_orchestrator(&orchestrator.task_type) {
        return Ok(());
    }
    let told: Vec<Child<'_>> =
        children.iter().map(|task| (task.task_type.as_str(), Word::of(task.head.state.state()))).collect();
    let done = match judge(orchestrator.task_type.as_str(), &orchestrator.params.to_value(), &told) {
        Verdict::Goes => return Ok(()),
        Verdict::Done => {
            let handed = Handed { location: location.map(str::to_owned), ..Handed::default() };
            ending::complete(edge, caller, orchestrator, handed).await.map(|_| ())
        }
        Verdict::Failed => {
            let failed = children
                .iter()
                .find(|task| matches!(Word::of(task.head.state.state()), Word::Failed | Word::Cancelled));
            let message = match failed {
                Some(child) => format!("Cascaded from failed task {}", id_of(child)),
                None => "Cascaded from a failed task".to_owned(),
            };
            match failed {
                Some(child) => after_failure(edge, caller, child, Word::Failed, &message).await,
                None => Ok(()),
            }
        }
    };
    match done {
        Err(Said::Baton(error)) if ending::has_changed(&error) => Ok(()),
        Err(Said::Own(response)) if response.status() == http::StatusCode::CONFLICT => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_orchestrator_is_named_in_one_of_five_places() {
        for params in [
            json!({"orchestrator_task_id_ref": "o", "orchestrator_task_id": "x"}),
            json!({"orchestration_contract": {"orchestrator_task_id": "o"}}),
            json!({"orchestrator_task_id": "o"}),
            json!({"orchestrator_details": {"orchestrator_task_id": "o"}}),
            json!({"originalParams": {"orchestrator_details": {"orchestrator_task_id": "o"}}}),
        ] {
            assert_eq!(orchestrator_of(&params), Some("o"), "{params}");
        }
        assert_eq!(orchestrator_of(&json!({"orchestrator_task_id_ref": null})), None);
        assert_eq!(run_of(&json!({"orchestration_contract": {"run_id": "r"}})), Some("r"));
    }

    #[test]
    fn a_journey_is_done_with_its_last_segment() {
        let params = json!({"orchestrator_details": {"num_new_segments_to_generate": 2}});
        let judge = |children: &[Child<'_>]| judge("travel_orchestrator", &params, children);
        let segment = |word| ("travel_segment", word);
        assert_eq!(judge(&[segment(Word::Complete)]), Verdict::Goes);
        assert_eq!(judge(&[segment(Word::Complete), segment(Word::InProgress)]), Verdict::Goes);
        assert_eq!(judge(&[segment(Word::Complete), segment(Word::Complete)]), Verdict::Done);
        assert_eq!(judge(&[segment(Word::Complete), segment(Word::Failed)]), Verdict::Failed);
        assert_eq!(judge(&[("other", Word::Failed)]), Verdict::Goes);
    }

    #[test]
    fn clips_are_joined_once_they_are_stitched() {
        let params = json!({"orchestrator_details": {"clip_list": [1, 2, 3]}});
        let judge = |children: &[Child<'_>]| judge("join_clips_orchestrator", &params, children);
        let join = ("join_clips_segment", Word::Complete);
        assert_eq!(judge(&[join, join]), Verdict::Goes);
        assert_eq!(judge(&[join, join, ("join_final_stitch", Word::Queued)]), Verdict::Goes);
        assert_eq!(judge(&[join, join, ("join_final_stitch", Word::Complete)]), Verdict::Done);
        assert_eq!(judge(&[join, ("join_final_stitch", Word::Complete)]), Verdict::Goes);
    }

    #[test]
    fn who_does_not_say_how_many_parts_there_are_ends_by_its_worker() {
        let segment = ("travel_segment", Word::Complete);
        assert_eq!(judge("travel_orchestrator", &json!({}), &[segment]), Verdict::Goes);
        assert_eq!(judge("edit_video_orchestrator", &json!({"num_joins": 0}), &[segment]), Verdict::Goes);
    }
}
