//! `update-task-status`: the platform's transitions, each as the command that it means.

use baton_api::ProblemCode;
use baton_http::{ApiError, Caller};
use baton_model::Task;
use serde_json::{Value, json};

use crate::cascade;
use crate::edge::Edge;
use crate::ending::{self, Handed};
use crate::origin::Origin;
use crate::row::id_of;
use crate::storage;
use crate::words::{Answer, Object, Said, Word, json_of, ok, task_id, text, text_of, whole};

/// What is asked.
pub(crate) struct Ask<'a> {
    /// The status.
    pub(crate) word: Word,
    /// What the task has put out, or why it failed.
    pub(crate) output: Option<&'a str>,
    /// Why it failed.
    pub(crate) error: Option<&'a str>,
    /// The number of the attempt that is ended.
    pub(crate) attempts: Option<u64>,
    /// Who says that it holds the attempt.
    pub(crate) worker: Option<&'a str>,
    /// How it is known whose word it is.
    pub(crate) by: By,
    /// Where it was asked, by which a file's address is known for one of this server.
    pub(crate) origin: Option<&'a Origin>,
}

/// Whose word a status is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// That of a worker, of the attempt that it names or of that which runs.
    Worker,
    /// That of a worker which names no attempt, though another than that whose attempt runs may take the task for its own.
    AnyWorker,
    /// That of another one, who looks after workers.
    Other,
}

impl Ask<'_> {
    fn why(&self) -> &str {
        self.error.or(self.output).unwrap_or_default()
    }
}

/// What became of it.
pub(crate) enum Outcome {
    /// This.
    Now(Box<Task>),
    /// It is not allowed, and why.
    Refused(String),
}

/// Sets a task's status.
pub(crate) async fn update(edge: &Edge, caller: &Caller, origin: &Origin, body: &Object) -> Answer {
    let (Some(id), Some(status)) = (text(body, "task_id"), text(body, "status")) else {
        return Err(text_of(400, "task_id and status are required").into());
    };
    let Some(word) = Word::named(status) else {
        let names = Word::ALL.map(Word::as_str).join(", ");
        return Err(text_of(400, format!("Invalid status. Must be one of: {names}")).into());
    };
    set(edge, caller, id, Ask { word, origin: Some(origin), ..read(body)? }).await
}

/// Fails a task for good.
pub(crate) async fn mark_failed(edge: &Edge, caller: &Caller, body: &Object) -> Answer {
    let Some(id) = text(body, "task_id") else { return Err(text_of(400, "task_id is required").into()) };
    let why = ["error_message", "error"].into_iter().find_map(|key| text(body, key));
    let ask = read(body)?;
    set(edge, caller, id, Ask { error: ask.error.or(why), ..ask }).await
}

fn read(body: &Object) -> Result<Ask<'_>, Said> {
    let wrong = |field: &str, kind: &str| -> Said {
        json_of(400, &json!({ "success": false, "message": format!("{field} must be a {kind}") })).into()
    };
    let words = |field: &'static str| match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(wrong(field, "string")),
    };
    for field in ["clear_worker", "reset_generation_started_at"] {
        if body.get(field).is_some_and(|value| !value.is_boolean() && !value.is_null()) {
            return Err(wrong(field, "boolean"));
        }
    }
    let attempts = match body.get("attempts") {
        None | Some(Value::Null) => None,
        Some(value) => Some(whole(value).ok_or_else(|| wrong("attempts", "number"))?),
    };
    Ok(Ask {
        word: Word::Failed,
        output: words("output_location")?,
        error: words("error_details")?,
        attempts,
        worker: words("worker_id")?,
        by: By::Worker,
        origin: None,
    })
}

async fn set(edge: &Edge, caller: &Caller, id: &str, mut ask: Ask<'_>) -> Answer {
    let Some(detail) = edge.task(caller, task_id(id)).await? else {
        return Err(text_of(404, "Task not found").into());
    };
    if ask.attempts.is_none() && ask.worker.is_none() && ending::has_zombie(&detail) {
        ask.by = By::AnyWorker;
    }
    let task = detail.task;
    match apply(edge, caller, &task, &ask).await? {
        Outcome::Now(task) => {
            let status = Word::of(task.head.state.state()).as_str();
            ok(&json!({
                "success": true,
                "task_id": id_of(&task),
                "status": status,
                "message": format!("Task status updated to {status}"),
            }))
        }
        Outcome::Refused(why) => Err(refused(&task, ask.word, &why)),
    }
}

fn refused(task: &Task, asked: Word, why: &str) -> Said {
    let current = Word::of(task.head.state.state());
    let allowed = current.next().iter().filter(|next| **next != asked).map(|next| next.as_str());
    json_of(
        409,
        &json!({
            "success": false,
            "task_id": id_of(task),
            "current_status": current.as_str(),
            "requested_status": asked.as_str(),
            "allowed_transitions": allowed.collect::<Vec<_>>(),
            "message": why,
        }),
    )
    .into()
}

/// Does what a status means to a task as it stands. Whoever has ended it in between goes first, and is told of.
pub(crate) async fn apply(edge: &Edge, caller: &Caller, task: &Task, ask: &Ask<'_>) -> Result<Outcome, Said> {
    match change(edge, caller, task, ask).await {
        Err(Said::Baton(error)) if ending::has_changed(&error) => {
            Ok(Outcome::Refused(error.problem().detail.clone()))
        }
        done => done,
    }
}

/// An attempt is ended by a worker, as by Baton's own routes; who only makes tasks may call them off.
fn may_ask(caller: &Caller, ask: &Ask<'_>) -> Result<(), Said> {
    let ends = ask.word != Word::Cancelled;
    if ends && caller.grant().is_some_and(|grant| !grant.has(&[baton_model::Scope::Worker])) {
        let detail = format!(
            "the token's scopes do not allow to set a task to {}; use another token",
            ask.word.as_str()
        );
        return Err(ApiError::new(ProblemCode::ScopeMissing, detail).into());
    }
    Ok(())
}

async fn change(edge: &Edge, caller: &Caller, task: &Task, ask: &Ask<'_>) -> Result<Outcome, Said> {
    may_ask(caller, ask)?;
    let current = Word::of(task.head.state.state());
    if matches!(ask.word, Word::Queued | Word::Complete | Word::Failed)
        && let Some(why) = ending::stale(task, ask.attempts, ask.worker)
    {
        return Ok(Outcome::Refused(why));
    }
    let now = match (current, ask.word) {
        (current, asked) if current == asked => {
            same(edge, caller, task, ask).await?;
            task.clone()
        }
        (Word::InProgress, Word::Complete) => {
            let files = match ask.output {
                Some(address) => {
                    ending::reach(edge, caller, task).await?;
                    let file = storage::at_address(edge, caller, ask.origin, task, address).await?;
                    file.into_iter().collect()
                }
                None => Vec::new(),
            };
            let handed = Handed { location: ask.output.map(str::to_owned), files, ..Handed::default() };
            let generation = ending::complete(edge, caller, task, handed).await?;
            cascade::after_completion(edge, caller, task, generation.output.location.as_deref()).await?;
            edge.app.store.task(task.head.id).await?.task
        }
        (Word::InProgress, Word::Failed) => {
            // What may be the late word of a worker that was given up does not end the task for good, nor its siblings, while it has
            // attempts left.
            let again = ask.by == By::AnyWorker;
            let failed = ending::fail(edge, caller, task, (or_unknown(ask.why()), None), again).await?;
            if Word::of(failed.head.state.state()) == Word::Failed {
                cascade::after_failure(edge, caller, &failed, Word::Failed, ask.why()).await?;
            }
            failed
        }
        (Word::InProgress, Word::Queued) => return requeue(edge, caller, task, ask).await,
        (Word::Queued | Word::InProgress, Word::Cancelled) => {
            let cancelled = ending::cancel(edge, caller, task, ask.why()).await?;
            cascade::after_failure(edge, caller, &cancelled, Word::Cancelled, ask.why()).await?;
            cancelled
        }
        // Nobody has begun it, so that nobody can have failed it: it is called off.
        (Word::Queued, Word::Failed) if task.head.attempt == 0 => {
            let cancelled = ending::cancel(edge, caller, task, ask.why()).await?;
            cascade::after_failure(edge, caller, &cancelled, Word::Failed, ask.why()).await?;
            cancelled
        }
        (Word::Queued, Word::Failed | Word::Complete) if task.head.attempt > 0 => {
            let why = "the attempt has ended, and the task waits for another one; the word of its earlier worker counts for nothing";
            return Ok(Outcome::Refused(why.to_owned()));
        }
        (Word::Queued, Word::InProgress) => {
            return Ok(Outcome::Refused("a task is given to a worker by claim-next-task alone".to_owned()));
        }
        (current, asked) => {
            let why = format!("Cannot transition from {} to {}", current.as_str(), asked.as_str());
            return Ok(Outcome::Refused(why));
        }
    };
    Ok(Outcome::Now(Box::new(now)))
}

fn or_unknown(why: &str) -> &str {
    if why.is_empty() { "failed, and its worker has not said why" } else { why }
}

/// The status that it has: what a task that runs is said to have put out is kept for whoever looks on, and what follows from an end
/// is done where it was not.
async fn same(edge: &Edge, caller: &Caller, task: &Task, ask: &Ask<'_>) -> Result<(), Said> {
    match ask.word {
        Word::InProgress => {
            edge.say(task, ask.output.map(str::to_owned));
            Ok(())
        }
        Word::Failed | Word::Cancelled => {
            cascade::after_failure(edge, caller, task, ask.word, ask.why()).await
        }
        Word::Complete => match edge.app.store.task(task.head.id).await?.generation {
            Some(record) => storage::adopt(edge, task.head.id, &record).await,
            None => Ok(()),
        },
        Word::Queued => Ok(()),
    }
}

/// Puts a task back. Who puts back names its own attempt, as its claim was told of those before: one that names an earlier attempt
/// than that which runs was given up, and the task is another's, as [`ending::stale`] has found before.
async fn requeue(edge: &Edge, caller: &Caller, task: &Task, ask: &Ask<'_>) -> Result<Outcome, Said> {
    let code = (ask.by == By::Other).then_some(ending::RESET);
    let back = ending::fail(edge, caller, task, (or_unknown(ask.why()), code), true).await?;
    if Word::of(back.head.state.state()) == Word::Failed {
        cascade::after_failure(edge, caller, &back, Word::Failed, ask.why()).await?;
    }
    Ok(Outcome::Now(Box::new(back)))
}
