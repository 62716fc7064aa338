//! Tasks that ended of late.

use baton_api::task::{GenerationView, Page, TaskView};
use baton_client::{Client, ClientError, GenerationQuery, TaskQuery};
use baton_model::{Status, Timestamp, limits};
use baton_verdict::Ended;

use crate::pages;

/// How many pages are looked through for the newest tasks of a kind: of one that is rare, each page may be empty.
const PAGES: usize = 10;

/// The tasks that have failed since, as far as the newest `limit` failed ones tell; and whether there were more to look at.
pub(crate) async fn failed_since(
    client: &Client,
    since: Timestamp,
    limit: u32,
) -> Result<(Vec<TaskView>, bool), ClientError> {
    let page = async |cursor: Option<String>, most| -> Result<Page<TaskView>, ClientError> {
        let query =
            TaskQuery { statuses: vec![Status::Failed], cursor, limit: Some(most), ..TaskQuery::default() };
        client.tasks(&query).await
    };
    let (mut failed, more) = pages::first(limit as usize, page).await?;
    failed.retain(|task| ended_at(task) >= since);
    Ok((failed, more))
}

/// When a task ended that has.
pub(crate) fn ended_at(task: &TaskView) -> Timestamp {
    task.finished_at.unwrap_or(task.updated_at)
}

/// Of the newest `limit` tasks that fit `of` and completed or failed, those that did so since. It is one list, so that its bounds cut off
/// both alike, and tell which are more however many there are.
pub(crate) async fn ended_since(
    client: &Client,
    of: TaskQuery,
    since: Timestamp,
    limit: u32,
) -> Result<Ended, ClientError> {
    let mut query = TaskQuery { statuses: vec![Status::Completed, Status::Failed], ..of };
    let (mut ended, mut left) = (Ended::default(), limit);
    for _ in 0..PAGES {
        query.limit = Some(left.min(limits::PAGE));
        let page = client.tasks(&query).await?;
        left = left.saturating_sub(u32::try_from(page.items.len()).unwrap_or(left));
        for task in page.items.iter().filter(|task| ended_at(task) >= since) {
            match task.status {
                Status::Failed => ended.failed += 1,
                _ => ended.completed += 1,
            }
        }
        query.cursor = page.next_cursor;
        if left == 0 || query.cursor.is_none() {
            break;
        }
    }
    Ok(ended)
}

/// What was completed since, up to the newest `limit`; and whether there is more.
pub(crate) async fn completed_since(
    client: &Client,
    since: Timestamp,
    limit: u32,
) -> Result<(Vec<GenerationView>, bool), ClientError> {
    let page = async |cursor: Option<String>, most| -> Result<Page<GenerationView>, ClientError> {
        let query = GenerationQuery {
            finished_from: Some(since),
            cursor,
            limit: Some(most),
            ..GenerationQuery::default()
        };
        client.generations(&query).await
    };
    pages::first(limit as usize, page).await
}
