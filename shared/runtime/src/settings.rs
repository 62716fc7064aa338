//! The settings of a server: layers merged at start, and validated whole before anything else begins.
//!
//! `defaults.toml` is the reference of every key. A later layer wins: defaults, what the store keeps of those that may change while a
//! server runs (`settings/running.rs`), the file of `--config`, the environment, the command line.

mod alerts;
mod changeable;
mod dialects;
mod explain;
mod kubernetes;
mod layers;
mod location;
mod machines;
mod read;
mod readings;
mod running;
mod scaling;
mod workers;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use baton_alerts::{Rule, Webhook};
use baton_model::limits::{self, LogShares};
use baton_model::{Expected, LeasePolicy, Limits, Place, QueueName, ReadingRule};
use baton_scaling::Policy;
use config::Config;
use tracing_subscriber::filter::Targets;

pub use alerts::{ALERT_DEFAULTS, WEBHOOK_DEFAULTS};
pub use changeable::RUNNING;
use dialects::TokensNeeded;
pub use dialects::{
    AssistantSettings, DialectPlace, DialectSettings, EdgeSettings, OrchestratorSettings, TaskTableSettings,
};
pub use explain::Explained;
pub use layers::Sources;
use layers::{Layer, Layers, environment_layer, flag_layer, keys_of, parse_toml, read_file};
pub use location::StoreLocation;
pub use machines::{MACHINE_DEFAULTS, MachineSource, NamePattern, Provider};
use read::Reader;
pub use readings::READING_DEFAULTS;
pub use running::{LayerName, Misfit, PassedOver, RunningSetting, check_running, running_key};
pub use scaling::SCALING_DEFAULTS;
pub use workers::{FleetSettings, GROUP_DEFAULTS, RestartWhen, WorkerGroup};

/// Every setting with its default, as TOML with comments.
pub const DEFAULTS: &str = include_str!("../defaults.toml");

/// The settings of a server, valid as a whole.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How requests are taken.
    pub server: ServerSettings,
    /// When callers need tokens, and how much they may ask.
    pub tokens: TokenSettings,
    /// What is taken and what refused.
    pub limits: Limits,
    /// Where tasks are kept.
    pub store: StoreSettings,
    /// The queues of the AWS shape.
    pub queues: QueueSettings,
    /// When leases are lost.
    pub leases: LeasePolicy,
    /// How many tasks a worker may hold that states no capacity.
    pub worker_cap: u32,
    /// How often lost leases are looked for.
    pub reaper_interval: Duration,
    /// How long what is over is kept.
    pub retention: Retention,
    /// Where finished tasks are archived before they are removed; none if they are not.
    pub archive: Option<Place>,
    /// Where files lie, and how much of them.
    pub files: FileSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// Which other systems' requests are answered, and where.
    pub dialects: DialectSettings,
    /// Whether the dashboard is served.
    pub ui: UiSettings,
    /// How workers are supervised.
    pub fleet: FleetSettings,
    /// The groups of workers to supervise.
    pub workers: Vec<WorkerGroup>,
    /// Who lets the machines that are paid for.
    pub machines: Vec<MachineSource>,
    /// The pools of queues that machines are scaled for.
    pub scaling: Vec<Policy>,
    /// Where KEDA is told of them; none if it is not.
    pub keda: Option<SocketAddr>,
    /// What readings of workers are to be within.
    pub readings: Vec<ReadingRule>,
    /// When alerts fire and end.
    pub alerts: Vec<Rule>,
    /// Who is told of them, and of what happens to tasks.
    pub webhooks: Vec<Webhook>,
    /// The file that settings were read from.
    pub file: Option<PathBuf>,
    /// The variables of the environment that Kubernetes sets for services, and which set nothing here.
    pub passed_over: Vec<String>,
    /// The layers as they were merged, each value with its origin: what is explained.
    merged: Merged,
    /// The layers by themselves, to be merged anew with what the store keeps.
    layers: Layers,
}

/// Merged layers. They hold secrets, and are not shown as they are.
#[derive(Clone)]
struct Merged(Config);

impl fmt::Debug for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Merged(..)")
    }
}

/// How requests are taken.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The address.
    pub listen: SocketAddr,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long a request's head may take.
    pub head_timeout: Duration,
    /// How long an answer may wait for its caller to take any of it.
    pub answer_timeout: Duration,
    /// The most bytes of all large answers together that their callers have not taken.
    pub answers_bytes: u64,
    /// How long a stopping server answers what it has accepted.
    pub shutdown_grace: Duration,
    /// Connections open at once.
    pub max_connections: u32,
    /// Listeners to events at once.
    pub max_listeners: u32,
    /// Whether webhooks may go to this machine and to private networks.
    pub private_webhooks: bool,
}

/// When callers need tokens, and how much they may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// Whether each request needs a token: always, or because others than this machine's programs reach the address.
    pub required: bool,
    /// How many requests a second a token may make that has no limit of its own; none for as many as it likes.
    pub requests_per_second: Option<u32>,
}

/// What is served for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UiSettings {
    /// Whether the dashboard is served, at `/ui`.
    pub enabled: bool,
}

/// Where tasks are kept.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The store.
    pub location: StoreLocation,
    /// What an answered change survives, on SQLite.
    pub durability: Durability,
    /// The size in bytes that the SQLite file may grow to; none for as far as the disk goes.
    pub max_bytes: Option<u64>,
    /// What concerns a store on DynamoDB alone.
    pub dynamodb: DynamoSettings,
}

/// How a table on DynamoDB is made and used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamoSettings {
    /// Over how many partitions of the index the waiting tasks of a queue are spread; one where a queue is not named.
    pub queue_shards: BTreeMap<QueueName, u16>,
    /// Over how many partitions each day's tasks are spread in a table that is made now.
    pub spread: u16,
    /// Whether a table that is made now keeps continuous backups.
    pub recovery: bool,
}

/// The queues of the AWS shape, by their URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// Rings for waiting claims.
    pub ready: Option<String>,
    /// Submissions that can never succeed.
    pub submissions_dead: Option<String>,
    /// Completions, failures and releases of workers for complete-task, while the server is out of reach.
    pub completions: Option<String>,
    /// Of these, those that can never succeed.
    pub completions_dead: Option<String>,
    /// What has happened to tasks.
    pub task_events: Option<String>,
    /// Records of the table's stream that can never be relayed or counted, whole.
    pub relay_dead: Option<String>,
}

/// What an answered change survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power cut.
    Full,
    /// A crash of the program.
    Normal,
}

/// How long what is over is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Finished tasks, with history and generation; none for ever.
    pub finished: Option<Duration>,
    /// The workers' log lines.
    pub logs: Duration,
    /// The record of a worker that no longer beats.
    pub workers: Duration,
}

impl Default for Retention {
    /// 30 days, 48 hours, 7 days.
    fn default() -> Self {
        Self { finished: Some(DAY * 30), logs: HOUR * 48, workers: DAY * 7 }
    }
}

/// Where files lie, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The place.
    pub place: FilePlace,
    /// The most bytes of one file.
    pub file_bytes: u64,
    /// The most bytes of all files of a project; none for as many as come.
    pub project_bytes: Option<u64>,
}

/// Where files lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePlace {
    /// In a folder beside the file of the store; nowhere if that is no file.
    Beside,
    /// Nowhere.
    Nowhere,
    /// There.
    At(Place),
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The form of a line.
    pub format: LogFormat,
    /// The least grave level that is logged, by module.
    pub level: Targets,
    /// Which files it goes to, besides stderr.
    pub files: LogFiles,
}

/// Files of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFiles {
    /// One that has every line, in the form of those on stderr.
    pub file: Option<PathBuf>,
    /// The folder of three: every line as JSON, every line for people, and those of warn and error for people.
    pub directory: Option<PathBuf>,
    /// When a file is put aside, and how long it is kept then.
    pub rotation: Rotation,
}

/// When a file of the log is put aside, and how long it is kept then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Once it has more bytes than this; it is put aside when a day of UTC has passed, too.
    pub bytes: u64,
    /// For how long files that were put aside are kept.
    pub keep: Duration,
    /// How many of them are kept at most.
    pub count: u32,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object.
    Json,
    /// For people.
    Text,
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

impl Settings {
    /// The defaults.
    ///
    /// # Errors
    /// None, unless the built-in file is at odds with the program, which a test excludes.
    pub fn defaults() -> Result<Self, SettingsError> {
        Self::load(&Sources::default())
    }

    /// Merges the layers and validates the outcome.
    ///
    /// # Errors
    /// An unreadable file, or every key that does not fit, each with where its value came from.
    pub fn load(sources: &Sources) -> Result<Self, SettingsError> {
        let keys = keys_of(&parse_toml("the defaults", DEFAULTS)?);
        let file = sources.file.as_deref().map(read_file).transpose()?;
        let (environment, passed_over) = environment_layer(&keys, &sources.environment);
        let layers = Layers { file, environment: Some(environment), flags: Some(flag_layer(&sources.flags)) };
        let read = read_all(&layers.merged(Layer::of([]))?)?;
        Ok(Self { file: sources.file.clone(), passed_over, layers, ..read })
    }
}

fn read_all(config: &Config) -> Result<Settings, SettingsError> {
    let mut reader = Reader::new(config);
    let server = ServerSettings {
        listen: reader.text("server.listen", parse_listen).unwrap_or(([127, 0, 0, 1], 0).into()),
        request_timeout: reader.seconds("server.request_timeout_seconds", 1.0..=3_600.0),
        head_timeout: reader.seconds("server.head_timeout_seconds", 1.0..=120.0),
        answer_timeout: reader.seconds("server.answer_timeout_seconds", 1.0..=3_600.0),
        answers_bytes: u64::from(reader.whole("server.answers_mebibytes", "MiB", 1..=65_536)) << 20,
        shutdown_grace: reader.seconds("server.shutdown_grace_seconds", 0.0..=3_600.0),
        max_connections: reader.whole("server.max_connections", "connections", 1..=100_000),
        max_listeners: reader.whole("server.max_listeners", "listeners", 0..=100_000),
        private_webhooks: reader.flag("server.private_webhooks"),
    };
    let always = reader.text("tokens.required", |text| match text {
        "auto" => Ok(false),
        "always" => Ok(true),
        other => Err(Expected::text("auto or always", other)),
    });
    let requests_per_second =
        reader.whole("tokens.requests_per_second", "requests", 0..=limits::TOKEN_REQUESTS);
    let tokens = TokenSettings {
        required: always.unwrap_or(true) || !server.listen.ip().is_loopback(),
        requests_per_second: (requests_per_second > 0).then_some(requests_per_second),
    };
    let limits = Limits {
        params_bytes: reader.whole("limits.params_bytes", "bytes", 1_024..=16 << 20) as usize,
        result_bytes: reader.whole("limits.result_bytes", "bytes", 1_024..=64 << 20) as usize,
        batch_bytes: reader.whole("limits.batch_bytes", "bytes", 65_536..=256 << 20) as usize,
        logs: LogShares {
            beat: log_share(&mut reader, "limits.log_beat_bytes"),
            worker_minute: log_share(&mut reader, "limits.log_worker_bytes_per_minute"),
            project_minute: log_share(&mut reader, "limits.log_project_bytes_per_minute"),
        },
    };
    let location = reader.text("store.url", str::parse);
    let durability = reader.text("store.durability", |text| match text {
        "full" => Ok(Durability::Full),
        "normal" => Ok(Durability::Normal),
        other => Err(Expected::text("full or normal", other)),
    });
    let max_mebibytes = reader.whole("store.max_mebibytes", "MiB", 0..=64 << 20);
    let mut queue = |key| reader.text(key, parse_queue).flatten();
    let queues = QueueSettings {
        ready: queue("queues.ready"),
        submissions_dead: queue("queues.submissions_dead"),
        completions: queue("queues.completions"),
        completions_dead: queue("queues.completions_dead"),
        task_events: queue("queues.task_events"),
        relay_dead: queue("queues.relay_dead"),
    };
    let queue_shards = reader.text("dynamodb.queue_shards", parse_shards);
    let spread = reader.whole("dynamodb.spread", "partitions", 1..=256) as u16;
    let recovery = reader.flag("dynamodb.recovery");
    let leases = LeasePolicy {
        heartbeat_timeout: reader.seconds("leases.heartbeat_timeout_seconds", 0.1..=86_400.0),
        heartbeat_interval: reader.seconds("leases.heartbeat_interval_seconds", 0.05..=86_400.0),
        forget_grace: reader.seconds("leases.forget_grace_seconds", 0.0..=3_600.0),
    };
    // Of a setting that does not fit by itself there is no more to say: what stands in for it was not chosen by anyone.
    let fit = !reader.refused("leases.heartbeat_timeout_seconds")
        && !reader.refused("leases.heartbeat_interval_seconds");
    if fit && leases.heartbeat_interval >= leases.heartbeat_timeout {
        let timeout = leases.heartbeat_timeout.as_secs_f64();
        reader.refuse(
            "leases.heartbeat_interval_seconds",
            Expected::new(
                format!("less than leases.heartbeat_timeout_seconds, which is {timeout}"),
                leases.heartbeat_interval.as_secs_f64().to_string(),
            ),
        );
    }
    let worker_cap = reader.whole("leases.worker_cap", "tasks", 1..=limits::WORKER_CAPACITY);
    let reaper_interval = reader.seconds("reaper.interval_seconds", 0.05..=3_600.0);
    let finished = reader.whole("retention.finished_days", "days", 0..=36_500);
    let retention = Retention {
        finished: (finished > 0).then(|| DAY * finished),
        logs: HOUR * reader.whole("retention.log_hours", "hours", 1..=87_600),
        workers: DAY * reader.whole("retention.worker_days", "days", 1..=3_650),
    };
    let archive = reader.text("archive.url", parse_place).flatten();
    let place = reader.text("files.url", parse_file_place);
    let file_mebibytes = reader.whole("files.file_mebibytes", "MiB", 1..=5 << 20);
    let project_mebibytes = reader.whole("files.project_mebibytes", "MiB", 0..=u32::MAX);
    let format = reader.text("log.format", |text| match text {
        "auto" => Ok(LogFormat::Auto),
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        other => Err(Expected::text("auto, json or text", other)),
    });
    let level = reader.text("log.level", parse_level);
    let path = |text: &str| Ok((!text.is_empty()).then(|| PathBuf::from(text)));
    let log_files = LogFiles {
        file: reader.text("log.file", path).flatten(),
        directory: reader.text("log.directory", path).flatten(),
        rotation: Rotation {
            bytes: u64::from(reader.whole("log.file_mebibytes", "MiB", 1..=65_536)) << 20,
            keep: DAY * reader.whole("log.file_days", "days", 1..=3_650),
            count: reader.whole("log.file_count", "files", 1..=10_000),
        },
    };
    let needed = TokensNeeded { always: always.unwrap_or(true), at_server: tokens.required };
    let dialects = dialects::read(&mut reader, needed);
    let ui = UiSettings { enabled: reader.flag("ui.enabled") };
    let (fleet, workers) = workers::read(&mut reader);
    let machines = machines::read(&mut reader);
    let scaling = scaling::read(&mut reader);
    let keda = reader.text("keda.listen", |text| match text {
        "" => Ok(None),
        address => parse_listen(address).map(Some),
    });
    let readings = readings::read(&mut reader);
    let alerts = alerts::rules(&mut reader);
    let webhooks = alerts::webhooks(&mut reader);
    let errors = reader.finish();
    match (location, durability, queue_shards, place, format, level) {
        (Some(location), Some(durability), Some(queue_shards), Some(place), Some(format), Some(level))
            if errors.is_empty() =>
        {
            Ok(Settings {
                server,
                tokens,
                limits,
                store: StoreSettings {
                    location,
                    durability,
                    max_bytes: (max_mebibytes > 0).then(|| u64::from(max_mebibytes) << 20),
                    dynamodb: DynamoSettings { queue_shards, spread, recovery },
                },
                queues,
                leases,
                worker_cap,
                reaper_interval,
                retention,
                archive,
                files: FileSettings {
                    place,
                    file_bytes: u64::from(file_mebibytes) << 20,
                    project_bytes: (project_mebibytes > 0).then(|| u64::from(project_mebibytes) << 20),
                },
                log: LogSettings { format, level, files: log_files },
                dialects,
                ui,
                fleet,
                workers,
                machines,
                scaling,
                keda: keda.flatten(),
                readings,
                alerts,
                webhooks,
                file: None,
                passed_over: Vec::new(),
                merged: Merged(config.clone()),
                layers: Layers::default(),
            })
        }
        _ => Err(SettingsError::Invalid(errors)),
    }
}

/// A share of log lines in bytes; none for as many as come.
fn log_share(reader: &mut Reader<'_>, key: &'static str) -> Option<u64> {
    let bytes = reader.whole(key, "bytes", 0..=u32::MAX);
    (bytes > 0).then_some(u64::from(bytes))
}

fn parse_listen(text: &str) -> Result<SocketAddr, Expected> {
    let named = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    named
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map_err(|_| Expected::text("an address and port such as 127.0.0.1:7410 or 0.0.0.0:7410", text))
}

/// A place; none if it is empty.
fn parse_place(text: &str) -> Result<Option<Place>, Expected> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

fn parse_file_place(text: &str) -> Result<FilePlace, Expected> {
    match text {
        "auto" => Ok(FilePlace::Beside),
        "" => Ok(FilePlace::Nowhere),
        place => place.parse().map(FilePlace::At),
    }
}

/// A queue's URL; none if it is empty.
fn parse_queue(text: &str) -> Result<Option<String>, Expected> {
    match text {
        "" => Ok(None),
        url if url.starts_with("https://") || url.starts_with("http://") => Ok(Some(url.to_owned())),
        other => Err(Expected::text("the URL of an SQS queue, or nothing", other)),
    }
}

/// Queues with their numbers of shards, such as `gpu=8, thumbs=4`.
fn parse_shards(text: &str) -> Result<BTreeMap<QueueName, u16>, Expected> {
    let refused =
        || Expected::text("queues with 1 to 256 shards, such as \"gpu=8, thumbs=4\", or nothing", text);
    let one = |part: &str| {
        let (queue, shards) = part.split_once('=').ok_or_else(refused)?;
        let shards = shards.trim().parse().ok().filter(|shards| (1..=256).contains(shards));
        Ok((queue.trim().parse().map_err(|_| refused())?, shards.ok_or_else(refused)?))
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(one).collect()
}

/// A level, or levels by module. The parser alone would take a misspelt level for the name of a module, and log nothing.
fn parse_level(text: &str) -> Result<Targets, Expected> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let known =
        |part: &str| part.contains('=') || levels.contains(&part.trim().to_ascii_lowercase().as_str());
    let expected = "error, warn, info, debug or trace, or by module such as info,baton_http=debug";
    let refused = || Expected::text(expected, text);
    if !text.split(',').all(known) {
        return Err(refused());
    }
    text.parse::<Targets>().map_err(|_| refused())
}

/// One setting that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// Its key, such as `server.listen`.
    pub key: String,
    /// What was expected, and what came.
    pub problem: Expected,
    /// Where the value came from.
    pub origin: Option<String>,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)?;
        match &self.origin {
            Some(origin) => write!(f, " (from {origin})"),
            None => Ok(()),
        }
    }
}

/// Why settings could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read as TOML.
    #[error("cannot read {what}: {cause}; name a readable TOML file with --config, or none")]
    File {
        /// Which.
        what: String,
        /// Why.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Values do not fit.
    #[error("{}", list(.0))]
    Invalid(Vec<SettingError>),
}

fn list(errors: &[SettingError]) -> String {
    let lines: Vec<String> = errors.iter().map(|error| format!("\n  {error}")).collect();
    let settings = if errors.len() == 1 { "one setting does" } else { "some settings do" };
    format!("{settings} not fit; mend it and start again:{}", lines.concat())
}

#[cfg(test)]
mod tests;
