//! `baton queue set`.

use std::time::Duration;

use baton_api::defaults::{DefaultsRequest, DefaultsView};
use baton_client::Client;
use baton_model::{Backoff, Label, Priority, QueueName};
use clap::{Args, ValueEnum};

use crate::context::Context;
use crate::exit::Failure;
use crate::queue::{is_new, nearest};
use crate::task::flags::parse_backoff;
use crate::text;

/// The fields of the request that flags give.
const FLAGS: &[(&str, &str)] = &[
    ("max_attempts", "--max-attempts"),
    ("timeout_seconds", "--timeout"),
    ("backoff", "--backoff"),
    ("priority", "--priority"),
    ("retention_seconds", "--retention"),
    ("reason", "--reason"),
];

#[derive(Args)]
#[command(after_help = "Examples:
  baton queue set images --max-attempts 5 --timeout 10m
  baton queue set images --backoff base=30s,factor=3 --priority low
  baton queue set reports --retention 90d
  baton queue set images --unset timeout,priority   (the usual ones again)")]
pub(crate) struct SetDefaults {
    /// The queue.
    queue: QueueName,
    /// How many attempts tasks are given.
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// How long one attempt may run, such as 10m.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    timeout: Option<Duration>,
    /// How long tasks wait between attempts: the first pause, such as 30s, or parts such as base=5s,factor=2,max=10m,jitter=0.2.
    #[arg(long, value_name = "SPAN|PARTS", value_parser = parse_backoff)]
    backoff: Option<Backoff>,
    /// critical, high, normal or low.
    #[arg(long)]
    priority: Option<Priority>,
    /// How long tasks are kept once they have ended, such as 7d.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    retention: Option<Duration>,
    /// What is to be given no longer; may be given again, or with commas.
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    unset: Vec<Setting>,
    /// Who asks, for the record.
    #[arg(long, value_name = "NAME")]
    by: Option<Label>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What a queue may give.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Setting {
    MaxAttempts,
    Timeout,
    Backoff,
    Priority,
    Retention,
}

impl Setting {
    const fn flag(self) -> &'static str {
        match self {
            Self::MaxAttempts => "max-attempts",
            Self::Timeout => "timeout",
            Self::Backoff => "backoff",
            Self::Priority => "priority",
            Self::Retention => "retention",
        }
    }
}

impl SetDefaults {
    pub(crate) async fn run(self, context: &Context, client: &Client) -> Result<(), Failure> {
        let new = is_new(client, &self.queue).await;
        let request = self.request()?;
        let asked = client.set_queue_defaults(&self.queue, &request).await;
        let change = asked.map_err(|error| Failure::from(error).by_flags(FLAGS))?;
        if new {
            let near = nearest(client, &self.queue).await;
            context.out.note(&format!("queue {} is new: no task has ever named it{near}", self.queue));
        }
        if context.out.is_json() {
            return context.out.json(&change);
        }
        let [from, to] = [&change.from, &change.to].map(|defaults| match in_words(defaults) {
            none if none.is_empty() => "nothing".to_owned(),
            words => words,
        });
        let before = if from == to { "as before".to_owned() } else { format!("before: {from}") };
        context.out.note(&format!("queue {} gives to tasks that do not say: {to} ({before})", self.queue));
        Ok(())
    }

    fn request(&self) -> Result<DefaultsRequest, Failure> {
        Ok(DefaultsRequest {
            max_attempts: self.said(Setting::MaxAttempts, self.max_attempts)?,
            timeout: self.said(Setting::Timeout, self.timeout)?,
            backoff: self.said(Setting::Backoff, self.backoff)?,
            priority: self.said(Setting::Priority, self.priority)?,
            retention: self.said(Setting::Retention, self.retention)?,
            by: self.by.clone(),
            reason: self.reason.clone(),
        })
    }

    /// What is said of a setting: a value, that it be given no longer, or nothing.
    fn said<T>(&self, setting: Setting, value: Option<T>) -> Result<Option<Option<T>>, Failure> {
        match (value, self.unset.contains(&setting)) {
            (Some(_), true) => {
                let flag = setting.flag();
                Err(Failure::usage(format!("expected --{flag} or --unset {flag}, got both")))
            }
            (Some(value), false) => Ok(Some(Some(value))),
            (None, true) => Ok(Some(None)),
            (None, false) => Ok(None),
        }
    }
}

/// What a queue gives; nothing if it gives nothing.
pub(crate) fn in_words(defaults: &DefaultsView) -> String {
    let exact = |seconds: f64| text::exact_span(Duration::from_secs_f64(seconds));
    let backoff = |one: Backoff| {
        let (base, max) = (text::exact_span(one.base), text::exact_span(one.max));
        format!("backoff {base}, times {} up to {max}", one.factor)
    };
    let words: Vec<String> = [
        defaults.max_attempts.map(|attempts| match attempts {
            1 => "1 attempt".to_owned(),
            attempts => format!("{attempts} attempts"),
        }),
        defaults.timeout_seconds.map(|timeout| format!("timeout {}", exact(timeout))),
        defaults.backoff.map(backoff),
        defaults.priority.map(|priority| format!("priority {}", priority.as_str())),
        defaults.retention_seconds.map(|retention| format!("kept for {}", exact(retention))),
    ]
    .into_iter()
    .flatten()
    .collect();
    words.join(", ")
}
