//! Tasks that come through the queue `submissions`: one task or a batch in each message.

use baton_api::create::CreateTask;
use baton_api::fields::parsed;
use baton_api::{Fields, ReadFields};
use baton_http::spec::task_spec;
use baton_http::{ApiError, App, Caller, Message};
use baton_model::{Expected, Limits, RequestKey, TaskSpec};
use baton_store::{Create, Idempotency, StoreError};

use crate::batch::{Batch, fingerprint, hand_in};
use crate::of_batch::OfBatch;
use crate::told::Told;

use crate::graph;

/// What a message asks for: the body of `POST /v1/tasks`, or that of `POST /v1/tasks/batch`, and a name by which a
/// repetition is known.
struct Submission {
    key: Option<RequestKey>,
    tasks: Tasks,
}

enum Tasks {
    One(Box<CreateTask>),
    Batch(Box<Batch>),
}

impl ReadFields for Submission {
    type Limits = Limits;

    fn read(f: &mut Fields<'_>, limits: &Limits) -> Option<Self> {
        let key = f.optional("idempotency_key", parsed);
        let tasks = if f.has("tasks") {
            let batch = Batch::read(f, limits);
            if batch.as_ref().is_some_and(|batch| !batch.atomic) {
                // What became of each task could be told to nobody.
                f.refuse("atomic", Expected::new("true, as nobody hears what becomes of each task", "false"));
            }
            batch.map(|batch| Tasks::Batch(Box::new(batch)))
        } else {
            CreateTask::read(f, limits).map(|task| Tasks::One(Box::new(task)))
        };
        Some(Self { key: key?, tasks: tasks? })
    }
}

/// Creates what a message asks for. The same message again creates nothing, and neither does another one with the same
/// `idempotency_key` and content, for 24 hours.
///
/// # Errors
/// As the HTTP routes; [`ApiError::may_pass`] tells whether the message may succeed later.
pub async fn submit(app: &App, message: &Message) -> Result<(), ApiError> {
    let Submission { key, tasks } = message.read::<Submission>(&app.limits())?;
    // Who may write to the queue may create any task.
    let caller = Caller::unrestricted();
    let mut of_batch = None;
    let specs: Vec<TaskSpec> = match tasks {
        Tasks::One(task) => {
            let depends_on = graph::alone(&task)?;
            vec![task_spec(app, &caller, "", *task, depends_on).map_err(|errors| caller.beyond(errors))?]
        }
        Tasks::Batch(batch) => {
            of_batch.clone_from(&batch.batch);
            batch.split(app, &caller)?.1
        }
    };
    if specs.is_empty() {
        return Ok(());
    }
    // A chosen id says by itself whether its task is there, without what keeping a key costs.
    let named = key.is_some() || !specs.iter().all(|spec| spec.id_chosen);
    // Keys of messages are not those of HTTP requests, whose digests are made of other texts.
    let idempotency = named.then(|| {
        let name = key.map_or_else(|| format!("message {}", message.id), |key| format!("key {key}"));
        Idempotency { key: format!("submissions {name}"), fingerprint: fingerprint(message.body.as_bytes()) }
    });
    let of_batch = match &of_batch {
        Some(request) => {
            let of_message = format!("submissions message {}", message.id);
            let name = idempotency.as_ref().map_or(&of_message, |idempotency| &idempotency.key);
            Some(OfBatch::of(app, &caller, request, Some(name))?)
        }
        None => None,
    };
    let told: Vec<Told> = specs.iter().map(Told::of).collect();
    let create = Create { now: app.now(), atomic: specs.len() > 1, tasks: specs, idempotency, by: None };
    let answer = hand_in(app, of_batch, create).await?;
    if answer.items.len() != told.len() {
        return Err(StoreError::Internal { what: "no answer to a task".into(), cause: None }.into());
    }
    for (told, item) in told.iter().zip(&answer.items) {
        match item {
            Ok(accepted) => told.log(&app.meters, accepted),
            Err(refusal) => return Err(ApiError::task_refused("", refusal)),
        }
    }
    Ok(())
}
