//! `baton import`: tasks of other systems, and of Baton's own exports, into a store.

mod cell;
mod lawful;
mod mapping;
mod old;
mod own;
mod read;
mod report;
mod server;
mod source;
#[cfg(feature = "dialects")]
mod systems;
mod table;
mod take;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use baton_model::Timestamp;
use baton_runtime::Settings;
use baton_store::NoDoorbell;
use clap::Args;

use self::mapping::Map;
use self::read::{Meaning, Portion, Read};
use self::report::Report;
use self::source::{Form, Place, Source};
use crate::context::Context;
use crate::exit::Failure;
use crate::layers::{flag, load};
use crate::progress::{Teller, bar};
use crate::signals::Signals;
use crate::store::Store;

#[derive(Args)]
#[command(after_help = "Examples:
  baton import tasks.jsonl --to sqlite:baton.db
  baton import tasks.csv --map map.toml --dry-run
  baton import sqlite:autodev.db --as orchestrator --to sqlite:baton.db

Stop the store's server first. The same command again takes in what is missing,
and changes nothing of what is there. docs/moving-data.md tells of each system.")]
pub(crate) struct Import {
    /// What to read: a file of JSON lines or CSV, - for stdin, sqlite: and the path of a file, or the address of a server or a database.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where tasks are kept, instead of the setting store.url.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// The system that wrote it; without this and --map, they are tasks as `baton export` writes them.
    #[cfg(feature = "dialects")]
    #[arg(long = "as", value_name = "SYSTEM", conflicts_with = "map")]
    system: Option<systems::Name>,
    /// A file of TOML that says which column is what.
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// The form of the file; by default CSV if its name ends in .csv, else JSON lines.
    #[arg(long, value_name = "FORM")]
    format: Option<Form>,
    /// The table of a database.
    #[arg(long, value_name = "NAME", default_value = "tasks")]
    table: String,
    /// When rows were created that do not say.
    #[arg(long, value_name = "TIME")]
    created_at: Option<Timestamp>,
    /// Read it all and tell what is wrong and what would be changed; write nothing, and need no store.
    #[arg(long)]
    dry_run: bool,
    /// A file of settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Import {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let settings = load(self.config.clone(), [flag("--to", "store.url", self.to.clone())])?;
        let place = Place::of(&self.source);
        let meaning = self.meaning(&settings)?;
        let source = self.open(&place).await?;
        let location = settings.store.location.to_string();
        if self.dry_run {
            let report = self.pump(context, source, meaning, None).await?;
            return report.tell(context, &place.name(), None);
        }
        let store = Store::open(&settings, Arc::new(NoDoorbell)).await?;
        let done = self.pump(context, source, meaning, Some(&store)).await;
        if let Err(error) = store.close().await {
            context.out.note(&format!("the last counts could not be written: {}", error.report()));
        }
        done?.tell(context, &place.name(), Some(&location))
    }

    fn meaning(&self, settings: &Settings) -> Result<Meaning, Failure> {
        #[cfg(feature = "dialects")]
        if let Some(name) = self.system {
            return Ok(Meaning::System(Box::new(systems::System::new(name, settings, self.created_at)?)));
        }
        #[cfg(not(feature = "dialects"))]
        let _ = settings;
        Ok(match &self.map {
            Some(file) => {
                let mut map = Map::of_file(file)?;
                map.created_at = self.created_at;
                Meaning::Mapped(Box::new(map))
            }
            None => Meaning::Own,
        })
    }

    fn is_of_assistant(&self) -> bool {
        #[cfg(feature = "dialects")]
        return self.system == Some(systems::Name::Assistant);
        #[cfg(not(feature = "dialects"))]
        false
    }

    async fn open(&self, place: &Place) -> Result<Source, Failure> {
        match place {
            Place::Stdin => source::open_file(None, self.format, &self.table),
            Place::File(path) => source::open_file(Some(path), self.format, &self.table),
            Place::Sqlite(path) => source::open_sqlite(path, &self.table),
            Place::Server(url) if self.is_of_assistant() => source::open_server(url).await,
            Place::Server(url) => Err(Failure::usage(format!(
                "{url}: expected --as assistant with the address of a server, got none; other systems are read from a file or a \
                 database"
            ))),
            #[cfg(feature = "postgres")]
            Place::Postgres(url) => source::open_postgres(url, &self.table).await,
            #[cfg(not(feature = "postgres"))]
            Place::Postgres(url) => Err(crate::postgres::not_built(
                url,
                ", or have psql write the table as CSV: docs/moving-data.md tells how",
            )),
        }
    }

    /// Reads portion by portion, and writes each if there is a store.
    async fn pump(
        &self,
        context: &Context,
        source: Source,
        meaning: Meaning,
        store: Option<&Store>,
    ) -> Result<Report, Failure> {
        let mut signals = Signals::listen()?;
        let mut report = Report::default();
        let mut teller = Teller::new();
        let ended = tokio::select! {
            ended = pump(source, meaning, store, &mut report, &mut teller) => ended,
            _ = signals.next() => Err(Failure::failed(
                "interrupted; what was taken in stays: run the same command again to go on",
            )),
        };
        teller.end();
        if let Err(failure) = ended {
            context.out.note(&format!("{} rows were read before it broke off", report.rows()));
            return Err(failure);
        }
        // Also where all was there already: an earlier run may have been broken off before it could count.
        if let Some(store) = store {
            store.recount(context.now()).await?;
        }
        Ok(report)
    }
}

async fn pump(
    source: Source,
    meaning: Meaning,
    store: Option<&Store>,
    report: &mut Report,
    teller: &mut Teller,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let Source { rows, whole, unit } = source;
    let target = store.map(Store::transfer);
    let mut portions = read::begin(rows, meaning);
    while let Some(portion) = portions.recv().await {
        let Portion { rows, done } = portion?;
        let (mut lines, mut tasks) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for (line, read) in rows {
            match read {
                Read::Wrong(mistakes) => report.row_with(mistakes),
                Read::Task(task, changes) => {
                    report.row(line, changes);
                    lines.push(line);
                    tasks.push(*task);
                }
            }
        }
        if let Some(target) = &target {
            for (line, taken) in lines.into_iter().zip(take::take(&**target, tasks).await?) {
                report.taken(line, taken);
            }
        }
        teller.tell(|| {
            let rows = report.rows();
            let a_second = rows as f64 / begun.elapsed().as_secs_f64().max(0.001);
            match whole {
                Some(whole) => format!("{} {rows} rows, {a_second:.0} a second", bar(done, whole)),
                None => format!("{rows} rows ({done} {unit}), {a_second:.0} a second"),
            }
        });
    }
    Ok(())
}
