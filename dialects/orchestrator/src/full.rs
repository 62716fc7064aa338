//! `GET /api/tasks/full`: a task's present state and its history in one answer, of many tasks or of one.

use axum::extract::Request;
use baton_store::TaskDetail;
use serde::Serialize;
use serde_json::json;

use crate::ask::Ask;
use crate::entry::Row;
use crate::history;
use crate::kept::Kept;
use crate::list::each;
use crate::no::{No, Told, told};
use crate::outputs;
use crate::query::Wanted;
use crate::read::{self, walk};

/// A task with the latest of its history.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    row: Row,
    history: Vec<history::Entry>,
    /// How many entries there are; the latest 100 are here.
    total_entries: u32,
}

impl Whole {
    fn new(detail: &TaskDetail) -> Self {
        Self {
            row: Row::new(detail),
            history: history::entries(&detail.history, &Kept::of(&detail.task)),
            total_entries: detail.task.head.events,
        }
    }
}

/// `GET /api/tasks/full`: those that fit the query, which is that of the persistent list.
pub(crate) async fn list(ask: &Ask<'_>, _: Request) -> Told {
    let wanted = Wanted::of(&ask.query)?;
    let found = walk(ask, &wanted).await?;
    let total = found.total;
    let (tasks, more) = each(ask, found, Whole::new).await?;
    told(&json!({
        "tasks": tasks,
        "total_results": total,
        "filter_applied": wanted.told(),
        "more": more,
    }))
}

/// `GET /api/tasks/full/{id}`: one, with its whole history, its outputs, and why it waits if it does.
pub(crate) async fn one(ask: &Ask<'_>, _: Request) -> Told {
    let detail = read::found(ask).await?;
    let id = detail.task.head.id;
    let mut whole = Whole::new(&detail);
    whole.history = history::entries(&history::events(ask, id).await?, &Kept::of(&detail.task));
    let (outputs, more_outputs) = outputs::of(ask, &detail).await?;
    let mut told_of =
        serde_json::to_value(&whole).map_err(|_| No::Refused(baton_http::ApiError::internal()))?;
    told_of["total_outputs"] = outputs.len().into();
    told_of["outputs"] = json!(outputs);
    if more_outputs {
        told_of["more_outputs"] = true.into();
    }
    told_of["why"] = json!(baton_query_tasks::why_view(ask.caller, ask.app.store.why(id, ask.now).await?));
    told(&told_of)
}
