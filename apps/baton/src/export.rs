//! `baton export`: all tasks of a store, whole, as JSON lines.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_runtime::settings::StoreLocation;
use baton_store::NoDoorbell;
use baton_store::transfer::{Record, Transfer};
use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::exit::Failure;
use crate::layers::{flag, load};
use crate::progress::Teller;
use crate::signals::Signals;
use crate::store::Store;

/// How many records are read at once; what they hold in memory has a bound of its own.
const PAGE: u32 = 500;

#[derive(Args)]
#[command(after_help = "Examples:
  baton export --from sqlite:baton.db > tasks.jsonl
  baton export --from sqlite:baton.db --out tasks.jsonl -o json

Stop the store's server first. Each line is one task with its history and its
generation; `baton import` reads them again.")]
pub(crate) struct Export {
    /// Where tasks are kept, instead of the setting store.url.
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// A file to write, instead of stdout; it is there once it is whole.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A file of settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Export {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        if context.out.is_json() && self.out.is_none() {
            return Err(Failure::usage(
                "-o json: expected --out FILE with it, as stdout has the tasks, one JSON document each",
            ));
        }
        let settings = load(self.config, [flag("--from", "store.url", self.from)])?;
        let location = &settings.store.location;
        if let StoreLocation::Sqlite(path) = location
            && !path.exists()
        {
            return Err(Failure::NotFound(format!(
                "--from: expected a file, got none at {}",
                path.display()
            )));
        }
        let store = Store::open(&settings, Arc::new(NoDoorbell)).await?;
        let transfer = store.transfer();
        let mut signals = Signals::listen()?;
        let mut teller = Teller::new();
        let tasks = tokio::select! {
            tasks = written(context, &*transfer, self.out.as_deref(), &mut teller) => tasks,
            _ = signals.next() => Err(Failure::failed("interrupted; run the same command again")),
        };
        teller.end();
        let tasks = tasks?;
        match (&self.out, context.out.is_json()) {
            (Some(out), true) => {
                context.out.json(&json!({ "from": location.to_string(), "out": out, "tasks": tasks }))
            }
            _ => {
                context.out.note(&format!("{tasks} tasks of {location} written"));
                Ok(())
            }
        }
    }
}

/// Writes all tasks to stdout, or to a file that is there once it is whole.
async fn written(
    context: &Context,
    store: &dyn Transfer,
    out: Option<&Path>,
    teller: &mut Teller,
) -> Result<u64, Failure> {
    let Some(out) = out else {
        return write(context, store, &mut BufWriter::new(io::stdout()), teller).await;
    };
    let cannot = |error: io::Error| Failure::failed(format!("cannot write {}: {error}", out.display()));
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = out.with_file_name(name);
    let mut file = BufWriter::new(File::create(&part).map_err(cannot)?);
    let tasks = write(context, store, &mut file, teller).await?;
    file.into_inner().map_err(|error| cannot(error.into_error()))?.sync_all().map_err(cannot)?;
    std::fs::rename(&part, out).map_err(cannot)?;
    Ok(tasks)
}

async fn write(
    context: &Context,
    store: &dyn Transfer,
    to: &mut impl Write,
    teller: &mut Teller,
) -> Result<u64, Failure> {
    let (mut tasks, mut after) = (0, None);
    loop {
        let page = store.export(context.now(), after, PAGE).await;
        let page = page.map_err(|error| Failure::failed(error.report()))?;
        for record in page.items {
            let Record::Task(task) = record else { continue };
            put(to, &task)?;
            tasks += 1;
        }
        if tasks > 0 {
            teller.tell(|| format!("{tasks} tasks written"));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => {
                to.flush().map_err(unwritten)?;
                return Ok(tasks);
            }
        }
    }
}

fn put(to: &mut impl Write, task: &impl serde::Serialize) -> Result<(), Failure> {
    // What cannot be written is told as an error of writing; a task always is JSON.
    serde_json::to_writer(&mut *to, task).map_err(io::Error::from).map_err(unwritten)?;
    to.write_all(b"\n").map_err(unwritten)
}

fn unwritten(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::failed(format!("the tasks cannot be written: {error}")),
    }
}
