//! `baton task why`.

use baton_api::why::{ReasonView, WhyView};
use baton_client::Client;
use baton_model::TaskId;
use baton_verdict::next;

use crate::context::Context;
use crate::exit::Failure;
use crate::names;

/// How many of the tasks that a reason names are shown; `-o json` has all.
const NAMED: usize = 5;

pub(crate) async fn why(context: &Context, client: &Client, id: TaskId) -> Result<(), Failure> {
    let asked = client.why(id).await;
    let why = names::of_task(client, id, asked).await?;
    if context.out.is_json() {
        return context.out.json(&why);
    }
    let WhyView { task_id, task_type, queue, status, message, .. } = &why;
    context.out.line(&format!("task {task_id} ({task_type} of queue {queue}) is {status}: {message}"))?;
    for (place, reason) in why.reasons.iter().enumerate() {
        let named = named(reason).map(|named| format!(": {named}")).unwrap_or_default();
        let next = next(&why, reason).map(|next| format!(" ({next})")).unwrap_or_default();
        context.out.line(&format!("{}. {}{named}{next}", place + 1, reason.message))?;
    }
    Ok(())
}

/// The tasks that a reason names.
fn named(reason: &ReasonView) -> Option<String> {
    let waits_for = reason.waits_for.iter().map(|one| format!("{} ({})", one.task_id, one.status));
    let holders = reason.holders.iter().map(|one| match &one.worker_id {
        Some(worker) => format!("{} on {worker}", one.task_id),
        None => format!("{}, which keeps its place for its next attempt", one.task_id),
    });
    let mut all: Vec<String> = waits_for.chain(holders).collect();
    let more = reason.more || all.len() > NAMED;
    all.truncate(NAMED);
    match (all.is_empty(), more) {
        (true, _) => None,
        (false, true) => Some(format!("{} and others", all.join(", "))),
        (false, false) => Some(all.join(", ")),
    }
}
