//! The flags that say what a task is, for whatever creates tasks.

use std::path::Path;
use std::time::Duration;

use baton_api::create::CreateTask;
use baton_api::unique::UniqueView;
use baton_model::{Backoff, Label, Payload, Priority, ProjectId, QueueName, TaskType, UniqueWhile};
use baton_runtime::nearest;
use clap::Args;

use crate::exit::Failure;
use crate::{input, text, words};

/// What a task is, besides its type.
#[derive(Args)]
pub(crate) struct TaskFlags {
    /// The queue it waits in.
    #[arg(long)]
    pub(crate) queue: Option<QueueName>,
    /// Its input: JSON, or @FILE, or - for stdin.
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub(crate) params: Option<String>,
    /// critical, high, normal or low.
    #[arg(long)]
    pub(crate) priority: Option<Priority>,
    /// How many attempts it is given.
    #[arg(long, value_name = "N")]
    pub(crate) max_attempts: Option<u32>,
    /// How long one attempt may run, such as 10m.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    pub(crate) timeout: Option<Duration>,
    /// How long it waits between attempts: the first pause, such as 30s, or each part (see below).
    #[arg(long, value_name = "SPAN|PARTS", value_parser = parse_backoff)]
    pub(crate) backoff: Option<Backoff>,
    /// How long it is kept once it has ended, such as 7d; as long as the server keeps all if not given.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    pub(crate) retention: Option<Duration>,
    /// The project that owns it.
    #[arg(long)]
    pub(crate) project: Option<ProjectId>,
    /// The domain that it belongs to.
    #[arg(long)]
    pub(crate) domain: Option<Label>,
    /// Who assigned it.
    #[arg(long, value_name = "NAME")]
    pub(crate) assigned_by: Option<Label>,
    /// What it shares a limit by with other tasks of its queue.
    #[arg(long, value_name = "KEY")]
    pub(crate) concurrency_key: Option<Label>,
    /// What its worker had best have loaded already, such as a model.
    #[arg(long, value_name = "NAME")]
    pub(crate) affinity: Option<Label>,
    /// How long it is worth starting, such as 10m: if no attempt has begun by then, it fails as expired.
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    pub(crate) expires_after: Option<Duration>,
    /// A key of which there is to be one task at a time in its project and queue: while another task holds it, none is created,
    /// and the id of that one is told.
    #[arg(long, value_name = "KEY")]
    pub(crate) unique: Option<Label>,
    /// For how long the task holds this key: queued, unfinished (the default) or a span, such as 1h.
    #[arg(long, value_name = "HOW-LONG", requires = "unique", value_parser = parse_unique_while)]
    pub(crate) unique_while: Option<UniqueWhile>,
    /// What it is, for people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
}

impl TaskFlags {
    /// The task that they say, of this type.
    pub(crate) fn task(&self, task_type: TaskType) -> Result<CreateTask, Failure> {
        Ok(CreateTask {
            project: self.project.clone(),
            queue: self.queue.clone(),
            priority: self.priority,
            params: self.params.as_deref().map(params).transpose()?,
            description: self.description.clone(),
            domain: self.domain.clone(),
            assigned_by: self.assigned_by.clone(),
            concurrency_key: self.concurrency_key.clone(),
            affinity: self.affinity.clone(),
            expires_after: self.expires_after,
            unique: self
                .unique
                .clone()
                .map(|key| UniqueView { key, held: self.unique_while.unwrap_or_default() }),
            max_attempts: self.max_attempts,
            timeout: self.timeout,
            backoff: self.backoff,
            retention: self.retention,
            ..CreateTask::new(task_type)
        })
    }
}

/// Reads for how long a unique key is held.
fn parse_unique_while(text: &str) -> Result<UniqueWhile, String> {
    match text {
        "queued" => Ok(UniqueWhile::Queued),
        "unfinished" => Ok(UniqueWhile::Unfinished),
        span => text::parse_span(span)
            .map(UniqueWhile::For)
            .map_err(|_| format!("expected queued, unfinished or a duration such as 1h, got {span:?}")),
    }
}

fn params(text: &str) -> Result<Payload, Failure> {
    let (json, from) = match text.strip_prefix('@') {
        _ if text == "-" => (input::read("--params", Path::new("-"))?, "stdin".to_owned()),
        Some(file) => (input::read("--params", Path::new(file))?, file.to_owned()),
        None => (text.to_owned(), "the command line".to_owned()),
    };
    let json = json.trim();
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(json) {
        let fault = words::json_fault(&error.to_string());
        return Err(Failure::usage(format!("--params (from {from}): expected JSON; {fault}")));
    }
    Payload::parse(json).map_err(|problem| Failure::usage(format!("--params (from {from}): {problem}")))
}

/// The parts of a backoff, by the names of the API without their units.
const PARTS: [&str; 4] = ["base", "factor", "max", "jitter"];

/// Reads a backoff: the first pause alone, such as `30s`, or parts such as `base=5s,factor=2,max=10m,jitter=0.2`; what is
/// left out keeps its default.
pub(crate) fn parse_backoff(text: &str) -> Result<Backoff, String> {
    let mut backoff = Backoff::default();
    if !text.contains('=') {
        backoff.base = text::parse_span(text)?;
        // A first pause that is longer than the longest would be cut to it.
        backoff.max = backoff.max.max(backoff.base);
        return Ok(backoff);
    }
    let number = |name: &str, text: &str, least: f64, most: f64| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("{name}: expected a number from {least} to {most}, got {text:?}"))
    };
    for part in text.split(',') {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name.trim() {
            "base" => backoff.base = text::parse_span(value).map_err(|wrong| format!("base: {wrong}"))?,
            "max" => backoff.max = text::parse_span(value).map_err(|wrong| format!("max: {wrong}"))?,
            "factor" => backoff.factor = number("factor", value, 1.0, 10.0)?,
            "jitter" => backoff.jitter = number("jitter", value, 0.0, 1.0)?,
            other => {
                let near = nearest(other, PARTS).map(|near| format!(" (the nearest is {near})"));
                let near = near.unwrap_or_default();
                return Err(format!("expected a span, or some of {}, got {other:?}{near}", PARTS.join(", ")));
            }
        }
    }
    Ok(backoff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_is_its_first_pause_or_its_parts() {
        let secs = Duration::from_secs;
        let default = Backoff::default();
        assert_eq!(parse_backoff("30s"), Ok(Backoff { base: secs(30), ..default }));
        assert_eq!(parse_backoff("1h"), Ok(Backoff { base: secs(3_600), max: secs(3_600), ..default }));
        let parts = parse_backoff("base=1s,factor=1.5,max=2m,jitter=0");
        assert_eq!(parts, Ok(Backoff { base: secs(1), factor: 1.5, max: secs(120), jitter: 0.0 }));
        assert_eq!(parse_backoff("max=2m"), Ok(Backoff { max: secs(120), ..default }));
        for (wrong, told) in [
            ("soon", "expected a duration"),
            ("base=", "base: expected a duration"),
            ("factor=NaN", "factor: expected a number from 1 to 10"),
            ("jitter=2", "jitter: expected a number from 0 to 1"),
            ("bse=5s", "(the nearest is base)"),
            ("base=5s,", "got \"\""),
        ] {
            let error = parse_backoff(wrong).unwrap_err();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }
}
