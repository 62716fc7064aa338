//! `GET /api/v1/tasks`.

use axum::extract::Request;
use baton_http::ok;
use baton_model::{Task, limits};
use baton_store::{PageRequest, TaskFilter};
use serde::Serialize;

use crate::answer::{Answer, Ask, No, TaskRead, queue, shown};
use crate::asked::Part;

/// How many tasks the list has at most, and about how many bytes: clients take the whole of it at once. `total` counts on, to as
/// many again.
const LISTED: usize = 10_000;
const LISTED_BYTES: usize = 16 << 20;

#[derive(Serialize)]
struct List {
    total: usize,
    items: Vec<TaskRead>,
}

/// All tasks, or a part of them, the newest first.
pub(crate) async fn list(ask: &Ask<'_>, request: Request) -> Answer {
    let part = Part::read(request.uri().query().unwrap_or_default())?;
    let (tasks, total) = tasks(ask, part).await?;
    let items = shown(ask, &tasks).await?;
    Ok(ok(&List { total, items })?)
}

async fn tasks(ask: &Ask<'_>, part: Part) -> Result<(Vec<Task>, usize), No> {
    let mut filter = TaskFilter { queue: Some(queue()), now: ask.app.now(), ..TaskFilter::default() };
    ask.caller.narrow(&mut filter.project, &mut filter.queue)?;
    let most = part.limit.unwrap_or(LISTED).min(LISTED);
    let (mut found, mut total, mut bytes) = (Vec::new(), 0, 0);
    let mut page = PageRequest::first(limits::PAGE);
    loop {
        let next = ask.app.store.tasks(filter.clone(), page).await?;
        for task in next.items.into_iter().filter(|task| ask.caller.sees(task)) {
            total += 1;
            if total > part.offset && found.len() < most && bytes < LISTED_BYTES {
                bytes += task.params.size();
                found.push(task);
            }
        }
        match next.next {
            Some(next) if total < part.offset.saturating_add(2 * LISTED) => {
                page = PageRequest { after: Some(next), ..PageRequest::first(limits::PAGE) };
            }
            _ => return Ok((found, total)),
        }
    }
}
