//! Tasks that ended of late.

use baton_api::task::{GenerationView, Page, TaskView};
use baton_client::{Client, ClientError, GenerationQuery, TaskQuery};
use baton_model::{Status, Timestamp};

use crate::pages;

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
    failed.retain(|task| task.finished_at.unwrap_or(task.updated_at) >= since);
    Ok((failed, more))
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
