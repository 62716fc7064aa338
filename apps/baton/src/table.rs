//! `baton table`: the table of a store on DynamoDB.

use std::path::PathBuf;
use std::time::Duration;

use baton_runtime::Settings;
use baton_runtime::settings::StoreLocation;
use clap::{Args, Subcommand, ValueEnum};

use crate::context::Context;
use crate::exit::Failure;
use crate::layers::{flag, load};
use crate::text::parse_span;
#[cfg(feature = "dynamodb")]
use crate::text::span;

#[derive(Subcommand)]
#[command(after_help = "Examples:
  baton table create --store dynamodb:baton
  baton table create --store dynamodb:baton --statistics stream
  baton table check --store dynamodb:baton
  baton table rebuild-statistics --store dynamodb:baton
  baton table end-archiving --store dynamodb:baton

Region, credentials and endpoint are those of AWS's own tools: AWS_REGION,
AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_DYNAMODB and so on.")]
pub(crate) enum Table {
    /// Make the table, or finish one that was begun; what is there stays.
    ///
    /// With its index, stream, removal of what has ended, and backups where the engine has them.
    Create(Create),
    /// Say what of the table differs from what the store needs; exit code 1 if it cannot work so.
    Check(Of),
    /// Count all tasks anew while everything runs, and have the table's stream keep the counts from then on.
    ///
    /// The function relay-events must read the stream meanwhile. Statistics show the former counts until the new ones are
    /// whole. Each task costs one write. May be run at any time; a run takes over from one that was cut off.
    RebuildStatistics(Rebuild),
    /// Have the table remove finished tasks by itself again, without archiving them.
    ///
    /// A server with the setting archive.url has it leave them to its archiver. Stop that first, and start what else uses the table anew:
    /// a day later, what has ended is given an end.
    EndArchiving(Of),
}

/// Who keeps the statistics of a new table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Statistics {
    /// The programs that change tasks, as an estimate.
    Processes,
    /// The function relay-events, exactly, from the table's stream.
    Stream,
}

#[derive(Args)]
pub(crate) struct Create {
    #[command(flatten)]
    of: Of,
    /// Who keeps the statistics of a new table; one that is there keeps to what it has.
    #[arg(long, value_name = "WHO", value_enum, default_value_t = Statistics::Processes)]
    statistics: Statistics,
}

#[derive(Args)]
pub(crate) struct Rebuild {
    #[command(flatten)]
    of: Of,
    /// How long to wait while relay-events counts nothing.
    #[arg(long, value_name = "DURATION", value_parser = parse_span, default_value = "2m")]
    patience: Duration,
    /// By how much the clocks of all machines differ at most.
    #[arg(long, value_name = "DURATION", value_parser = parse_span, default_value = "15s")]
    clock_skew: Duration,
    /// How long a program may take at most to store a task that it was asked to create.
    #[arg(long, value_name = "DURATION", value_parser = parse_span, default_value = "45s")]
    write_delay: Duration,
}

#[derive(Args)]
pub(crate) struct Of {
    /// The table: dynamodb: and its name.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// A file of settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Of {
    fn settings(self) -> Result<(Settings, StoreLocation, String), Failure> {
        let settings = load(self.config, [flag("--store", "store.url", self.store)])?;
        match settings.store.location.clone() {
            StoreLocation::Dynamodb(table) => {
                let location = StoreLocation::Dynamodb(table.clone());
                Ok((settings, location, table))
            }
            other => Err(Failure::usage(format!(
                "--store (or store.url): expected a table such as dynamodb:baton, got {other}; a file needs no making"
            ))),
        }
    }
}

impl Table {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Create(Create { of, statistics }) => {
                let (settings, location, table) = of.settings()?;
                create(context, &settings, &location, &table, statistics).await
            }
            Self::RebuildStatistics(Rebuild { of, patience, clock_skew, write_delay }) => {
                let (settings, _, table) = of.settings()?;
                rebuild(context, &settings, &table, Times { patience, clock_skew, write_delay }).await
            }
            Self::EndArchiving(of) => {
                let (settings, _, table) = of.settings()?;
                end_archiving(context, &settings, &table).await
            }
            Self::Check(of) => {
                let (_, location, table) = of.settings()?;
                check(context, &location, &table).await
            }
        }
    }
}

/// The times of a rebuild.
#[cfg_attr(not(feature = "dynamodb"), expect(dead_code, reason = "nothing is rebuilt without the store"))]
struct Times {
    patience: Duration,
    clock_skew: Duration,
    write_delay: Duration,
}

#[cfg(not(feature = "dynamodb"))]
async fn end_archiving(_: &Context, settings: &Settings, _: &str) -> Result<(), Failure> {
    Err(crate::store::not_built(&settings.store.location))
}

#[cfg(not(feature = "dynamodb"))]
async fn create(
    _: &Context,
    _: &Settings,
    location: &StoreLocation,
    _: &str,
    _: Statistics,
) -> Result<(), Failure> {
    Err(crate::store::not_built(location))
}

#[cfg(not(feature = "dynamodb"))]
async fn rebuild(_: &Context, settings: &Settings, _: &str, _: Times) -> Result<(), Failure> {
    Err(crate::store::not_built(&settings.store.location))
}

#[cfg(not(feature = "dynamodb"))]
async fn check(_: &Context, location: &StoreLocation, _: &str) -> Result<(), Failure> {
    Err(crate::store::not_built(location))
}

#[cfg(feature = "dynamodb")]
use with_dynamodb::{check, create, end_archiving, rebuild};

#[cfg(feature = "dynamodb")]
mod with_dynamodb {
    use std::sync::Arc;

    use baton_runtime::{Clock as _, SystemClock};
    use baton_store::NoDoorbell;
    use baton_store_dynamodb::table::{self, Finding, KeptBy, TableOptions};
    use baton_store_dynamodb::{Rebuild, RebuildError, RebuildProgress, Rebuilt};
    use serde_json::{Value, json};

    use super::*;
    use crate::progress::Teller;
    use crate::store::dynamodb::{client, open};

    pub(super) async fn create(
        context: &Context,
        settings: &Settings,
        location: &StoreLocation,
        name: &str,
        statistics: Statistics,
    ) -> Result<(), Failure> {
        let client = client(location).await?;
        let dynamodb = &settings.store.dynamodb;
        let options = TableOptions {
            spread: dynamodb.spread,
            recovery: dynamodb.recovery,
            statistics: match statistics {
                Statistics::Processes => KeptBy::Processes,
                Statistics::Stream => KeptBy::Stream,
            },
            ..TableOptions::default()
        };
        let failed = |error: baton_store::StoreError| {
            Failure::failed(format!("cannot make the table {name}: {}", error.report()))
        };
        table::create(&client, name, options).await.map_err(failed)?;
        let kept_by = table::kept_by(&client, name).await.map_err(failed)?;
        if options.statistics == KeptBy::Stream && kept_by != Some(KeptBy::Stream) {
            context.out.note(&format!(
                "the table {name} was there before, and its statistics are still kept by the programs that change tasks; have \
                 the stream keep them with `baton table rebuild-statistics --store {location}`"
            ));
        }
        // What an engine lacks, such as backups on one of your own, is told and is no failure.
        let findings = table::check(&client, name).await.map_err(failed)?.unwrap_or_default();
        told(context, name, "made", &findings)
    }

    pub(super) async fn check(
        context: &Context,
        location: &StoreLocation,
        name: &str,
    ) -> Result<(), Failure> {
        let client = client(location).await?;
        let findings = table::check(&client, name).await.map_err(|error| {
            Failure::failed(format!("cannot look at the table {name}: {}", error.report()))
        })?;
        let Some(findings) = findings else {
            return Err(Failure::NotFound(format!(
                "expected a table {name}, got none in this account and region; make it with `baton table create \
                 --store {location}`"
            )));
        };
        told(context, name, "looked at", &findings)
    }

    pub(super) async fn rebuild(
        context: &Context,
        settings: &Settings,
        name: &str,
        times: Times,
    ) -> Result<(), Failure> {
        let store = open(name, settings, Arc::new(NoDoorbell)).await?;
        let clock = || SystemClock.now();
        let rebuild = Rebuild {
            skew: times.clock_skew,
            delay: times.write_delay,
            patience: times.patience,
            ..Rebuild::new(&clock)
        };
        let least = rebuild.skew * 4 + rebuild.delay;
        context
            .out
            .note(&format!("this takes {} at least: creations on their way are waited for", span(least)));
        let mut teller = Teller::new();
        let rebuilt = store.rebuild_statistics(&rebuild, |progress| teller.tell(|| words_of(progress))).await;
        teller.end();
        let Rebuilt { epoch, touched } = rebuilt.map_err(|error| match error {
            RebuildError::Store(error) => Failure::failed(format!(
                "the statistics of {name} could not be made anew, and the former ones stand: {}; run the same command again",
                error.report()
            )),
            error @ RebuildError::TakenOver => Failure::Conflict(error.to_string()),
            error @ RebuildError::Silent { .. } => Failure::failed(format!(
                "the statistics of {name} were not made anew, and the former ones stand: {error}"
            )),
        })?;
        if context.out.is_json() {
            return context.out.json(&json!({ "table": name, "epoch": epoch, "touched": touched }));
        }
        context.out.note(&format!(
            "the stream keeps the statistics of {name}, counted anew: {touched} tasks were there before, and all since"
        ));
        Ok(())
    }

    pub(super) async fn end_archiving(
        context: &Context,
        settings: &Settings,
        name: &str,
    ) -> Result<(), Failure> {
        if settings.archive.is_some() {
            return Err(Failure::usage(
                "archive.url: expected none, as the next server with it would archive tasks again; take it out of the settings first",
            ));
        }
        let store = open(name, settings, Arc::new(NoDoorbell)).await?;
        let was = store.is_archived();
        store.end_archiving().await.map_err(|error| {
            Failure::failed(format!("cannot change the table {name}: {}", error.report()))
        })?;
        if context.out.is_json() {
            return context.out.json(&json!({ "table": name, "was_archived": was }));
        }
        context.out.note(&match was {
            true => format!("finished tasks of {name} are not archived any more: start what uses the table anew; a day later they are given an end, and what was removed by hand goes with the next purge"),
            false => format!("finished tasks of {name} were not archived"),
        });
        Ok(())
    }

    fn words_of(progress: RebuildProgress) -> String {
        match progress {
            RebuildProgress::Begun { took_over: false } => "waiting to hear from relay-events".to_owned(),
            RebuildProgress::Begun { took_over: true } => {
                "taking over from a run that was not finished; waiting to hear from relay-events".to_owned()
            }
            RebuildProgress::Heard => "relay-events counts; looking for tasks".to_owned(),
            RebuildProgress::Touched(tasks) => format!("{tasks} tasks found so far"),
            RebuildProgress::Counted { counted, touched } => {
                format!("relay-events has counted {counted} of {touched} tasks")
            }
            RebuildProgress::Replaced => "the new counts are in place; removing the former ones".to_owned(),
        }
    }

    fn told(context: &Context, name: &str, done: &str, findings: &[Finding]) -> Result<(), Failure> {
        let works = findings.iter().all(|finding| !finding.fatal);
        let shown = |finding: &Finding| json!({ "what": finding.what, "fatal": finding.fatal });
        if context.out.is_json() {
            let findings: Vec<Value> = findings.iter().map(shown).collect();
            context.out.json(&json!({ "table": name, "works": works, "findings": findings }))?;
        } else {
            for finding in findings {
                let word = if finding.fatal { "broken" } else { "missing" };
                context.out.line(&format!("{word}  {}", finding.what))?;
            }
        }
        if !works {
            return Err(Failure::failed(format!(
                "the table {name} cannot be used as it is; see above what to do"
            )));
        }
        let but = if findings.is_empty() { "all of it is as it should be" } else { "it works" };
        context.out.note(&format!("table {name} {done}: {but}"));
        Ok(())
    }
}
