//! `baton migrate`: all that one store holds, moved into another.

use std::path::PathBuf;
use std::sync::Arc;

use baton_runtime::settings::{Settings, StoreLocation};
use baton_runtime::{Clock as _, SystemClock};
use baton_store::NoDoorbell;
use baton_store::transfer::{
    Compared, Holding, LeftBehind, Migration, MigrationError, Outcome, Progress, Tally,
};
use clap::Args;
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::Failure;
use crate::layers::load;
use crate::out::Rows;
use crate::progress::Teller;
use crate::signals::Signals;
use crate::store::Store;

/// How many records are read and written at once; what they hold in memory has a bound of its own.
const PAGE: u32 = 500;

#[derive(Args)]
#[command(after_help = "Examples:
  baton migrate --from sqlite:baton.db --to dynamodb:baton
  baton migrate --from dynamodb:baton --to sqlite:copy.db -o json

Stop the source's servers first. The target must be empty: a new file, or a table
made by `baton table create`. Run the same command again after an interruption:
it goes on where it stopped. In the end both stores are read and compared. The
workers may keep running: they deliver their results to the new server.")]
pub(crate) struct Migrate {
    /// The store to read: sqlite: and the path of a file, or dynamodb: and the name of a table.
    #[arg(long, value_name = "URL")]
    from: String,
    /// The store to fill.
    #[arg(long, value_name = "URL")]
    to: String,
    /// A file of settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Migrate {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let settings = load(self.config, [])?;
        let location = |flag: &str, text: &str| -> Result<StoreLocation, Failure> {
            text.parse().map_err(|error| Failure::usage(format!("{flag}: {error}")))
        };
        let (from, to) = (location("--from", &self.from)?, location("--to", &self.to)?);
        if from == to {
            return Err(Failure::usage(format!("--to: expected another store than --from, got {to}")));
        }
        if let StoreLocation::Sqlite(path) = &from
            && !path.exists()
        {
            return Err(Failure::NotFound(format!(
                "--from: expected a file, got none at {}",
                path.display()
            )));
        }
        let source = open(&settings, &from).await?;
        let target = open(&settings, &to).await?;
        let done = migrate(context, &settings, (&from, &source), (&to, &target)).await;
        for store in [source, target] {
            if let Err(error) = store.close().await {
                context.out.note(&format!("the last counts could not be written: {}", error.report()));
            }
        }
        done
    }
}

async fn open(settings: &Settings, location: &StoreLocation) -> Result<Store, Failure> {
    let mut settings = settings.clone();
    settings.store.location = location.clone();
    Store::open(&settings, Arc::new(NoDoorbell)).await
}

/// The name by which a source is known again, also on another machine: a file may lie elsewhere there.
fn name(location: &StoreLocation) -> String {
    match location {
        StoreLocation::Sqlite(path) => {
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
            format!("sqlite:{}", file.unwrap_or_default())
        }
        StoreLocation::Dynamodb(_) => location.to_string(),
    }
}

async fn migrate(
    context: &Context,
    settings: &Settings,
    (from, source): (&StoreLocation, &Store),
    (to, target): (&StoreLocation, &Store),
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let (source, target) = (source.transfer(), target.transfer());
    let migration = Migration {
        source: &*source,
        target: &*target,
        name: &name(from),
        page: PAGE,
        keep_logs: settings.retention.logs,
        clock: &|| SystemClock.now(),
    };
    let mut teller = Teller::new();
    let outcome = tokio::select! {
        outcome = migration.run(|progress| match progress {
            Progress::LeftBehind(left) => context.out.note(&left_words(from, to, &left)),
            progress => teller.tell(|| words_of(&progress)),
        }) => Some(outcome),
        _ = signals.next() => None,
    };
    teller.end();
    let Some(outcome) = outcome else {
        return Err(Failure::failed(
            "interrupted; what was copied stays: run the same command again to go on",
        ));
    };
    match outcome {
        Ok(outcome) => {
            report(context, from, to, &outcome)?;
            let again = if outcome.done_before { " as it did before" } else { "" };
            let Outcome { new, later, same, .. } = outcome;
            context.out.note(&format!(
                "{to} holds all that {from} holds{again}: the checksums agree (by this run: {new} records new, {later} \
                 brought up to date, {same} found as they are)"
            ));
            Ok(())
        }
        Err(MigrationError::Differs(outcome)) => {
            report(context, from, to, &outcome)?;
            Err(differs(&outcome))
        }
        Err(
            error @ (MigrationError::NotEmpty(_)
            | MigrationError::OtherSource { .. }
            | MigrationError::BegunOtherwise),
        ) => Err(Failure::Conflict(error.to_string())),
        Err(MigrationError::Refused(refusal)) => Err(Failure::Conflict(format!(
            "{to} refuses {refusal}; what stands there was left as it is: begin with an empty target"
        ))),
        Err(MigrationError::Source(error)) => {
            Err(Failure::failed(format!("{from}: {}; run the same command again to go on", error.report())))
        }
        Err(MigrationError::Target(error)) => {
            Err(Failure::failed(format!("{to}: {}; run the same command again to go on", error.report())))
        }
        Err(error @ MigrationError::Checkpoint) => Err(Failure::failed(error.to_string())),
    }
}

/// What stays behind, and where it has no place.
fn left_words(from: &StoreLocation, to: &StoreLocation, left: &LeftBehind) -> String {
    let Holding { what, records, names, .. } = &left.holding;
    let named = match names.len() as u64 {
        0 => String::new(),
        few if few < *records => format!(" ({}, …)", names.join(", ")),
        _ => format!(" ({})", names.join(", ")),
    };
    match left.by_target {
        true => format!("{records} {what}{named} stay behind: {to} has no place for them"),
        false => format!("{records} {what}{named} stay behind: they cannot be moved out of {from}"),
    }
}

fn words_of(progress: &Progress) -> String {
    match progress {
        Progress::LeftBehind(left) => format!("{} stay behind", left.holding.what),
        Progress::Copied(records) => format!("{records} records copied so far"),
        Progress::ReadSource(records) => format!("comparing: {records} records of the source read"),
        Progress::ReadTarget(records) => format!("comparing: {records} records of the target read"),
    }
}

/// What to do about stores that do not hold the same.
fn differs(outcome: &Outcome) -> Failure {
    let groups = outcome.groups.iter().filter(|(_, group)| !group.agrees());
    let names: Vec<&str> = groups.map(|(name, _)| name.as_str()).collect();
    let names = names.join(", ");
    Failure::failed(if outcome.done_before {
        format!(
            "{names}: source and target have gone apart since this migration came to its end; nothing was copied now; to \
             move the source as it is now, begin with an empty target"
        )
    } else {
        format!(
            "{names}: the source has changed while it was copied: stop its servers and run the same command again (if they \
             differ still, the source has lost something since: begin with an empty target)"
        )
    })
}

fn report(
    context: &Context,
    from: &StoreLocation,
    to: &StoreLocation,
    outcome: &Outcome,
) -> Result<(), Failure> {
    if context.out.is_json() {
        let tally = |tally: &Tally| json!({ "records": tally.records, "checksum": tally.checksum() });
        let group = |(name, group): (&String, &Compared)| {
            json!({
                "group": name,
                "source": tally(&group.source),
                "target": tally(&group.target),
                "agrees": group.agrees(),
            })
        };
        let groups: Vec<Value> = outcome.groups.iter().map(group).collect();
        let left = outcome.left_behind.iter().map(|left| {
            let Holding { group, what, records, names } = &left.holding;
            json!({ "group": group, "what": what, "records": records, "names": names, "by_target": left.by_target })
        });
        let left: Vec<Value> = left.collect();
        return context.out.json(&json!({
            "from": from.to_string(),
            "to": to.to_string(),
            "agrees": outcome.groups.values().all(Compared::agrees),
            "resumed": outcome.resumed,
            "done_before": outcome.done_before,
            "new": outcome.new,
            "later": outcome.later,
            "same": outcome.same,
            "groups": groups,
            "left_behind": left,
        }));
    }
    let mut rows = Rows::new(&["GROUP", "SOURCE", "TARGET", "CHECKSUM", ""]);
    for (name, group) in &outcome.groups {
        rows.add(vec![
            name.clone(),
            group.source.records.to_string(),
            group.target.records.to_string(),
            group.target.checksum(),
            if group.agrees() { "ok" } else { "differs" }.to_owned(),
        ]);
    }
    context.out.table(rows, "")
}
