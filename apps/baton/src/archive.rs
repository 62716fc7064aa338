//! `baton archive`: what is in the archive of finished tasks, and putting it back.

use std::path::PathBuf;
use std::sync::Arc;

use baton_archive::{Filter, ObjectArchive, day_of};
use baton_files::Objects;
use baton_model::{Place, ProjectId, TaskId};
use baton_runtime::Settings;
use baton_runtime::settings::StoreLocation;
use baton_store::transfer::{TaskRecord, Verdict};
use baton_store::{ArchiveError, ArchiveStore, NoDoorbell};
use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use serde_json::json;

use crate::archiver::cannot_open;
use crate::context::Context;
use crate::exit::Failure;
use crate::layers::{flag, load};
use crate::out::{Column, Rows};
use crate::progress::Teller;
use crate::store::Store;

#[derive(Subcommand)]
pub(crate) enum Archive {
    /// The tasks of an archive, each as it was last.
    Show(Show),
    /// Put archived tasks back into a store, as they ended; they are kept anew from then on.
    Restore(Restore),
}

/// Which tasks of which archive.
#[derive(Args)]
pub(crate) struct Wanted {
    /// Ids of tasks; all if none is named.
    #[arg(value_name = "ID")]
    ids: Vec<TaskId>,
    /// Of this project.
    #[arg(long, value_name = "PROJECT")]
    project: Option<ProjectId>,
    /// That ended on this day (in UTC) or later, such as 2026-11-28.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    from: Option<String>,
    /// That ended on this day or earlier.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    until: Option<String>,
    /// Where the archive is, instead of the setting archive.url.
    #[arg(long, value_name = "URL")]
    archive: Option<String>,
    /// A file of settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  baton archive show --archive file:///var/lib/baton/archive --from 2026-11-01
  baton archive show --lines > tasks.jsonl

The archive may be read while a server writes to it.")]
pub(crate) struct Show {
    #[command(flatten)]
    wanted: Wanted,
    /// Write each task whole, as a line of JSON, and all of them.
    #[arg(long, conflicts_with = "limit")]
    lines: bool,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Args)]
#[command(after_help = "Examples:
  baton archive restore 01980a6e-5b7c-7cc3-98c4-dc0c0c07398f
  baton archive restore --project film --from 2026-11-01 --until 2026-11-07

Stop the store's server first. What is there already is left as it is, so that the
command may be run again.")]
pub(crate) struct Restore {
    #[command(flatten)]
    wanted: Wanted,
    /// Where tasks are kept, instead of the setting store.url.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Put back all that is in the archive; else ids, a project or days must be named.
    #[arg(long)]
    all: bool,
}

/// How many bytes of tasks are put back at once, and how many tasks.
const PORTION_BYTES: usize = 4 << 20;
const PORTION: usize = 256;

fn parse_day(text: &str) -> Result<String, String> {
    let day = text.parse::<jiff::civil::Date>().ok().filter(|day| day.to_string() == text);
    day.map(|day| day.to_string()).ok_or_else(|| "expected a day such as 2026-11-28".to_owned())
}

fn unreadable(error: ArchiveError) -> Failure {
    Failure::failed(error.report())
}

impl Wanted {
    fn filter(&self) -> Filter {
        Filter {
            project: self.project.clone(),
            from: self.from.clone(),
            until: self.until.clone(),
            tasks: self.ids.clone(),
        }
    }

    fn is_all(&self) -> bool {
        self.ids.is_empty() && self.project.is_none() && self.from.is_none() && self.until.is_none()
    }

    /// The settings, and the archive to read.
    fn open(&self, store: Option<String>) -> Result<(Settings, ObjectArchive), Failure> {
        let flags =
            [flag("--archive", "archive.url", self.archive.clone()), flag("--store", "store.url", store)];
        let settings = load(self.config.clone(), flags)?;
        let Some(place) = &settings.archive else {
            return Err(Failure::usage(
                "expected an archive, got none: name it by --archive or the setting archive.url",
            ));
        };
        if let Place::Folder(path) = place
            && !path.is_dir()
        {
            return Err(Failure::NotFound(format!(
                "expected an archive, got no folder at {}",
                path.display()
            )));
        }
        let archive = ObjectArchive::new(Objects::open(place).map_err(cannot_open)?);
        Ok((settings, archive))
    }
}

impl Archive {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Show(show) => show.run(context).await,
            Self::Restore(restore) => restore.run(context).await,
        }
    }
}

impl Show {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let (_, archive) = self.wanted.open(None)?;
        let filter = self.wanted.filter();
        let found = archive.find(&filter).await.map_err(unreadable)?;
        let tasks = found.tasks();
        let mut records = archive.read(&filter, found);
        if self.lines {
            while let Some(record) = records.try_next().await.map_err(unreadable)? {
                context.out.json_line(&record)?;
            }
            return Ok(());
        }
        let mut shown = Vec::new();
        while shown.len() < self.limit as usize
            && let Some(record) = records.try_next().await.map_err(unreadable)?
        {
            shown.push(record);
        }
        if context.out.is_json() {
            return context.out.json(&json!({ "items": shown, "more": tasks > shown.len() }));
        }
        let more = tasks - shown.len();
        table(context, &shown)?;
        if more > 0 {
            context.out.note(&format!("{more} more; --limit shows more of them, --lines all of them whole"));
        }
        Ok(())
    }
}

fn table(context: &Context, records: &[TaskRecord]) -> Result<(), Failure> {
    let mut rows = Rows::of(&[
        Column::new("ID"),
        Column::new("STATUS"),
        Column::new("TYPE").cut(),
        Column::new("PROJECT").cut(),
        Column::new("QUEUE").cut().spare(),
        Column::new("ATTEMPT"),
        Column::new("ENDED"),
    ]);
    for record in records {
        let task = &record.task;
        rows.add(vec![
            task.head.id.to_string(),
            task.head.state.state().as_str().to_owned(),
            task.task_type.to_string(),
            task.project.to_string(),
            task.queue.to_string(),
            task.head.attempt.to_string(),
            day_of(record),
        ]);
    }
    context.out.table(rows, "no archived tasks")
}

/// What became of tasks that were put back.
#[derive(Default)]
struct Put {
    restored: u64,
    there: u64,
    refused: u64,
}

impl Restore {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        if self.wanted.is_all() && !self.all {
            return Err(Failure::usage(
                "expected ids, --project, --from or --until, got none: name what to put back, or say --all",
            ));
        }
        let (settings, archive) = self.wanted.open(self.store)?;
        let location = &settings.store.location;
        if let StoreLocation::Sqlite(path) = location
            && !path.exists()
        {
            return Err(Failure::NotFound(format!(
                "--store: expected a file, got none at {}",
                path.display()
            )));
        }
        let opened = Store::open(&settings, Arc::new(NoDoorbell)).await?;
        let store = opened.archived();
        let filter = self.wanted.filter();
        let found = archive.find(&filter).await.map_err(unreadable)?;
        let (tasks, mut teller) = (found.tasks(), Teller::new());
        let done = put_back(context, &archive, &filter, found, &*store, &mut teller, tasks).await;
        teller.end();
        if let Err(error) = opened.close().await {
            context.out.note(&format!("the last counts could not be written: {}", error.report()));
        }
        let Put { restored, there, refused } = done?;
        let told = json!({ "restored": restored, "there_already": there, "refused": refused });
        match context.out.is_json() {
            true => context.out.json(&told)?,
            false => context
                .out
                .note(&format!("{restored} tasks put back into {location}, {there} were there already")),
        }
        match refused {
            0 => Ok(()),
            some => Err(Failure::Conflict(format!(
                "{some} tasks were refused, as those in {location} are not what was archived; they were left as they are"
            ))),
        }
    }
}

async fn put_back(
    context: &Context,
    archive: &ObjectArchive,
    filter: &Filter,
    found: baton_archive::Latest,
    store: &dyn ArchiveStore,
    teller: &mut Teller,
    tasks: usize,
) -> Result<Put, Failure> {
    let mut put = Put::default();
    let (mut portion, mut bytes) = (Vec::new(), 0);
    let mut records = archive.read(filter, found);
    loop {
        let record = records.try_next().await.map_err(unreadable)?;
        let is_last = record.is_none();
        bytes += record.as_ref().map_or(0, size_of);
        portion.extend(record);
        if is_last || portion.len() >= PORTION || bytes >= PORTION_BYTES {
            bytes = 0;
            let taken = store.restore(std::mem::take(&mut portion), context.now()).await;
            for verdict in taken.map_err(|error| Failure::failed(error.report()))? {
                match verdict {
                    Ok(Verdict::New | Verdict::Later) => put.restored += 1,
                    Ok(Verdict::Same) => put.there += 1,
                    Err(refusal) => {
                        put.refused += 1;
                        context.out.note(&refusal.to_string());
                    }
                }
            }
            teller.tell(|| format!("{} of {tasks} tasks", put.restored + put.there + put.refused));
        }
        if is_last {
            return Ok(put);
        }
    }
}

fn size_of(record: &TaskRecord) -> usize {
    record.task.params.size() + record.history.len() * 256
}
