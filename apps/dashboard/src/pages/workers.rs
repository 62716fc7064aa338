//! The workers: what each runs.

use askama::Template;
use axum::response::Response;
use baton_api::fleet::WorkerView;
use baton_api::task::Page;
use baton_http::ApiError;

use super::worker_row::WorkerRow;
use super::{list_query, next_page};
use crate::answer;
use crate::shell::Shell;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "workers.html")]
struct Workers {
    shell: Shell,
    workers: Vec<WorkerRow>,
    next: Option<String>,
}

/// Shows them.
pub(crate) async fn show(visit: Visit) -> Result<Response, ApiError> {
    let query = [list_query(&visit, &[]), vec![("lately", "1")]].concat();
    let page: Page<WorkerView> = visit.get(&["v1", "workers"], &query).await?;
    let rows = page.items.into_iter().map(|mut worker| {
        // A page of fifty workers with a hundred tasks each would be heavy; a worker's own page lists them.
        worker.tasks.truncate(3);
        WorkerRow::new(worker, visit.now)
    });
    answer::ok(&Workers {
        shell: Shell::new(&visit, "Workers", "/ui/workers").live(),
        workers: rows.collect(),
        next: next_page(&visit, &["ui", "workers"], page.next_cursor.as_deref()),
    })
}
