//! Many tasks by one command: `baton task cancel|retry|change|delete` with filters.

use std::time::{Duration, Instant};

use baton_api::bulk::{BulkCountView, BulkRequest, BulkView, Do, FilterRequest, WithRequest};
use baton_client::Client;
use baton_model::{BulkState, Label};
use clap::Args;

use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::Failure;
use crate::progress::{Teller, bar};
use crate::task::filters::Filters;
use crate::{ids, text};

/// How often a command's progress is asked for.
const EVERY: Duration = Duration::from_millis(300);

/// What is shown in turn where there is no bar, so that one sees that it goes on.
const WHEEL: [char; 4] = ['|', '/', '-', '\\'];

/// Which field of the request an option is.
const FLAGS: &[(&str, &str)] = &[("Idempotency-Key (header)", "--idempotency-key")];

/// Which tasks, where no id is given.
#[derive(Args)]
#[command(next_help_heading = "Many tasks, instead of an id")]
pub(crate) struct Matching {
    #[command(flatten)]
    filters: Filters,
    /// Only tasks created longer ago than this, such as 7d.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    before: Option<Duration>,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
    /// A name for this request: sent again, it makes no second command for 24 hours, and tells how far the first one is.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["since", "before"])]
    idempotency_key: Option<String>,
}

/// Which ended tasks to remove.
#[derive(Args)]
pub(crate) struct Delete {
    /// The tasks' ids, or the beginnings of them; none to name many tasks by filters.
    ids: Vec<String>,
    /// Who asks, for the audit log.
    #[arg(long, value_name = "NAME")]
    by: Option<Label>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    matching: Matching,
}

impl Delete {
    pub(crate) async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let Self { ids, by, reason, matching } = self;
        if ids.is_empty() {
            return matching.run(context, client, (Do::Delete, None), (by, reason)).await;
        }
        if matching.filter(context) != FilterRequest::default() {
            return Err(Failure::usage("expected ids or filters, got both; leave out one of them"));
        }
        let mut named = Vec::new();
        for id in &ids {
            named.push(ids::resolve(client, id).await?);
        }
        let request = BulkRequest {
            action: Do::Delete,
            with: None,
            filter: None,
            ids: named,
            dry_run: false,
            by,
            reason,
        };
        matching.carry_out(context, client, &request).await
    }
}

impl Matching {
    fn filter(&self, context: &Context) -> FilterRequest {
        let filters = &self.filters;
        FilterRequest {
            status: filters.status.clone(),
            task_type: filters.task_type.clone(),
            queue: filters.queue.clone(),
            project: filters.project.clone(),
            domain: filters.domain.clone(),
            assigned_by: filters.assigned_by.clone(),
            worker: filters.worker.clone(),
            created_from: filters.since.map(|since| context.now().minus(since)),
            created_before: self.before.map(|before| context.now().minus(before)),
        }
    }

    /// Refuses filters beside an id.
    pub(crate) fn beside_an_id(&self, context: &Context) -> Result<(), Failure> {
        let is_named = self.idempotency_key.is_some();
        match self.filter(context) == FilterRequest::default() && !self.yes && !is_named {
            true => Ok(()),
            false => Err(Failure::usage("expected an id or filters, got both; leave out one of them")),
        }
    }

    /// Does something to all tasks that fit: counts them, asks, and tells how far it is until it has ended.
    pub(crate) async fn run(
        self,
        context: &Context,
        client: &Client,
        (action, with): (Do, Option<WithRequest>),
        (by, reason): (Option<Label>, Option<String>),
    ) -> Result<(), Failure> {
        let filter = Some(self.filter(context));
        if filter == Some(FilterRequest::default()) {
            return Err(Failure::usage(
                "expected a task's id, or a filter such as --queue, --type or --status, got neither",
            ));
        }
        let request = BulkRequest { action, with, filter, ids: Vec::new(), dry_run: false, by, reason };
        self.carry_out(context, client, &request).await
    }

    /// Counts the tasks, asks, makes the command, and tells how far it is until it has ended.
    async fn carry_out(
        &self,
        context: &Context,
        client: &Client,
        request: &BulkRequest,
    ) -> Result<(), Failure> {
        let count = client.count_bulk(request).await?;
        if !self.yes && count.matches > 0 {
            confirm(&format!("{} {} task(s)?", request.action.as_str(), in_words(&count)))?;
        }
        let made = match &self.idempotency_key {
            Some(key) => client.bulk_once(request, key).await,
            None => client.bulk(request).await,
        };
        let bulk = made.map_err(|error| Failure::from(error).by_flags(FLAGS))?;
        let ended = follow(client, bulk, whole(request, &count)).await?;
        told(context, &ended)
    }
}

/// How many tasks there are, as far as it was counted.
fn in_words(count: &BulkCountView) -> String {
    match (count.about, count.more) {
        (Some(about), _) => format!("about {about}"),
        (None, true) => format!("{} or more", count.matches),
        (None, false) => count.matches.to_string(),
    }
}

/// How many tasks a command will have looked at, where that is known, if only about.
fn whole(request: &BulkRequest, count: &BulkCountView) -> Option<u64> {
    match request.ids.is_empty() {
        false => Some(request.ids.len() as u64),
        true => count.about.or((!count.more).then_some(count.matches)),
    }
}

/// Tells how far a command is until it has ended. Whoever stops listening does not stop it.
async fn follow(client: &Client, mut bulk: BulkView, of: Option<u64>) -> Result<BulkView, Failure> {
    let mut teller = Teller::new();
    let (begun, first) = (Instant::now(), bulk.looked_at);
    for turn in 0.. {
        if bulk.state != BulkState::Running {
            break;
        }
        let since = (turn > 0).then(|| begun.elapsed().as_secs_f64());
        let a_second = since.map(|since| bulk.looked_at.saturating_sub(first) as f64 / since);
        teller.tell(|| progress(&bulk, of, a_second, turn));
        tokio::time::sleep(EVERY).await;
        bulk = client.get_bulk(bulk.id).await?;
    }
    teller.end();
    Ok(bulk)
}

/// How far a command is, in a line: a bar if it is known of how many, else a wheel that turns; and how fast it goes, once that is known.
fn progress(bulk: &BulkView, of: Option<u64>, a_second: Option<f64>, turn: usize) -> String {
    let (looked_at, changed) = (bulk.looked_at, bulk.changed);
    let far = match of.filter(|of| *of > 0) {
        Some(of) => format!("{} {looked_at} of {of}", bar(looked_at, of)),
        None => format!("{} {looked_at} looked at", WHEEL[turn % WHEEL.len()]),
    };
    let rate = a_second.map(|rate| format!(", {rate:.0}/s")).unwrap_or_default();
    format!("{far}, {changed} changed{rate}")
}

/// Shows a bulk command as it stands.
pub(crate) fn told(context: &Context, bulk: &BulkView) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(bulk);
    }
    context.out.note(&format!("bulk command {} is {}: {}", bulk.id, bulk.state.as_str(), counts(bulk)));
    Ok(())
}

/// What became of the tasks, in words.
pub(crate) fn counts(bulk: &BulkView) -> String {
    let skipped: u64 = bulk.skipped.values().sum();
    let why: Vec<_> = bulk.skipped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    match skipped {
        0 => format!("{} tasks changed", bulk.changed),
        _ => format!("{} tasks changed, {skipped} skipped ({})", bulk.changed, why.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use baton_model::{Bulk, BulkAction, BulkId, BulkTasks, Timestamp};

    use super::*;

    fn running(looked_at: u64, changed: u64) -> BulkView {
        let of_none = BulkTasks::Ids(Vec::new());
        let bulk = Bulk::new(BulkId::from_bytes([1; 16]), Timestamp::default(), BulkAction::Cancel, of_none);
        BulkView::from(Bulk { looked_at, changed, ..bulk })
    }

    #[test]
    fn a_command_of_so_many_tasks_has_a_bar() {
        let bar = format!("[{}{}]  25 %", "#".repeat(7), ".".repeat(23));
        assert_eq!(
            progress(&running(300, 299), Some(1_200), None, 0),
            format!("{bar} 300 of 1200, 299 changed")
        );
        assert_eq!(
            progress(&running(300, 299), Some(1_200), Some(812.4), 1),
            format!("{bar} 300 of 1200, 299 changed, 812/s")
        );
    }

    #[test]
    fn a_command_of_nobody_knows_how_many_has_a_wheel_that_turns() {
        for (turn, wheel) in ['|', '/', '-', '\\', '|'].into_iter().enumerate() {
            let told = progress(&running(10_000, 9_000), None, Some(4_000.0), turn);
            assert_eq!(told, format!("{wheel} 10000 looked at, 9000 changed, 4000/s"));
        }
        assert_eq!(progress(&running(0, 0), Some(0), None, 0), "| 0 looked at, 0 changed");
    }

    #[test]
    fn a_count_that_has_stopped_says_so_and_is_a_whole_only_if_the_statistics_know_it() {
        let count = |more, about| BulkCountView { matches: 10_000, more, about };
        let request = |ids| BulkRequest {
            action: Do::Cancel,
            with: None,
            filter: Some(FilterRequest::default()),
            ids,
            dry_run: false,
            by: None,
            reason: None,
        };
        let of_filter = request(Vec::new());
        for (more, about, words, of) in [
            (false, None, "10000", Some(10_000)),
            (true, None, "10000 or more", None),
            (true, Some(48_210), "about 48210", Some(48_210)),
        ] {
            assert_eq!(in_words(&count(more, about)), words);
            assert_eq!(whole(&of_filter, &count(more, about)), of);
        }
        let id = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f".parse().unwrap();
        assert_eq!(whole(&request(vec![id]), &count(false, None)), Some(1), "all that it was given");
    }
}
