//! `baton queue`.

mod defaults;

use baton_api::ProblemCode;
use baton_api::fleet::{PercentilesView, QueueView};
use baton_api::manage::ActionRequest;
use baton_api::order::{OrderRequest, OrderView, fair_by};
use baton_client::Client;
use baton_model::{FairBy, Label, QueueName, QueueOrder};
use clap::{Args, Subcommand};

use self::defaults::SetDefaults;

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::supply::Supply;
use crate::when::{Paged, Shown, Times};
use crate::{names, pages, text};

#[derive(Subcommand)]
pub(crate) enum Queue {
    /// All queues with what waits in them.
    List(List),
    /// One queue.
    Show(One),
    /// Give out no more tasks of a queue; what runs goes on.
    Pause(Change),
    /// Give out tasks of a paused queue again.
    Resume(Change),
    /// Say in which order a queue gives out its tasks.
    ///
    /// States the whole order: what is not given is off. Without either it is the usual order, by priority and waiting time. The next
    /// claim goes by it; what runs goes on.
    Order(Order),
    /// Queues that refill themselves.
    #[command(subcommand)]
    Supply(Supply),
    /// Change what a queue gives to tasks that do not say.
    ///
    /// What is not given stays as it is. Tasks that are created since have it; those that exist are left as they are.
    Set(SetDefaults),
}

#[derive(Args)]
pub(crate) struct List {
    /// Only these columns, with commas, in this order.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    shown: Paged,
}

#[derive(Args)]
pub(crate) struct One {
    /// The queue.
    queue: QueueName,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Args)]
pub(crate) struct Change {
    /// The queue.
    queue: QueueName,
    /// Who asks, for the record.
    #[arg(long, value_name = "NAME")]
    by: Option<Label>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  baton queue order images --fair project
  baton queue order images --fair key --age-after 10m
  baton queue order images            (the usual order again)")]
pub(crate) struct Order {
    /// The queue.
    queue: QueueName,
    /// Between whom it is fair, project or key: of one priority, a task goes first whose project (or concurrency key) has the fewest
    /// tasks that run in this queue.
    #[arg(long, value_name = "BY", value_parser = fair_by)]
    fair: Option<FairBy>,
    /// How long a ready task waits until it counts one priority higher, and how long again until the next.
    #[arg(long, value_name = "SPAN", value_parser = parse_age)]
    age_after: Option<u32>,
    /// Who asks, for the record.
    #[arg(long, value_name = "NAME")]
    by: Option<Label>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Reads after how long a waiting task counts one priority higher, in seconds.
fn parse_age(text: &str) -> Result<u32, String> {
    let span = text::parse_span(text)?;
    let whole = span.subsec_nanos() == 0;
    let seconds = u32::try_from(span.as_secs()).ok().filter(|_| whole);
    let fits = seconds.filter(|seconds| QueueOrder::AGE_AFTER_SECONDS.contains(seconds));
    fits.ok_or_else(|| {
        let (least, most) = QueueOrder::AGE_AFTER_SECONDS.into_inner();
        let [least, most] = [least, most].map(text::exact);
        format!("expected a duration of whole seconds from {least} to {most}, got {text:?}")
    })
}

impl Queue {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Self::List(list) => {
                let mut rows = rows();
                rows.choose(&list.columns).map_err(Failure::usage)?;
                let (queues, _) = pages::first(pages::ALL, async |cursor: Option<String>, most| {
                    client.queues(cursor.as_deref(), Some(most)).await
                })
                .await?;
                if context.out.is_json() {
                    return context.out.json(&serde_json::json!({ "items": queues }));
                }
                let times = list.shown.begin(context);
                fill(context, rows, &queues, &times)
            }
            Self::Show(one) => {
                let asked = client.queue(&one.queue).await;
                show(context, &names::of_queue(&client, &one.queue, asked).await?, one.shown)
            }
            Self::Pause(change) => {
                let new = is_new(&client, &change.queue).await;
                let queue = client.pause_queue(&change.queue, &change.action()).await?;
                if new {
                    let near = nearest(&client, &change.queue).await;
                    context.out.note(&format!(
                        "queue {0} is new: no task has ever named it{near}; if the name is wrong, take it off the list \
                         with `baton queue resume {0}`",
                        change.queue
                    ));
                }
                told(context, &queue, "paused: it gives out no task; resume it with `baton queue resume`")
            }
            Self::Resume(change) => {
                let queue = client.resume_queue(&change.queue, &change.action()).await?;
                if queue.used || queue.order.is_some() || queue.defaults.is_some() {
                    return told(context, &queue, "resumed");
                }
                let near = nearest(&client, &change.queue).await;
                let gone =
                    "not paused, and no task has ever named it: it is gone from the list; check its name";
                told(context, &queue, &format!("{gone}{near}"))
            }
            Self::Order(order) => order.run(context, &client).await,
            Self::Supply(supply) => supply.run(context, &client).await,
            Self::Set(set) => set.run(context, &client).await,
        }
    }
}

impl Order {
    async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let Self { queue, fair, age_after, by, reason } = self;
        let new = is_new(client, &queue).await;
        let order = OrderRequest { fair, age_after_seconds: age_after, by, reason };
        let flags = [("fair", "--fair"), ("age_after_seconds", "--age-after"), ("reason", "--reason")];
        let asked = client.order_queue(&queue, &order).await;
        let change = asked.map_err(|error| Failure::from(error).by_flags(&flags))?;
        if change.to.is_usual() && (new || is_new(client, &queue).await) {
            let near = nearest(client, &queue).await;
            context.out.note(&format!(
                "no task has ever named queue {queue}: it is not on the list; check its name{near}"
            ));
        } else if new {
            let near = nearest(client, &queue).await;
            context.out.note(&format!(
                "queue {queue} is new: no task has ever named it{near}; if the name is wrong, take it off the list with \
                 `baton queue order {queue}`"
            ));
        }
        if context.out.is_json() {
            return context.out.json(&change);
        }
        let [from, to] = [change.from, change.to].map(in_words);
        let before = if from == to { "as before".to_owned() } else { format!("before: {from}") };
        context.out.note(&format!("queue {queue}: {to} ({before})"));
        Ok(())
    }
}

/// In which order a queue gives out its tasks.
fn in_words(order: OrderView) -> String {
    let fair = order.fair.map(|fair| match fair {
        FairBy::Project => "fair between projects".to_owned(),
        FairBy::Key => "fair between keys".to_owned(),
    });
    let age = order.age_after_seconds.map(|seconds| {
        format!("a task counts one priority higher after each {} of waiting", text::exact(seconds))
    });
    let words: Vec<String> = fair.into_iter().chain(age).collect();
    if words.is_empty() { "by priority and waiting time alone".to_owned() } else { words.join(", ") }
}

/// Whether nothing is known of a queue. It may be paused before its first task comes, so that this is no error.
pub(crate) async fn is_new(client: &Client, queue: &QueueName) -> bool {
    client.queue(queue).await.is_err_and(|error| error.code() == Some(ProblemCode::QueueNotFound))
}

/// Which queue may have been meant by the name of one that is new, in brackets.
pub(crate) async fn nearest(client: &Client, queue: &QueueName) -> String {
    let near = names::queue_like(client, queue.as_str()).await;
    near.map(|near| format!(" (the nearest is {near})")).unwrap_or_default()
}

impl Change {
    fn action(&self) -> ActionRequest {
        ActionRequest { by: self.by.clone(), reason: self.reason.clone() }
    }
}

fn told(context: &Context, queue: &QueueView, what: &str) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(queue);
    }
    context.out.note(&format!("queue {} is {what}", queue.name));
    table(context, std::slice::from_ref(queue))
}

/// How many tasks are of a status; one that is a bound says so.
fn number(queue: &QueueView, status: &str, tasks: u64) -> String {
    let more = if queue.at_least.iter().any(|bound| bound == status) { "+" } else { "" };
    format!("{tasks}{more}")
}

fn state(queue: &QueueView) -> String {
    if queue.paused { "paused" } else { "open" }.to_owned()
}

/// Since when a queue gives out nothing, by whom and why.
fn pause(queue: &QueueView, times: &Times) -> String {
    let Some(pause) = &queue.pause else { return String::new() };
    let by = pause.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let unused = if queue.used { "" } else { ", never used" };
    let why = pause.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{}{by}{unused}{why}", times.ago(pause.since))
}

pub(crate) fn table(context: &Context, queues: &[QueueView]) -> Result<(), Failure> {
    fill(context, rows(), queues, &Times::new(context.now(), false))
}

fn rows() -> Rows {
    Rows::of(&[
        Column::new("QUEUE").cut(),
        Column::new("STATE"),
        Column::new("QUEUED"),
        Column::new("CREATED"),
        Column::new("RETRY"),
        Column::new("RUNNING"),
        Column::new("OLDEST"),
        Column::new("WAIT P50").spare(),
        Column::new("RUN P50").spare(),
        Column::new("PAUSED").cut().spare(),
    ])
}

fn half(of: PercentilesView) -> String {
    match of.count {
        0 => "-".to_owned(),
        _ => text::seconds(of.p50_seconds),
    }
}

fn show(context: &Context, queue: &QueueView, shown: Shown) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json(queue);
    }
    let times = shown.begin(context);
    let percentiles = |of: PercentilesView| match of.count {
        0 => String::new(),
        count => format!(
            "{} for half of {count}, {} for 95 of 100, {} for 99 of 100",
            text::seconds(of.p50_seconds),
            text::seconds(of.p95_seconds),
            text::seconds(of.p99_seconds)
        ),
    };
    // Of one that is paused, the pause tells.
    let unused = if queue.used || queue.paused { "" } else { "; never used" };
    context.out.facts([
        ("queue", queue.name.to_string()),
        ("state", state(queue)),
        ("paused", pause(queue, &times)),
        ("order", queue.order.map(|order| format!("{}{unused}", in_words(order))).unwrap_or_default()),
        ("defaults", queue.defaults.map(|defaults| defaults::in_words(&defaults)).unwrap_or_default()),
        ("waiting", queue.waiting.to_string()),
        ("queued", number(queue, "queued", queue.queued)),
        ("created", number(queue, "created", queue.created)),
        ("retry", number(queue, "retry", queue.retry)),
        ("running", queue.running.to_string()),
        (
            "oldest",
            queue
                .oldest_ready_seconds
                .map(|age| format!("ready for {}", text::seconds(age)))
                .unwrap_or_default(),
        ),
        (
            "longest",
            queue
                .oldest_running_seconds
                .map(|age| format!("running for {}", text::seconds(age)))
                .unwrap_or_default(),
        ),
        ("wait", percentiles(queue.wait)),
        ("run", percentiles(queue.run)),
        ("counted", queue.counted_at.map(|at| times.full(at)).unwrap_or_default()),
    ])
}

fn fill(context: &Context, mut rows: Rows, queues: &[QueueView], times: &Times) -> Result<(), Failure> {
    for queue in queues {
        rows.add(vec![
            queue.name.to_string(),
            state(queue),
            number(queue, "queued", queue.queued),
            number(queue, "created", queue.created),
            number(queue, "retry", queue.retry),
            queue.running.to_string(),
            queue.oldest_ready_seconds.map_or_else(|| "-".to_owned(), text::seconds),
            half(queue.wait),
            half(queue.run),
            Some(pause(queue, times)).filter(|told| !told.is_empty()).unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    context.out.table(rows, "no queue yet: a queue comes about with its first task")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_that_is_a_bound_is_told_with_a_plus() {
        let none = json!({"count": 0, "p50_seconds": 0.0, "p95_seconds": 0.0, "p99_seconds": 0.0});
        let queue: QueueView = serde_json::from_value(json!({
            "name": "images", "paused": false, "used": true, "waiting": 22_003, "queued": 10_000, "created": 10_000,
            "retry": 3, "at_least": ["queued", "created"], "running": 0, "wait": none, "run": none,
        }))
        .unwrap();
        assert_eq!(number(&queue, "queued", queue.queued), "10000+");
        assert_eq!(number(&queue, "created", queue.created), "10000+");
        assert_eq!(number(&queue, "retry", queue.retry), "3", "what is exact is told as it is");
    }
}
