//! Many tasks by one command: `baton task cancel|retry|change|delete` with filters.

use std::time::Duration;

use baton_api::bulk::{BulkRequest, BulkView, Do, FilterRequest, WithRequest};
use baton_client::Client;
use baton_model::{BulkState, Label};
use clap::Args;

use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::Failure;
use crate::progress::Teller;
use crate::task::filters::Filters;
use crate::{ids, text};

/// How often a command's progress is asked for.
const EVERY: Duration = Duration::from_millis(300);

/// How wide the bar is that shows it.
const BAR: u64 = 30;

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
        if !matching.yes {
            confirm(&format!("delete {} task(s)?", named.len()))?;
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
        let bulk = client.bulk(&request).await?;
        let ended = follow(client, bulk, Some(ids.len() as u64)).await?;
        told(context, &ended)
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
        match self.filter(context) == FilterRequest::default() && !self.yes {
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
        let count = client.count_bulk(&request).await?;
        let (tasks, more) = (count.matches, if count.more { " or more" } else { "" });
        if !self.yes && tasks > 0 {
            confirm(&format!("{} {tasks}{more} task(s)?", action.as_str()))?;
        }
        let bulk = client.bulk(&request).await?;
        let ended = follow(client, bulk, (!count.more).then_some(tasks)).await?;
        told(context, &ended)
    }
}

/// Tells how far a command is until it has ended. Whoever stops listening does not stop it.
async fn follow(client: &Client, mut bulk: BulkView, of: Option<u64>) -> Result<BulkView, Failure> {
    let mut teller = Teller::new();
    while bulk.state == BulkState::Running {
        teller.tell(|| progress(&bulk, of));
        tokio::time::sleep(EVERY).await;
        bulk = client.get_bulk(bulk.id).await?;
    }
    teller.end();
    Ok(bulk)
}

/// A bar, as far as it is known of how many.
fn progress(bulk: &BulkView, of: Option<u64>) -> String {
    let counts = format!("{} looked at, {} changed", bulk.looked_at, bulk.changed);
    match of.filter(|of| *of > 0) {
        None => format!("bulk command {}: {counts}", bulk.id),
        Some(of) => {
            let full = (bulk.looked_at.min(of) * BAR / of) as usize;
            let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR as usize - full));
            format!("[{bar}] {counts} of {of}")
        }
    }
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
