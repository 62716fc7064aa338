//! `baton alert`.

use std::time::Duration;

use baton_alerts::Kind;
use baton_api::alert::{AlertView, SetAlert};
use baton_model::{GroupName, QueueName};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Failure;
use crate::out::{Column, Rows};
use crate::text::parse_span;
use crate::when::{Paged, Shown, Times};

#[derive(Subcommand)]
pub(crate) enum Alerts {
    /// All rules of alerts, with what fires.
    List(List),
    /// One rule, with what fires, since when and why, and its latest ends.
    Show(One),
    /// Set a rule.
    Set(Set),
    /// Take a rule away; what it has firing ends.
    Delete(Delete),
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
    /// The rule.
    name: GroupName,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// The rule.
    name: GroupName,
}

#[derive(Args)]
#[command(after_help = "Examples:
  baton alert set deep --kind queue_depth --queue gpu --above 1000 --below 500 --for 5m
  baton alert set nobody --kind no_worker --webhook chat
  baton alert set disk --kind disk_low --below 1000000000

Kinds: queue_depth, oldest_ready, no_worker, workers_lost, failure_rate, dead_letters,
schedule_missed, disk_low, limit_full, group_failed (docs/alerts.md).")]
pub(crate) struct Set {
    /// The rule's name.
    name: GroupName,
    /// What it looks at.
    #[arg(long)]
    kind: Kind,
    /// The one queue that it looks at; each by itself if left out.
    #[arg(long)]
    queue: Option<QueueName>,
    /// It fires above this; disk_low ends from here on.
    #[arg(long, value_name = "FIGURE", allow_negative_numbers = true)]
    above: Option<f64>,
    /// It ends at this or less; disk_low fires below it.
    #[arg(long, value_name = "FIGURE", allow_negative_numbers = true)]
    below: Option<f64>,
    /// How long the figure must be so before it fires, such as 5m.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
    patience: Option<Duration>,
    /// How long it must be back before it ends.
    #[arg(long = "ends-after", value_name = "TIME", value_parser = parse_span)]
    calm: Option<Duration>,
    /// A webhook that is told; may be given several times.
    #[arg(long = "webhook", value_name = "NAME")]
    webhooks: Vec<GroupName>,
}

impl Alerts {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match self {
            Self::List(list) => {
                let mut rows = rows();
                rows.choose(&list.columns).map_err(Failure::usage)?;
                let alerts = client.alerts().await?;
                if context.out.is_json() {
                    return context.out.json(&alerts);
                }
                let times = list.shown.begin(context);
                alerts.items.iter().for_each(|alert| rows.add(row(alert, &times)));
                context.out.table(rows, "no rule of alerts; set one with `baton alert set`, or as [[alerts]]")
            }
            Self::Show(One { name, shown }) => {
                let alert = client.alert(&name).await?;
                if context.out.is_json() {
                    return context.out.json(&alert);
                }
                show(context, &alert, &shown.begin(context))
            }
            Self::Set(set) => {
                let (name, set) = set.request();
                let flags = [("above", "--above"), ("below", "--below"), ("queue", "--queue")];
                let asked = client.set_alert(&name, &set).await;
                let alert = asked.map_err(|error| Failure::from(error).by_flags(&flags))?;
                if context.out.is_json() {
                    return context.out.json(&alert);
                }
                context.out.note(&format!("alert {name} is set; it {}", says(&alert)));
                Ok(())
            }
            Self::Delete(Delete { name }) => {
                let alert = client.delete_alert(&name).await?;
                if context.out.is_json() {
                    return context.out.json(&alert);
                }
                context.out.note(&format!("alert {name} is gone"));
                Ok(())
            }
        }
    }
}

impl Set {
    fn request(self) -> (GroupName, SetAlert) {
        let Self { name, kind, queue, above, below, patience, calm, webhooks } = self;
        (name, SetAlert { kind, queue, above, below, patience, calm, webhooks })
    }
}

fn rows() -> Rows {
    Rows::of(&[
        Column::new("ALERT").cut(),
        Column::new("KIND"),
        Column::new("QUEUE").cut().spare(),
        Column::new("STATE"),
        Column::new("SINCE"),
        Column::new("WHY").cut(),
        Column::new("FROM").spare(),
    ])
}

fn row(alert: &AlertView, times: &Times) -> Vec<String> {
    let first = alert.firing.first();
    let more = match alert.firing.len() {
        0 | 1 => String::new(),
        many => format!(" (and {} more)", many - 1),
    };
    vec![
        alert.rule.name.to_string(),
        alert.rule.kind.as_str().to_owned(),
        alert.rule.queue.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        if alert.fires { "fires" } else { "quiet" }.to_owned(),
        first.map_or_else(|| "-".to_owned(), |firing| times.ago(firing.since)),
        first.map_or_else(|| "-".to_owned(), |firing| format!("{}{more}", firing.message)),
        alert.from.clone(),
    ]
}

/// What a rule asks for, in words.
fn says(alert: &AlertView) -> String {
    let rule = &alert.rule;
    let (patience, calm) = (rule.patience.as_secs_f64(), rule.calm.as_secs_f64());
    format!("{}; after {patience} s, and ends after {calm} s", rule.words())
}

fn show(context: &Context, alert: &AlertView, times: &Times) -> Result<(), Failure> {
    let rule = &alert.rule;
    let webhooks: Vec<&str> = rule.webhooks.iter().map(GroupName::as_str).collect();
    let firing = |what: &baton_api::alert::FiringView| {
        let ended = what.ended_at.map(|at| format!(", ended {}", times.ago(at))).unwrap_or_default();
        format!(
            "{}: since {}, fired {}{ended}",
            what.message,
            times.full(what.since),
            times.ago(what.fired_at)
        )
    };
    let mut facts = vec![
        ("alert", rule.name.to_string()),
        ("kind", rule.kind.as_str().to_owned()),
        ("state", if alert.fires { "fires" } else { "quiet" }.to_owned()),
        ("rule", says(alert)),
        ("set", alert.from.clone()),
    ];
    facts.extend(rule.queue.as_ref().map(|queue| ("queue", queue.to_string())));
    facts.extend((!webhooks.is_empty()).then(|| ("webhooks", webhooks.join(", "))));
    facts.extend(alert.runs_command.then(|| ("command", "yes".to_owned())));
    facts.extend(alert.firing.iter().map(|what| ("fires", firing(what))));
    facts.extend(alert.ended.iter().map(|what| ("ended", firing(what))));
    context.out.facts(facts)
}
