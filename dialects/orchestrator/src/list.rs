//! `GET /tasks` and `GET /api/tasks/persistent`: one list under both addresses, as there is one store.

use axum::extract::Request;
use baton_model::Payload;
use baton_store::{StoreError, TaskDetail};
use serde_json::json;

use crate::ask::Ask;
use crate::entry::{Entry, Row};
use crate::no::{No, Told, told};
use crate::query::Wanted;
use crate::read::{Found, LISTED_BYTES, walk};

/// `GET /tasks`: all of them, the newest first.
pub(crate) async fn all(ask: &Ask<'_>, _: Request) -> Told {
    let Found { tasks, said, .. } = walk(ask, &Wanted::all()).await?;
    told(&tasks.iter().map(|task| Entry::new(task, said.of(task))).collect::<Vec<_>>())
}

/// `GET /api/tasks/persistent`: those that fit the query.
pub(crate) async fn persistent(ask: &Ask<'_>, _: Request) -> Told {
    let wanted = Wanted::of(&ask.query)?;
    let found = walk(ask, &wanted).await?;
    let total = found.total;
    let (rows, more) = each(ask, found, Row::new).await?;
    told(&json!({
        "tasks": rows,
        "total_results": total,
        "filter_applied": wanted.told(),
        "more": more,
    }))
}

/// What is made of each task with all that belongs to it; whether there are others. One that is removed meanwhile is left out.
pub(crate) async fn each<T>(
    ask: &Ask<'_>,
    found: Found,
    make: impl Fn(&TaskDetail) -> T,
) -> Result<(Vec<T>, bool), No> {
    let (mut made, mut bytes) = (Vec::with_capacity(found.tasks.len()), 0);
    for task in found.tasks {
        if bytes >= LISTED_BYTES {
            return Ok((made, true));
        }
        match ask.app.store.task(task.head.id).await {
            Ok(detail) => {
                bytes += size(&detail);
                made.push(make(&detail));
            }
            Err(StoreError::TaskNotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((made, found.more))
}

/// About how many bytes a task is shown in: its params, and what was handed over for it.
fn size(detail: &TaskDetail) -> usize {
    let output = detail.generation.as_ref().map(|generation| &generation.output);
    let handed_over = output.into_iter().flat_map(|output| [&output.result, &output.metadata]).flatten();
    detail.task.params.size() + handed_over.map(Payload::size).sum::<usize>()
}
