//! Which other systems' requests a server answers, and where.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use baton_model::{Expected, LimitRules, TaskType, limits};

use super::read::Reader;

/// The dialects, each with where it is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialectSettings {
    /// That of the in-memory assistant task server.
    pub assistant: AssistantSettings,
    /// That of the volunteer-compute simulation.
    pub drift: DialectPlace,
    /// That of the generation platform's functions and tables.
    pub edge_functions: EdgeSettings,
    /// That of the multi-agent orchestrator.
    pub orchestrator: OrchestratorSettings,
    /// That of the cognitive platform's task table.
    pub task_table: TaskTableSettings,
}

impl DialectSettings {
    /// Where each is spoken, by name.
    pub fn places(&self) -> [(&'static str, &DialectPlace); 5] {
        [
            ("assistant", &self.assistant.place),
            ("drift", &self.drift),
            ("edge-functions", &self.edge_functions.place),
            ("orchestrator", &self.orchestrator.place),
            ("task-table", &self.task_table.place),
        ]
    }
}

/// Where a dialect is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialectPlace {
    /// Whether it is spoken at all.
    pub on: bool,
    /// An address of its own; none for Baton's.
    pub listen: Option<SocketAddr>,
    /// What stands before each of its paths; nothing, or a path such as `/old`.
    pub prefix: String,
    /// Whether each request needs a token there.
    pub tokens_required: bool,
}

/// How the assistant's dialect is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssistantSettings {
    /// Where.
    pub place: DialectPlace,
    /// The folder of its log files.
    pub logs: PathBuf,
    /// How large a log file grows before another is begun.
    pub log_bytes: u64,
    /// How many older files are kept of each.
    pub log_files: u32,
    /// How long a request waits for a worker's result that asks for one.
    pub execute_wait: Duration,
}

/// How the generation platform's dialect is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeSettings {
    /// Where.
    pub place: DialectPlace,
    /// The types whose tasks are claimed with the run type `api`; all others are claimed with `gpu`.
    pub api_types: Vec<TaskType>,
    /// The types that only wait for their children, besides those whose names tell so.
    pub orchestrator_types: Vec<TaskType>,
    /// The types that tasks may be of; any if none is named.
    pub known_types: Vec<TaskType>,
    /// How many tasks may run at once of one owner; 0 for as many as limits that are set elsewhere allow.
    pub running_per_owner: u32,
    /// How long an attempt may run.
    pub task_timeout: Duration,
    /// How long an attempt of a task may run that waits for its children.
    pub orchestrator_timeout: Duration,
    /// How long a worker that does not beat holds a task.
    pub silent_lease: Duration,
    /// The folder of the files that clients upload, where the server has no other place for files; and that in which earlier versions
    /// kept them.
    pub files: PathBuf,
    /// How long a file is kept that is no task's; for ever if none.
    pub uploads_kept: Option<Duration>,
    /// The most bytes of one such file.
    pub file_bytes: u64,
}

/// How the orchestrator's dialect is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrchestratorSettings {
    /// Where.
    pub place: DialectPlace,
    /// How many attempts its tasks are given: with one, a task whose worker died fails; with more, it is tried again.
    pub max_attempts: u32,
    /// How long an attempt may run; as long as it likes if zero.
    pub timeout: Duration,
    /// The path of the repository that its clients are told of.
    pub repository: String,
    /// That repository's branch.
    pub branch: String,
    /// The origins of web pages that are let in besides those from this machine, and that may read answers: `null` is that of a page
    /// which was opened from a file.
    pub origins: Vec<String>,
}

/// How the task table's dialect is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskTableSettings {
    /// Where.
    pub place: DialectPlace,
    /// Whether a new task whose client does not say runs at once, as later versions of the old server have it.
    pub late: bool,
}

/// The keys of a dialect's place.
struct Keys {
    on: &'static str,
    listen: &'static str,
    prefix: &'static str,
}

macro_rules! keys {
    ($name:literal) => {
        Keys {
            on: concat!("dialects.", $name, ".on"),
            listen: concat!("dialects.", $name, ".listen"),
            prefix: concat!("dialects.", $name, ".prefix"),
        }
    };
}

/// When tokens are needed: as the server's own address has it, or wherever others than this machine's programs reach.
#[derive(Clone, Copy)]
pub(super) struct TokensNeeded {
    pub(super) always: bool,
    pub(super) at_server: bool,
}

pub(super) fn read(reader: &mut Reader<'_>, tokens: TokensNeeded) -> DialectSettings {
    let settings = DialectSettings {
        assistant: AssistantSettings {
            place: place(reader, &keys!("assistant"), tokens),
            logs: reader.text("dialects.assistant.logs", folder).unwrap_or_default(),
            log_bytes: u64::from(reader.whole("dialects.assistant.log_mebibytes", "MiB", 1..=65_536)) << 20,
            log_files: reader.whole("dialects.assistant.log_files", "files", 0..=1_000),
            execute_wait: reader.seconds("dialects.assistant.execute_seconds", 0.0..=300.0),
        },
        drift: place(reader, &keys!("drift"), tokens),
        edge_functions: edge_functions(reader, tokens),
        orchestrator: OrchestratorSettings {
            place: place(reader, &keys!("orchestrator"), tokens),
            max_attempts: reader.whole(
                "dialects.orchestrator.max_attempts",
                "attempts",
                1..=limits::MAX_ATTEMPTS,
            ),
            timeout: reader.seconds("dialects.orchestrator.timeout_seconds", 0.0..=31_536_000.0),
            repository: reader.text("dialects.orchestrator.repository", plain).unwrap_or_default(),
            branch: reader.text("dialects.orchestrator.branch", plain).unwrap_or_default(),
            origins: reader
                .list("dialects.orchestrator.origins", "a list of origins of web pages", origins)
                .map(|lists| lists.concat())
                .unwrap_or_default(),
        },
        task_table: TaskTableSettings {
            place: place(reader, &keys!("task-table"), tokens),
            late: reader.flag("dialects.task-table.late"),
        },
    };
    refuse_shared_addresses(reader, &settings);
    settings
}

fn edge_functions(reader: &mut Reader<'_>, tokens: TokensNeeded) -> EdgeSettings {
    let minutes = |reader: &mut Reader<'_>, key| {
        Duration::from_secs(60 * u64::from(reader.whole(key, "minutes", 1..=30 * 24 * 60)))
    };
    EdgeSettings {
        place: place(reader, &keys!("edge-functions"), tokens),
        api_types: reader.text("dialects.edge-functions.api_types", types).unwrap_or_default(),
        orchestrator_types: reader
            .text("dialects.edge-functions.orchestrator_types", orchestrators)
            .unwrap_or_default(),
        known_types: reader.text("dialects.edge-functions.known_types", types).unwrap_or_default(),
        running_per_owner: reader.whole("dialects.edge-functions.running_per_owner", "tasks", 0..=10_000),
        task_timeout: minutes(reader, "dialects.edge-functions.task_minutes"),
        orchestrator_timeout: minutes(reader, "dialects.edge-functions.orchestrator_minutes"),
        silent_lease: minutes(reader, "dialects.edge-functions.silent_lease_minutes"),
        files: reader.text("dialects.edge-functions.files", folder).unwrap_or_default(),
        uploads_kept: match reader.whole("dialects.edge-functions.upload_days", "days", 0..=36_500) {
            0 => None,
            days => Some(Duration::from_secs(86_400 * u64::from(days))),
        },
        file_bytes: u64::from(reader.whole("dialects.edge-functions.file_mebibytes", "MiB", 1..=1_048_576))
            << 20,
    }
}

/// Types of tasks, with commas between them.
fn types(text: &str) -> Result<Vec<TaskType>, Expected> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::parse).collect()
}

/// Types that limits are to exempt, which are only so many.
fn orchestrators(text: &str) -> Result<Vec<TaskType>, Expected> {
    let types = types(text)?;
    if types.len() > LimitRules::EXEMPT_TYPES {
        return Err(Expected::new(
            format!("at most {} types", LimitRules::EXEMPT_TYPES),
            types.len().to_string(),
        ));
    }
    Ok(types)
}

fn place(reader: &mut Reader<'_>, keys: &Keys, tokens: TokensNeeded) -> DialectPlace {
    let on = reader.flag(keys.on);
    let listen = reader.text(keys.listen, |text| match text {
        "" => Ok(None),
        address => super::parse_listen(address).map(Some),
    });
    let listen = listen.flatten();
    let prefix = reader.text(keys.prefix, prefix).unwrap_or_default();
    let tokens_required = match listen {
        Some(address) => tokens.always || !address.ip().is_loopback(),
        None => tokens.at_server,
    };
    DialectPlace { on: on || listen.is_some(), listen, prefix, tokens_required }
}

/// Origins of web pages, with commas between them where they are one text.
fn origins(text: &str) -> Result<Vec<String>, Expected> {
    let one = |origin: &str| {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let is_host = |host: &str| {
            !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._~:[]".contains(&c))
        };
        let expected =
            "null for pages that were opened from a file, or an origin, such as http://localhost:3000";
        if origin == "null" || host.is_some_and(is_host) {
            Ok(origin.to_ascii_lowercase())
        } else {
            Err(Expected::text(expected, origin))
        }
    };
    text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(one).collect()
}

/// Two dialects cannot listen on one address: each is alone at its own.
fn refuse_shared_addresses(reader: &mut Reader<'_>, settings: &DialectSettings) {
    let keys = [
        keys!("assistant"),
        keys!("drift"),
        keys!("edge-functions"),
        keys!("orchestrator"),
        keys!("task-table"),
    ];
    let places = settings.places();
    for (at, ((_, place), keys)) in places.iter().zip(keys).enumerate() {
        let Some(address) = place.listen.filter(|address| address.port() != 0) else { continue };
        if places[..at].iter().any(|(_, other)| other.listen == Some(address)) {
            let expected = "an address that no other dialect has, or none, to be served at Baton's own";
            reader.refuse(keys.listen, Expected::text(expected, &address.to_string()));
        }
    }
}

fn prefix(text: &str) -> Result<String, Expected> {
    let in_path = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    let fits = text.is_empty()
        || (text.starts_with('/')
            && !text.ends_with('/')
            && !text.contains("//")
            && text.chars().all(in_path));
    let expected = "nothing, or the beginning of a path, such as /old, with no slash at its end";
    if fits { Ok(text.to_owned()) } else { Err(Expected::text(expected, text)) }
}

fn folder(text: &str) -> Result<PathBuf, Expected> {
    if text.is_empty() { Err(Expected::text("the path of a folder", text)) } else { Ok(PathBuf::from(text)) }
}

fn plain(text: &str) -> Result<String, Expected> {
    Ok(text.to_owned())
}
