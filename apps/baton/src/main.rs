//! `baton`: the server, the worker and the operator's tool in one program.

mod alert;
mod archive;
mod archiver;
mod audit;
mod batch;
mod bench;
mod bulk;
mod completions;
mod config;
mod confirm;
mod context;
mod dead_letters;
mod debug;
mod example;
mod exit;
mod export;
mod export_otlp;
mod file;
mod fleet;
mod follow;
mod generation;
mod ids;
mod import;
mod input;
mod layers;
mod limit;
mod logs;
mod machines;
mod migrate;
mod mirror;
mod names;
mod out;
mod pages;
mod postgres;
mod process;
mod progress;
mod queue;
mod ready;
mod reap;
mod relay;
mod render;
mod report;
mod scale;
mod schedule;
mod serve;
mod signals;
mod sqs;
mod stats;
mod store;
mod supply;
mod table;
mod talk;
mod task;
mod text;
mod timeline;
mod token;
mod top;
mod ui;
mod webhook;
mod when;
mod words;
mod worker;
mod worker_run;

use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::context::{Context, TokenSource};
use crate::exit::Failure;
use crate::out::Format;
use crate::signals::Signals;

/// A request makes some hundred values that live shortly, on several threads: with the allocator of the C library, a tenth of all
/// instructions go into that. Without huge pages: with them, an idle server takes 28 MB instead of 21 MB.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Examples:
  baton example                      all of it at once, with pictures
  baton serve                        on 127.0.0.1:7410, tasks in ./baton.db
  baton worker run -- ./resize.sh    runs ./resize.sh for each task
  baton task create --type resize --params '{\"id\": 7}'
  baton task list --status failed --since 1h

Exit codes:
  0  done
  1  failed: the server refused, or the command found something wrong
  2  the command line or a setting is wrong
  3  what was named does not exist
  4  the state of things does not allow it
  5  the server cannot be reached
  6  the watched task ended failed or cancelled
  7  not allowed: a token is needed, or the one presented does not do

BATON_TOKEN holds the token to present, or BATON_TOKEN_FILE names a file that
holds it; without either, none is presented.

Data goes to stdout, all else to stderr. NO_COLOR=1 turns colours off. On a
terminal, what is longer than the screen is shown by PAGER, or by less, unless
--no-pager is given; in a pipe, tables are neither cut nor wrapped.";

/// Hands tasks to workers and takes them back: serve, work and look, in one program.
#[derive(Parser)]
#[command(name = "baton", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    /// The server's address; http:// may be left out.
    #[arg(
        long,
        global = true,
        env = "BATON_URL",
        default_value = "http://127.0.0.1:7410",
        value_name = "URL"
    )]
    server: String,
    /// A file with the token to present, instead of BATON_TOKEN.
    #[arg(long, global = true, env = "BATON_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// `json`: exactly one JSON document on stdout.
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// As `-o json`.
    #[arg(long, global = true, conflicts_with = "output")]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server: one process on an SQLite file, or on a DynamoDB table.
    Serve(serve::Serve),
    /// Create tasks and see what becomes of them.
    #[command(subcommand)]
    Task(task::Task),
    /// See what completed tasks have made.
    #[command(subcommand)]
    Generation(generation::Generation),
    /// Run a worker, or see and direct those that run.
    #[command(subcommand)]
    Worker(worker::Worker),
    /// Run groups of workers that are watched and started again, or see and direct those of a server.
    #[command(subcommand)]
    Fleet(fleet::Fleet),
    /// See machines that are paid for, which of them no worker runs on, and end them.
    #[command(subcommand)]
    Machines(machines::Machines),
    /// Start and end machines by what waits, and see how many are wanted.
    #[command(subcommand)]
    Scale(scale::Scale),
    /// See, pause and resume queues.
    #[command(subcommand)]
    Queue(queue::Queue),
    /// Set, see and take away limits of how many tasks run at once, and how many start in a while.
    #[command(subcommand)]
    Limit(limit::Limits),
    /// See and change settings while servers run.
    #[command(subcommand)]
    Config(config::Config),
    /// Have tasks created by the clock: set, see, pause and delete schedules.
    #[command(subcommand)]
    Schedule(schedule::Schedules),
    /// See and call off commands for many tasks.
    #[command(subcommand)]
    Bulk(bulk::Bulk),
    /// See and seal batches: tasks that were handed in together.
    #[command(subcommand)]
    Batch(batch::Batch),
    /// Send, fetch and list files.
    #[command(subcommand)]
    File(file::File),
    /// See, set and take away rules of alerts, and what fires.
    #[command(subcommand)]
    Alert(alert::Alerts),
    /// See, set and take away webhooks, and what came of their messages.
    #[command(subcommand)]
    Webhook(webhook::Webhooks),
    /// Counts, ages and percentiles of everything.
    Stats(stats::Stats),
    /// Find out what is wrong, and what to do about it.
    #[command(subcommand)]
    Debug(debug::Debug),
    /// Watch queues, workers and tasks on a terminal, and cancel, retry, pause and drain by keys.
    Top(top::Top),
    /// Show the dashboard of a server elsewhere, such as one on AWS, on this machine.
    Ui(ui::Ui),
    /// Make, list and revoke the tokens by which callers are known.
    #[command(subcommand)]
    Token(token::Token),
    /// What operators did, the newest first.
    Audit(audit::Audit),
    /// Log lines that workers shipped, the newest last.
    Logs(logs::Logs),
    /// What happened, from all that tells of it, as one list.
    Timeline(timeline::Timeline),
    /// Take back tasks whose lease is lost, now instead of at the server's next round.
    Reap(reap::Reap),
    /// Make or check the DynamoDB table that --store dynamodb:TABLE names.
    #[command(subcommand)]
    Table(table::Table),
    /// Send histories of tasks to the queue task-events once more, for readers that have missed some.
    Relay(relay::Relay),
    /// See messages that were given up, send them back, or remove them.
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    /// Move all that one store holds into another, and compare both.
    Migrate(migrate::Migrate),
    /// Take in tasks that another system, or `baton export`, has written down.
    Import(Box<import::Import>),
    /// Write all tasks of a store, whole, as JSON lines.
    Export(export::Export),
    /// Keep a table of a PostgreSQL database up to date with all tasks, for programs that read it by SQL.
    Mirror(mirror::Mirror),
    /// See what is in the archive of finished tasks, and put it back.
    #[command(subcommand)]
    Archive(archive::Archive),
    /// Measure a server's throughput and latency.
    Bench(Box<bench::Bench>),
    /// Show Baton at work: a server, two workers, pictures, and a worker killed in the middle.
    Example(example::Example),
    /// The example's command: render one scene.
    #[command(hide = true)]
    RenderScene(render::RenderScene),
    /// A worker's guard: ends its commands if it is killed.
    #[command(hide = true)]
    Guard,
}

/// The commands that ask no server, and what they go by instead.
const WITHOUT_SERVER: &[(&str, &str)] = &[
    ("serve", "--listen says where to listen"),
    ("table", "it works on the table that --store names"),
    ("relay", "it reads the table that --store names"),
    ("dead-letters", "it works on the queues themselves"),
    ("migrate", "it works on the stores that --from and --to name"),
    ("import", "it fills the store that --to names"),
    ("export", "it reads the store that --from names"),
    ("archive", "it reads the archive itself, and --store names the store to put tasks back into"),
    ("example", "it starts a server of its own"),
];

/// The options that concern a server: their ids and their names.
const SERVER_OPTIONS: &[(&str, &str)] = &[("server", "server"), ("token_file", "token-file")];

/// The command line, with the options that concern a server shown and taken only where one is asked.
fn command_line() -> clap::Command {
    let mut cli = Cli::command();
    for &(name, instead) in WITHOUT_SERVER {
        cli = cli.mut_subcommand(name, |mut command| {
            for &(id, long) in SERVER_OPTIONS {
                // It takes the place of the global option, which clap would add otherwise.
                let told = takes_none(name, long, instead);
                let refused = move |_: &str| Err::<String, String>(told.clone());
                command = command.arg(Arg::new(id).long(long).hide(true).global(true).value_parser(refused));
            }
            command
        });
    }
    cli
}

fn takes_none(command: &str, option: &str, instead: &str) -> String {
    format!("`baton {command}` takes no --{option}: {instead}")
}

/// An option that means nothing to the command and stands before it, where clap takes it for all commands.
fn misplaced(matches: &ArgMatches) -> Option<String> {
    let &(name, instead) = WITHOUT_SERVER.iter().find(|(name, _)| matches.subcommand_name() == Some(name))?;
    let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    SERVER_OPTIONS.iter().find(|(id, _)| given(id)).map(|(_, long)| takes_none(name, long, instead))
}

fn main() -> ExitCode {
    let matches = command_line().get_matches();
    if let Some(misplaced) = misplaced(&matches) {
        command_line().error(ErrorKind::ArgumentConflict, misplaced).exit();
    }
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let server_named = matches.value_source("server") == Some(ValueSource::CommandLine);
    let token = match (cli.token_file, matches.value_source("token_file")) {
        (Some(file), Some(ValueSource::CommandLine)) => TokenSource::Flag(file),
        (file, _) => TokenSource::Environment(file),
    };
    let output = if cli.json { Format::Json } else { cli.output };
    let context = Context::new(cli.server, server_named, token, output);
    match run(cli.command, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report::tell(&failure, &context),
    }
}

fn run(command: Command, context: &Context) -> Result<(), Failure> {
    let command = match command {
        // Before any thread is started: it has to be small and quick.
        Command::Guard => {
            baton_worker::guard(std::io::stdin().lock());
            return Ok(());
        }
        Command::RenderScene(render) => return render.run(),
        command => command,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("could not start the program's threads: {error}")))?;
    runtime.block_on(async {
        let done = match command {
            Command::Serve(serve) => on_heap(|| serve.run(context)).await,
            Command::Task(task) => on_heap(|| task.run(context)).await,
            Command::Generation(generation) => on_heap(|| generation.run(context)).await,
            Command::Worker(worker) => on_heap(|| worker.run(context)).await,
            Command::Fleet(fleet) => on_heap(|| fleet.run(context)).await,
            Command::Machines(machines) => on_heap(|| unless_interrupted(machines.run(context))).await,
            Command::Scale(scale) => on_heap(|| scale.run(context)).await,
            Command::Queue(queue) => on_heap(|| queue.run(context)).await,
            Command::Limit(limits) => on_heap(|| limits.run(context)).await,
            Command::Config(config) => on_heap(|| config.run(context)).await,
            Command::Schedule(schedules) => on_heap(|| schedules.run(context)).await,
            Command::Bulk(bulk) => on_heap(|| bulk.run(context)).await,
            Command::Batch(batch) => on_heap(|| batch.run(context)).await,
            Command::File(file) => on_heap(|| unless_interrupted(file.run(context))).await,
            Command::Alert(alerts) => on_heap(|| alerts.run(context)).await,
            Command::Webhook(webhooks) => on_heap(|| webhooks.run(context)).await,
            Command::Stats(stats) => on_heap(|| stats.run(context)).await,
            Command::Debug(debug) => on_heap(|| debug.run(context)).await,
            Command::Top(top) => on_heap(|| top.run(context)).await,
            Command::Ui(ui) => on_heap(|| ui.run(context)).await,
            Command::Logs(logs) => on_heap(|| logs.run(context)).await,
            Command::Timeline(timeline) => on_heap(|| timeline.run(context)).await,
            Command::Token(token) => on_heap(|| token.run(context)).await,
            Command::Audit(audit) => on_heap(|| audit.run(context)).await,
            Command::Reap(reap) => on_heap(|| reap.run(context)).await,
            Command::Table(table) => on_heap(|| unless_interrupted(table.run(context))).await,
            Command::Relay(relay) => on_heap(|| relay.run(context)).await,
            Command::DeadLetters(letters) => on_heap(|| letters.run(context)).await,
            Command::Migrate(migrate) => on_heap(|| migrate.run(context)).await,
            Command::Import(import) => on_heap(|| import.run(context)).await,
            Command::Export(export) => on_heap(|| export.run(context)).await,
            Command::Mirror(mirror) => on_heap(|| mirror.run(context)).await,
            Command::Archive(archive) => on_heap(|| unless_interrupted(archive.run(context))).await,
            Command::Bench(bench) => on_heap(|| unless_interrupted(bench.run(context))).await,
            Command::Example(example) => on_heap(|| unless_interrupted(example.run(context))).await,
            Command::RenderScene(_) | Command::Guard => Ok(()),
        };
        // What was written before a failure is shown before the failure is told.
        let shown = context.out.finish();
        done.and(shown)
    })
}

/// A command's work on the heap: the stack of a program's first thread may be small (`ulimit -s`), and all commands together would be on
/// it.
#[inline(never)]
fn on_heap<F: Future>(work: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::pin(work())
}

/// Breaks off when the program is asked to end: what was started ends with the future that started it.
async fn unless_interrupted(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    tokio::select! {
        done = work => done,
        _ = signals.next() => Err(Failure::failed("interrupted; all that was started is ended")),
    }
}
