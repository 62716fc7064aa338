//! Tasks and attempts that failed of late, counted by what they have in common.

use std::collections::BTreeMap;

use baton_api::task::{Page, TaskView};
use baton_client::{Client, ClientError, TaskQuery};
use baton_model::{Status, Timestamp};
use serde::Serialize;

use super::likeness::likeness;
use crate::pages;

/// How many of one kind stand together.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Counted<K> {
    pub(crate) what: K,
    pub(crate) tasks: usize,
    /// One of them, to look at.
    pub(crate) example: String,
}

/// Counts by a key, the most first; of equal ones, the first by key.
pub(crate) fn counted<K: Ord>(each: impl IntoIterator<Item = (K, String)>) -> Vec<Counted<K>> {
    let mut counts: BTreeMap<K, (usize, String)> = BTreeMap::new();
    for (key, example) in each {
        counts.entry(key).or_insert((0, example)).0 += 1;
    }
    let mut counts: Vec<_> =
        counts.into_iter().map(|(what, (tasks, example))| Counted { what, tasks, example }).collect();
    counts.sort_by_key(|one| std::cmp::Reverse(one.tasks));
    counts
}

/// What a task failed with: the code, if there is one, and the kind of the message.
pub(crate) fn kind_of(task: &TaskView) -> String {
    let Some(error) = &task.error else { return "no error was told".to_owned() };
    let kind = likeness(&crate::task::cause(error));
    match &error.code {
        Some(code) => format!("{code}: {kind}"),
        None => kind,
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_comes_first_with_one_of_them() {
        let each = [("a", "1"), ("b", "2"), ("b", "3"), ("c", "4")].map(|(key, id)| (key, id.to_owned()));
        let counts = counted(each);
        let told: Vec<_> = counts.iter().map(|one| (one.what, one.tasks, one.example.as_str())).collect();
        assert_eq!(told, [("b", 2, "2"), ("a", 1, "1"), ("c", 1, "4")]);
    }
}
