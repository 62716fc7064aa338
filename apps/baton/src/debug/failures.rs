//! Tasks that failed of late.

use baton_api::task::{Page, TaskView};
use baton_client::{Client, ClientError, TaskQuery};
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
