//! `GET /tasks` and `GET /api/tasks/persistent`: one list under both addresses, as there is one store.

use axum::extract::Request;
use baton_store::{StoreError, TaskDetail};
use serde_json::json;

use crate::ask::Ask;
use crate::entry::{Entry, Row};
use crate::no::{No, Told, told};
use crate::query::Wanted;
use crate::read::{Found, walk};

/// `GET /tasks`: all of them, the newest first.
pub(crate) async fn all(ask: &Ask<'_>, _: Request) -> Told {
    let Found { tasks, said, .. } = walk(ask, &Wanted::all()).await?;
    told(&tasks.iter().map(|task| Entry::new(task, said.of(task))).collect::<Vec<_>>())
}

/// `GET /api/tasks/persistent`: those that fit the query.
pub(crate) async fn persistent(ask: &Ask<'_>, _: Request) -> Told {
    let wanted = Wanted::of(&ask.query)?;
    let found = walk(ask, &wanted).await?;
    let (total, more) = (found.total, found.more);
    let rows: Vec<Row> = details(ask, found).await?.iter().map(Row::new).collect();
    told(&json!({
        "tasks": rows,
        "total_results": total,
        "filter_applied": wanted.told(),
        "more": more,
    }))
}

/// The tasks with all that belongs to them. One that is removed meanwhile is left out.
pub(crate) async fn details(ask: &Ask<'_>, found: Found) -> Result<Vec<TaskDetail>, No> {
    let mut details = Vec::with_capacity(found.tasks.len());
    for task in found.tasks {
        match ask.app.store.task(task.head.id).await {
            Ok(detail) => details.push(detail),
            Err(StoreError::TaskNotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(details)
}
